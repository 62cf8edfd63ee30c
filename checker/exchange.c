/* SPDX-License-Identifier: ISC */
/*
 * Exchanges: one for each attempt, found by peer and number, bounded for a
 * peer and for a client. Each begins with nothing of an earlier one
 * (CVE-2011-1720 was a state used twice).
 */
#include "checker.h"

#include "mem.h"
#include "must.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t id_hash(const struct checker *self, const struct channel *c, uint64_t id)
{
	const uint64_t key[2] = {(uint64_t)(uintptr_t)c, id};

	return siphash(self->key, key, sizeof key) % EXCHANGE_BUCKETS;
}

static struct exchange *exchange_find(const struct checker *self, const struct channel *c,
				      uint64_t id)
{
	struct exchange *x = self->by_id[id_hash(self, c, id)];

	while (x && (x->id != id || x->peer != c))
		x = x->next_id;
	return x;
}

static size_t count_of_client(const struct checker *self, uint64_t client)
{
	size_t n = 0;

	for (const struct exchange *x = self->by_client[client % EXCHANGE_BUCKETS]; x;
	     x = x->next_client)
		n += x->client == client;
	return n;
}

static void bytes_wipe(struct bytes *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->size);
	bytes_free(b);
}

static void exchange_free(struct exchange *x)
{
	struct checker *self = x->self;
	struct exchange **at = &self->by_id[id_hash(self, x->peer, x->id)];
	size_t *count = offer_count(self, x->peer);

	while (*at != x)
		at = &(*at)->next_id;
	*at = x->next_id;
	for (at = &self->by_client[x->client % EXCHANGE_BUCKETS]; *at != x;)
		at = &(*at)->next_client;
	*at = x->next_client;
	(*count)--;
	exchange_await_end(x);
	x->backend->drop(x);
	timer_clear(&x->delay);
	job_cancel(&x->job);
	if (x->sasl)
		gsasl_finish(x->sasl);
	bytes_wipe(&x->held);
	bytes_free(&x->binding);
	bytes_free(&x->identity);
	free(x);
}

/* -- what is said of it ---------------------------------------------------------------- */

static void log_failure(const struct exchange *x, const char *why)
{
	char address[46], client[64];

	snprintf(client, sizeof client, "unknown[%s]", host_address_print(x->address, address));
	LOG(x->self->d->log, login_failed, 0, text_of(client), text_of(x->name),
	    text_of(sasl_name(x->mechanism)), text_of(why));
}

static void say_done(struct channel *c, uint64_t id, enum auth_verdict verdict, const char *login)
{
	channel_send_auth_done(c, &(struct msg_auth_done){id, (uint8_t)verdict, text_of(login)});
}

void exchange_count_failure(struct exchange *x, const char *why)
{
	struct checker *self = x->self;
	char reason[256];
	unsigned failures;

	if (x->counted)
		return;
	x->counted = true;
	failures =
	    guesses_failed(self->guesses, loop_now(self->d->loop), x->client, text_of(x->name));
	snprintf(reason, sizeof reason, "%s, failures=%u", why, failures);
	log_failure(x, reason);
}

static const char frozen_why[] = "the login is frozen; veredus user list says why";

const char *exchange_shut(const struct exchange *x)
{
	const struct checker *self = x->self;

	/* Certificates and tokens are not guessed. */
	if (x->mechanism == SASL_EXTERNAL || (x->mechanism & SASL_TOKENS) ||
	    !frozen_has(self->frozen, text_of(x->name)) ||
	    guesses_knows(self->guesses, loop_now(self->d->loop), x->client, text_of(x->name)))
		return NULL;
	return frozen_why;
}

/*
 * The right password of a frozen login. Its owner, where he has logged in before, is told. To
 * anybody else it is a wrong one, and most of them end before they come here.
 */
static void settle_frozen(struct exchange *x)
{
	bool known = !exchange_shut(x);

	if (known)
		log_failure(x, frozen_why);
	else
		exchange_count_failure(x, frozen_why);
	say_done(x->peer, x->id, known ? AUTH_DISABLED : AUTH_WRONG, "");
}

static void settle_good(struct exchange *x)
{
	struct checker *self = x->self;

	if (frozen_has(self->frozen, text_of(x->name))) {
		settle_frozen(x);
		return;
	}
	if (x->mechanism != SASL_EXTERNAL)
		guesses_succeeded(self->guesses, loop_now(self->d->loop), x->client,
				  text_of(x->name));
	say_done(x->peer, x->id, AUTH_GOOD, x->name);
}

void exchange_end(struct exchange *x, enum auth_verdict verdict, const char *why)
{
	if (verdict == AUTH_GOOD) {
		settle_good(x);
	} else if (verdict == AUTH_WRONG) {
		exchange_count_failure(x, why);
		say_done(x->peer, x->id, verdict, "");
	} else {
		log_failure(x, why);
		say_done(x->peer, x->id, verdict, "");
	}
	exchange_free(x);
}

void exchange_challenge(struct exchange *x, struct text challenge)
{
	x->client_turn = true;
	channel_send_auth_challenge(x->peer, &(struct msg_auth_challenge){x->id, challenge});
}

bool exchange_name(struct exchange *x, struct text name)
{
	if (name.len > LOGIN_MAX || memchr(name.data ? name.data : "", '\0', name.len)) {
		exchange_end(x, AUTH_WRONG, "the name is too long");
		return false;
	}
	text_copy(x->name, sizeof x->name, name);
	return true;
}

bool exchange_wait(struct exchange *x, void (*go)(void *arg))
{
	struct checker *self = x->self;
	struct duration wait =
	    guesses_admit(self->guesses, loop_now(self->d->loop), x->client, text_of(x->name));

	if (wait.us < 0) {
		exchange_end(x, AUTH_LATER, "too many failures before; not looked at");
		return false;
	}
	if (!wait.us) {
		go(x);
		return true;
	}
	timer_clear(&x->delay);
	timer_init(&x->delay, self->d->loop, go, x);
	timer_set(&x->delay, wait);
	return true;
}

/* -- what engines say --------------------------------------------------------------------- */

static bool begin_is_fine(const struct msg_auth_begin *m)
{
	return m->address.len == 16 && m->mechanism && !(m->mechanism & (m->mechanism - 1)) &&
	       (m->mechanism & SASL_ALL) && m->has_initial <= 1 && m->tls <= 1 &&
	       (m->has_initial || !m->initial.len);
}

/* Tokens are introspection's where that is configured; all else is the password backend's. */
static const struct backend *backend_for(const struct checker *self, unsigned mechanism)
{
	if ((mechanism & SASL_TOKENS) && self->d->config->auth_introspection.len)
		return &token_backend;
	return self->backend;
}

static struct exchange *exchange_new(struct checker *self, struct channel *c,
				     const struct msg_auth_begin *m)
{
	struct exchange *x = mem_new(1, sizeof *x);
	struct exchange **by_id = &self->by_id[id_hash(self, c, m->exchange)], **by_client;

	x->self = self;
	x->peer = c;
	x->id = m->exchange;
	x->mechanism = m->mechanism;
	x->backend = backend_for(self, m->mechanism);
	x->tls = m->tls != 0;
	memcpy(x->address, m->address.data, sizeof x->address);
	x->client = guesses_client(self->guesses, x->address);
	bytes_add(&x->binding, m->binding.data, m->binding.len);
	bytes_add(&x->identity, m->identity.data, m->identity.len);
	timer_init(&x->delay, self->d->loop, NULL, x);
	x->next_id = *by_id;
	*by_id = x;
	by_client = &self->by_client[x->client % EXCHANGE_BUCKETS];
	x->next_client = *by_client;
	*by_client = x;
	(*offer_count(self, c))++;
	return x;
}

void exchange_begin(struct checker *self, struct channel *c, const struct msg_auth_begin *m)
{
	if (!begin_is_fine(m) || exchange_find(self, c, m->exchange)) {
		channel_end(c, "began an exchange against the rules");
		return;
	}
	if (*offer_count(self, c) >= EXCHANGES_MOST) {
		say_done(c, m->exchange, AUTH_LATER, "");
		return;
	}
	struct exchange *x = exchange_new(self, c, m);

	must(x->backend);
	if (count_of_client(self, x->client) > EXCHANGES_CLIENT_MOST)
		exchange_end(x, AUTH_LATER, "too many logins of this client at once");
	else if (!(m->mechanism & self->offered))
		exchange_end(x, AUTH_TEMPORARY, "the mechanism is not offered any more");
	else
		x->backend->begin(x, m->has_initial != 0, m->initial);
}

void exchange_step(struct checker *self, struct channel *c, const struct msg_auth_step *m)
{
	struct exchange *x = exchange_find(self, c, m->exchange);

	if (!x || !x->client_turn) {
		channel_end(c, "continued an exchange that does not wait for it");
		return;
	}
	x->client_turn = false;
	x->backend->step(x, m->response);
}

void exchange_cancel(struct checker *self, struct channel *c, uint64_t id)
{
	struct exchange *x = exchange_find(self, c, id);

	if (!x)
		return;
	/* Who hangs up while he is being checked has guessed all the same: else it would cost us a
	 * hash, and him nothing. */
	if (!x->client_turn && !x->awaits)
		exchange_count_failure(x, "the client went away before the answer");
	exchange_free(x);
}

void exchanges_forget(struct checker *self, const struct channel *c)
{
	for (size_t i = 0; i < EXCHANGE_BUCKETS; i++)
		for (struct exchange *x = self->by_id[i], *next; x; x = next) {
			next = x->next_id;
			if (x->peer == c)
				exchange_free(x);
		}
}
