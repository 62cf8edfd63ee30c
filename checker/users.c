/* SPDX-License-Identifier: ISC */
/* The index of the users file. */
#include "users.h"

#include "mem.h"
#include "must.h"
#include "siphash.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

struct row {
	struct row *next;
	struct text line;
};

/* Those whose hashes cost alike. */
struct shape {
	enum passwd_scheme scheme;
	struct text cost, line; /* of one of them */
	size_t count;
};

enum { SHAPES_MAX = 16 };

struct users {
	struct bytes content;
	struct row *rows;
	struct row **buckets;
	size_t count, room, size, scram; /* size is a power of two */
	uint8_t key[SIPHASH_KEY_BYTES];
	struct shape shapes[SHAPES_MAX];
	size_t shape_count, shaped;
};

static struct row **bucket_of(const struct users *users, struct text name)
{
	char lower[LOGIN_MAX];
	size_t n = name.len < sizeof lower ? name.len : sizeof lower;

	for (size_t i = 0; i < n; i++)
		lower[i] = ascii_lower(name.data[i]);
	return &users->buckets[siphash(users->key, lower, n) & (users->size - 1)];
}

static void row_read(const struct row *row, struct passwd_user *user)
{
	const char *why;
	enum passwd_kind kind = passwd_line_read(row->line, user, &why);

	must(kind == PASSWD_USER);
}

bool users_find(const struct users *users, struct text name, struct passwd_user *user,
		struct text *line)
{
	if (!name.len || name.len > LOGIN_MAX)
		return false;
	for (const struct row *row = *bucket_of(users, name); row; row = row->next) {
		row_read(row, user);
		if (passwd_same_name(user->name, name)) {
			*line = row->line;
			return true;
		}
	}
	return false;
}

/* -- shapes ------------------------------------------------------------------------ */

/* The part of a stored password that says what it costs: nothing that is its user's own. */
static struct text cost_of(const struct passwd_user *user)
{
	struct text t = user->secret;
	size_t fields = 1; /* what ends in a dollar sign, beside the first one */

	if (user->scheme == PASSWD_SCRAM) {
		ptrdiff_t comma = text_find(t, ',');

		return (struct text){t.data, comma < 0 ? t.len : (size_t)comma};
	}
	if (t.len > 14 && t.data[1] == '7') /* $7$, N, r and p, and the salt at once (crypt(5)) */
		return (struct text){t.data, 14};
	if (t.len > 2 && (t.data[1] == 'y' || t.data[1] == 'g' || t.data[1] == '2' ||
			  memchr(t.data, '=', t.len < 12 ? t.len : 12)))
		fields = 2;
	for (size_t i = 1; i < t.len; i++)
		if (t.data[i] == '$' && --fields == 0)
			return (struct text){t.data, i};
	return t;
}

static int shape_compare(const struct shape *s, enum passwd_scheme scheme, struct text cost)
{
	if (s->scheme != scheme)
		return s->scheme < scheme ? -1 : 1;
	if (s->cost.len != cost.len)
		return s->cost.len < cost.len ? -1 : 1;
	return cost.len ? memcmp(s->cost.data, cost.data, cost.len) : 0;
}

/* Kept in order, so that the file's own order means nothing. */
static void shape_count(struct users *users, const struct passwd_user *user, struct text line)
{
	struct text cost = cost_of(user);
	size_t i = 0;

	if (!user->secret.len)
		return;
	while (i < users->shape_count && shape_compare(&users->shapes[i], user->scheme, cost) < 0)
		i++;
	if (i < users->shape_count && shape_compare(&users->shapes[i], user->scheme, cost) == 0) {
		users->shapes[i].count++;
		users->shaped++;
		return;
	}
	if (users->shape_count == SHAPES_MAX)
		return;
	memmove(&users->shapes[i + 1], &users->shapes[i],
		(users->shape_count - i) * sizeof *users->shapes);
	users->shapes[i] = (struct shape){user->scheme, cost, line, 1};
	users->shape_count++;
	users->shaped++;
}

bool users_like(const struct users *users, uint64_t number, struct passwd_user *user)
{
	/* Its place among all, so that one user more moves the bounds by little. */
	uint64_t at = users->shaped ? (number >> 32) * users->shaped >> 32 : 0;

	for (size_t i = 0; i < users->shape_count; i++) {
		if (at < users->shapes[i].count) {
			row_read(&(struct row){NULL, users->shapes[i].line}, user);
			return true;
		}
		at -= users->shapes[i].count;
	}
	return false;
}

size_t users_count(const struct users *users)
{
	return users->count;
}

size_t users_scram(const struct users *users)
{
	return users->scram;
}

static size_t lines_count(struct text content)
{
	struct text line;
	size_t n = 0;

	while (passwd_next_line(&content, &line))
		n++;
	return n;
}

static void user_add(struct users *users, const struct passwd_user *user, struct text line)
{
	struct row *row = &users->rows[users->count++], **bucket = bucket_of(users, user->name);

	must(users->count <= users->room);
	row->line = line;
	row->next = *bucket;
	*bucket = row;
	/* Who cannot log in at all needs no SCRAM. */
	if (user->scheme == PASSWD_SCRAM || user->disabled)
		users->scram++;
	shape_count(users, user, line);
}

struct users *users_new(struct bytes *content,
			void (*say)(void *arg, unsigned line, const char *why), void *arg)
{
	struct users *users = mem_new(1, sizeof *users);
	struct text rest, line, other;
	struct passwd_user user, known;
	const char *why;
	unsigned number = 0;

	users->content = *content;
	*content = (struct bytes){0};
	siphash_key_make(users->key);
	rest = bytes_text(&users->content);
	users->room = lines_count(rest);
	for (users->size = 64; users->size < users->room; users->size *= 2)
		;
	users->rows = mem_new(users->room + 1, sizeof *users->rows);
	users->buckets = mem_new(users->size, sizeof *users->buckets);
	while (passwd_next_line(&rest, &line)) {
		enum passwd_kind kind = passwd_line_read(line, &user, &why);

		number++;
		if (kind == PASSWD_USER && users_find(users, user.name, &known, &other))
			say(arg, number, "a user of that name stands above; this line is ignored");
		else if (kind == PASSWD_USER)
			user_add(users, &user, line);
		else if (kind == PASSWD_BROKEN)
			say(arg, number, why);
	}
	return users;
}

void users_free(struct users **users)
{
	struct users *u = *users;

	if (!u)
		return;
	if (u->content.data)
		OPENSSL_cleanse(u->content.data, u->content.size);
	bytes_free(&u->content);
	free(u->rows);
	free(u->buckets);
	free(u);
	*users = NULL;
}
