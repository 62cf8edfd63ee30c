/* SPDX-License-Identifier: ISC */
/* Virtual mailboxes: their tables, and which line an address comes to. */
#include "virtual.h"

#include "clock.h"
#include "envelope.h"
#include "file.h"
#include "mem.h"
#include "table_text.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PART_BYTES = 330,
	PATH_BYTES = 512,
	QUIET_US = 2000000, /* a file written within that time is perhaps not whole */
};

struct virtual_table {
	struct virtual_table *next;
	struct table_text *table; /* NULL: nothing is known */
	struct stat seen;	  /* of the file last read, or found broken */
	bool said;		  /* the log has heard that it can't be read */
	char path[PATH_BYTES];
};

struct heard {
	struct log *log;
	const char *path;
};

void virtuals_free(struct virtuals *v)
{
	while (v->first) {
		struct virtual_table *t = v->first;

		v->first = t->next;
		table_text_free(&t->table);
		free(t);
	}
}

static void fault(void *owner, uint32_t line, const char *what)
{
	const struct heard *h = owner;

	log_warning(h->log, "%s:%u: %s", h->path, line, what);
}

/* Takes FD over. A file that is empty is an empty table. */
static struct table_text *load(struct virtuals *all, const char *path, int fd,
			       const struct stat *st, size_t most)
{
	struct heard heard = {all->log, path};
	struct bytes content = {0};

	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size > most) {
		close(fd);
		return NULL;
	}
	if (!st->st_size)
		close(fd);
	else if (!file_take(fd, (size_t)st->st_size, &content))
		return NULL;
	return table_text_read(&content, fault, &heard);
}

static struct virtual_table *table_of(struct virtuals *all, struct text path)
{
	struct virtual_table *t = all->first;

	while (t && !text_equals(path, t->path))
		t = t->next;
	if (t || path.len >= PATH_BYTES)
		return t;
	t = mem_new(1, sizeof *t);
	text_copy(t->path, sizeof t->path, path);
	t->next = all->first;
	all->first = t;
	return t;
}

/* The table as its file is now; NULL: it can't be had. */
static const struct table_text *refresh(struct virtuals *all, struct virtual_table *t, size_t most)
{
	struct stat st = {0};
	int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int error = errno;

	if (fd >= 0 && fstat(fd, &st) == 0 && file_is_same(&st, &t->seen)) {
		close(fd);
		return t->table;
	}
	table_text_free(&t->table);
	t->seen = st;
	if (fd >= 0) {
		t->said = false;
		t->table = load(all, t->path, fd, &st, most);
		error = EINVAL;
	}
	if (!t->table && !t->said)
		log_warning(all->log, "%s: this table of mailboxes can't be used: %s", t->path,
			    fd < 0 ? strerror(error) : "see above, or it is no file, or too large");
	t->said = !t->table;
	return t->table;
}

static bool is_fresh(const struct stat *st)
{
	int64_t written = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
	int64_t age = walltime_read().us - written;

	return age > -QUIET_US && age < QUIET_US;
}

/* What an address is looked up as, the most exact first. */
struct keys {
	char texts[5][PART_BYTES + 260];
	size_t count;
};

static void key_add(struct keys *k, const char *part, struct text domain)
{
	snprintf(k->texts[k->count++], sizeof k->texts[0], "%s%s%.*s", part, domain.len ? "@" : "",
		 (int)domain.len, domain.data);
}

static bool keys_make(struct keys *k, const struct config *config, struct text address)
{
	static const struct text none = TEXT("");
	char part[PART_BYTES], plain[PART_BYTES];
	struct text domain = address_domain(address);

	if (!user_part(address, part, sizeof part) || domain.len > 255)
		return false;
	size_t end = user_end(config, text_of(part));
	bool tagged = end && part[end];

	text_copy(plain, sizeof plain, (struct text){part, end});
	k->count = 0;
	key_add(k, part, domain);
	if (tagged)
		key_add(k, plain, domain);
	/* A quoted local part such as "@example.net" must not meet a line that is for others. */
	if (!strchr(part, '@')) {
		key_add(k, part, none);
		if (tagged)
			key_add(k, plain, none);
	}
	key_add(k, "", domain);
	return true;
}

enum table_verdict virtual_find(struct virtuals *all, const struct config *config,
				const struct config_virtual *v, struct text address, char *to,
				size_t size)
{
	struct virtual_table *t = table_of(all, v->mailboxes);
	const struct table_text *table = t ? refresh(all, t, config->tables_size) : NULL;
	struct bytes value = {0};
	struct keys keys;
	bool found = false;

	if (!table)
		return TABLE_FAILED;
	if (!keys_make(&keys, config, address))
		return TABLE_ABSENT;
	for (size_t i = 0; !found && i < keys.count; i++)
		found = table_text_find(table, text_of(keys.texts[i]), &value);
	struct text path = {(const char *)bytes_at(&value), bytes_len(&value)};
	const char *wrong = found ? virtual_path_fault(path) : NULL;

	if (wrong)
		log_warning(all->log, "%s: the mailbox of %.*s: %s", t->path,
			    (int)(address.len < 320 ? address.len : 320), address.data, wrong);
	else if (found)
		text_copy(to, size, path);
	bool fits = path.len < size;

	bytes_free(&value);
	if (found)
		return wrong || !fits ? TABLE_FAILED : TABLE_FOUND;
	return is_fresh(&t->seen) ? TABLE_FAILED : TABLE_ABSENT;
}
