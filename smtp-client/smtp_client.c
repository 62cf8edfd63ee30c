/* SPDX-License-Identifier: ISC */
/*
 * smtp-client: delivers over SMTP and LMTP what qmgr gives it. Touches only
 * outgoing sockets; reads only messages handed to it, settles only
 * recipients handed to it.
 */
#include "probe.h"
#include "results.h"
#include "worker.h"

#include <malloc.h>
#include <unistd.h>

enum { TRIM_BYTES = 16 * 1024 * 1024, TOP_PAD_BYTES = 256 * 1024 };

static const struct daemon_row row = {
    .name = "smtp-client",
    .kind = PEER_SMTP_CLIENT,
    .user = "veredus-smtp-client",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "socket connect bind getsockopt setsockopt getsockname pread64",
    .peers = PEER_QMGR | PEER_RESOLVER | PEER_KEEPER | PEER_CHECKER | PEER_LIMITS,
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

static void on_probe_ask(struct channel *c, const struct message *m)
{
	if (c == worker_of(c)->qmgr)
		probe_begin(worker_of(c), &m->probe_ask);
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

static void on_hosts_are(struct channel *c, const struct message *m)
{
	if (c == worker_of(c)->resolver)
		need(c, hosts_are(worker_of(c)->hosts, &m->hosts_are),
		     "answered what was not asked");
}

static void on_keeper(struct channel *c, const struct message *m)
{
	struct worker *w = worker_of(c);

	if (c != w->keeper || !w->tls)
		return;
	tls_client_serve(w->tls, c, m);
	if (m->type == MSG_certificates_end)
		worker_has_certificates(w);
}

static void on_relay_say(struct channel *c, const struct message *m)
{
	need(c, logins_say(worker_of(c)->logins, c, &m->relay_say), "spoke for no login");
}

static void on_relay_done(struct channel *c, const struct message *m)
{
	need(c, logins_done(worker_of(c)->logins, c, &m->relay_done), "ended no login");
}

static void on_peer(struct daemon *d, struct channel *c)
{
	struct worker *w = d->self;

	if (channel_peer(c) == PEER_QMGR) {
		worker_set_qmgr(w, c);
	} else if (channel_peer(c) == PEER_KEEPER) {
		worker_set_keeper(w, c);
	} else if (channel_peer(c) == PEER_CHECKER) {
		logins_set_checker(w->logins, c);
	} else if (channel_peer(c) == PEER_LIMITS) {
		w->limits = c;
		results_set_limits(w->results, c);
	} else {
		w->resolver = c;
		hosts_set_resolver(w->hosts, c);
	}
}

static void on_gone(struct daemon *d, struct channel *c)
{
	struct worker *w = d->self;

	if (c == w->qmgr)
		worker_set_qmgr(w, NULL);
	if (c == w->keeper)
		worker_set_keeper(w, NULL);
	if (channel_peer(c) == PEER_CHECKER)
		logins_lost_checker(w->logins, c);
	if (c == w->limits) {
		w->limits = NULL;
		results_set_limits(w->results, NULL);
	}
	if (c == w->resolver) {
		w->resolver = NULL;
		hosts_set_resolver(w->hosts, NULL);
	}
}

static void on_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	if (m->role == HANDLE_TLS_AUTHORITIES)
		worker_trust(d->self, fd);
	else if (m->role == HANDLE_LMTP_SOCKET)
		worker_socket(d->self, m, fd);
	else
		close(fd);
}

static void start(struct daemon *d)
{
	(void)d;
}

static void warm_up(struct daemon *d)
{
	/*
	 * Jobs and buffers come and go by the thousand a second: without this
	 * glibc gives the heap's end back and takes it again, a brk() for
	 * every second message.
	 */
	mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
	mallopt(M_TOP_PAD, TOP_PAD_BYTES);
	d->self = worker_new(d);
}

static void drain(struct daemon *d, struct duration limit)
{
	worker_drain(d->self, limit);
}

static const struct serve serves[] = {
    {MSG_job, PEER_QMGR, on_job},
    {MSG_recorded, PEER_QMGR, on_recorded},
    {MSG_probe_ask, PEER_QMGR, on_probe_ask},
    {MSG_slot_close, PEER_QMGR, on_slot_close},
    {MSG_hosts_are, PEER_RESOLVER, on_hosts_are},
    {MSG_relay_say, PEER_CHECKER, on_relay_say},
    {MSG_relay_done, PEER_CHECKER, on_relay_done},
    {MSG_certificate, PEER_KEEPER, on_keeper},
    {MSG_certificates_end, PEER_KEEPER, on_keeper},
    {MSG_signature, PEER_KEEPER, on_keeper},
    {MSG_NONE, 0, NULL},
};

static const struct daemon_face face = {
    .warm_up = warm_up,
    .start = start,
    .handle = on_handle,
    .peer = on_peer,
    .gone = on_gone,
    .drain = drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
