/* SPDX-License-Identifier: ISC */
/* What a session's message holds in memory, and giving it up. */
#include "session_engine.h"

size_t session_held(const struct session *s)
{
	enum { ARENA_BYTES = 4096 }; /* about: of what stands there little is the client's choice */
	const struct transaction *t = s->t;

	if (!t)
		return 0;
	return ARENA_BYTES + t->content.head.size + t->header.size + t->prelude.size +
	       t->envelope.size + t->blind.size + t->old.size +
	       2 * sizeof *t->known * t->recipient_count;
}

bool session_shed(struct session *s)
{
	bool takes = s->step == STEP_TEXT || s->step == STEP_CHUNK || s->step == STEP_CHUNKS;

	/* Who is asked about the header block may be looking at it. */
	if (!takes || s->point || !s->t || !s->t->id)
		return false;
	content_shed(&s->t->content);
	bytes_free(&s->t->header);
	return true;
}

void session_passed_on(struct session *s)
{
	struct transaction *t = s->t;

	if (!t || s->point != POINT_DATA)
		return;
	content_free(&t->content);
	bytes_free(&t->header);
	bytes_free(&t->prelude);
	bytes_free(&t->envelope);
}

void session_overdrawn(struct session *s)
{
	static const struct reply reply =
	    REPLY(421, "4.3.1", "Error: too much mail is coming in, try again later");

	s->point = POINT_NONE;
	s->again = NULL;
	session_close(s, &reply);
}
