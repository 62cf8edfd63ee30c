/* SPDX-License-Identifier: ISC */
/*
 * sendmail -bs: SMTP on standard input and output. The session engine speaks
 * it, here in the caller's own process, and each mail goes to postdrop(1) like
 * any other: the reply to its end is postdrop's word, and it works with the
 * daemons down. Who calls may send, whatever the configuration says of clients.
 */
#include "sendmail.h"

#include "drop.h"
#include "envelope.h"
#include "file.h"
#include "mem.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

enum { READ_BYTES = 16384 };

struct conversation {
	struct session *session;
	const char *maildrop;
	struct bytes in, out, header, body;
	uint64_t last_id;
	bool cr; /* the last octet read was one */
};

static struct moment moment_now(void)
{
	return (struct moment){monotime_read(), walltime_read()};
}

/* -- a mail is there ------------------------------------------------------------------------ */

static bool is_eight(const struct bytes *b)
{
	return !text_is_ascii(bytes_text(b));
}

static int post_mail(struct conversation *c, const struct envelope *e, struct text envelope,
		     char *id)
{
	struct envelope_iter it = envelope_recipients(envelope);
	struct envelope_recipient r;
	char **addresses = mem_new(e->recipient_count + 1, sizeof *addresses);
	uint8_t *notify = mem_new(e->recipient_count + 1, 1), flags;
	char envid[ENVID_MAX + 1];
	size_t count = 0;
	int status;

	while (count < e->recipient_count && envelope_next(&it, &r)) {
		notify[count] = r.notify;
		addresses[count++] = mem_copy(r.address.data, r.address.len);
	}
	text_copy(envid, sizeof envid, e->envid);
	flags = (uint8_t)((is_eight(&c->header) || is_eight(&c->body) ? DROP_EIGHT_BIT : 0) |
			  (e->smtputf8 ? DROP_UTF8 : 0));
	struct post *post =
	    post_begin(&(struct post_form){.maildrop = c->maildrop,
					   .sender = e->sender,
					   .recipients = (const char *const *)addresses,
					   .notify = notify,
					   .count = count,
					   .envid = *envid ? envid : NULL,
					   .ret = e->ret});

	if (post_content(post, bytes_at(&c->header), bytes_len(&c->header)))
		post_content(post, bytes_at(&c->body), bytes_len(&c->body));
	status = post_end(&post, flags, id);
	while (count)
		free(addresses[--count]);
	free(addresses);
	free(notify);
	return status;
}

static void settle_mail(struct conversation *c)
{
	struct session_message m = session_message(c->session);
	struct envelope e;
	char id[17] = "", text[64];
	struct reply r = {451, "4.3.0", TEXT("Error: the mail was not taken")};

	if (envelope_decode(m.envelope, &e) && post_mail(c, &e, m.envelope, id) == EX_OK) {
		snprintf(text, sizeof text, "Ok: in the maildrop as %s", id);
		r = (struct reply){250, "2.0.0", text_of(text)};
	}
	session_answer(c->session, moment_now(), &r);
}

/* -- the engine's face ---------------------------------------------------------------------- */

static void face_ask(void *owner, enum session_point point)
{
	struct conversation *c = owner;

	if (point == POINT_DATA) {
		settle_mail(c);
		return;
	}
	if (point == POINT_HEADER) {
		struct text header = session_header(c->session);

		bytes_add(&c->header, header.data, header.len);
		/* A body without a header of its own must not become one. */
		if (header.len < 2 || memcmp(header.data + header.len - 2, "\r\n", 2) != 0)
			bytes_add(&c->header, "\r\n", 2);
	}
	session_answer(c->session, moment_now(), NULL);
}

static void empty(struct conversation *c)
{
	bytes_take(&c->header, bytes_len(&c->header), 0);
	bytes_take(&c->body, bytes_len(&c->body), 0);
}

static uint64_t face_open(void *owner, const struct reply **refusal)
{
	struct conversation *c = owner;

	(void)refusal;
	empty(c);
	return ++c->last_id;
}

static void face_body(void *owner, const uint8_t *data, size_t len)
{
	struct conversation *c = owner;

	bytes_add(&c->body, data, len);
}

static void face_drop(void *owner)
{
	empty(owner);
}

static void face_event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		       size_t count)
{
	(void)owner;
	(void)what;
	(void)id;
	(void)values;
	(void)count;
}

static const struct session_face face = {
    .ask = face_ask,
    .open = face_open,
    .body = face_body,
    .drop = face_drop,
    .event = face_event,
};

/* -- the conversation ----------------------------------------------------------------------- */

/* As the engine needs it: the machine's own mail, in which this process is the only client. */
static struct config *config_make(const struct config *of)
{
	char text[1024], host[256] = "localhost.localdomain";
	struct config_errors errors = {0};
	struct config *config;

	if (of)
		text_copy(host, sizeof host, of->hostname);
	snprintf(text, sizeof text,
		 "hostname = \"%s\"\nrelay-from = { 127.0.0.1/32 }\nlimits { message = %llu }\n",
		 host, of ? (unsigned long long)of->limit_message : 50ull * 1024 * 1024);
	config = config_read(text_of(text), &errors);
	for (size_t i = 0; !config && i < errors.count; i++)
		sendmail_say(0, "%s", errors.items[i].text);
	config_errors_free(&errors);
	return config;
}

/* People and old programs end lines with LF alone. */
static void take_input(struct conversation *c, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n' && !c->cr)
			bytes_add(&c->in, "\r", 1);
		c->cr = data[i] == '\r';
		bytes_add(&c->in, data + i, 1);
	}
}

static bool flush(struct conversation *c)
{
	bool fine = file_write(STDOUT_FILENO, bytes_at(&c->out), bytes_len(&c->out));

	bytes_take(&c->out, bytes_len(&c->out), SIZE_MAX);
	return fine;
}

/* All that the engine takes of what has come; false: nobody reads the replies. */
static bool work(struct conversation *c)
{
	for (;;) {
		size_t used =
		    session_input(c->session, moment_now(), bytes_at(&c->in), bytes_len(&c->in));
		bool said = bytes_len(&c->out) > 0;

		bytes_take(&c->in, used, SIZE_MAX);
		if (!flush(c))
			return false;
		if ((!used && !said) || session_is_over(c->session))
			return true;
	}
}

static int converse(struct conversation *c)
{
	uint8_t raw[READ_BYTES];

	session_begin(c->session);
	while (work(c) && !session_is_over(c->session)) {
		ssize_t n = read(STDIN_FILENO, raw, sizeof raw);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sendmail_say(EX_NOINPUT, "standard input: %s", strerror(errno));
		if (n == 0) {
			session_lost(c->session);
			return EX_OK;
		}
		take_input(c, raw, (size_t)n);
	}
	return EX_OK;
}

int sendmail_smtp(const struct config *config, const char *maildrop)
{
	struct config *own = config_make(config);
	struct conversation c = {.maildrop = maildrop};
	uint32_t random = 0;

	/* A number that a Message-ID may hold: two conversations begin at other places. */
	(void)!getrandom(&random, sizeof random, 0);
	c.last_id = (uint64_t)random << 16;
	struct session_setup setup = {
	    .face = &face,
	    .owner = &c,
	    .config = own,
	    .out = &c.out,
	    /* ::ffff:127.0.0.1 */
	    .address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1},
	    .repairs = REPAIRS_FULL,
	};

	if (!own)
		return EX_CONFIG;
	c.session = session_new(&setup, moment_now());
	int status = converse(&c);

	session_free(&c.session);
	config_drop(&own);
	bytes_free(&c.in);
	bytes_free(&c.out);
	bytes_free(&c.header);
	bytes_free(&c.body);
	return status;
}
