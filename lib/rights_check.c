/* SPDX-License-Identifier: ISC */
/* Checking sender rights, one lookup after the other. */
#include "rights_check.h"

#include "header.h"
#include "mailboxes.h"
#include "mem.h"
#include "rights.h"
#include "table_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum rights_rule {
	RIGHTS_ALL,
	RIGHTS_OWN,  /* the login and its plus forms */
	RIGHTS_LIST, /* what the table says */
	RIGHTS_NONE,
};

struct author {
	const char *where; /* it stands */
	char *address;	   /* owned */
};

struct rights_check {
	const struct config *config;
	struct lookups *lookups;
	struct lookup *lookup; /* under way */
	rights_done *done;
	void *owner;
	char *login;
	struct text list; /* owned */
	struct author authors[RIGHTS_ADDRESSES_MAX];
	size_t count, at;
	enum rights_rule rule;
	const char *unreadable; /* a field whose addresses can't be read, or are too many */
	bool inside;		/* start() runs */
	bool over;
	struct reply reply;
	char why[REPLY_TEXT_MAX + 1];
};

/* -- what is asked about ----------------------------------------------------------- */

static void author_add(struct rights_check *c, const char *where, struct text address)
{
	if (c->count == RIGHTS_ADDRESSES_MAX) {
		c->unreadable = where;
		return;
	}
	c->authors[c->count++] = (struct author){where, mem_copy(address.data, address.len)};
}

static void read_field(struct rights_check *c, const char *where, struct text value)
{
	struct mailboxes list;
	struct mailbox m;
	size_t before = c->count;

	for (mailboxes_begin(&list, value); mailboxes_next(&list, &m);) {
		if (m.address.len)
			author_add(c, where, address_text(&m.address));
		else
			c->unreadable = where;
	}
	if (list.broken || c->count == before)
		c->unreadable = where;
}

/* Sets of resent fields: the one that is read. */
struct resent {
	unsigned seen; /* set of 1 << its place in the names below */
	bool over;
};

/*
 * RFC 5322 3.6.6: "the most recent set of resent fields appears earlier": it says who sends the
 * mail now, those behind it who did before. It ends where a field that a set has once comes again,
 * or where another field parts it from the next one; but not before it has named somebody, lest a
 * set without a Resent-From hides who is named further down.
 */
static void read_resent(struct rights_check *c, struct resent *r, const struct header_field *h)
{
	enum { RESENT_FROM, RESENT_SENDER, RESENT_OTHER };
	static const char *const once[] = {
	    [RESENT_FROM] = "Resent-From",
	    [RESENT_SENDER] = "Resent-Sender",
	    "Resent-Date",
	    "Resent-Message-ID",
	};
	bool named = (r->seen & 1u << RESENT_FROM) != 0;

	if (!text_starts_case(h->name, "Resent-"))
		r->over = r->over || named;
	for (unsigned i = 0; i < sizeof once / sizeof *once && !r->over; i++) {
		if (!text_equal_case(h->name, text_of(once[i])))
			continue;
		r->over = named && (r->seen & 1u << i) != 0;
		r->seen |= 1u << i;
		if (!r->over && i < RESENT_OTHER)
			read_field(c, once[i], h->value);
	}
}

static void read_header(struct rights_check *c, struct text header)
{
	static const char *const names[] = {"From", "Sender"};
	struct header_field h;
	struct resent resent = {0};

	while (header_next(&header, &h)) {
		for (size_t i = 0; i < 2; i++)
			if (text_equal_case(h.name, text_of(names[i])))
				read_field(c, names[i], h.value);
		read_resent(c, &resent, &h);
	}
}

/* -- the end -------------------------------------------------------------------------- */

static void check_free(struct rights_check *c)
{
	lookup_cancel(&c->lookup);
	for (size_t i = 0; i < c->count; i++)
		free(c->authors[i].address);
	free(c->login);
	free((char *)(uintptr_t)c->list.data);
	free(c);
}

static void deliver(struct rights_check *c)
{
	c->done(c->owner, c->reply.code ? &c->reply : NULL);
	check_free(c);
}

static void finish(struct rights_check *c)
{
	c->over = true;
	if (!c->inside)
		deliver(c);
}

static void refuse(struct rights_check *c, uint16_t code, const char *dsn)
{
	c->reply = (struct reply){code, dsn, text_of(c->why)};
	finish(c);
}

static void not_now(struct rights_check *c)
{
	snprintf(c->why, sizeof c->why, "Error: sender rights can't be looked up now");
	refuse(c, 451, "4.3.5");
}

static void refuse_author(struct rights_check *c, const struct author *a)
{
	snprintf(c->why, sizeof c->why, "Error: <%.200s> in %s is not an address of %.100s",
		 a->address, a->where, c->login);
	refuse(c, 553, "5.7.1");
}

/* -- one address after the other --------------------------------------------------------- */

static bool is_allowed(const struct rights_check *c, struct text address)
{
	switch (c->rule) {
	case RIGHTS_ALL:
		return true;
	case RIGHTS_OWN:
		return rights_is_own(text_of(c->login), address);
	case RIGHTS_LIST:
		return rights_list_has(c->list, address);
	case RIGHTS_NONE:
		break;
	}
	return false;
}

static void go_on(struct rights_check *c);

static void alias_answered(void *owner, uint8_t verdict, struct text value)
{
	struct rights_check *c = owner;
	struct text word;
	bool allowed = false;

	c->lookup = NULL;
	if (verdict == TABLE_FAILED) {
		not_now(c);
		return;
	}
	while (verdict == TABLE_FOUND && !allowed && table_word_next(&value, &word))
		allowed = is_allowed(c, word) || text_equal_case(word, text_of(c->login));
	if (!allowed) {
		refuse_author(c, &c->authors[c->at]);
		return;
	}
	c->at++;
	go_on(c);
}

static void go_on(struct rights_check *c)
{
	while (c->at < c->count && is_allowed(c, text_of(c->authors[c->at].address)))
		c->at++;
	if (c->at < c->count && c->config->submission_aliases.len && c->rule != RIGHTS_NONE) {
		struct text address = text_of(c->authors[c->at].address);

		/* What is answered from within is told by OVER, or has gone on by itself. */
		struct lookup *lookup = lookup_ask(c->lookups, c->config->submission_aliases,
						   address, alias_answered, c);

		if (lookup)
			c->lookup = lookup;
	} else if (c->at < c->count) {
		refuse_author(c, &c->authors[c->at]);
	} else if (c->unreadable && c->rule != RIGHTS_ALL) {
		snprintf(c->why, sizeof c->why,
			 "Error: the addresses in %s can't be read, or are too many",
			 c->unreadable);
		refuse(c, 553, "5.7.1");
	} else {
		finish(c);
	}
}

/* -- the login's list ------------------------------------------------------------------------ */

static enum rights_rule rule_without_list(const struct rights_check *c)
{
	struct address a;

	if (address_read(text_of(c->login), &a) == ADDRESS_FINE)
		return RIGHTS_OWN;
	return c->config->submission_senders.len && !text_starts_case(text_of(c->login), "uid:")
		   ? RIGHTS_NONE
		   : RIGHTS_ALL;
}

/* True: settled, and C may be gone. */
static bool list_answered(struct rights_check *c, uint8_t verdict, struct text value)
{
	c->lookup = NULL;
	if (verdict == TABLE_FAILED) {
		not_now(c);
		return true;
	}
	if (verdict == TABLE_ABSENT)
		return false;
	c->list = (struct text){mem_copy(value.data, value.len), value.len};
	c->rule = RIGHTS_LIST;
	go_on(c);
	return true;
}

static void default_answered(void *owner, uint8_t verdict, struct text value)
{
	struct rights_check *c = owner;

	if (list_answered(c, verdict, value))
		return;
	c->rule = rule_without_list(c);
	go_on(c);
}

static void own_answered(void *owner, uint8_t verdict, struct text value)
{
	struct rights_check *c = owner;

	if (list_answered(c, verdict, value))
		return;
	struct lookup *lookup = lookup_ask(c->lookups, c->config->submission_senders, text_of("*"),
					   default_answered, c);

	if (lookup)
		c->lookup = lookup;
}

struct rights_check *rights_check_start(const struct rights_ask *ask)
{
	struct rights_check *c = mem_new(1, sizeof *c);

	c->config = ask->config;
	c->lookups = ask->lookups;
	c->done = ask->done;
	c->owner = ask->owner;
	c->login = mem_copy(ask->login.data, ask->login.len);
	c->inside = true;
	if (ask->sender.len)
		author_add(c, "MAIL FROM", ask->sender);
	read_header(c, ask->header);
	if (!ask->login.len) {
		finish(c);
	} else if (!ask->config->submission_senders.len) {
		c->rule = rule_without_list(c);
		go_on(c);
	} else {
		struct lookup *lookup = lookup_ask(c->lookups, ask->config->submission_senders,
						   ask->login, own_answered, c);

		if (lookup)
			c->lookup = lookup;
	}
	c->inside = false;
	if (!c->over)
		return c;
	deliver(c);
	return NULL;
}

void rights_check_cancel(struct rights_check **check)
{
	if (!*check)
		return;
	check_free(*check);
	*check = NULL;
}
