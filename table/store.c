/* SPDX-License-Identifier: ISC */
/* Keeping tables, and asking for their files. */
#include "store.h"

#include "file.h"
#include "mem.h"
#include "tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LOOK_EVERY_S = 1, /* at most so often is a file looked at */
	QUIET_S = 1,	  /* a file that was written within that time is perhaps not whole */
	LOOK_WAIT_S = 5,  /* for master to open it */
	FAILED_EVERY_S = 60,
	WAITING_MAX = 8192 /* questions that wait for a look */
};

struct table {
	struct store *store;
	char *name;	/* as the configuration has it */
	unsigned peers; /* who may ask for it */
	const struct table_kind *kind;
	void *content;	  /* NULL: nothing is known */
	struct stat seen; /* the file last read, or found broken */
	struct monotime looked;
	struct timer wait;
	bool has_seen, looking;
	struct monotime failed; /* when the log last told of a key that could not be looked up */
	bool missing;		/* said so in the log */
	bool partly;		/* the content was taken while it was perhaps being written */
	char file[TABLE_FILE_BYTES];
};

struct question {
	struct question *next;
	struct table *table;
	struct channel *from; /* NULL: gone */
	uint64_t query;
	char key[TABLE_KEY_MAX + 1];
};

struct store {
	struct daemon *d;
	struct table *tables[TABLES_MAX];
	size_t count;
	struct question *first, **last;
	size_t waiting;
	struct bytes value;
};

/* -- answers ------------------------------------------------------------------------- */

/* At most once a minute: the key is a stranger's. Local gets PLAIN values alone. */
static void failed_say(struct store *s, struct table *t, struct text key, bool plain)
{
	static const char slow[] = "a pattern took too long, or its value is too long";
	static const char made[] = "its value has a $, which none that chooses a mailbox, an alias "
				   "or a quota may have";
	struct monotime now = loop_now(s->d->loop);
	char shown[100];

	if (monotime_since(now, t->failed).us < SECONDS(FAILED_EVERY_S).us)
		return;
	t->failed = now;
	text_printable(shown, sizeof shown, key);
	s->value.start = s->value.end = 0;
	plain = plain && t->kind->find(t->content, key, false, &s->value) == TABLE_FOUND;
	log_error(s->d->log, "%s: \"%s\": %s; mail that needs it is deferred", t->file, shown,
		  plain ? made : slow);
}

static void answer(struct store *s, struct table *t, struct channel *to, uint64_t query,
		   struct text key)
{
	struct msg_looked_up m = {.query = query, .verdict = TABLE_FAILED};

	s->value.start = s->value.end = 0;
	if (t && t->content) {
		bool plain = channel_peer(to) == PEER_LOCAL;

		m.verdict = (uint8_t)t->kind->find(t->content, key, plain, &s->value);
		if (m.verdict == TABLE_FAILED) {
			failed_say(s, t, key, plain);
			s->value.start = s->value.end = 0;
		} else if (m.verdict == TABLE_ABSENT && plain && t->partly) {
			m.verdict = TABLE_FAILED;
		}
		m.value = bytes_text(&s->value);
	}
	channel_send_looked_up(to, &m);
}

/* All that waited for a look at T. */
static void answer_waiting(struct table *t)
{
	struct store *s = t->store;

	for (struct question **at = &s->first; *at;) {
		struct question *q = *at;

		if (q->table != t) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		s->waiting--;
		if (q->from)
			answer(s, t, q->from, q->query, text_of(q->key));
		free(q);
	}
	for (s->last = &s->first; *s->last; s->last = &(*s->last)->next)
		;
}

static void look_failed(void *arg)
{
	struct table *t = arg;

	/* Master is busy, or has no descriptor left. What is known is all there is. */
	t->looking = false;
	t->looked = loop_now(t->store->d->loop);
	answer_waiting(t);
}

/* -- tables ------------------------------------------------------------------------------ */

static struct table *table_find(struct store *s, struct text name)
{
	for (size_t i = 0; i < s->count; i++)
		if (text_equals(name, s->tables[i]->name))
			return s->tables[i];
	return NULL;
}

static struct table *table_new(struct store *s, struct text name)
{
	struct table *t = mem_new(1, sizeof *t);
	struct text path;

	t->store = s;
	t->name = mem_copy(name.data, name.len);
	t->kind = table_kind_of(text_of(t->name), &path);
	table_file(text_of(t->name), t->file);
	t->looked = t->failed = (struct monotime){INT64_MIN / 2};
	timer_init(&t->wait, s->d->loop, look_failed, t);
	return t;
}

static void table_free(struct table *t)
{
	answer_waiting(t);
	timer_clear(&t->wait);
	if (t->content)
		t->kind->free(&t->content);
	free(t->name);
	free(t);
}

void store_reload(struct store *s)
{
	struct table_use uses[TABLES_MAX];
	struct table *tables[TABLES_MAX];
	size_t count = config_tables(s->d->config, uses);

	for (size_t i = 0; i < count; i++) {
		struct table *old = table_find(s, uses[i].table);

		for (size_t j = 0; old && j < s->count; j++)
			if (s->tables[j] == old)
				s->tables[j] = s->tables[--s->count];
		tables[i] = old ? old : table_new(s, uses[i].table);
		tables[i]->peers = uses[i].peers;
	}
	while (s->count)
		table_free(s->tables[--s->count]);
	memcpy(s->tables, tables, count * sizeof *tables);
	s->count = count;
}

struct store *store_new(struct daemon *d)
{
	struct store *s = mem_new(1, sizeof *s);

	s->d = d;
	s->last = &s->first;
	store_reload(s);
	return s;
}

/* -- reading a file ------------------------------------------------------------------------ */

struct complaint {
	struct table *table;
	bool said;
};

static void complain(void *owner, uint32_t line, const char *what)
{
	struct complaint *c = owner;
	struct table *t = c->table;
	char where[16] = "";

	if (c->said)
		return;
	c->said = true;
	if (line)
		snprintf(where, sizeof where, ":%u", line);
	log_error(t->store->d->log, "%s%s: %s; %s", t->file, where, what,
		  t->content ? "the table stays as it was" : "mail that needs it is deferred");
}

/* A clock that was set back must not keep a file out for ever: only the last second counts. */
static bool is_quiet(const struct table *t, const struct stat *st)
{
	int64_t now = loop_wall(t->store->d->loop).us;
	int64_t age = now - ((int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000);

	return age < 0 || age >= SECONDS(QUIET_S).us;
}

/* The whole file; false when it is not what fstat said. */
static bool read_file(int fd, size_t size, struct bytes *to)
{
	for (;;) {
		size_t left = size - bytes_len(to);
		ssize_t n = read(fd, bytes_room(to, left + 1), left + 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && left == 0;
		if ((size_t)n > left)
			return false;
		to->end += (size_t)n;
	}
}

static void take_content(struct table *t, struct bytes *content, const struct stat *st, bool quiet)
{
	struct complaint c = {t, false};
	void *fresh = t->kind->read(content, complain, &c);

	t->seen = *st;
	t->has_seen = true;
	if (!fresh)
		return;
	if (t->content)
		t->kind->free(&t->content);
	t->content = fresh;
	t->partly = !quiet;
	if (t->partly && (t->peers & PEER_LOCAL))
		log_notice(t->store->d->log,
			   "%s: written a moment ago; until it has been quiet for a second no "
			   "mailbox or alias counts as missing from it",
			   t->file);
}

/*
 * What was read stays in force while the file is being written. Without
 * anything in force a file that seems whole is taken at once, and read again
 * when it has been quiet for a while: until then nobody is unknown to local
 * because it has no line for him.
 */
static void examine(struct table *t, int fd)
{
	struct bytes content = {0};
	struct complaint c = {t, false};
	struct stat before, after;

	if (fstat(fd, &before) != 0 || (t->has_seen && file_is_same(&before, &t->seen)))
		return;
	bool quiet = is_quiet(t, &before);

	if (!quiet && t->content)
		return;
	if (before.st_size < 0 || (uint64_t)before.st_size > t->store->d->config->tables_size) {
		complain(&c, 0, "larger than tables { size }");
		t->seen = before;
		t->has_seen = true;
		return;
	}
	if (read_file(fd, (size_t)before.st_size, &content) && fstat(fd, &after) == 0 &&
	    file_is_same(&before, &after))
		take_content(t, &content, &before, quiet);
	t->has_seen = t->has_seen && quiet;
	bytes_free(&content);
}

static void lose(struct table *t, int error)
{
	if (t->content)
		t->kind->free(&t->content);
	t->has_seen = false;
	if (t->missing)
		return;
	t->missing = true;
	log_error(t->store->d->log, "%s: %s; mail that needs it is deferred", t->file,
		  strerror(error));
}

void store_handle(struct store *s, const struct msg_handle *m, int fd)
{
	struct table *t = table_find(s, m->name);

	if (t && m->index) {
		lose(t, m->index);
	} else if (t) {
		t->missing = false;
		examine(t, fd);
	}
	close(fd);
	if (!t)
		return;
	timer_clear(&t->wait);
	t->looking = false;
	t->looked = loop_now(s->d->loop);
	answer_waiting(t);
}

/* -- questions -------------------------------------------------------------------------------- */

static void look(struct table *t)
{
	struct daemon *d = t->store->d;

	t->looking = true;
	channel_send_table_look(d->master, &(struct msg_table_look){text_of(t->name)});
	timer_set(&t->wait, SECONDS(LOOK_WAIT_S));
}

void store_lookup(struct store *s, struct channel *c, const struct msg_lookup *m)
{
	struct table *t = table_find(s, m->table);

	/* A session keeps the configuration that it began with: its table may be gone. */
	if (!t || !(t->peers & channel_peer(c)) || s->waiting >= WAITING_MAX) {
		answer(s, NULL, c, m->query, m->key);
		return;
	}
	if (!t->looking &&
	    monotime_since(loop_now(s->d->loop), t->looked).us >= SECONDS(LOOK_EVERY_S).us)
		look(t);
	if (!t->looking) {
		answer(s, t, c, m->query, m->key);
		return;
	}
	struct question *q = mem_new(1, sizeof *q);

	q->table = t;
	q->from = c;
	q->query = m->query;
	text_copy(q->key, sizeof q->key, m->key);
	*s->last = q;
	s->last = &q->next;
	s->waiting++;
}

void store_forget(struct store *s, const struct channel *c)
{
	for (struct question *q = s->first; q; q = q->next)
		if (q->from == c)
			q->from = NULL;
}
