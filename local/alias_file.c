/* SPDX-License-Identifier: ISC */
/* Aliases: the file, and what a name comes to. */
#include "alias_file.h"

#include "clock.h"
#include "config_virtual.h"
#include "envelope.h"
#include "file.h"
#include "mem.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	PART_BYTES = 330,
	DEPTH_MAX = 20, /* of an alias of an alias ... */
	NAMES_MAX = 1000,
	ARENA_BYTES = 1024 * 1024,
	QUIET_US = 1000000,
};

/* -- the file --------------------------------------------------------------------------- */

void alias_file_free(struct alias_file *f)
{
	aliases_free(&f->aliases);
	f->seen = (struct stat){0};
	f->broken = false;
}

static void fault(void *owner, uint32_t line, const char *what)
{
	const struct alias_file *f = owner;

	if (line)
		log_warning(f->log, "%s:%u: %s", f->table, line, what);
	else
		log_warning(f->log, "%s: %s", f->table, what);
}

/* Takes what FD, of ST, has. False: it changes under our eyes, or can't be read. */
static bool file_load(struct alias_file *f, int fd, const struct stat *st, size_t most)
{
	struct bytes content = {0};
	struct stat after;

	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size > most)
		return false;
	if (st->st_size) {
		int again = fcntl(fd, F_DUPFD_CLOEXEC, 0);

		if (again < 0 || !file_take(again, (size_t)st->st_size, &content))
			return false;
	}
	if (fstat(fd, &after) != 0 || !file_is_same(st, &after) ||
	    (off_t)bytes_len(&content) != st->st_size) {
		bytes_free(&content);
		return false;
	}
	struct aliases *fresh = aliases_read_table(text_of(f->table), &content, fault, f);

	aliases_free(&f->aliases);
	f->aliases = fresh;
	f->broken = !fresh;
	f->seen = *st;
	return fresh != NULL;
}

/*
 * What was written a moment ago is perhaps not whole: a list may be cut off in its middle, and
 * pages that postalias(1) has yet to write look like free ones.
 */
static bool is_being_written(const struct stat *st)
{
	int64_t written = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000;
	int64_t age = walltime_read().us - written;

	return age >= 0 && age < QUIET_US;
}

/* A text that nobody knows yet is taken at once. */
static bool is_for_later(const struct alias_file *f, const struct stat *st)
{
	enum table_type type;
	struct text path;

	if (!is_being_written(st))
		return false;
	return f->aliases || (table_parse(text_of(f->table), &type, &path) && type != TABLE_TEXT);
}

/* Some editors take the old file away before they write the new one. */
static bool is_just_gone(struct alias_file *f)
{
	if (!f->aliases)
		return false;
	if (!f->gone.us)
		f->gone = monotime_read();
	return monotime_since(monotime_read(), f->gone).us < QUIET_US;
}

/* A file that is not as it was last seen. */
static bool file_look(struct alias_file *f, const char *path, size_t most)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	f->missing = fd < 0 && (errno == ENOENT || errno == ENOTDIR);
	f->broken = false;
	if (f->missing && is_just_gone(f))
		return true;
	f->gone.us = 0;
	if (fd < 0) {
		alias_file_free(f);
		return f->missing;
	}
	bool stat_fine = fstat(fd, &st) == 0;

	if (stat_fine && is_for_later(f, &st)) {
		close(fd);
		return f->aliases != NULL; /* what was known counts for that moment */
	}
	bool fine = stat_fine && file_load(f, fd, &st, most);

	close(fd);
	if (!fine)
		aliases_free(&f->aliases);
	return fine;
}

/* False: it can't be read now. */
static bool file_refresh(struct alias_file *f, const struct config *config)
{
	char table[sizeof f->table], path[TABLE_FILE_BYTES];
	struct stat st;

	text_copy(table, sizeof table, config->local_aliases);
	if (strcmp(table, f->table) != 0) {
		alias_file_free(f);
		memcpy(f->table, table, sizeof table);
	}
	table_file(text_of(table), path);
	if ((f->aliases || f->broken) && stat(path, &st) == 0 && file_is_same(&st, &f->seen))
		return f->aliases != NULL;
	return file_look(f, path, config->tables_size);
}

/* -- patterns --------------------------------------------------------------------------- */

static enum aliases_found pattern_find(struct alias_file *f, struct text table,
				       struct answers *answers, struct text name, struct text *list)
{
	enum table_verdict verdict = answers_find(answers, table, name, list);

	if (verdict != TABLE_FOUND)
		return verdict == TABLE_ABSENT ? ALIASES_ABSENT : ALIASES_BROKEN;
	const char *why = alias_pattern_fault(*list);

	if (!why)
		return ALIASES_FOUND;
	table_files_complain(f->tables, table, "the alias", name, why);
	return ALIASES_BROKEN;
}

/* -- looking a name up ------------------------------------------------------------------ */

/* NAME itself, in the file as it was last read: a list of it lives until it is read again. */
static enum aliases_found find_exact(struct alias_file *f, const struct config *config,
				     struct answers *answers, struct text name, struct text *list)
{
	if (table_is_asked(config->local_aliases))
		return pattern_find(f, config->local_aliases, answers, name, list);
	if (!f->aliases)
		return f->missing ? ALIASES_ABSENT : ALIASES_BROKEN;
	return aliases_find(f->aliases, name, list);
}

static enum aliases_found find_name(struct alias_file *f, const struct config *config,
				    struct answers *answers, struct text name, struct text *list)
{
	enum aliases_found found = find_exact(f, config, answers, name, list);
	size_t end = user_end(config, name);

	if (found != ALIASES_ABSENT || !end || end == name.len)
		return found;
	return find_exact(f, config, answers, (struct text){name.data, end}, list);
}

enum aliases_found alias_file_find(struct alias_file *f, const struct config *config,
				   struct answers *answers, struct text name, struct text *list)
{
	if (!table_is_asked(config->local_aliases) && !file_refresh(f, config))
		return ALIASES_BROKEN;
	return find_name(f, config, answers, name, list);
}

/* -- expanding ---------------------------------------------------------------------------- */

struct name {
	struct text name, domain;
	bool open; /* its list is being read: whoever names it in there goes round in a circle */
};

struct expanding {
	struct alias_file *file;
	const struct config *config;
	struct answers *answers;
	struct arena *arena; /* of names */
	struct result *r;
	struct text address; /* whose aliases they are */
	struct name names[NAMES_MAX];
	size_t count;
	struct text owner;   /* of the list that is read: its members' sender; empty: none */
	struct text said;    /* of the whole */
	const char *trouble; /* NULL: none so far */
	bool broken, null_sender;
};

static const char endless[] = "aliases of aliases without end";

static void add(struct expanding *x, struct text address, struct text target)
{
	if (!result_add(x->r, &(struct addition){address, target, x->owner}))
		x->trouble = "it has too many members";
}

/* NAME at DOMAIN. */
static void add_user(struct expanding *x, struct text name, struct text domain, const char *target)
{
	char address[ADDRESS_MAX + 1];
	int n = snprintf(address, sizeof address, "%.*s@%.*s", (int)name.len, name.data,
			 (int)domain.len, domain.data);

	if (n > 0 && n <= ADDRESS_MAX)
		add(x, (struct text){address, (size_t)n}, text_of(target));
	else
		x->trouble = "an address in it is too long";
}

/* What is no address: it is A's, whose aliases must still say so when it is delivered. */
static void add_target(struct expanding *x, const char *before, const struct alias_item *item)
{
	char target[TARGET_MAX + 1];
	int n = snprintf(target, sizeof target, "%s%s", before, item->value);

	add(x, x->address, (struct text){target, n > 0 ? (size_t)n : 0});
}

static void expand_name(struct expanding *x, struct text name, struct text domain, int depth);

static void expand_address(struct expanding *x, struct text address, struct text domain, int depth)
{
	struct text own = address_domain(address);

	if (!own.len)
		expand_name(x, address, domain, depth);
	else if (config_route(x->config, own)->kind == ROUTE_LOCAL &&
		 !config_mailboxes_of(x->config, own))
		expand_name(x, (struct text){address.data, address.len - own.len - 1}, own, depth);
	else
		add(x, address, (struct text){NULL, 0});
}

static void expand_item(struct expanding *x, const struct alias_item *item, struct text domain,
			int depth)
{
	struct text value = {item->value, item->len}, own = address_domain(value);

	switch (item->kind) {
	case ALIAS_ADDRESS:
		expand_address(x, value, domain, depth);
		return;
	case ALIAS_OWN:
		if (own.len)
			value.len -= own.len + 1;
		add_user(x, value, own.len ? own : domain, "\\");
		return;
	case ALIAS_COMMAND:
		add_target(x, "|", item);
		return;
	case ALIAS_FILE:
		add_target(x, "", item);
		return;
	case ALIAS_INCLUDE:
		add_target(x, ":include:", item);
		return;
	}
}

static void expand_list(struct expanding *x, struct text list, struct text domain, int depth)
{
	struct alias_item item;
	const char *why;
	enum alias_next next;

	while (!x->trouble && (next = alias_next(&list, false, &item, &why)) != ALIAS_END) {
		if (next == ALIAS_FAULT)
			x->broken = true;
		else
			expand_item(x, &item, domain, depth);
	}
}

static struct name *name_find(struct expanding *x, struct text name, struct text domain)
{
	for (size_t i = 0; i < x->count; i++)
		if (text_equal_case(x->names[i].name, name) &&
		    text_equal_case(x->names[i].domain, domain))
			return &x->names[i];
	return NULL;
}

static bool name_open(struct expanding *x, struct text name, struct text domain, int depth)
{
	const char *a = arena_copy(x->arena, name.data, name.len);
	const char *b = arena_copy(x->arena, domain.data, domain.len);

	if (depth >= DEPTH_MAX || x->count == NAMES_MAX || !a || !b) {
		x->trouble = endless;
		return false;
	}
	x->names[x->count++] = (struct name){{a, name.len}, {b, domain.len}, true};
	return true;
}

/* The one address that a list consists of. */
static bool single_address(struct text list, struct alias_item *item)
{
	struct alias_item next;
	const char *why;

	return alias_next(&list, false, item, &why) == ALIAS_ITEM && item->kind == ALIAS_ADDRESS &&
	       alias_next(&list, false, &next, &why) == ALIAS_END;
}

/*
 * RFC 5321 section 3.9.2: the return address of a list's copies "MUST be changed to be the address
 * of a person or other entity who administers the list". PART is the list's name. Of owner-ann
 * herself that is owner-owner. A notification stays one (section 4.5.5): what can't be delivered
 * of it is the postmaster's, and never goes round.
 */
static void owner_find(struct expanding *x, const char *part, struct text domain)
{
	char name[PART_BYTES + 16], address[2 * ADDRESS_MAX];
	struct text list, whole = text_of(part);
	struct alias_item item;

	if (x->null_sender || !x->config->local_owners || strcmp(part, "owner-owner") == 0)
		return;
	if (find_exact(x->file, x->config, x->answers, whole, &list) == ALIASES_ABSENT)
		whole.len = user_end(x->config, whole);
	snprintf(name, sizeof name, "owner-%.*s", (int)whole.len, part);
	if (strncmp(part, "owner-", 6) == 0)
		strcpy(name, "owner-owner");
	enum aliases_found found = find_exact(x->file, x->config, x->answers, text_of(name), &list);

	/* A pattern that can't be tried now is no reason to send without the owner. */
	x->broken |= found == ALIASES_BROKEN && table_is_asked(x->config->local_aliases);
	if (found != ALIASES_FOUND)
		return;
	if (!x->config->local_expand_owners || !single_address(list, &item))
		text_copy(item.value, sizeof item.value, text_of(name));
	bool full = strchr(item.value, '@') != NULL;
	int n = snprintf(address, sizeof address, "%s%s%.*s", item.value, full ? "" : "@",
			 full ? 0 : (int)domain.len, domain.data);
	const char *copy =
	    n > 0 && n <= ADDRESS_MAX ? arena_copy(x->arena, address, (size_t)n) : NULL;

	if (copy)
		x->owner = (struct text){copy, (size_t)n};
	if (copy && !x->said.len)
		x->said = x->owner;
}

/* Each name's list once. Who is met in a list of his own is meant as the user. */
static void expand_name(struct expanding *x, struct text name, struct text domain, int depth)
{
	char part[PART_BYTES];
	struct text list = {NULL, 0};
	struct name *known = name_find(x, name, domain);

	if (known && !known->open)
		return;
	if (known || !user_part(name, part, sizeof part)) {
		add_user(x, name, domain, "~");
		return;
	}
	enum aliases_found found = find_name(x->file, x->config, x->answers, text_of(part), &list);

	if (found == ALIASES_BROKEN)
		x->broken = true;
	else if (found == ALIASES_ABSENT)
		/* As a client would have named him, so that he gets one copy. */
		add_user(x, name, domain, "");
	else if (name_open(x, name, domain, depth)) {
		struct text owner = x->owner;
		size_t at = x->count - 1;

		owner_find(x, part, domain);
		expand_list(x, list, domain, depth + 1);
		x->names[at].open = false;
		x->owner = owner;
	}
}

static void settle(struct expanding *x)
{
	struct text t = {x->address.data, x->address.len < 300 ? x->address.len : 300};

	if (answers_are_too_many(x->answers)) {
		x->trouble = endless;
		x->broken = false;
	}
	if (x->broken)
		result_set(x->r, OUTCOME_DEFERRED, 0, "4.3.5",
			   "the aliases of %.*s can't be read: see the log", (int)t.len, t.data);
	else if (x->trouble)
		result_set(x->r, OUTCOME_FAILED, 554, "5.2.4", "the alias %.*s: %s", (int)t.len,
			   t.data, x->trouble);
	else
		result_set(x->r, OUTCOME_EXPANDED, 250, "2.1.5", "alias expanded to %u%s%.*s",
			   x->r->added, x->said.len ? ", from " : "", (int)x->said.len,
			   x->said.data);
	if (x->broken || x->trouble)
		result_free(x->r);
}

bool alias_expand(struct alias_file *f, const struct config *config, struct answers *answers,
		  struct text address, struct text sender, struct result *r)
{
	char part[PART_BYTES];
	struct text domain = address_domain(address), list;

	if (!domain.len || !user_part(address, part, sizeof part) ||
	    alias_file_find(f, config, answers, text_of(part), &list) == ALIASES_ABSENT)
		return false;
	struct expanding *x = mem_new(1, sizeof *x);

	x->file = f;
	x->config = config;
	x->answers = answers;
	x->r = r;
	x->address = address;
	x->null_sender = !sender.len;
	x->arena = arena_new(ARENA_BYTES);
	expand_name(x, (struct text){address.data, address.len - domain.len - 1}, domain, 0);
	settle(x);
	arena_free(&x->arena);
	free(x);
	return true;
}

bool alias_has(struct alias_file *f, const struct config *config, struct answers *answers,
	       struct text address, struct text target)
{
	struct result r = {0};
	struct addition a;
	bool has = false;

	if (alias_expand(f, config, answers, address, (struct text){NULL, 0}, &r))
		for (struct text list = result_additions(&r); !has && result_next(&list, &a);)
			has = text_equal(a.target, target) && text_equal_case(a.address, address);

	result_free(&r);
	return has;
}
