/* SPDX-License-Identifier: ISC */
/* Virtual domains: which there are, and whether what they name is there. */
#include "config_virtual.h"

#include "config_value.h"
#include "file.h"
#include "table_text.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 1000, COMPONENT_MAX = 200 };

const struct config_virtual *config_virtual(const struct config *config, struct text domain)
{
	size_t low = 0, high = config->virtual_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int d = text_order_case(domain, config->virtuals[middle].label);

		if (!d)
			return &config->virtuals[middle];
		if (d < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* A path's component; the last one may be empty: "ann/" is a Maildir. */
static const char *component_fault(struct text c, bool last)
{
	if (!c.len)
		return last ? NULL : "it begins with /, or has // in it";
	if (c.data[0] == '.')
		return "a name in it begins with a dot";
	return c.len > COMPONENT_MAX ? "a name in it is too long" : NULL;
}

const char *virtual_path_fault(struct text path)
{
	const char *fault = NULL;

	if (!path.len || path.len > PATH_BYTES_MAX)
		return path.len ? "it is too long" : "it is empty";
	for (size_t i = 0; i < path.len; i++)
		if ((unsigned char)path.data[i] <= ' ' || path.data[i] == 127)
			return "a blank or control character is in it";
	for (size_t from = 0; !fault && from <= path.len;) {
		const char *slash = memchr(path.data + from, '/', path.len - from);
		size_t end = slash ? (size_t)(slash - path.data) : path.len;

		/* Behind a / at the end stands an empty one; the first one is never empty. */
		fault = component_fault((struct text){path.data + from, end - from},
					from > 0 && end == path.len);
		from = end + 1;
	}
	return fault;
}

/* -- finishing -------------------------------------------------------------------------- */

static int compare_blocks(const void *a, const void *b)
{
	const struct config_virtual *x = a, *y = b;
	int d = text_order_case(x->label, y->label);

	return d ? d : (x->line > y->line) - (x->line < y->line);
}

static void finish_one(const struct config *config, struct config_virtual *v,
		       struct config_errors *errors)
{
	char word[SHOWN_BYTES];
	const char *why;

	if (!domain_read(v->label, config->arena, &v->label, &why)) {
		config_errors_add(errors, false, v->line, 1, "virtual: \"%s\" is no domain: %s",
				  shown(word, v->label), why);
		return;
	}
	/* Another route would take its mail elsewhere, and nobody would look into the table. */
	if (config_route(config, v->label)->kind != ROUTE_LOCAL)
		config_errors_add(errors, false, v->line, 1,
				  "virtual %s: its mail does not come here; add route %s { to = "
				  "local }",
				  shown(word, v->label), shown(word, v->label));
}

void config_virtual_finish(struct config *config, struct config_errors *errors)
{
	char word[SHOWN_BYTES];

	for (size_t i = 0; i < config->virtual_count; i++)
		finish_one(config, &config->virtuals[i], errors);
	if (config->virtual_count > 1)
		qsort(config->virtuals, config->virtual_count, sizeof *config->virtuals,
		      compare_blocks);
	for (size_t i = 1; i < config->virtual_count; i++) {
		const struct config_virtual *v = &config->virtuals[i];

		if (text_equal(v->label, v[-1].label))
			config_errors_add(errors, false, v->line, 1,
					  "virtual %s stands twice; the first is on line %u",
					  shown(word, v->label), v[-1].line);
	}
}

/* -- the machine ------------------------------------------------------------------------ */

struct checking {
	const struct config_virtual *v;
	struct config_errors *errors;
};

static void table_wrong(void *owner, uint32_t line, const char *what)
{
	const struct checking *c = owner;
	char name[SHOWN_BYTES];

	config_errors_add(c->errors, true, c->v->line, 1, "mailboxes: %s:%u: %s",
			  shown(name, c->v->mailboxes), line, what);
}

static void check_paths(struct checking *c, const struct table_text *table)
{
	struct bytes value = {0};
	struct text key;
	unsigned faults = 0;

	for (size_t at = 0;
	     faults < TABLE_FAULTS_MAX && table_text_next(table, &at, &key, &value);) {
		const char *fault = virtual_path_fault(bytes_text(&value));

		faults += fault != NULL;
		if (fault)
			table_wrong(c, table_text_line(table, key), fault);
	}
	bytes_free(&value);
}

static void check_table(struct checking *c, size_t most)
{
	char path[WORD_MAX_BYTES + 1], name[SHOWN_BYTES];
	struct bytes content = {0};
	struct stat st;

	text_copy(path, sizeof path, c->v->mailboxes);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

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
	struct table_text *table = table_text_read(&content, table_wrong, c);

	if (table)
		check_paths(c, table);
	table_text_free(&table);
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
