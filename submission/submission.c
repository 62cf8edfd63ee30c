/* SPDX-License-Identifier: ISC */
/*
 * submission: message submission (RFC 6409). So far the door through which
 * mail of our own making enters: bounce hands in reports, and they go the way
 * of every mail, through the session engine and qmgr's intake.
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
    .system_calls = "",
    .peers = PEER_QMGR | PEER_BOUNCE | PEER_PICKUP | PEER_LIMITS | PEER_RESOLVER,
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

static const struct serve serves[] = {
    {MSG_handin, PEER_BOUNCE | PEER_PICKUP, on_handin},
    {MSG_leased, PEER_QMGR, on_intake},
    {MSG_intake, PEER_QMGR, on_intake},
    {MSG_body_file, PEER_QMGR, on_intake},
    {MSG_settled, PEER_QMGR, on_intake},
    {MSG_NONE, 0, NULL},
};

static void submission_peer(struct daemon *d, struct channel *c)
{
	struct submission *self = d->self;

	if (channel_peer(c) == PEER_QMGR)
		intake_open(self->intake, c);
}

static void submission_gone(struct daemon *d, struct channel *c)
{
	struct submission *self = d->self;

	if (channel_peer(c) == PEER_QMGR)
		intake_gone(self->intake);
	else
		letters_forget(self, c);
}

void submission_emptied(struct submission *self)
{
	timer_clear(&self->drain);
	daemon_drained(self->d, 0);
}

static void drain_over(void *arg)
{
	struct submission *self = arg;

	self->draining = false; /* the answer is given here */
	daemon_drained(self->d, letters_cut(self));
}

static void submission_drain(struct daemon *d, struct duration limit)
{
	struct submission *self = d->self;

	self->draining = true;
	if (!self->count)
		submission_emptied(self);
	else
		timer_set(&self->drain, limit);
}

static void submission_warm_up(struct daemon *d)
{
	struct submission *self = mem_new(1, sizeof *self);

	d->self = self;
	self->d = d;
	if (getrandom(&self->seed, sizeof self->seed, 0) < 0)
		self->seed = d->epoch;
	self->intake = intake_new(d->loop, d->log, queue_crc32c);
	timer_init(&self->drain, d->loop, drain_over, self);
}

static const struct daemon_face face = {
    .warm_up = submission_warm_up,
    .peer = submission_peer,
    .gone = submission_gone,
    .drain = submission_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
