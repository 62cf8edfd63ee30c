/* SPDX-License-Identifier: ISC */
/*
 * local: puts mail into the mailboxes of this machine's users. It parses no
 * mail and touches no mailbox itself: children become the recipients, each one
 * of them and for good. Never root, never the network.
 */
#include "worker.h"

#include "jail.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "local",
    .kind = PEER_LOCAL,
    .user = "veredus-local",
    .root = JAIL_NONE,
    .capabilities = "cap_setuid,cap_setgid=ep",
    .system_calls = "!" JAIL_DENIED,
    .peers = PEER_QMGR | PEER_SMTPD | PEER_SUBMISSION | PEER_TABLE,
};

static struct worker *worker_of(const struct channel *c)
{
	return daemon_of(c)->self;
}

static void need(struct channel *c, bool fine, const char *why)
{
	if (!fine)
		channel_end(c, why);
}

static void on_job(struct channel *c, const struct message *m)
{
	/* An older channel of a qmgr that was replaced may still hold frames. */
	if (c != worker_of(c)->qmgr) {
		if (m->fd >= 0)
			close(m->fd);
		return;
	}
	need(c, worker_job(worker_of(c), &m->job, m->fd, m->fd_lost),
	     "sent a job that was not asked for");
}

static void on_recorded(struct channel *c, const struct message *m)
{
	if (c == worker_of(c)->qmgr)
		need(c, worker_recorded(worker_of(c), m->recorded.job),
		     "recorded a job that has no outcome");
}

static void on_slot_close(struct channel *c, const struct message *m)
{
	if (c == worker_of(c)->qmgr)
		worker_slot_close(worker_of(c), m->slot_close.slot);
}

static void on_user_ask(struct channel *c, const struct message *m)
{
	struct worker *w = worker_of(c);

	inquiries_ask(&w->inquiries, w->daemon->config, c, &m->user_ask);
}

static void on_looked_up(struct channel *c, const struct message *m)
{
	lookups_serve(worker_of(c)->table, m->looked_up.query, m->looked_up.verdict,
		      m->looked_up.value);
}

static void on_peer(struct daemon *d, struct channel *c)
{
	if (channel_peer(c) == PEER_QMGR)
		worker_set_qmgr(d->self, c);
	else if (channel_peer(c) == PEER_TABLE)
		lookups_open(((struct worker *)d->self)->table, c);
}

static void on_gone(struct daemon *d, struct channel *c)
{
	struct worker *w = d->self;

	if (c == w->qmgr)
		worker_set_qmgr(w, NULL);
	else if (channel_peer(c) == PEER_TABLE)
		lookups_gone(w->table);
	else
		inquiries_forget(&w->inquiries, c);
}

static void start(struct daemon *d)
{
	struct worker *w = d->self;

	text_copy(w->crew.planner.host, sizeof w->crew.planner.host, d->config->hostname);
	signal(SIGCHLD, SIG_DFL);
	loop_signal(d->loop, SIGCHLD, crew_reap, &w->crew);
}

static void reload(struct daemon *d)
{
	struct worker *w = d->self;

	text_copy(w->crew.planner.host, sizeof w->crew.planner.host, d->config->hostname);
}

static void warm_up(struct daemon *d)
{
	d->self = worker_new(d);
}

static void drain(struct daemon *d, struct duration limit)
{
	worker_drain(d->self, limit);
}

static const struct serve serves[] = {
    {MSG_job, PEER_QMGR, on_job},
    {MSG_recorded, PEER_QMGR, on_recorded},
    {MSG_slot_close, PEER_QMGR, on_slot_close},
    {MSG_user_ask, PEER_SMTPD | PEER_SUBMISSION, on_user_ask},
    {MSG_looked_up, PEER_TABLE, on_looked_up},
    {MSG_NONE, 0, NULL},
};

static const struct daemon_face face = {
    .warm_up = warm_up,
    .start = start,
    .reload = reload,
    .peer = on_peer,
    .gone = on_gone,
    .drain = drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
