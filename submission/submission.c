/* SPDX-License-Identifier: ISC */
/*
 * submission: message submission (RFC 6409) on 587 and 465, and the door
 * through which mail of our own making enters: bounce hands in reports, and
 * they go the way of every mail, through the session engine and qmgr's intake.
 */
#include "submission.h"

#include "mem.h"
#include "queue.h"

#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "submission",
    .kind = PEER_SUBMISSION,
    .user = "veredus-submission",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "accept4 setsockopt",
    .peers = PEER_QMGR | PEER_BOUNCE | PEER_PICKUP | PEER_LIMITS | PEER_RESOLVER | PEER_KEEPER |
	     PEER_CHECKER | PEER_TABLE,
};

static void on_handin(struct channel *c, const struct message *m)
{
	letter_new(daemon_of(c)->self, c, &m->handin, m->fd, m->fd_lost);
}

static void on_intake(struct channel *c, const struct message *m)
{
	struct submission *self = daemon_of(c)->self;

	intake_serve(self->intake, c, m);
}

static void on_server(struct channel *c, const struct message *m)
{
	struct submission *self = daemon_of(c)->self;

	server_serve(self->server, c, m);
}

static void on_answer(struct channel *c, const struct message *m)
{
	struct submission *self = daemon_of(c)->self;

	policy_serve(self->policy, m);
}

static const struct serve serves[] = {
    {MSG_handin, PEER_BOUNCE | PEER_PICKUP, on_handin},
    {MSG_leased, PEER_QMGR, on_intake},
    {MSG_intake, PEER_QMGR, on_intake},
    {MSG_body_file, PEER_QMGR, on_intake},
    {MSG_settled, PEER_QMGR, on_intake},
    {MSG_client_verdict, PEER_LIMITS, on_server},
    {MSG_auth_offer, PEER_CHECKER, on_server},
    {MSG_auth_challenge, PEER_CHECKER, on_server},
    {MSG_auth_done, PEER_CHECKER, on_server},
    {MSG_certificate, PEER_KEEPER, on_server},
    {MSG_certificates_end, PEER_KEEPER, on_server},
    {MSG_ticket_keys, PEER_KEEPER, on_server},
    {MSG_signature, PEER_KEEPER, on_server},
    {MSG_looked_up, PEER_TABLE, on_answer},
    {MSG_count_is, PEER_LIMITS, on_answer},
    {MSG_NONE, 0, NULL},
};

static void submission_peer(struct daemon *d, struct channel *c)
{
	struct submission *self = d->self;

	if (channel_peer(c) == PEER_QMGR)
		intake_open(self->intake, c);
	else if (channel_peer(c) == PEER_LIMITS)
		server_set_limits(self->server, c);
	else if (channel_peer(c) == PEER_KEEPER)
		server_set_keeper(self->server, c);
	else if (channel_peer(c) == PEER_CHECKER)
		server_set_checker(self->server, c);
	policy_peer(self->policy, c);
}

static void submission_gone(struct daemon *d, struct channel *c)
{
	struct submission *self = d->self;

	policy_gone(self->policy, c);
	if (channel_peer(c) == PEER_QMGR)
		intake_gone(self->intake);
	else if (channel_peer(c) == PEER_LIMITS)
		server_set_limits(self->server, NULL);
	else if (channel_peer(c) == PEER_KEEPER)
		server_set_keeper(self->server, NULL);
	else if (channel_peer(c) == PEER_CHECKER)
		server_set_checker(self->server, NULL);
	else
		letters_forget(self, c);
}

/* Letters are settled and clients are gone: in whatever order. */
void submission_emptied(struct submission *self)
{
	if (self->count || !self->clients_gone)
		return;
	timer_clear(&self->drain);
	daemon_drained(self->d, 0);
}

static void clients_are_gone(struct daemon *d)
{
	struct submission *self = d->self;

	self->clients_gone = true;
	submission_emptied(self);
}

static void drain_over(void *arg)
{
	struct submission *self = arg;
	uint32_t left = server_cut(self->server);

	self->draining = false; /* the answer is given here */
	daemon_drained(self->d, left + letters_cut(self));
}

static void submission_drain(struct daemon *d, struct duration limit)
{
	struct submission *self = d->self;

	self->draining = true;
	timer_set(&self->drain, limit);
	server_drain(self->server);
}

static void submission_warm_up(struct daemon *d)
{
	struct submission *self = mem_new(1, sizeof *self);

	d->self = self;
	self->d = d;
	if (getrandom(&self->seed, sizeof self->seed, 0) < 0)
		self->seed = d->epoch;
	self->intake = intake_new(d->loop, d->log, queue_crc32c);
	self->policy = policy_new(d->loop);
	self->server = server_new(&(struct server_setup){
	    .d = d,
	    .intake = self->intake,
	    .policy = self->policy,
	    .seed = self->seed,
	    .roles = 1u << HANDLE_LISTEN_SUBMISSION | 1u << HANDLE_LISTEN_SUBMISSIONS,
	    .emptied = clients_are_gone,
	});
	timer_init(&self->drain, d->loop, drain_over, self);
}

static void submission_start(struct daemon *d)
{
	server_start(((struct submission *)d->self)->server);
}

static void submission_reload(struct daemon *d)
{
	server_reload(((struct submission *)d->self)->server);
}

static void submission_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	server_handle(((struct submission *)d->self)->server, m, fd);
}

static const struct daemon_face face = {
    .warm_up = submission_warm_up,
    .start = submission_start,
    .reload = submission_reload,
    .handle = submission_handle,
    .peer = submission_peer,
    .gone = submission_gone,
    .drain = submission_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
