/* SPDX-License-Identifier: ISC */
/*
 * smtpd: the SMTP server on port 25, for everybody. Clients, listeners and
 * the session engine are in lib (server.h); here is what makes them smtpd.
 */
#include "intake.h"
#include "mem.h"
#include "queue.h"
#include "server.h"

#include <sys/random.h>

static const struct daemon_row row = {
    .name = "smtpd",
    .kind = PEER_SMTPD,
    .user = "veredus-smtpd",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "accept4 setsockopt",
    .peers = PEER_QMGR | PEER_LIMITS | PEER_RESOLVER | PEER_CHECKER | PEER_KEEPER | PEER_TABLE,
};

struct smtpd {
	struct daemon *d;
	struct intake *intake;
	struct policy *policy;
	struct server *server;
	struct timer drain;
	bool drained;
};

/* -- neighbours ------------------------------------------------------------------------ */

static void on_intake(struct channel *c, const struct message *m)
{
	struct smtpd *self = daemon_of(c)->self;

	intake_serve(self->intake, c, m);
}

static void on_answer(struct channel *c, const struct message *m)
{
	struct smtpd *self = daemon_of(c)->self;

	policy_serve(self->policy, m);
}

static void on_server(struct channel *c, const struct message *m)
{
	struct smtpd *self = daemon_of(c)->self;

	server_serve(self->server, c, m);
}

static const struct serve serves[] = {
    {MSG_leased, PEER_QMGR, on_intake},
    {MSG_intake, PEER_QMGR, on_intake},
    {MSG_body_file, PEER_QMGR, on_intake},
    {MSG_settled, PEER_QMGR, on_intake},
    {MSG_looked_up, PEER_TABLE, on_answer},
    {MSG_count_is, PEER_LIMITS, on_answer},
    {MSG_client_verdict, PEER_LIMITS, on_server},
    {MSG_auth_offer, PEER_CHECKER, on_server},
    {MSG_auth_challenge, PEER_CHECKER, on_server},
    {MSG_auth_done, PEER_CHECKER, on_server},
    {MSG_certificate, PEER_KEEPER, on_server},
    {MSG_certificates_end, PEER_KEEPER, on_server},
    {MSG_ticket_keys, PEER_KEEPER, on_server},
    {MSG_signature, PEER_KEEPER, on_server},
    {MSG_NONE, 0, NULL},
};

static void smtpd_peer(struct daemon *d, struct channel *c)
{
	struct smtpd *self = d->self;

	policy_peer(self->policy, c);
	if (channel_peer(c) == PEER_QMGR)
		intake_open(self->intake, c);
	else if (channel_peer(c) == PEER_LIMITS)
		server_set_limits(self->server, c);
	else if (channel_peer(c) == PEER_CHECKER)
		server_set_checker(self->server, c);
	else if (channel_peer(c) == PEER_KEEPER)
		server_set_keeper(self->server, c);
}

static void smtpd_gone(struct daemon *d, struct channel *c)
{
	struct smtpd *self = d->self;

	policy_gone(self->policy, c);
	if (channel_peer(c) == PEER_QMGR)
		intake_gone(self->intake);
	else if (channel_peer(c) == PEER_LIMITS)
		server_set_limits(self->server, NULL);
	else if (channel_peer(c) == PEER_CHECKER)
		server_set_checker(self->server, NULL);
	else if (channel_peer(c) == PEER_KEEPER)
		server_set_keeper(self->server, NULL);
}

/* -- life ------------------------------------------------------------------------------- */

static void drained(struct smtpd *self, uint32_t left)
{
	if (self->drained)
		return;
	self->drained = true;
	daemon_drained(self->d, left);
}

static void smtpd_emptied(struct daemon *d)
{
	drained(d->self, 0);
}

static void drain_over(void *arg)
{
	struct smtpd *self = arg;

	if (!self->drained)
		drained(self, server_cut(self->server));
}

static void smtpd_drain(struct daemon *d, struct duration limit)
{
	struct smtpd *self = d->self;

	timer_set(&self->drain, limit);
	server_drain(self->server);
}

static void smtpd_warm_up(struct daemon *d)
{
	struct smtpd *self = mem_new(1, sizeof *self);
	uint64_t seed = d->epoch;

	d->self = self;
	self->d = d;
	(void)!getrandom(&seed, sizeof seed, 0);
	self->intake = intake_new(d->loop, d->log, queue_crc32c);
	self->policy = policy_new(d->loop);
	self->server = server_new(&(struct server_setup){
	    .d = d,
	    .intake = self->intake,
	    .policy = self->policy,
	    .seed = seed,
	    .roles = 1u << HANDLE_LISTEN_SMTP,
	    .emptied = smtpd_emptied,
	});
	timer_init(&self->drain, d->loop, drain_over, self);
}

static void smtpd_start(struct daemon *d)
{
	server_start(((struct smtpd *)d->self)->server);
}

static void smtpd_reload(struct daemon *d)
{
	server_reload(((struct smtpd *)d->self)->server);
}

static void smtpd_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	server_handle(((struct smtpd *)d->self)->server, m, fd);
}

static const struct daemon_face face = {
    .warm_up = smtpd_warm_up,
    .start = smtpd_start,
    .reload = smtpd_reload,
    .handle = smtpd_handle,
    .peer = smtpd_peer,
    .gone = smtpd_gone,
    .drain = smtpd_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
