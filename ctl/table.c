/* SPDX-License-Identifier: ISC */
/* veredus table: makes a table of Berkeley DB, looks a key up, lists what is in one. */
#include "table_file.h"

#include "ctl.h"
#include "file.h"
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 30 /* as tables { size } at most */ };

/* A table as somebody wrote it, whose path may begin where he is. */
struct named {
	char name[TABLE_FILE_BYTES + 16]; /* KIND:/PATH */
	char file[TABLE_FILE_BYTES];	  /* its file */
	enum table_type type;
};

static bool named_read(const char *word, struct named *n)
{
	char folder[TABLE_PATH_MAX] = "";
	const char *colon = strchr(word, ':'), *path = *word == '/' || !colon ? word : colon + 1;
	struct text where;

	if (*path != '/' && !getcwd(folder, sizeof folder))
		folder[0] = '\0';
	int len =
	    snprintf(n->name, sizeof n->name, "%.*s%s%s%s", path == word ? 5 : (int)(path - word),
		     path == word ? "text:" : word, folder, *path == '/' ? "" : "/", path);

	if (*path && len > 0 && (size_t)len < sizeof n->name &&
	    table_parse(text_of(n->name), &n->type, &where) &&
	    table_file(text_of(n->name), n->file))
		return true;
	ctl_say("\"%s\" is no table; write PATH, text:PATH, hash:PATH, btree:PATH, cidr:PATH or "
		"pcre:PATH",
		word);
	return false;
}

static void say_fault(void *owner, uint32_t line, const char *what)
{
	struct named *n = owner;

	if (line)
		ctl_say("%s:%u: %s", n->file, (unsigned)line, what);
	else
		ctl_say("%s: %s", n->file, what);
}

/* NULL after saying why. */
static void *table_open(struct named *n, const struct table_kind *kind, struct stat *st)
{
	struct bytes content = {0};
	int fd = open(n->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
		ctl_say("%s: %s", n->file, fd < 0 ? strerror(errno) : "no file");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (st->st_size == 0) {
		close(fd);
	} else if (!file_take(fd, MOST_BYTES, &content)) {
		ctl_say("%s: it can't be read, or has more than 1 GB", n->file);
		return NULL;
	}
	return kind->read(&content, say_fault, n);
}

/* A table that is to be read. */
struct read_table {
	struct named n;
	const struct table_kind *kind;
	void *table;
};

/* The one that WORDS words begin with; an exit status after saying why not. */
static int read_begin(struct ctl *ctl, int words, const char *usage, struct read_table *t)
{
	struct text path;
	struct stat st;

	*t = (struct read_table){.table = NULL};
	if (ctl->count != words) {
		ctl_say("usage: veredus table %s", usage);
		return EX_USAGE;
	}
	if (!named_read(ctl->words[0], &t->n))
		return EX_USAGE;
	t->kind = table_kind_of(text_of(t->n.name), &path);
	t->table = table_open(&t->n, t->kind, &st);
	return t->table ? EX_OK : EX_DATAERR;
}

static int query_verb(struct ctl *ctl)
{
	struct bytes value = {0};
	struct read_table t;
	int status = read_begin(ctl, 2, "query TABLE KEY", &t);

	if (status)
		return status;
	enum table_verdict verdict = t.kind->find(t.table, text_of(ctl->words[1]), false, &value);

	if (verdict == TABLE_FOUND) {
		printf("%.*s\n", (int)bytes_len(&value), (const char *)bytes_at(&value));
	} else if (verdict == TABLE_FAILED) {
		ctl_say("%s: a pattern takes too long with that, or its value is too long",
			t.n.file);
		status = EX_TEMPFAIL;
	} else {
		status = 1;
	}
	bytes_free(&value);
	t.kind->free(&t.table);
	return status;
}

static int list_verb(struct ctl *ctl)
{
	struct bytes value = {0};
	struct read_table t;
	struct text key;
	int status = read_begin(ctl, 1, "list TABLE", &t);

	if (status)
		return status;
	for (size_t at = 0; t.kind->next(t.table, &at, &key, &value);)
		printf("%.*s\t%.*s\n", (int)key.len, key.data, (int)bytes_len(&value),
		       (const char *)bytes_at(&value));
	bytes_free(&value);
	t.kind->free(&t.table);
	return 0;
}

struct lines {
	const struct table_text *text;
	size_t at;
	struct text last; /* a key; its lines stand together */
	struct bytes value;
};

static bool lines_next(void *self, struct text *key, struct text *value)
{
	struct lines *l = self;

	do {
		if (!table_text_next(l->text, &l->at, key, &l->value))
			return false;
	} while (l->last.data && text_equal_case(l->last, *key));
	l->last = *key;
	l->value.start = l->value.end = 0;
	table_text_find(l->text, *key, &l->value);
	*value = bytes_text(&l->value);
	return true;
}

static int make_verb(struct ctl *ctl)
{
	struct named n = {0}, source = {0};
	char what[TABLE_FILE_BYTES + 200];
	struct text path;
	struct stat st;

	if (ctl->count != 1) {
		ctl_say("usage: veredus table make hash:FILE or btree:FILE");
		return EX_USAGE;
	}
	if (!named_read(ctl->words[0], &n))
		return EX_USAGE;
	if (n.type != TABLE_HASH && n.type != TABLE_BTREE) {
		ctl_say("%s: tables are read as they are, nothing is made of them; make takes "
			"hash:FILE or btree:FILE",
			table_type_name(n.type));
		return EX_USAGE;
	}
	/* FILE is the text, with or without .db behind it. */
	snprintf(source.file, sizeof source.file, "%.*s", (int)strlen(n.file) - 3, n.file);
	const struct table_kind *kind = table_kind_of(text_of("text:/"), &path);
	void *text = table_open(&source, kind, &st);

	if (!text)
		return EX_DATAERR;
	struct lines lines = {.text = text};
	ptrdiff_t count =
	    table_file_write(n.file, n.type, lines_next, &lines, &st, what, sizeof what);

	bytes_free(&lines.value);
	kind->free(&text);
	if (count < 0) {
		ctl_say("%s", what);
		return EX_CANTCREAT;
	}
	printf("%s: %td keys\n", n.file, count);
	return 0;
}

static const struct verb verbs[] = {
    {"make", make_verb, "KIND:FILE", "FILE.db from the text in FILE; KIND is hash or btree"},
    {"query", query_verb, "TABLE KEY", "what stands at KEY; exit status 1: nothing"},
    {"list", list_verb, "TABLE", "all keys and values; rules in their order"},
    {0},
};

int table_verb(struct ctl *ctl)
{
	if (ctl->help || !ctl->count) {
		verbs_help(verbs, "veredus table", ctl->help ? stdout : stderr);
		return ctl->help ? 0 : EX_USAGE;
	}
	const struct verb *verb = verb_take(ctl, verbs, "veredus table");

	return verb && verb_takes(ctl, verb, "veredus table") ? verb->run(ctl) : EX_USAGE;
}
