/* SPDX-License-Identifier: ISC */
/* The session engine's duties towards submitted mail (RFC 6409): addresses made whole, the header
 * settled. */
#include "session_engine.h"

#include "queue_id.h"
#include "repair.h"

#include <stdio.h>
#include <string.h>

enum address_result session_complete(const struct session *s, struct address *a,
				     enum address_result r)
{
	if (s->setup.repairs != REPAIRS_FULL || (r != ADDRESS_FINE && r != ADDRESS_ALONE))
		return r;
	return repair_address(s->setup.config, a) ? ADDRESS_FINE : ADDRESS_ALONE;
}

void transaction_repair(struct session *s)
{
	struct transaction *t = s->t;
	char date[WALLTIME_TEXT_BYTES], id[QUEUE_ID_BYTES], message_id[400];

	if (!s->setup.repairs)
		return;
	walltime_rfc5322(s->now.wall, date);
	snprintf(message_id, sizeof message_id, "%s.%llx@%.*s", queue_id_print(t->id, id),
		 (unsigned long long)t->arrival.us, (int)s->setup.config->hostname.len,
		 s->setup.config->hostname.data);
	struct repair r = {
	    .config = s->setup.config,
	    .sender = t->sender,
	    .login = s->setup.login,
	    .date = text_of(date),
	    .message_id = text_of(message_id),
	    .smtputf8 = t->smtputf8 != 0,
	    .ours = s->setup.repairs == REPAIRS_OURS,
	};

	if (!repair_header(&r, bytes_text(&t->content.head)))
		transaction_refuse(s, &r.refusal);
	bytes_free(&t->header);
	t->header = r.header;
	if (r.own_id) {
		const char *copy = arena_copy(t->arena, message_id, strlen(message_id));

		t->message_id = text_of(copy);
	}
}

bool session_is_refused(const struct session *s)
{
	return s->t->refused != NULL;
}

void session_revoke(struct session *s)
{
	s->revoked = true;
}

struct text session_identity(const struct session *s)
{
	return s->setup.login;
}

bool session_is_handed_in(const struct session *s)
{
	return !s->setup.out;
}

struct text session_header(const struct session *s)
{
	bool changed = s->setup.repairs || bytes_len(&s->t->header);
	const struct bytes *b = changed ? &s->t->header : &s->t->content.head;

	return bytes_text(b);
}

uint32_t session_recipients(const struct session *s)
{
	return s->t ? s->t->recipient_count : 0;
}

const struct address *session_pending(const struct session *s)
{
	return &s->t->pending;
}

bool session_has_all(const struct session *s)
{
	/* Its last octet may be the last one of a chunk, and its end not be taken before the
	 * answer. */
	bool waits = s->step == STEP_CHUNK && s->chunk_last && !s->chunk_left;

	return s->step == STEP_SETTLE || (waits && (s->held || s->point));
}

void session_hold_message(struct session *s, struct text why)
{
	struct transaction *t = s->t;
	size_t len = why.len < 255 ? why.len : 255;
	const char *copy = arena_copy(t->arena, why.data, len);

	t->hold = (struct text){copy, copy ? len : 0};
}

void session_choose(struct session *s, const struct sender_choice *choice)
{
	s->t->chosen = *choice;
	s->t->is_chosen = true;
}

const uint8_t *session_address(const struct session *s)
{
	return s->setup.address;
}

bool session_is_trusted(const struct session *s)
{
	return s->trusted;
}
