/* SPDX-License-Identifier: ISC */
/*
 * newaliases: reads the aliases and says what is wrong with them. local reads
 * the text itself, whenever it changes; a file of Berkeley DB that lies beside
 * it, or that the configuration names, is made anew.
 */
#include "aliases.h"
#include "ctl.h"
#include "table_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { MOST_BYTES = 64 * 1024 * 1024 };

struct reading {
	const char *path;
	bool wrong;
};

static void say_fault(void *owner, uint32_t line, const char *what)
{
	struct reading *r = owner;

	fprintf(stderr, "%s:%u: %s\n", r->path, (unsigned)line, what);
	r->wrong = true;
}

struct walk {
	const struct aliases *aliases;
	size_t at;
	struct bytes list;
};

/* A list's lines are one, as postalias(1) writes them, and comments between them are gone. */
static bool walk_next(void *self, struct text *name, struct text *list)
{
	struct walk *w = self;
	bool comment = false;

	if (!aliases_next(w->aliases, &w->at, name, list))
		return false;
	w->list.start = w->list.end = 0;
	for (size_t i = 0; i < list->len; i++) {
		char c = list->data[i];

		if (i && list->data[i - 1] == '\n')
			comment = c == '#';
		if (strchr("\t\r\n", c))
			c = ' ';
		if (!comment)
			bytes_add(&w->list, &c, 1);
	}
	*list = text_trim(bytes_text(&w->list));
	return true;
}

/* A broken alias that is left out would be nobody's name. */
static bool any_broken(const struct aliases *a)
{
	struct text name, list;

	for (size_t at = 0; aliases_next(a, &at, &name, &list);)
		if (aliases_find(a, name, &list) == ALIASES_BROKEN)
			return true;
	return false;
}

/* What a .db file begins with: which type it is. */
static bool db_type(const char *path, enum table_type *type)
{
	uint32_t head[4] = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool fine = fd >= 0 && read(fd, head, sizeof head) == sizeof head;

	if (fd >= 0)
		close(fd);
	*type = head[3] == 0x053162 ? TABLE_BTREE : TABLE_HASH;
	return fine;
}

static int db_make(const char *file, enum table_type type, const char *path,
		   const struct aliases *a)
{
	char what[TABLE_FILE_BYTES + 200];
	struct walk w = {.aliases = a};
	struct stat st;

	if (stat(path, &st) != 0) {
		ctl_say("%s: %s", path, strerror(errno));
		return EX_NOINPUT;
	}
	ptrdiff_t count = table_file_write(file, type, walk_next, &w, &st, what, sizeof what);

	bytes_free(&w.list);
	if (count < 0)
		ctl_say("%s", what);
	else
		printf("%s: %td keys\n", file, count);
	return count < 0 ? EX_CANTCREAT : EX_OK;
}

/* PATH as the text that TABLE is of; FILE as the .db beside it. */
static bool names(struct text table, enum table_type *type, char *path, char *file)
{
	struct text text;

	if (!table_parse(table, type, &text) || text.len + 4 > TABLE_PATH_MAX)
		return false;
	if (text.len > 3 && memcmp(text.data + text.len - 3, ".db", 3) == 0)
		text.len -= 3;
	text_copy(path, TABLE_FILE_BYTES, text);
	text_copy(file, TABLE_FILE_BYTES, text);
	text_copy(file + text.len, TABLE_FILE_BYTES - text.len, text_of(".db"));
	return true;
}

/* The table process reads them as they are: there is nothing to be made of them. */
static int patterns_say(struct text table, size_t most, struct reading *r)
{
	enum table_type type;
	struct text path;
	ptrdiff_t count = alias_patterns_check(table, most, say_fault, r);

	if (count < 0 && errno != EBADMSG) {
		ctl_say("%s: %s", r->path, strerror(errno));
		return EX_NOINPUT;
	}
	table_parse(table, &type, &path);
	if (count >= 0)
		printf("%s: %td %s%s\n", r->path, count,
		       type == TABLE_PCRE ? "patterns" : "networks",
		       r->wrong ? ", with faults" : "");
	return r->wrong ? EX_DATAERR : EX_OK;
}

int newaliases_verb(struct ctl *ctl)
{
	struct config_errors errors = {0};
	char path[TABLE_FILE_BYTES], file[TABLE_FILE_BYTES];
	struct text table = TEXT("/etc/aliases");
	enum table_type type, now;
	size_t most = MOST_BYTES;

	/* Maintainer scripts call it before there is a configuration. */
	if (access(ctl->config_path, R_OK) == 0 && ctl_config_read(ctl, &errors)) {
		table = ctl->config->local_aliases;
		most = ctl->config->tables_size;
	} else if (errors.count) {
		/* Which aliases are meant is not known: those of /etc may be fine, and others'. */
		ctl_config_say(ctl, &errors, stderr);
		config_errors_free(&errors);
		return EX_CONFIG;
	}
	config_errors_free(&errors);
	if (!names(table, &type, path, file)) {
		ctl_say("local { aliases } names no file");
		return EX_CONFIG;
	}
	struct reading r = {path, false};

	if (table_is_asked(table))
		return patterns_say(table, most, &r);
	struct aliases *a = aliases_load(text_of(path), most, say_fault, &r);
	int status = r.wrong ? EX_DATAERR : EX_OK;

	if (!a && errno == ENOENT) {
		printf("%s: there is none\n", path);
		return EX_OK;
	}
	if (!a) {
		ctl_say("%s: %s", path, strerror(errno));
		return EX_NOINPUT;
	}
	printf("%s: %zu aliases%s\n", path, aliases_count(a), r.wrong ? ", with faults" : "");
	bool there = db_type(file, &now);

	if (type != TABLE_TEXT)
		now = type;
	if (type == TABLE_TEXT && !there)
		;
	else if (any_broken(a))
		ctl_say("%s stays as it was", file);
	else if (db_make(file, now, path, a) != EX_OK)
		status = EX_CANTCREAT;
	aliases_free(&a);
	return status;
}
