/* SPDX-License-Identifier: ISC */
/* Whether what virtual blocks name is there: tables, folders, users. */
#include "config_value.h"
#include "config_virtual.h"
#include "file.h"
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct checking {
	const struct config_virtual *v;
	struct config_errors *errors;
};

static void table_wrong(void *owner, uint32_t line, const char *what)
{
	const struct checking *c = owner;
	char name[SHOWN_BYTES], at[16] = "";

	if (line)
		snprintf(at, sizeof at, ":%u", line);
	config_errors_add(c->errors, true, c->v->line, 1, "mailboxes: %s%s: %s",
			  shown(name, c->v->mailboxes), at, what);
}

static void check_values(struct checking *c, const struct table_kind *kind, const void *table)
{
	struct bytes value = {0};
	struct text key;
	unsigned faults = 0;

	for (size_t at = 0; faults < TABLE_FAULTS_MAX && kind->next(table, &at, &key, &value);) {
		struct quota quota;
		struct text path;
		const char *fault = table_plain_fault(kind, bytes_text(&value));

		if (!fault)
			fault = virtual_value_read(bytes_text(&value), &path, &quota);
		faults += fault != NULL;
		if (fault)
			table_wrong(c, kind->line(table, key), fault);
	}
	bytes_free(&value);
}

static void check_table(struct checking *c, size_t most)
{
	char file[TABLE_FILE_BYTES], name[SHOWN_BYTES];
	struct bytes content = {0};
	struct text path;
	struct stat st;
	const struct table_kind *kind = table_kind_of(c->v->mailboxes, &path);

	if (!kind || !table_file(c->v->mailboxes, file))
		return;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) != 0) {
		config_errors_add(c->errors, true, c->v->line, 1, "mailboxes: %s: %s",
				  shown(name, c->v->mailboxes), strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	if (!S_ISREG(st.st_mode) || !file_take(fd, most, &content)) {
		config_errors_add(c->errors, true, c->v->line, 1,
				  "mailboxes: %s can't be read, is empty, or too large",
				  shown(name, c->v->mailboxes));
		if (!S_ISREG(st.st_mode))
			close(fd);
		return;
	}
	void *table = kind->read(&content, table_wrong, c);

	if (table)
		check_values(c, kind, table);
	kind->free(&table);
}

static void check_owner(const struct checking *c)
{
	char path[WORD_MAX_BYTES + 1], name[WORD_MAX_BYTES + 1], word[SHOWN_BYTES];
	struct stat st;

	text_copy(path, sizeof path, c->v->root);
	text_copy(name, sizeof name, c->v->user);
	const struct passwd *p = getpwnam(name);

	if (!p || !p->pw_uid)
		config_errors_add(c->errors, true, c->v->line, 1,
				  p ? "user: %s is root, as whom nothing is delivered"
				    : "user: there is no user %s",
				  shown(word, c->v->user));
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		config_errors_add(c->errors, true, c->v->line, 1, "root: %s is no folder",
				  shown(word, c->v->root));
	else if (p && st.st_uid != p->pw_uid)
		config_errors_add(c->errors, true, c->v->line, 1,
				  "root: the folder is not %s's, who is to write there",
				  shown(word, c->v->user));
}

void config_virtual_check(const struct config *config, struct config_errors *errors)
{
	for (size_t i = 0; i < config->virtual_count; i++) {
		struct checking c = {&config->virtuals[i], errors};

		check_table(&c, config->tables_size);
		check_owner(&c);
	}
}
