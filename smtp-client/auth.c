/* SPDX-License-Identifier: ISC */
/* AUTH (RFC 4954), as far as the dialog says it: what is said is the checker's to know. */
#include "outbound.h"

#include "base64.h"

/* The line is longer than what mail needs: a challenge may come now. */
static void line_end(struct dialog *d)
{
	PUT(d->out, "\r\n");
	d->reader.challenges = true;
	ring_push(d, VERB_AUTH);
}

/*
 * Room for all of the line at once: were the buffer to grow in the middle, what was written so far
 * would stay in the memory that it leaves.
 */
static void room_for(struct dialog *d, size_t len)
{
	bytes_room(d->out, BASE64_LEN(len) + AUTH_COMMAND_MAX);
}

void dialog_auth(struct dialog *d, struct text mechanism, const struct text *initial)
{
	must(!d->up && !d->over && !d->ring_count);
	room_for(d, initial ? initial->len : 0);
	PUT(d->out, "AUTH ");
	bytes_add(d->out, mechanism.data, mechanism.len);
	if (initial) {
		PUT(d->out, " ");
		/* RFC 4954 section 4: a response of zero length is "a single equals sign". */
		if (initial->len)
			base64_put(d->out, initial->data, initial->len);
		else
			PUT(d->out, "=");
	}
	line_end(d);
}

void dialog_auth_respond(struct dialog *d, const struct text *response)
{
	must(!d->up && !d->over && !d->ring_count);
	room_for(d, response ? response->len : 0);
	if (response && response->len)
		base64_put(d->out, response->data, response->len);
	else if (!response)
		PUT(d->out, "*");
	line_end(d);
}

enum dialog_says dialog_logged_in(struct dialog *d)
{
	must(!d->ring_count);
	d->up = true;
	return DIALOG_READY;
}

enum dialog_says dialog_login_again(struct dialog *d)
{
	must(!d->up && !d->over && !d->ring_count);
	return DIALOG_LOGIN;
}
