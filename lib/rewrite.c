/* SPDX-License-Identifier: ISC */
/* Rewriting, one lookup after the other. */
#include "rewrite.h"

#include "address.h"
#include "mem.h"
#include "repair.h"
#include "rewrite_header.h"
#include "table_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Of one recipient's expansion, and then of a header's addresses. */
	ARENA_MAX_BYTES = 4u << 20,
	BLIND_MAX = 20, /* that one table gives for one address */
};

enum stage {
	STAGE_RECIPIENT, /* canonical */
	STAGE_RECIPIENT_BCC,
	STAGE_VIRTUAL,
	STAGE_SENDER,
	STAGE_SENDER_BCC,
	STAGE_HEADER,
	STAGE_COUNT
};

/* Forms of an address as keys, in the order of the lookups. */
enum key { KEY_WHOLE, KEY_UNTAGGED, KEY_USER, KEY_USER_UNTAGGED, KEY_DOMAIN, KEY_COUNT };

struct found {
	struct text address;
	bool replaced; /* by what stands behind it */
};

struct rewrite {
	const struct config *config;
	struct session *session;
	struct lookups *lookups;
	struct lookup *lookup; /* under way */
	rewrite_done *done;
	void *owner;
	struct arena *arena;
	enum session_point point;
	uint8_t stage; /* enum stage */
	bool full, handed, report;
	bool inside; /* go_on() runs */
	bool asking, over;
	/* What is being looked up. */
	struct address subject;
	struct text tables[2];
	unsigned table, key;
	/* STAGE_RECIPIENT on: of the recipient; STAGE_SENDER on: the sender. */
	struct address current;
	struct found *found;
	size_t found_count, found_at;
	struct header_addresses header;
	size_t header_at;
	struct reply reply;
	char why[REPLY_TEXT_MAX + 1];
};

/* -- the end --------------------------------------------------------------------------- */

static void rewrite_free(struct rewrite *c)
{
	lookup_cancel(&c->lookup);
	arena_free(&c->arena);
	free(c->found);
	free(c->header.items);
	free(c);
}

static void deliver(struct rewrite *c)
{
	c->done(c->owner, c->reply.code ? &c->reply : NULL);
	rewrite_free(c);
}

static void refuse(struct rewrite *c, uint16_t code, const char *dsn, const char *why)
{
	snprintf(c->why, sizeof c->why, "%s", why);
	c->reply = (struct reply){code, dsn, text_of(c->why)};
	c->over = true;
}

/* A table that is broken, or says what is no address. */
static void not_now(struct rewrite *c)
{
	refuse(c, 451, "4.3.5", "Error: addresses can't be looked up now, try again later");
}

/* -- keys ------------------------------------------------------------------------------ */

/* How long the user's name is before its tag; all of it when it has none. */
static size_t untagged(const struct config *config, struct text local)
{
	bool none = text_equals(config->local_separators, "none");

	for (size_t i = 1; i < local.len && !none; i++)
		if (text_find(config->local_separators, local.data[i]) >= 0)
			return i;
	return local.len;
}

static bool is_ours(const struct config *config, struct text host)
{
	return text_equal_case(host, config->hostname) ||
	       text_equal_case(host, config_own_domain(config)) ||
	       config_route(config, host)->kind == ROUTE_LOCAL;
}

/* False: the address has no such form. */
static bool make_key(const struct rewrite *c, enum key key, char *to, size_t size)
{
	struct text local = address_local(&c->subject), host = address_host(&c->subject);
	size_t user = untagged(c->config, local);
	bool ours = is_ours(c->config, host);
	int n = 0;

	switch (key) {
	case KEY_WHOLE:
		n = snprintf(to, size, "%s", c->subject.text);
		break;
	case KEY_UNTAGGED:
		if (user == local.len)
			return false;
		n = snprintf(to, size, "%.*s@%.*s", (int)user, local.data, (int)host.len,
			     host.data);
		break;
	case KEY_USER:
		n = snprintf(to, size, "%.*s", (int)local.len, local.data);
		break;
	case KEY_USER_UNTAGGED:
		if (user == local.len)
			return false;
		n = snprintf(to, size, "%.*s", (int)user, local.data);
		break;
	case KEY_DOMAIN:
		n = snprintf(to, size, "@%.*s", (int)host.len, host.data);
		break;
	case KEY_COUNT:
		return false;
	}
	return n > 0 && (size_t)n < size && (ours || (key != KEY_USER && key != KEY_USER_UNTAGGED));
}

/* The next word of VALUE as the address that it means for the subject; false: it is none. */
static bool read_word(const struct rewrite *c, struct text word, struct address *to)
{
	struct text local = address_local(&c->subject), host = config_own_domain(c->config);
	char text[2 * ADDRESS_MAX];
	size_t user = untagged(c->config, local);
	bool untagged_key = c->key == KEY_UNTAGGED || c->key == KEY_USER_UNTAGGED;
	struct text tag = {local.data + user, untagged_key ? local.len - user : 0};
	int n;

	if (word.len > ADDRESS_MAX)
		return false;
	if (word.data[0] == '@') {
		tag.len = 0;
		n = snprintf(text, sizeof text, "%.*s%.*s", (int)local.len, local.data,
			     (int)word.len, word.data);
	} else if (text_find(word, '@') < 0) {
		n = snprintf(text, sizeof text, "%.*s%.*s@%.*s", (int)word.len, word.data,
			     (int)tag.len, tag.data, (int)host.len, host.data);
		tag.len = 0;
	} else {
		n = snprintf(text, sizeof text, "%.*s", (int)word.len, word.data);
	}
	if (n < 0 || (size_t)n >= sizeof text || address_read(text_of(text), to) != ADDRESS_FINE)
		return false;
	local = address_local(to);
	if (tag.len && untagged(c->config, local) == local.len) {
		host = address_host(to);
		snprintf(text, sizeof text, "%.*s%.*s@%.*s", (int)local.len, local.data,
			 (int)tag.len, tag.data, (int)host.len, host.data);
		if (address_read(text_of(text), to) != ADDRESS_FINE)
			return false;
	}
	return !to->utf8 || session_takes_utf8(c->session);
}

/* The one address that VALUE is. */
static bool read_one(const struct rewrite *c, struct text value, struct address *to)
{
	struct text word, more;

	return table_word_next(&value, &word) && read_word(c, word, to) &&
	       !table_word_next(&value, &more);
}

/* -- recipients -------------------------------------------------------------------------- */

static void want(struct rewrite *c, const struct address *subject, struct text first,
		 struct text second)
{
	c->subject = *subject;
	c->tables[0] = first;
	c->tables[1] = second;
}

static const struct text none = {NULL, 0};

/* The recipient of the question, or at the header the next one of what was handed in. */
static bool recipient_begin(struct rewrite *c)
{
	if (c->point == POINT_HEADER && (!c->handed || !session_recipient_again(c->session))) {
		c->stage = STAGE_SENDER;
		c->over = c->report;
		return false;
	}
	c->current = *session_pending(c->session);
	arena_reset(c->arena);
	c->found_count = c->found_at = 0;
	if (!c->full) {
		c->stage++;
		return false;
	}
	want(c, &c->current, c->config->rewrite_canonical_recipients, c->config->rewrite_canonical);
	return true;
}

static void current_took(struct rewrite *c, bool found, struct text value)
{
	if (found && !read_one(c, value, &c->current))
		not_now(c);
	c->stage++;
}

static bool recipient_bcc_begin(struct rewrite *c)
{
	want(c, &c->current, c->report ? none : c->config->rewrite_bcc_recipients, none);
	return true;
}

static void bcc_took(struct rewrite *c, bool found, struct text value)
{
	struct address a;
	struct text word;

	for (unsigned n = 0; found && !c->over && table_word_next(&value, &word); n++)
		if (n == BLIND_MAX || !read_word(c, word, &a) ||
		    !session_add_blind(c->session, address_text(&a)))
			not_now(c);
	c->stage++;
}

/* False: there are too many. An address that was met already is the same one. */
static bool found_add(struct rewrite *c, const struct address *a)
{
	struct text t = address_text(a);

	for (size_t i = 0; i < c->found_count; i++)
		if (text_equal(c->found[i].address, t))
			return true;
	if (c->found_count == REWRITE_EXPANSION_MAX)
		return false;
	if ((c->found_count & (c->found_count + 1)) == 0)
		c->found = mem_resize(c->found, 2 * (c->found_count + 1), sizeof *c->found);
	char *copy = arena_copy(c->arena, t.data, t.len);

	if (!copy)
		return false;
	c->found[c->found_count++] = (struct found){.address = {copy, t.len}};
	return true;
}

static void found_refuse(struct rewrite *c)
{
	refuse(c, 451, "4.3.5", "Error: the recipient stands for itself, or for too many");
}

/* All that the recipient stands for is known. */
static void recipient_end(struct rewrite *c)
{
	struct text *left = mem_new(c->found_count + 1, sizeof *left);
	size_t count = 0;

	for (size_t i = 0; i < c->found_count; i++)
		if (!c->found[i].replaced)
			left[count++] = c->found[i].address;
	bool same = count == 1 && c->point == POINT_RECIPIENT &&
		    text_equal(left[0], address_text(session_pending(c->session)));

	if (!count)
		found_refuse(c);
	else if (!same && !session_expand(c->session, left, count))
		refuse(c, 452, "4.5.3", "Error: too many recipients");
	free(left);
	c->stage = STAGE_RECIPIENT;
	if (c->point == POINT_RECIPIENT)
		c->over = true;
}

static bool virtual_begin(struct rewrite *c)
{
	struct address a;

	if (!c->found_count && !found_add(c, &c->current)) {
		found_refuse(c);
		return false;
	}
	if (c->found_at == c->found_count) {
		recipient_end(c);
		return false;
	}
	if (address_read(c->found[c->found_at].address, &a) != ADDRESS_FINE) {
		not_now(c);
		return false;
	}
	want(c, &a, c->config->rewrite_virtual, none);
	return true;
}

/* RFC 5321 4.5.1: mail for postmaster at each domain that is served here is taken. */
static void virtual_unknown(struct rewrite *c)
{
	char text[REPLY_TEXT_MAX + 1];
	struct address a;

	if (text_equal_case(address_local(&c->subject), text_of("postmaster"))) {
		config_postmaster(c->config, text, sizeof text);
		c->found[0].replaced = true;
		if (address_read(text_of(text), &a) != ADDRESS_FINE || !found_add(c, &a))
			not_now(c);
		return;
	}
	snprintf(text, sizeof text, "<%s>: there is no such address here", c->subject.text);
	refuse(c, 550, "5.1.1", text);
}

static void virtual_took(struct rewrite *c, bool found, struct text value)
{
	size_t at = c->found_at++;
	struct text word;
	struct address a;
	bool stays = false;

	/* What was handed in is queued first: it fails as it must, for its sender to hear. */
	if (!found && at == 0 && !c->handed &&
	    config_rewrites_all_of(c->config, address_host(&c->subject)))
		virtual_unknown(c);
	while (found && !c->over && table_word_next(&value, &word)) {
		if (!read_word(c, word, &a))
			not_now(c);
		else if (text_equal(address_text(&a), address_text(&c->subject)))
			stays = true;
		else if (!found_add(c, &a))
			found_refuse(c);
	}
	if (found)
		c->found[at].replaced = !stays;
}

/* -- sender and header --------------------------------------------------------------------- */

static bool sender_begin(struct rewrite *c)
{
	if (address_read(session_sender(c->session), &c->current) != ADDRESS_FINE)
		c->current = (struct address){.len = 0};
	if (!c->full || !c->current.len) {
		c->stage++;
		return false;
	}
	want(c, &c->current, c->config->rewrite_canonical_senders, c->config->rewrite_canonical);
	return true;
}

static bool sender_bcc_begin(struct rewrite *c)
{
	const struct config_header *rules =
	    config_header(c->config, (enum handle_role)session_role(c->session));

	if (c->current.len) {
		header_masquerade(rules, &c->current);
		session_set_sender(c->session, address_text(&c->current));
	}
	if (c->config->rewrite_bcc.len && !session_add_blind(c->session, c->config->rewrite_bcc)) {
		not_now(c);
		return false;
	}
	if (!c->current.len) {
		c->stage++;
		return false;
	}
	want(c, &c->current, c->config->rewrite_bcc_senders, none);
	return true;
}

static void header_end(struct rewrite *c)
{
	struct header_change change = {
	    .addresses = &c->header,
	    .rules = config_header(c->config, (enum handle_role)session_role(c->session)),
	    .line_most = c->config->limit_line,
	    .utf8 = session_takes_utf8(c->session),
	};

	c->over = true;
	if (!change.rules && !c->header.count)
		return;
	header_change(&change, session_header(c->session));
	if (bytes_len(&change.header) > REPAIR_HEADER_MAX)
		refuse(c, 552, "5.3.4", "Error: the message's header is too large");
	else
		session_set_header(c->session, &change.header);
	bytes_free(&change.header);
}

static bool header_begin(struct rewrite *c)
{
	const struct config *config = c->config;
	struct address a;

	if (!c->header.items && c->full &&
	    (config->rewrite_canonical.len || config->rewrite_canonical_senders.len ||
	     config->rewrite_canonical_recipients.len)) {
		arena_reset(c->arena);
		c->header.most = REWRITE_HEADER_MAX;
		c->header.items = mem_new(c->header.most, sizeof *c->header.items);
		header_addresses_read(&c->header, session_header(c->session), c->arena);
	}
	if (!c->header.items || c->header_at == c->header.count) {
		header_end(c);
		return false;
	}
	const struct header_address *h = &c->header.items[c->header_at];

	if (address_read(h->said, &a) != ADDRESS_FINE) {
		c->header_at++;
		return false;
	}
	want(c, &a,
	     h->sender ? config->rewrite_canonical_senders : config->rewrite_canonical_recipients,
	     config->rewrite_canonical);
	return true;
}

static void header_took(struct rewrite *c, bool found, struct text value)
{
	struct header_address *h = &c->header.items[c->header_at++];
	struct address a;

	if (!found)
		return;
	if (!read_one(c, value, &a)) {
		not_now(c);
		return;
	}
	char *copy = arena_copy(c->arena, a.text, a.len);

	if (copy)
		h->to = (struct text){copy, a.len};
	else
		not_now(c);
}

/* -- one lookup after the other -------------------------------------------------------------- */

/* BEGIN says what is to be looked up, or goes on by itself; TOOK is told what was found. */
static const struct {
	bool (*begin)(struct rewrite *c);
	void (*took)(struct rewrite *c, bool found, struct text value);
} stages[STAGE_COUNT] = {
    [STAGE_RECIPIENT] = {recipient_begin, current_took},
    [STAGE_RECIPIENT_BCC] = {recipient_bcc_begin, bcc_took},
    [STAGE_VIRTUAL] = {virtual_begin, virtual_took},
    [STAGE_SENDER] = {sender_begin, current_took},
    [STAGE_SENDER_BCC] = {sender_bcc_begin, bcc_took},
    [STAGE_HEADER] = {header_begin, header_took},
};

static void go_on(struct rewrite *c);

static void answered(void *owner, uint8_t verdict, struct text value)
{
	struct rewrite *c = owner;
	bool within = c->inside;

	c->lookup = NULL;
	if (verdict == TABLE_FAILED) {
		not_now(c);
	} else if (verdict == TABLE_FOUND) {
		c->asking = false;
		stages[c->stage].took(c, true, value);
	} else {
		c->key++;
	}
	if (within)
		return;
	go_on(c);
	if (c->over)
		deliver(c);
}

/* Asks for the next form of the subject. False: it stands in neither table. */
static bool ask_next(struct rewrite *c)
{
	char key[ADDRESS_MAX + 2];

	for (; c->table < 2; c->table++, c->key = 0) {
		for (; c->tables[c->table].len && c->key < KEY_COUNT; c->key++) {
			if (!make_key(c, (enum key)c->key, key, sizeof key))
				continue;
			struct lookup *lookup =
			    lookup_ask(c->lookups, c->tables[c->table], text_of(key), answered, c);

			if (lookup)
				c->lookup = lookup;
			return true;
		}
	}
	return false;
}

static void go_on(struct rewrite *c)
{
	c->inside = true;
	while (!c->over && !c->lookup) {
		if (!c->asking) {
			if (!stages[c->stage].begin(c))
				continue;
			c->asking = true;
			c->table = c->key = 0;
		}
		if (ask_next(c))
			continue;
		c->asking = false;
		stages[c->stage].took(c, false, none);
	}
	c->inside = false;
}

/* -- beginning ----------------------------------------------------------------------------------
 */

bool rewrite_is_due(const struct session *s, enum session_point point)
{
	return session_config(s)->rewrites &&
	       ((point == POINT_RECIPIENT && !session_is_handed_in(s)) ||
		(point == POINT_HEADER && !session_is_refused(s)));
}

struct rewrite *rewrite_start(struct lookups *lookups, struct session *s, enum session_point point,
			      rewrite_done *done, void *owner)
{
	struct rewrite *c = mem_new(1, sizeof *c);

	*c = (struct rewrite){
	    .config = session_config(s),
	    .session = s,
	    .lookups = lookups,
	    .done = done,
	    .owner = owner,
	    .arena = arena_new(ARENA_MAX_BYTES),
	    .point = point,
	    .full = session_repairs(s) == REPAIRS_FULL,
	    .handed = session_is_handed_in(s),
	    .report = session_repairs(s) == REPAIRS_OURS,
	};
	if (point == POINT_HEADER && c->handed)
		session_recipients_again(s);
	go_on(c);
	if (!c->over)
		return c;
	deliver(c);
	return NULL;
}

void rewrite_cancel(struct rewrite **rewrite)
{
	if (!*rewrite)
		return;
	rewrite_free(*rewrite);
	*rewrite = NULL;
}
