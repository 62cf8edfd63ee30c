/* SPDX-License-Identifier: ISC */
/* Tables in memory. */
#include "table_files.h"

#include "file.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	QUIET_US = 2000000, /* a file written within that time is perhaps not whole */
	COMPLAIN_EACH_S = 60,
};

struct table_view {
	struct table_view *next;
	const struct table_kind *kind;
	void *content;	  /* NULL: nothing is known */
	struct stat seen; /* of the file last read, or found broken */
	bool said;	  /* the log has heard that it can't be read */
	char *table;	  /* as the configuration has it */
	char file[TABLE_FILE_BYTES];
};

struct heard {
	struct log *log;
	const char *file;
};

void table_files_free(struct table_files *all)
{
	while (all->first) {
		struct table_view *t = all->first;

		all->first = t->next;
		if (t->content)
			t->kind->free(&t->content);
		free(t->table);
		free(t);
	}
}

static void fault(void *owner, uint32_t line, const char *what)
{
	const struct heard *h = owner;

	if (line)
		log_warning(h->log, "%s:%u: %s", h->file, line, what);
	else
		log_warning(h->log, "%s: %s", h->file, what);
}

/* Takes FD over. */
static void *load(struct table_files *all, const struct table_view *t, int fd,
		  const struct stat *st, size_t most)
{
	struct heard heard = {all->log, t->file};
	struct bytes content = {0};
	void *read = NULL;

	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size > most) {
		close(fd);
		return NULL;
	}
	if (!st->st_size)
		close(fd);
	else if (!file_take(fd, (size_t)st->st_size, &content))
		return NULL;
	/* A file that is empty is an empty table, if its kind thinks so. */
	read = t->kind->read(&content, fault, &heard);
	bytes_free(&content);
	return read;
}

static struct table_view *view_of(struct table_files *all, struct text table)
{
	struct table_view *t = all->first;
	struct text path;

	while (t && !text_equals(table, t->table))
		t = t->next;
	if (t || !table_kind_of(table, &path))
		return t;
	t = mem_new(1, sizeof *t);
	t->kind = table_kind_of(table, &path);
	t->table = mem_copy(table.data, table.len);
	table_file(table, t->file);
	t->next = all->first;
	all->first = t;
	return t;
}

const struct table_view *table_files_open(struct table_files *all, struct text table, size_t most)
{
	struct table_view *t = view_of(all, table);
	struct stat st = {0};
	int fd, error;

	if (!t)
		return NULL;
	fd = open(t->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	error = errno;
	if (fd >= 0 && fstat(fd, &st) == 0 && file_is_same(&st, &t->seen)) {
		close(fd);
		return t->content ? t : NULL;
	}
	if (t->content)
		t->kind->free(&t->content);
	t->seen = st;
	if (fd >= 0) {
		t->said = false;
		t->content = load(all, t, fd, &st, most);
	}
	if (!t->content && !t->said)
		log_warning(all->log, "%s: this table can't be used: %s", t->file,
			    fd < 0 ? strerror(error) : "see above, or it is no file, or too large");
	t->said = !t->content;
	return t->content ? t : NULL;
}

enum table_verdict table_view_find(const struct table_view *t, struct text key, struct bytes *value)
{
	return t->kind->find(t->content, key, true, value);
}

void table_files_complain(struct table_files *all, struct text table, const char *what,
			  struct text key, const char *wrong)
{
	struct monotime now = monotime_read();

	if (all->said.us && monotime_since(now, all->said).us < SECONDS(COMPLAIN_EACH_S).us)
		return;
	all->said = now;
	log_warning(all->log, "%.*s: %s of %.*s: %s", (int)table.len, table.data, what,
		    (int)(key.len < 320 ? key.len : 320), key.data, wrong);
}

bool table_view_is_fresh(const struct table_view *t)
{
	int64_t written =
	    (int64_t)t->seen.st_mtim.tv_sec * 1000000 + t->seen.st_mtim.tv_nsec / 1000;
	int64_t age = walltime_read().us - written;

	return age > -QUIET_US && age < QUIET_US;
}

const char *table_view_name(const struct table_view *t)
{
	return t->file;
}
