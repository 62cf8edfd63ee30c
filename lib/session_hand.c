/* SPDX-License-Identifier: ISC */
/* Mail handed in whole (reports, the maildrop): the same transaction, without a dialogue. */
#include "session_engine.h"

#include "must.h"

static bool refuse(struct session *s, uint16_t code, const char *dsn, const char *text)
{
	session_say(s, &(struct reply){code, dsn, text_of(text)});
	return false;
}

bool session_hand_sender(struct session *s, struct moment now, struct text sender, bool smtputf8,
			 uint8_t body_type, uint8_t tls)
{
	struct address a;
	enum address_result r = session_complete(s, &a, address_read(sender, &a));

	must(!s->setup.out && !s->t);
	s->now = now;
	if (r != ADDRESS_FINE && r != ADDRESS_NULL)
		return refuse(s, 553, "5.1.7", "Error: bad sender address");
	transaction_begin(s);
	if (a.len)
		s->t->sender = (struct text){arena_copy(s->t->arena, a.text, a.len), a.len};
	s->t->smtputf8 = smtputf8;
	s->t->body_type = body_type <= BODY_8BITMIME ? body_type : BODY_8BITMIME;
	s->t->tls = tls == MAIL_TLS_REQUIRED ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY;
	session_ask(s, POINT_SENDER);
	return s->step == STEP_SENDER;
}

bool session_hand_dsn(struct session *s, struct text envid, uint8_t ret)
{
	if (envid.len > ENVID_MAX || (envid.len && !esmtp_is_xtext(envid)) || ret > RET_HDRS)
		return refuse(s, 501, "5.5.4", "Error: bad ENVID or RET");
	if (envid.len)
		s->t->envid =
		    (struct text){arena_copy(s->t->arena, envid.data, envid.len), envid.len};
	s->t->ret = ret;
	return true;
}

bool session_hand_recipient(struct session *s, struct text address, uint8_t notify)
{
	struct address *a = &s->t->pending;

	if (session_complete(s, a, address_read(address, a)) != ADDRESS_FINE)
		return refuse(s, 553, "5.1.3", "Error: bad recipient address");
	if (transaction_is_full(s))
		return refuse(s, 452, "4.5.3", "Error: too many recipients");
	if (notify > (NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY))
		return refuse(s, 501, "5.5.4", "Error: bad NOTIFY");
	s->t->orcpt[0] = '\0';
	s->t->notify = notify;
	transaction_add(s);
	session_change(s, STEP_RECIPIENT);
	return true;
}

size_t session_hand_content(struct session *s, struct moment now, const uint8_t *data, size_t len)
{
	size_t used = 0;

	s->now = now;
	/* There are none for a moment while they are put anew. */
	if (!s->t || (!s->t->recipient_count && !bytes_len(&s->t->old))) {
		refuse(s, 554, "5.5.1", "Error: no valid recipients");
		return 0;
	}
	if (!s->t->id && !transaction_open(s))
		return 0;
	transaction_content(s, data, len, &used);
	return used;
}

bool session_hand_end(struct session *s, struct moment now)
{
	s->now = now;
	if (!s->t || !s->t->id)
		return refuse(s, 554, "5.5.1", "Error: no content");
	session_end_of_data(s);
	return s->step == STEP_SETTLE || (s->verdict && s->verdict->code < 300);
}

const struct session_verdict *session_hand_verdict(const struct session *s)
{
	return s->verdict;
}
