/* SPDX-License-Identifier: ISC */
/*
 * Logins by OAuth tokens that an authorization server is asked about. The
 * fetcher carries the question. Good tokens are known for a minute by a keyed
 * hash; a bad one is answered with an error, and, when the client has taken
 * note of it, with the end.
 */
#include "checker.h"

#include "introspection.h"
#include "mem.h"
#include "must.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	REMEMBER_SECONDS = 60,
	FETCHES_MAX = 200, /* the fetcher's own bound is above it */
	FETCH_SECONDS = 15,
	DIGEST_BYTES = 32,
	SETS = 1024,
	WAYS = 4,
};

enum stage {
	STAGE_BEGIN, /* its response is due */
	STAGE_ASKS,  /* waits, or is being asked about */
	STAGE_ERROR, /* heard what is wrong, and has to say that it did */
};

struct known {
	struct monotime until;
	uint8_t digest[DIGEST_BYTES];
	char login[LOGIN_MAX + 1];
};

struct tokens {
	struct channel *fetcher; /* NULL while there is none */
	size_t fetches;
	uint64_t next_id;
	struct bytes secret;
	uint8_t key[DIGEST_BYTES];
	struct known known[SETS][WAYS];
};

/* -- tokens that were good a moment ago -------------------------------------------------- */

static void digest_make(const struct exchange *x, uint8_t *digest)
{
	const struct tokens *tokens = x->self->tokens;

	must(HMAC(EVP_sha256(), tokens->key, sizeof tokens->key,
		  (const uint8_t *)bytes_at(&x->held), bytes_len(&x->held), digest, NULL));
}

static struct known *set_of(struct tokens *tokens, const uint8_t *digest)
{
	return tokens->known[(digest[0] | (size_t)digest[1] << 8) % SETS];
}

static const struct known *token_known(const struct exchange *x)
{
	struct checker *self = x->self;
	uint8_t digest[DIGEST_BYTES];

	digest_make(x, digest);
	const struct known *set = set_of(self->tokens, digest);

	for (int i = 0; i < WAYS; i++)
		if (set[i].until.us > loop_now(self->d->loop).us &&
		    CRYPTO_memcmp(set[i].digest, digest, sizeof digest) == 0 &&
		    (!x->name[0] || passwd_same_name(text_of(set[i].login), text_of(x->name))))
			return &set[i];
	return NULL;
}

static void token_keep(const struct exchange *x, const struct introspection *found)
{
	struct checker *self = x->self;
	struct duration how_long = self->d->config->auth_remember;
	uint8_t digest[DIGEST_BYTES];

	if (how_long.us > SECONDS(REMEMBER_SECONDS).us)
		how_long = SECONDS(REMEMBER_SECONDS);
	if (found->expires_s) {
		struct duration left = {found->expires_s * 1000000 - loop_wall(self->d->loop).us};

		how_long = left.us < how_long.us ? left : how_long;
	}
	if (how_long.us <= 0)
		return;
	digest_make(x, digest);
	struct known *set = set_of(self->tokens, digest), *k = &set[0];

	for (int i = 1; i < WAYS; i++)
		if (set[i].until.us < k->until.us)
			k = &set[i];
	k->until = monotime_add(loop_now(self->d->loop), how_long);
	memcpy(k->digest, digest, sizeof digest);
	memcpy(k->login, found->login, sizeof k->login);
}

/* -- how it ends ------------------------------------------------------------------------------ */

static void token_good(struct exchange *x, const char *login)
{
	if (exchange_name(x, text_of(login)))
		exchange_end(x, AUTH_GOOD, NULL);
}

/* RFC 7628 section 3.2.2: an error, a response that says nothing, and then the failure. */
static void token_wrong(struct exchange *x, enum token_error error, const char *why)
{
	struct bytes challenge = {0};

	/* A client need not wait for the end. */
	exchange_count_failure(x, why);
	x->stage = STAGE_ERROR;
	token_error_put(x->mechanism, error, x->self->d->config->auth_introspection_scope,
			&challenge);
	exchange_challenge(x, bytes_text(&challenge));
	bytes_free(&challenge);
}

/* -- the question ---------------------------------------------------------------------------- */

static void field_put(struct bytes *to, const char *name, struct text value)
{
	rec_field_encode(to, &(struct rec_field){text_of(name), value});
}

static void wipe(struct bytes *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->size);
	bytes_free(b);
}

static void token_ask(struct exchange *x)
{
	struct checker *self = x->self;
	struct tokens *tokens = self->tokens;
	const struct config *config = self->d->config;
	struct bytes body = {0}, fields = {0}, authorization = {0};
	bool secret = bytes_len(&tokens->secret) > 0;

	introspection_put_body(bytes_text(&x->held), &body);
	field_put(&fields, "Accept", text_of("application/json"));
	field_put(&fields, "Content-Type", text_of("application/x-www-form-urlencoded"));
	if (secret) {
		introspection_put_authorization(config, bytes_text(&tokens->secret),
						&authorization);
		field_put(&fields, "Authorization", bytes_text(&authorization));
	}
	x->fetch_id = ++tokens->next_id;
	tokens->fetches++;
	channel_send_fetch(tokens->fetcher, &(struct msg_fetch){
						.query = x->fetch_id,
						.purpose = FETCH_INTROSPECTION,
						.method = FETCH_POST,
						.url = config->auth_introspection,
						.fields = {secret ? 3 : 2, bytes_text(&fields)},
						.body = bytes_text(&body),
						.answer_max = 65536,
						.limit_ms = FETCH_SECONDS * 1000,
					    });
	wipe(&body);
	wipe(&fields);
	wipe(&authorization);
}

/* Its turn has come; the token stands in x->held. */
static void token_go(void *arg)
{
	struct exchange *x = arg;
	struct tokens *tokens = x->self->tokens;
	const struct known *known = token_known(x);

	if (known)
		token_good(x, known->login);
	else if (!tokens->fetcher)
		exchange_end(x, AUTH_TEMPORARY, "there is no fetcher now");
	else if (tokens->fetches >= FETCHES_MAX)
		exchange_end(x, AUTH_LATER, "too many tokens are being asked about");
	else
		token_ask(x);
}

/* -- the answer -------------------------------------------------------------------------------- */

static struct exchange *exchange_of(const struct checker *self, uint64_t fetch)
{
	for (size_t i = 0; fetch && i < EXCHANGE_BUCKETS; i++)
		for (struct exchange *x = self->by_id[i]; x; x = x->next_id)
			if (x->fetch_id == fetch)
				return x;
	return NULL;
}

static void fetch_failed(struct exchange *x, const struct msg_fetched *m)
{
	struct checker *self = x->self;
	char why[200], reason[120];

	if (m->outcome != FETCH_ANSWERED) {
		text_printable(reason, sizeof reason, m->reason);
		snprintf(why, sizeof why, "the introspection server cannot be asked: %s", reason);
	} else {
		snprintf(why, sizeof why, "the introspection server answers %u", m->status);
	}
	/* RFC 7662 section 2.3: we are not who may ask. Perhaps the secret is another one now. */
	if (m->outcome == FETCH_ANSWERED && (m->status == 401 || m->status == 403))
		channel_send_handle_ask(self->d->master,
					&(struct msg_handle_ask){.role = HANDLE_TOKEN_SECRET});
	exchange_end(x, AUTH_TEMPORARY, why);
}

void token_fetched(struct checker *self, const struct msg_fetched *m)
{
	struct exchange *x = exchange_of(self, m->query);
	struct introspection found;

	if (m->query && m->query <= self->tokens->next_id && self->tokens->fetches)
		self->tokens->fetches--;
	if (!x)
		return; /* the client is gone */
	x->fetch_id = 0;
	if (m->outcome != FETCH_ANSWERED || m->status != 200) {
		fetch_failed(x, m);
		return;
	}
	introspection_read(self->d->config, m->body, x->name, loop_wall(self->d->loop).us / 1000000,
			   &found);
	if (found.verdict == AUTH_GOOD) {
		token_keep(x, &found);
		token_good(x, found.login);
	} else if (found.verdict == AUTH_WRONG) {
		token_wrong(x, found.error, found.why);
	} else {
		exchange_end(x, found.verdict, found.why);
	}
}

void token_fetcher(struct checker *self, struct channel *fetcher)
{
	self->tokens->fetcher = fetcher;
	self->tokens->fetches = 0;
	for (size_t i = 0; i < EXCHANGE_BUCKETS; i++)
		for (struct exchange *x = self->by_id[i], *next; x; x = next) {
			next = x->next_id;
			if (!x->fetch_id)
				continue;
			x->fetch_id = 0;
			exchange_end(x, AUTH_TEMPORARY, "the fetcher is gone");
		}
}

/* One line, in a file of master's choice. */
void token_secret_arrived(struct checker *self, int fd)
{
	char line[TOKEN_SECRET_MAX + 1];
	ssize_t n = pread(fd, line, sizeof line, 0);
	struct text secret = {line, n > 0 ? (size_t)n : 0};
	ptrdiff_t end = text_find(secret, '\n');

	close(fd);
	if (end >= 0)
		secret.len = (size_t)end;
	secret = text_trim(secret);
	if (secret.len && secret.data[secret.len - 1] == '\r')
		secret.len--;
	wipe(&self->tokens->secret);
	if (n > TOKEN_SECRET_MAX || !secret.len)
		log_warning(self->d->log,
			    "introspection-secret-file: no line of at most %d octets is there",
			    TOKEN_SECRET_MAX);
	else
		bytes_add(&self->tokens->secret, secret.data, secret.len);
	OPENSSL_cleanse(line, sizeof line);
}

/* Who is asked, what is asked for and with what may be other ones: what was good is asked about
 * anew. A secret that is configured has come already. */
void token_reload(struct checker *self)
{
	struct tokens *tokens = self->tokens;

	OPENSSL_cleanse(tokens->known, sizeof tokens->known);
	if (!self->d->config->auth_introspection_secret.len)
		wipe(&tokens->secret);
}

/* -- what clients say ----------------------------------------------------------------------------
 */

static void token_take(struct exchange *x, struct text response)
{
	struct token_message m;
	enum token_reading reading = token_message_read(x->mechanism, response, &m);

	if (reading == TOKEN_MALFORMED) {
		exchange_end(x, AUTH_MALFORMED, "malformed");
		return;
	}
	if (!exchange_name(x, text_of(m.name)))
		return;
	x->stage = STAGE_ASKS;
	if (reading == TOKEN_NONE) {
		token_wrong(x, TOKEN_INVALID, "there is no bearer token");
		return;
	}
	bytes_add(&x->held, m.token.data, m.token.len);
	exchange_wait(x, token_go);
}

static void token_step(struct exchange *x, struct text response)
{
	/* OAUTHBEARER's is one %x01, XOAUTH2's is empty; whatever it is, it ends here. */
	if (x->stage == STAGE_ERROR)
		exchange_end(x, AUTH_WRONG, "the token was refused");
	else
		token_take(x, response);
}

static void token_begin(struct exchange *x, bool has_initial, struct text initial)
{
	x->stage = STAGE_BEGIN;
	if (has_initial)
		token_take(x, initial);
	else
		exchange_challenge(x, (struct text){NULL, 0});
}

static void token_drop(struct exchange *x)
{
	x->fetch_id = 0; /* its answer finds nobody */
}

const struct backend token_backend = {token_begin, token_step, token_drop};

void token_init(struct checker *self)
{
	struct tokens *tokens = mem_new(1, sizeof *tokens);
	size_t seed;

	must(getrandom(tokens->key, sizeof tokens->key, 0) == (ssize_t)sizeof tokens->key);
	/* jansson would open /dev/urandom at its first object, in the jail. */
	must(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
	json_object_seed(seed | 1);
	self->tokens = tokens;
}
