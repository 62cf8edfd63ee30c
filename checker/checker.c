/* SPDX-License-Identifier: ISC */
/*
 * checker: holds what passwords are checked against, and alone sees them
 * beside the session that took them in. Session engines bring what clients
 * say (auth_begin, auth_step); the answer is a challenge or a verdict. It
 * has no files but the one that master hands it, and computes no password
 * hash itself: its pool's processes do.
 */
#include "checker.h"

#include "jail.h"
#include "mem.h"
#include "must.h"
#include "scram.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "checker",
    .kind = PEER_CHECKER,
    .user = "veredus-checker",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "pread64 setsockopt",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_LIMITS,
};

/* Its pool's: they compute, and have one socket. */
static const struct daemon_row hasher_row = {
    .name = "checker-hasher",
    .user = "veredus-checker",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "",
};

static struct checker *checker_of(const struct channel *c)
{
	return daemon_of(c)->self;
}

/* -- engines ---------------------------------------------------------------------- */

static void on_begin(struct channel *c, const struct message *m)
{
	exchange_begin(checker_of(c), c, &m->auth_begin);
}

static void on_step(struct channel *c, const struct message *m)
{
	exchange_step(checker_of(c), c, &m->auth_step);
}

static void on_cancel(struct channel *c, const struct message *m)
{
	exchange_cancel(checker_of(c), c, m->auth_cancel.exchange);
}

static void on_frozen(struct channel *c, const struct message *m)
{
	frozen_take(checker_of(c)->frozen, m->frozen.logins);
}

static const struct serve serves[] = {
    {MSG_auth_begin, PEER_SMTPD | PEER_SUBMISSION, on_begin},
    {MSG_auth_step, PEER_SMTPD | PEER_SUBMISSION, on_step},
    {MSG_auth_cancel, PEER_SMTPD | PEER_SUBMISSION, on_cancel},
    {MSG_frozen, PEER_LIMITS, on_frozen},
    {MSG_NONE, 0, NULL},
};

static void checker_peer(struct daemon *d, struct channel *c)
{
	if (channel_peer(c) != PEER_LIMITS)
		offer_peer(d->self, c);
}

static void checker_gone(struct daemon *d, struct channel *c)
{
	offer_gone(d->self, c);
}

/* -- life ---------------------------------------------------------------------------- */

static void checker_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct checker *self = d->self;

	if (m->role == HANDLE_USERS && self->backend == &file_backend)
		file_arrived(self, fd);
	else if (m->role == HANDLE_DOVECOT && self->backend == &dovecot_backend)
		dovecot_arrived(self, fd, m->name);
	else
		close(fd);
}

static void checker_handle_none(struct daemon *d, const struct msg_handle_none *m)
{
	struct checker *self = d->self;

	if (m->role == HANDLE_USERS && self->backend == &file_backend)
		file_missing(self, m->why);
	else if (m->role == HANDLE_DOVECOT && self->backend == &dovecot_backend)
		dovecot_missing(self, m->why);
}

static void checker_start(struct daemon *d)
{
	struct checker *self = d->self;

	if (self->backend == &file_backend)
		file_start(self);
	else
		dovecot_start(self);
}

static const struct backend *backend_of(const struct daemon *d)
{
	return d->config->auth_dovecot.len ? &dovecot_backend : &file_backend;
}

/* Another backend is another checker: master starts it. The same one, elsewhere, has come as a
 * handle. */
static void checker_reload(struct daemon *d)
{
	const struct checker *self = d->self;

	if (self->backend != backend_of(d))
		exit(EX_OK);
}

static void hasher_jail(void *arg)
{
	const struct checker *self = arg;
	struct scram_verifier warm;

	/* OpenSSL reads its configuration at its first use. */
	must(scram_make_fresh(&warm, text_of("warm")));
	jail_enter(&hasher_row, self->d->config->queue);
}

static void withered(void *arg)
{
	const struct checker *self = arg;

	log_error(self->d->log, "no process is left to compute password hashes");
	exit(EX_SOFTWARE);
}

static void checker_warm_up(struct daemon *d)
{
	struct checker *self = mem_new(1, sizeof *self);
	struct scram_verifier warm;
	char nonce[16];

	d->self = self;
	self->d = d;
	self->users_fd = -1;
	self->users_stat = mem_new(1, sizeof *self->users_stat);
	self->awaiting_last = &self->awaiting;
	siphash_key_make(self->key);
	self->guesses = guesses_new(self->key);
	self->memory = memory_new();
	self->frozen = frozen_new();
	/* Ended ones are not waited for: their sockets tell. */
	signal(SIGCHLD, SIG_IGN);
	self->pool =
	    pool_new(d->loop, (unsigned)d->config->auth_workers, hasher_jail, withered, self);
	must(gsasl_init(&self->sasl) == GSASL_OK);
	self->backend = backend_of(d);
	file_init(self);
	dovecot_init(self);
	must(gsasl_nonce(nonce, sizeof nonce) == GSASL_OK);
	must(scram_make_fresh(&warm, text_of("warm")));
}

static const struct daemon_face face = {
    .warm_up = checker_warm_up,
    .start = checker_start,
    .reload = checker_reload,
    .handle = checker_handle,
    .handle_none = checker_handle_none,
    .peer = checker_peer,
    .gone = checker_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
