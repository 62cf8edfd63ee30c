/* SPDX-License-Identifier: ISC */
/* The session engine's MAIL and RCPT: a transaction, its sender, its recipients, who may relay. */
#include "session_engine.h"

#include "siphash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TRANSACTION_ARENA_MAX = 16384,
	OVERSHOOT_MAX =
	    1000, /* recipients refused with 452, or repeated, before they count as errors */
	/* What envelope_put_head() may add behind the recipients, with room to spare. */
	ENVELOPE_HEAD_MAX = 8192,
	ENVELOPE_RECIPIENT_MAX = 2048,
};

const struct reply reply_revoked =
    REPLY(550, "5.7.13", "Error: user account disabled, ask your postmaster");
static const struct reply reply_sender_ok = REPLY(250, "2.1.0", "Ok");
static const struct reply reply_recipient_ok = REPLY(250, "2.1.5", "Ok");
static const struct reply reply_unknown_parameter =
    REPLY(555, "5.5.4", "Error: parameter not recognized");
static const struct reply reply_bad_parameter = REPLY(501, "5.5.4", "Error: bad parameter value");
static const struct reply reply_requiretls =
    REPLY(555, "5.5.4", "Error: REQUIRETLS is offered under TLS only");
static const struct reply reply_utf8 =
    REPLY(553, "5.6.7", "Error: address needs SMTPUTF8, which was not given");

/* -- the transaction ------------------------------------------------------------ */

static void body_from_content(void *owner, const uint8_t *data, size_t len)
{
	struct session *s = owner;

	s->setup.face->body(s->setup.owner, data, len);
}

void transaction_begin(struct session *s)
{
	const struct config *config = s->setup.config;
	struct arena *arena = arena_new(TRANSACTION_ARENA_MAX);
	struct transaction *t = arena_alloc(arena, sizeof *t);

	t->arena = arena;
	t->arrival = s->now.wall;
	t->began = s->now.mono;
	t->content = (struct content){
	    .limit_octets = config->limit_message,
	    .limit_header = config->limit_header,
	    .limit_line = config->limit_line,
	    .normalise = config->bare_newline == NEWLINE_NORMALISE,
	    .body = body_from_content,
	    .owner = s,
	};
	t->line_start = true;
	s->t = t;
}

static void tell_spent(struct session *s)
{
	const struct transaction *t = s->t;
	uint32_t refused = t->refused_count;

	if (t->rejected)
		refused += t->recipient_count ? t->recipient_count : 1;
	if (s->logged_in && s->setup.face->spent && (t->taken || refused))
		s->setup.face->spent(s->setup.owner, t->taken ? t->recipient_count : 0, refused);
}

void transaction_end(struct session *s)
{
	struct transaction *t = s->t;

	if (!t)
		return;
	tell_spent(s);
	s->t = NULL;
	s->again = NULL;
	if (t->id)
		s->setup.face->drop(s->setup.owner);
	content_free(&t->content);
	bytes_free(&t->envelope);
	bytes_free(&t->header);
	bytes_free(&t->blind);
	bytes_free(&t->old);
	bytes_free(&t->prelude);
	free(t->known);
	struct arena *arena = t->arena;

	arena_free(&arena);
}

static struct text arena_text(struct arena *arena, struct text from)
{
	const char *copy = from.len ? arena_copy(arena, from.data, from.len) : NULL;

	return (struct text){copy, copy ? from.len : 0};
}

/* -- MAIL ------------------------------------------------------------------------ */

/* Takes "FROM:" or "TO:" off; the blank that some clients put behind it is no syntax of RFC 5321,
 * but harmless. */
static bool take_prefix(struct text *args, const char *prefix)
{
	size_t len = strlen(prefix);

	if (!text_starts_case(*args, prefix))
		return false;
	*args = text_trim((struct text){args->data + len, args->len - len});
	return true;
}

static bool behind_path_is_fine(struct text args)
{
	return !args.len || args.data[0] == ' ';
}

static void say_address(struct session *s, const char *stage, enum address_result r,
			struct text args)
{
	bool sender = stage[0] == 'M';
	const struct reply syntax = {501, sender ? "5.1.7" : "5.1.3",
				     text_of("Error: bad address syntax")};
	const struct reply too_long = {501, sender ? "5.1.7" : "5.1.3",
				       text_of("Error: address too long")};
	/* RFC 6409 4.2: 554 "to reject a MAIL, RCPT, or DATA command that contains improper
	 * domain references". */
	const struct reply no_domain = {554, sender ? "5.1.8" : "5.1.2",
					text_of("Error: the address has no full domain")};

	session_reject(s, stage, args,
		       r == ADDRESS_LONG			? &too_long
		       : r == ADDRESS_ALONE && s->setup.repairs ? &no_domain
								: &syntax);
}

static bool say_parameters(struct session *s, enum esmtp_result r, struct text args)
{
	if (r == ESMTP_FINE && (s->esmtp || !args.len))
		return true;
	session_say(s, r == ESMTP_VALUE ? &reply_bad_parameter : &reply_unknown_parameter);
	return false;
}

static bool size_is_fine(struct session *s, uint64_t size)
{
	static const struct reply reply =
	    REPLY(552, "5.3.4", "Error: message size exceeds fixed limit");

	if (size <= s->setup.config->limit_message)
		return true;
	session_reject(s, "MAIL", (struct text){NULL, 0}, &reply);
	return false;
}

bool session_refuses_revoked(struct session *s, const char *stage)
{
	if (s->revoked)
		session_reject(s, stage, (struct text){NULL, 0}, &reply_revoked);
	return s->revoked;
}

void session_verb_mail(struct session *s, struct text args)
{
	static const struct reply reply_path = REPLY(501, "5.5.4", "Syntax: MAIL FROM:<address>");
	static const struct reply reply_login = REPLY(530, "5.7.0", "Authentication required");
	static const struct reply reply_tls =
	    REPLY(530, "5.7.0", "Must issue a STARTTLS command first");
	struct address a;
	struct esmtp_mail m;

	if (s->setup.needs_login && !s->logged_in) {
		session_reject(s, "MAIL", (struct text){NULL, 0},
			       s->tls || !s->setup.offers_tls ? &reply_login : &reply_tls);
		return;
	}
	if (session_refuses_revoked(s, "MAIL"))
		return;
	if (!take_prefix(&args, "FROM:")) {
		session_say(s, &reply_path);
		return;
	}
	struct text path = args;
	enum address_result r = session_complete(s, &a, address_read_path(&args, &a));

	if ((r != ADDRESS_FINE && r != ADDRESS_NULL) || !behind_path_is_fine(args)) {
		say_address(s, "MAIL", r, path);
		return;
	}
	args = text_trim(args);
	enum esmtp_result read = esmtp_read_mail(args, &m);

	/* Who said it first is noted nowhere: no client is trusted to say it for another, so that
	 * it counts as "<>" (RFC 4954 section 5). */
	if (read == ESMTP_FINE && m.auth.data && !session_takes_auth_parameter(s))
		read = ESMTP_UNKNOWN;
	if (!say_parameters(s, read, args) || !size_is_fine(s, m.size))
		return;
	/* RFC 8689 section 2: "The session itself MUST employ TLS transmission." In the clear it
	 * was not offered. */
	if (m.requiretls && !s->tls) {
		session_say(s, &reply_requiretls);
		return;
	}
	if (a.utf8 && !m.smtputf8) {
		session_say(s, &reply_utf8);
		return;
	}
	transaction_begin(s);
	s->t->sender = arena_text(s->t->arena, address_text(&a));
	s->t->envid = arena_text(s->t->arena, m.envid);
	s->t->body_type = m.body_type;
	s->t->ret = m.ret;
	s->t->smtputf8 = m.smtputf8;
	s->t->tls = m.requiretls ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY;
	session_ask(s, POINT_SENDER);
}

static void ask_sender(struct session *s)
{
	session_ask(s, POINT_SENDER);
}

void session_sender_answered(struct session *s, const struct reply *r)
{
	if (session_wait(s, r, ask_sender))
		return;
	if (r) {
		session_reject(s, "MAIL", (struct text){NULL, 0}, r);
		transaction_end(s);
		return;
	}
	session_change(s, STEP_SENDER);
	session_say(s, &reply_sender_ok);
}

/* -- RCPT ------------------------------------------------------------------------ */

static bool is_postmaster(struct session *s, const struct address *a)
{
	struct text host = address_host(a);

	return text_equal_case(address_local(a), text_of("postmaster")) &&
	       (!host.len || text_equal_case(host, s->setup.config->hostname));
}

/* RFC 5321 4.5.1: <postmaster>, in any case and without a domain, is always taken. */
static void make_postmaster(struct session *s, struct address *a)
{
	const struct config *config = s->setup.config;
	char text[ADDRESS_MAX + 1];

	if (config->postmaster.len)
		text_copy(text, sizeof text, config->postmaster);
	else
		snprintf(text, sizeof text, "postmaster@%.*s", (int)config->hostname.len,
			 config->hostname.data);
	if (address_read(text_of(text), a) != ADDRESS_FINE)
		a->len = a->at = text_copy(a->text, sizeof a->text, text_of(text));
}

static void refuse_relay(struct session *s, struct text path)
{
	char text[REPLY_TEXT_MAX + 1];
	int n = snprintf(text, sizeof text, "%.*s: Relay access denied",
			 (int)(path.len < 400 ? path.len : 400), path.data);

	session_reject(s, "RCPT", address_text(&s->t->pending),
		       &(struct reply){550, "5.7.1", {text, n > 0 ? strlen(text) : 0}});
}

/*
 * Strangers reach our own domains only. There too nothing that the next
 * server may take for a route ("a%b@ours", "\"a@b\"@ours"): it trusts us.
 */
static bool may_relay(const struct session *s, const struct address *a)
{
	return s->trusted || (config_relays_to(s->setup.config, address_host(a)) && !a->routed);
}

/* "550 5.1.1 a text" in a reject route names its own reply. */
static void refuse_by_route(struct session *s, const struct config_route *route)
{
	struct text t = route->reject;
	char dsn[12] = "5.7.1";
	struct reply r = {550, dsn, t};
	uint64_t code;

	if (t.len > 4 && t.data[3] == ' ' && text_number((struct text){t.data, 3}, 599, &code) &&
	    code >= 400) {
		r.code = (uint16_t)code;
		dsn[0] = (char)('0' + code / 100);
		t = text_trim((struct text){t.data + 4, t.len - 4});
		ptrdiff_t space = text_find(t, ' ');

		if (t.data[0] == dsn[0] && space >= 5 && space < (ptrdiff_t)sizeof dsn) {
			text_copy(dsn, sizeof dsn, (struct text){t.data, (size_t)space});
			t = text_trim((struct text){t.data + space, t.len - (size_t)space});
		}
		r.text = t;
	}
	session_reject(s, "RCPT", address_text(&s->t->pending), &r);
}

bool transaction_is_full(const struct session *s)
{
	const struct transaction *t = s->t;

	return t->recipient_count >= s->setup.config->limit_recipients ||
	       t->recipient_count >= RECIPIENTS_MAX ||
	       bytes_len(&t->envelope) > ENVELOPE_MAX - ENVELOPE_HEAD_MAX - ENVELOPE_RECIPIENT_MAX;
}

bool transaction_has_room(const struct session *s, size_t count, size_t octets)
{
	const struct transaction *t = s->t;
	size_t most = ENVELOPE_MAX - ENVELOPE_HEAD_MAX, used = bytes_len(&t->envelope);

	return count <= RECIPIENTS_MAX - t->recipient_count && used < most && octets <= most - used;
}

/* A recipient that adds nothing: a thousand are forgiven, more are errors. */
static void count_overshoot(struct session *s)
{
	if (++s->t->overshoot > OVERSHOOT_MAX)
		s->errors++;
}

static bool refuse_full(struct session *s)
{
	/* RFC 5321 4.5.3.1.10: 452, so that the client sends the rest in another transaction. */
	static const struct reply reply = REPLY(452, "4.5.3", "Error: too many recipients");

	if (!transaction_is_full(s))
		return false;
	count_overshoot(s);
	session_say(s, &reply);
	return true;
}

/* The address is read and the parameters too: policy. */
static void police_recipient(struct session *s, struct text path, bool postmaster)
{
	struct address *a = &s->t->pending;
	const struct config_route *route;

	if (!postmaster && !may_relay(s, a)) {
		s->t->refused_count++;
		refuse_relay(s, path);
		return;
	}
	route = config_route(s->setup.config, address_host(a));
	if (route->kind == ROUTE_REJECT) {
		s->t->refused_count++;
		refuse_by_route(s, route);
		return;
	}
	if (refuse_full(s))
		return;
	session_ask(s, POINT_RECIPIENT);
}

void session_verb_rcpt(struct session *s, struct text args)
{
	static const struct reply reply_path = REPLY(501, "5.5.4", "Syntax: RCPT TO:<address>");
	struct address *a = &s->t->pending;
	struct esmtp_rcpt p;

	if (session_refuses_revoked(s, "RCPT"))
		return;
	if (!take_prefix(&args, "TO:")) {
		session_say(s, &reply_path);
		return;
	}
	struct text path = args;
	enum address_result r = address_read_path(&args, a);
	bool postmaster = (r == ADDRESS_FINE || r == ADDRESS_ALONE) && is_postmaster(s, a);

	if (!postmaster)
		r = session_complete(s, a, r);

	if ((r != ADDRESS_FINE && !postmaster) || !behind_path_is_fine(args)) {
		s->t->refused_count++;
		say_address(s, "RCPT", r, path);
		return;
	}
	path.len = (size_t)(args.data - path.data);
	args = text_trim(args);
	if (!say_parameters(s, esmtp_read_rcpt(args, &p), args)) {
		s->t->refused_count++;
		return;
	}
	if ((a->utf8 || !text_is_ascii(p.orcpt)) && !s->t->smtputf8) {
		s->t->refused_count++;
		session_say(s, &reply_utf8);
		return;
	}
	text_copy(s->t->orcpt, sizeof s->t->orcpt, p.orcpt);
	s->t->notify = p.notify;
	s->t->expanded = false;
	if (postmaster)
		make_postmaster(s, a);
	police_recipient(s, path, postmaster);
}

void session_recipient_answered(struct session *s, const struct reply *r)
{
	if (r) {
		s->t->refused_count++;
		session_reject(s, "RCPT", address_text(&s->t->pending), r);
		return;
	}
	if (!s->t->expanded)
		transaction_add(s);
	session_change(s, STEP_RECIPIENT);
	session_say(s, &reply_recipient_ok);
}

/* -- the list of recipients --------------------------------------------------------- */

/* Looks at one recipient of the envelope and never at all of them: who repeats the last of a
 * thousand without end would have them read each time. */
static bool is_doubled(const struct transaction *t, uint32_t hash)
{
	for (uint32_t i = 0; i < t->recipient_count; i++) {
		if (t->known[i].hash != hash)
			continue;
		struct envelope_iter it = envelope_recipients(
		    (struct text){(const char *)t->envelope.data + t->known[i].at,
				  t->envelope.end - t->known[i].at});
		struct envelope_recipient r;

		if (envelope_next(&it, &r) && text_equal(r.address, address_text(&t->pending)))
			return true;
	}
	return false;
}

/* The same mailbox twice in one transaction gets one copy. */
void transaction_add(struct session *s)
{
	struct transaction *t = s->t;
	uint64_t key[2] = {s->setup.seed, ~s->setup.seed};
	uint32_t hash = (uint32_t)siphash((const uint8_t *)key, t->pending.text, t->pending.len);

	if (is_doubled(t, hash)) {
		count_overshoot(s);
		return;
	}
	if ((t->recipient_count & (t->recipient_count + 1)) == 0) {
		/* At 0, 1, 3, 7, ...: room for twice as many. */
		size_t room = 2 * ((size_t)t->recipient_count + 1);

		t->known = mem_resize(t->known, room, sizeof *t->known);
	}
	t->known[t->recipient_count++] = (struct known_recipient){hash, (uint32_t)t->envelope.end};
	envelope_put_recipient(&t->envelope,
			       &(struct envelope_recipient){.address = address_text(&t->pending),
							    .orcpt = text_of(t->orcpt),
							    .notify = t->notify});
	if (t->recipient_count == 1)
		t->first_recipient = arena_text(t->arena, address_text(&t->pending));
}
