/* SPDX-License-Identifier: ISC */
/*
 * bounce: writes the reports that qmgr owes, and brings them to submission's
 * door as mail of its own. It touches nothing but its channels. A report is
 * kept until the door has answered, and brought again to a door that was
 * restarted: the report's number tells qmgr if it came twice.
 */
#include "daemon.h"
#include "mem.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

static const struct daemon_row row = {
    .name = "bounce",
    .kind = PEER_BOUNCE,
    .user = "veredus-bounce",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "",
    .peers = PEER_QMGR | PEER_SUBMISSION,
};

enum {
	PENDING_MAX = 64,     /* reports kept; above it qmgr is not read */
	AWAY_LIMIT_S = 60,    /* without a door */
	HANDED_LIMIT_S = 300, /* for the door's answer */
};

/* A report that was written and is not yet taken. */
struct pending {
	TAILQ_ENTRY(pending) line;
	struct daemon *daemon;
	struct timer limit;
	struct bytes content;
	struct report_form form;
	char to[513];
	uint64_t report, token;
};

struct bounce {
	TAILQ_HEAD(, pending) pending;
	size_t count;
	uint64_t last_token;
	struct channel *qmgr, *submission;
	bool paused;
};

/* Peers are announced before start(), so the first who comes makes it. */
static struct bounce *bounce_of(struct daemon *d)
{
	if (!d->self) {
		struct bounce *self = mem_new(1, sizeof *self);

		TAILQ_INIT(&self->pending);
		d->self = self;
	}
	return d->self;
}

static void pending_free(struct pending *p)
{
	struct bounce *self = bounce_of(p->daemon);

	timer_clear(&p->limit);
	TAILQ_REMOVE(&self->pending, p, line);
	bytes_free(&p->content);
	free(p);
	self->count--;
	if (self->paused && self->count < PENDING_MAX) {
		self->paused = false;
		if (self->qmgr)
			channel_resume(self->qmgr);
	}
}

static void pending_fail(struct pending *p, struct text reason)
{
	struct bounce *self = bounce_of(p->daemon);

	if (reason.len > 256)
		reason.len = 256;
	if (self->qmgr)
		channel_send_report_failed(self->qmgr,
					   &(struct msg_report_failed){p->report, reason});
	pending_free(p);
}

static void pending_expired(void *arg)
{
	struct pending *p = arg;

	pending_fail(p, text_of(p->token ? "submission did not answer" : "submission is away"));
}

/* Brings a report to the door, if there is one. */
static void pending_send(struct pending *p)
{
	struct bounce *self = bounce_of(p->daemon);
	struct bytes recipients = {0};

	if (!self->submission) {
		p->token = 0;
		timer_set(&p->limit, SECONDS(AWAY_LIMIT_S));
		return;
	}
	/* RFC 3461 section 6.1: a DSN is sent with a null reverse-path and NOTIFY=NEVER. */
	rec_handin_recipient_encode(&recipients,
				    &(struct rec_handin_recipient){text_of(p->to), NOTIFY_NEVER});
	p->token = ++self->last_token;
	channel_send_handin(self->submission, &(struct msg_handin){
						  .token = p->token,
						  .report = p->report,
						  .smtputf8 = p->form.smtputf8,
						  .body_type = p->form.body_type,
						  .recipients = {1, bytes_text(&recipients)},
						  .content = bytes_text(&p->content),
						  .content_length = bytes_len(&p->content),
						  .tls = p->form.tls,
					      });
	bytes_free(&recipients);
	timer_set(&p->limit, SECONDS(HANDED_LIMIT_S));
}

static void unique_make(char *unique)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t random[(REPORT_UNIQUE_BYTES - 1) / 2] = {0};

	(void)!getrandom(random, sizeof random, 0);
	for (size_t i = 0; i < sizeof random; i++) {
		unique[2 * i] = hex[random[i] >> 4];
		unique[2 * i + 1] = hex[random[i] & 15];
	}
	unique[2 * sizeof random] = '\0';
}

static void report_handle(struct channel *c, const struct message *m)
{
	struct daemon *d = daemon_of(c);
	struct bounce *self = bounce_of(d);
	struct pending *p = mem_new(1, sizeof *p);
	char postmaster[513];
	struct report_maker maker = {.hostname = d->config->hostname, .now = loop_wall(d->loop)};

	unique_make(maker.unique);
	config_postmaster(d->config, postmaster, sizeof postmaster);
	maker.postmaster = text_of(postmaster);
	report_build(&maker, &m->report, &p->content, &p->form);
	text_copy(p->to, sizeof p->to, p->form.to);
	p->daemon = d;
	p->report = m->report.report;
	timer_init(&p->limit, d->loop, pending_expired, p);
	TAILQ_INSERT_TAIL(&self->pending, p, line);
	if (++self->count >= PENDING_MAX) {
		self->paused = true;
		channel_pause(c);
	}
	pending_send(p);
}

static void handed_handle(struct channel *c, const struct message *m)
{
	struct bounce *self = bounce_of(daemon_of(c));
	const struct msg_handed *h = &m->handed;
	struct pending *p;
	char reason[257];

	TAILQ_FOREACH(p, &self->pending, line)
	{
		if (p->token && p->token == h->token)
			break;
	}
	/* One that was given up, or that an older qmgr owed. */
	if (!p)
		return;
	if (h->taken) {
		/* qmgr knows: the mail's own commit settled the report. */
		pending_free(p);
		return;
	}
	snprintf(reason, sizeof reason, "%u ", h->code);
	size_t used = strlen(reason);

	text_copy(reason + used, sizeof reason - used, h->reply);
	pending_fail(p, text_of(reason));
}

static const struct serve serves[] = {
    {MSG_report, PEER_QMGR, report_handle},
    {MSG_handed, PEER_SUBMISSION, handed_handle},
    {MSG_NONE, 0, NULL},
};

static void bounce_start(struct daemon *d)
{
	bounce_of(d);
}

static void bounce_peer(struct daemon *d, struct channel *c)
{
	struct bounce *self = bounce_of(d);
	struct pending *p;

	if (channel_peer(c) == PEER_QMGR) {
		self->qmgr = c;
		return;
	}
	self->submission = c;
	TAILQ_FOREACH(p, &self->pending, line)
	{
		pending_send(p);
	}
}

static void bounce_gone(struct daemon *d, struct channel *c)
{
	struct bounce *self = bounce_of(d);
	struct pending *p;

	if (c == self->qmgr) {
		/* What it owes, a new qmgr reads from the queue and asks for again. */
		self->qmgr = NULL;
		self->paused = false;
		while ((p = TAILQ_FIRST(&self->pending)))
			pending_free(p);
	} else if (c == self->submission) {
		self->submission = NULL;
		TAILQ_FOREACH(p, &self->pending, line)
		{
			pending_send(p);
		}
	}
}

static const struct daemon_face face = {
    .start = bounce_start,
    .peer = bounce_peer,
    .gone = bounce_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
