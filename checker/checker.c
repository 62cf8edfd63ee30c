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
#include "relay.h"
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
    .system_calls = "pread64 pwrite64 fdatasync setsockopt",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_LIMITS | PEER_FETCHER | PEER_SMTP_CLIENT,
};

/* Its pool's: they compute, and have one socket. Those that ask PAM have a row in pam.c. */
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

static void on_fetched(struct channel *c, const struct message *m)
{
	if (m->fetched.query & RELAY_FETCH)
		relays_fetched(checker_of(c)->relays, &m->fetched);
	else
		token_fetched(checker_of(c), &m->fetched);
}

static void on_relay_begin(struct channel *c, const struct message *m)
{
	relay_begin(checker_of(c)->relays, c, &m->relay_begin);
}

static void on_relay_step(struct channel *c, const struct message *m)
{
	relay_step(checker_of(c)->relays, c, &m->relay_step);
}

static void on_relay_heard(struct channel *c, const struct message *m)
{
	relay_heard(checker_of(c)->relays, c, &m->relay_heard);
}

static const struct serve serves[] = {
    {MSG_auth_begin, PEER_SMTPD | PEER_SUBMISSION, on_begin},
    {MSG_auth_step, PEER_SMTPD | PEER_SUBMISSION, on_step},
    {MSG_auth_cancel, PEER_SMTPD | PEER_SUBMISSION, on_cancel},
    {MSG_frozen, PEER_LIMITS, on_frozen},
    {MSG_fetched, PEER_FETCHER, on_fetched},
    {MSG_relay_begin, PEER_SMTP_CLIENT, on_relay_begin},
    {MSG_relay_step, PEER_SMTP_CLIENT, on_relay_step},
    {MSG_relay_heard, PEER_SMTP_CLIENT, on_relay_heard},
    {MSG_NONE, 0, NULL},
};

static void checker_peer(struct daemon *d, struct channel *c)
{
	struct checker *self = d->self;

	if (channel_peer(c) == PEER_FETCHER) {
		token_fetcher(self, c);
		relays_fetcher(self->relays, c);
	} else if (channel_peer(c) & (PEER_SMTPD | PEER_SUBMISSION)) {
		offer_peer(self, c);
	}
}

static void checker_gone(struct daemon *d, struct channel *c)
{
	struct checker *self = d->self;

	if (channel_peer(c) == PEER_FETCHER) {
		token_fetcher(self, NULL);
		relays_fetcher(self->relays, NULL);
	} else if (channel_peer(c) == PEER_SMTP_CLIENT) {
		relays_forget(self->relays, c);
	} else {
		offer_gone(self, c);
	}
}

/* -- life ---------------------------------------------------------------------------- */

static void checker_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct checker *self = d->self;

	if (m->role == HANDLE_USERS && self->backend == &file_backend)
		file_arrived(self, fd);
	else if (m->role == HANDLE_DOVECOT && self->backend == &dovecot_backend)
		dovecot_arrived(self, fd, m->name);
	else if (m->role == HANDLE_TOKEN_SECRET)
		token_secret_arrived(self, fd);
	else if (m->role == HANDLE_CHECKER_KEY)
		file_key_arrived(self, fd);
	else if (m->role >= HANDLE_RELAY_PASSWORD && m->role <= HANDLE_RELAY_STATE)
		relays_handle(self->relays, m, fd);
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
	else if (m->role >= HANDLE_RELAY_PASSWORD && m->role <= HANDLE_RELAY_STATE)
		relays_handle_none(self->relays, m->role, m->index, m->why);
}

/* Where there are tokens and no passwords. Nothing that comes here was offered. */
static void nothing_begin(struct exchange *x, bool has_initial, struct text initial)
{
	(void)has_initial;
	(void)initial;
	exchange_end(x, AUTH_TEMPORARY, "no passwords are checked here");
}

static void nothing_step(struct exchange *x, struct text response)
{
	nothing_begin(x, true, response);
}

static void nothing_drop(struct exchange *x)
{
	(void)x;
}

static const struct backend no_backend = {nothing_begin, nothing_step, nothing_drop};

static const struct backend *backend_of(const struct daemon *d)
{
	return d->config->auth_dovecot.len ? &dovecot_backend
	       : d->config->auth_pam.len   ? &pam_backend
	       : d->config->auth_users.len ? &file_backend
					   : &no_backend;
}

static void checker_start(struct daemon *d)
{
	struct checker *self = d->self;

	relays_start(self->relays);
	if (self->backend == &file_backend)
		file_start(self);
	else if (self->backend == &dovecot_backend)
		dovecot_start(self);
	else if (self->backend == &pam_backend)
		pam_begin(self);
	else
		checker_offer(self, 0);
}

/* Another backend is another checker: master starts it. The same one, elsewhere, has come as a
 * handle. */
static void checker_reload(struct daemon *d)
{
	struct checker *self = d->self;

	if (self->backend != backend_of(d) ||
	    (self->backend == &pam_backend && pam_is_another(self)))
		exit(EX_OK);
	token_reload(self);
	relays_start(self->relays);
	/* Introspection may have come or gone. */
	if (self->offered)
		checker_offer(self, self->backend_offers);
}

static void hasher_jail(void *arg)
{
	const struct checker *self = arg;
	struct scram_verifier warm;

	/* OpenSSL reads its configuration at its first use. */
	must(scram_make_fresh(&warm, text_of("warm")));
	jail_enter(&hasher_row, self->d->config->queue);
}

static const struct pool_work hashing = {hasher_jail, pool_hash};

static void withered(void *arg)
{
	const struct checker *self = arg;

	log_error(self->d->log, "no process is left to check passwords");
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
	self->backend = backend_of(d);
	if (self->backend == &pam_backend)
		pam_init(self, withered);
	else if (self->backend == &file_backend)
		self->pool =
		    pool_new(d->loop, (unsigned)d->config->auth_workers, &hashing, withered, self);
	must(gsasl_init(&self->sasl) == GSASL_OK);
	file_init(self);
	dovecot_init(self);
	token_init(self);
	self->relays = relays_new(self);
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
