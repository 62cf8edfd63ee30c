/* SPDX-License-Identifier: ISC */
/*
 * Logins by the users file. Master opens it, since the jail has no files; it
 * is asked anew when the file in hand was replaced or changed, and else at
 * most each second, so that a change is seen by the next who logs in.
 */
#include "checker.h"

#include "base64.h"
#include "file.h"
#include "mem.h"
#include "scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ASK_EVERY_MS = 1000 };

enum stage {
	STAGE_BEGIN,	/* nothing was said yet */
	STAGE_NAME,	/* LOGIN: its name is due */
	STAGE_PASSWORD, /* LOGIN: its password is due */
	STAGE_PROOF,	/* SCRAM: the client's proof is due */
	STAGE_FINAL,	/* SCRAM: an empty response is due */
	STAGE_CHECK,	/* waits, or is being computed */
};

/* -- the file ------------------------------------------------------------------------- */

static void say_line(void *arg, unsigned line, const char *why)
{
	struct checker *self = arg;
	const struct config *config = self->d->config;

	log_warning(self->d->log, "%.*s:%u: %s", (int)config->auth_users.len,
		    config->auth_users.data, line, why);
}

static uint8_t file_offer(const struct checker *self)
{
	unsigned scram = SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_256_PLUS;
	unsigned all = SASL_PLAIN | SASL_LOGIN | SASL_EXTERNAL;

	/* A client picks the strongest, and would fail with a user who has no verifier for it. */
	if (!self->users || users_scram(self->users) == users_count(self->users))
		all |= scram;
	return (uint8_t)all;
}

static bool content_read(int fd, struct bytes *to)
{
	ssize_t n;

	do {
		n = pread(fd, bytes_room(to, 65536), 65536, (off_t)bytes_len(to));
		if (n > 0)
			to->end += (size_t)n;
	} while (n > 0 && bytes_len(to) <= PASSWD_FILE_MAX);
	return n == 0;
}

static void file_fault(struct checker *self, const char *why)
{
	if (strcmp(why, self->users_fault) != 0)
		log_warning(self->d->log, "nobody can log in: %s", why);
	snprintf(self->users_fault, sizeof self->users_fault, "%s", why);
	users_free(&self->users);
	if (self->users_fd >= 0)
		close(self->users_fd);
	self->users_fd = -1;
}

static void say_loaded(struct checker *self, const struct stat *st)
{
	const struct config *config = self->d->config;
	size_t count = users_count(self->users), scram = users_scram(self->users);

	if (st->st_mode & 077)
		log_warning(self->d->log, "%.*s can be read by others than its owner (mode %03o)",
			    (int)config->auth_users.len, config->auth_users.data,
			    (unsigned)st->st_mode & 0777);
	if (scram != count && scram)
		log_warning(self->d->log,
			    "%.*s: %zu of %zu users have no SCRAM verifier, so that SCRAM is not "
			    "offered; veredus user passwd makes one",
			    (int)config->auth_users.len, config->auth_users.data, count - scram,
			    count);
}

static void file_load(struct checker *self, int fd, const struct stat *st)
{
	struct bytes content = {0};

	if (!S_ISREG(st->st_mode) || st->st_size > PASSWD_FILE_MAX || !content_read(fd, &content)) {
		bytes_free(&content);
		close(fd);
		file_fault(self, "the users file cannot be read, or is too large");
		return;
	}
	users_free(&self->users);
	self->users = users_new(&content, say_line, self);
	if (self->users_fd >= 0)
		close(self->users_fd);
	self->users_fd = fd;
	*self->users_stat = *st;
	self->users_fault[0] = '\0';
	say_loaded(self, st);
}

static void file_go(struct exchange *x, bool has_initial, struct text initial);

void file_arrived(struct checker *self, int fd)
{
	struct stat st;

	self->users_asked = false;
	self->users_asked_at = loop_now(self->d->loop);
	if (fstat(fd, &st) != 0) {
		close(fd);
		file_fault(self, "the users file cannot be looked at");
	} else if (self->users && file_is_same(&st, self->users_stat)) {
		close(fd);
	} else {
		file_load(self, fd, &st);
	}
	checker_offer(self, file_offer(self));
	awaiting_go_on(self, file_go);
}

void file_missing(struct checker *self, struct text why)
{
	char text[sizeof self->users_fault];

	self->users_asked = false;
	text_copy(text, sizeof text, why);
	file_fault(self, text);
	checker_offer(self, file_offer(self));
	awaiting_go_on(self, file_go);
}

/* False: master has to be asked first. */
static bool file_is_fresh(const struct checker *self)
{
	struct duration age = monotime_since(loop_now(self->d->loop), self->users_asked_at);
	struct stat st;

	if (self->users_fd < 0 || age.us >= MILLISECONDS(ASK_EVERY_MS).us)
		return false;
	return fstat(self->users_fd, &st) == 0 && st.st_nlink > 0 &&
	       file_is_same(&st, self->users_stat);
}

static void file_ask(struct checker *self)
{
	if (self->users_asked)
		return;
	self->users_asked = true;
	self->users_asked_at = loop_now(self->d->loop);
	channel_send_handle_ask(self->d->master, &(struct msg_handle_ask){.role = HANDLE_USERS});
}

/* -- names that do not exist ------------------------------------------------------------- */

/*
 * They have salts as well (RFC 5802 section 9 names the attack), the same at
 * each attempt, after a restart, and whoever is added or removed: the key is
 * the checker's own, of a file that master keeps.
 */
void file_key_arrived(struct checker *self, int fd)
{
	uint8_t key[FAKE_KEY_BYTES];

	if (pread(fd, key, sizeof key, 0) == (ssize_t)sizeof key)
		memcpy(self->fake_key, key, sizeof key);
	else
		log_warning(self->d->log, "the checker's key cannot be read; names that do not "
					  "exist have other salts until the next start");
	close(fd);
}

static uint64_t name_number(const struct checker *self, const char *name, uint8_t *digest)
{
	char lower[LOGIN_MAX + 1];
	size_t n = 0;
	uint64_t number;

	for (; name[n]; n++)
		lower[n] = ascii_lower(name[n]);
	HMAC(EVP_sha256(), self->fake_key, sizeof self->fake_key, (const uint8_t *)lower, n, digest,
	     NULL);
	memcpy(&number, digest, sizeof number);
	return number;
}

/* A stand-in with the cost of a user picked by the name: failing takes as long as with one. */
static void fake_user(const struct checker *self, const char *name, struct passwd_user *user,
		      char *text)
{
	struct scram_verifier v = {.iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT_BYTES};
	uint8_t digest[32];
	uint64_t number = name_number(self, name, digest);

	if (self->users && users_like(self->users, number, user)) {
		struct scram_verifier like;

		if (user->secret.len && user->scheme == PASSWD_CRYPT)
			return;
		if (user->secret.len && scram_read(user->secret, &like)) {
			v.iterations = like.iterations;
			v.salt_len = like.salt_len < sizeof digest ? like.salt_len : sizeof digest;
		}
	}
	memcpy(v.salt, digest, v.salt_len);
	memcpy(v.stored_key, digest, sizeof v.stored_key);
	memcpy(v.server_key, digest, sizeof v.server_key);
	scram_print(&v, text);
	*user = (struct passwd_user){.secret = text_of(text), .scheme = PASSWD_SCRAM};
}

/* Whom the name means; else a stand-in, and WHY says what will be wrong. */
static void user_find(struct exchange *x, struct passwd_user *user, struct text *line, char *text)
{
	struct checker *self = x->self;

	x->why = "no such user";
	*line = (struct text){NULL, 0};
	if (self->users && users_find(self->users, text_of(x->name), user, line)) {
		x->disabled = user->disabled;
		x->why = NULL;
		text_copy(x->name, sizeof x->name, user->name);
		if (user->allow_nets.len && !passwd_net_allows(user->allow_nets, x->address))
			x->why = "not from this address (allow_nets)";
		else if (!user->secret.len)
			x->why = "disabled: the password is locked";
		else
			x->why = exchange_shut(x);
		if (user->secret.len)
			return;
	}
	fake_user(self, x->name, user, text);
}

/* -- passwords ------------------------------------------------------------------------------ */

static void settle(struct exchange *x, bool fits, const char *wrong)
{
	if (x->why)
		exchange_end(x, AUTH_WRONG, x->why);
	else if (!fits)
		exchange_end(x, AUTH_WRONG, wrong);
	else if (x->disabled)
		exchange_end(x, AUTH_DISABLED, "disabled");
	else
		exchange_end(x, AUTH_GOOD, NULL);
}

static void password_checked(void *owner, const struct answer *a)
{
	struct exchange *x = owner;
	struct checker *self = x->self;
	char text[SCRAM_TEXT_BYTES];
	struct passwd_user user;
	struct text line;
	bool fits = a->verdict == AUTH_GOOD;

	x->job = NULL;
	if (fits && !x->why && self->users) {
		user_find(x, &user, &line, text);
		/* Unless the line became another meanwhile. */
		if (siphash(self->key, line.data, line.len) == x->line_mark)
			memory_keep(self->memory, loop_now(self->d->loop),
				    self->d->config->auth_remember, line, bytes_text(&x->held));
	}
	settle(x, fits, "wrong password");
}

static void password_check(void *arg)
{
	struct exchange *x = arg;
	struct checker *self = x->self;
	char text[SCRAM_TEXT_BYTES];
	struct passwd_user user;
	struct text line;

	user_find(x, &user, &line, text);
	if (!x->why &&
	    memory_has(self->memory, loop_now(self->d->loop), line, bytes_text(&x->held))) {
		settle(x, true, NULL);
		return;
	}
	x->line_mark = siphash(self->key, line.data, line.len);
	x->job = pool_check(self->pool,
			    &(struct pool_check){.scheme = user.scheme,
						 .secret = user.secret,
						 .password = bytes_text(&x->held),
						 .preferred = x->known},
			    password_checked, x);
	if (!x->job)
		exchange_end(x, AUTH_LATER, "too many passwords wait to be checked");
}

/* The password stands in x->held. */
static void password_given(struct exchange *x)
{
	struct checker *self = x->self;
	struct monotime now = loop_now(self->d->loop);
	char text[SCRAM_TEXT_BYTES];
	struct passwd_user user;
	struct text line;

	x->stage = STAGE_CHECK;
	if (bytes_len(&x->held) > PASSWORD_MAX) {
		exchange_end(x, AUTH_WRONG, "the password is too long");
		return;
	}
	user_find(x, &user, &line, text);
	x->known = guesses_knows(self->guesses, now, x->client, text_of(x->name));
	/* Its owner, where he always is, waits for nobody's guesses. */
	if (x->known && !x->why && memory_has(self->memory, now, line, bytes_text(&x->held)))
		settle(x, true, NULL);
	else
		exchange_wait(x, password_check);
}

static void login_step(struct exchange *x, struct text response)
{
	if (x->stage == STAGE_BEGIN) {
		x->stage = STAGE_NAME;
		exchange_challenge(x, text_of("Username:"));
	} else if (x->stage == STAGE_NAME) {
		if (!exchange_name(x, response))
			return;
		x->stage = STAGE_PASSWORD;
		exchange_challenge(x, text_of("Password:"));
	} else if (memchr(response.data ? response.data : "", '\0', response.len)) {
		exchange_end(x, AUTH_MALFORMED, "malformed");
	} else {
		bytes_add(&x->held, response.data, response.len);
		password_given(x);
	}
}

/* -- certificates ------------------------------------------------------------------------------ */

/* RFC 4422 appendix A: an empty response asks for the identity of the certificate itself. */
static void external_step(struct exchange *x, struct text response)
{
	struct text identity = bytes_text(&x->identity);
	char text[SCRAM_TEXT_BYTES];
	struct passwd_user user;
	struct text line;

	if (!exchange_name(x, response.len ? response : identity))
		return;
	if (!identity.len)
		x->why = "no client certificate";
	else if (response.len && !passwd_same_name(response, identity))
		x->why = "the certificate is another's";
	else
		user_find(x, &user, &line, text);
	settle(x, true, NULL);
}

/* -- SCRAM and PLAIN by GNU SASL ------------------------------------------------------------------
 */

static void property_put(Gsasl_session *sasl, Gsasl_property property, const uint8_t *data,
			 size_t len)
{
	struct bytes b = {0};

	base64_put(&b, data, len);
	gsasl_property_set_raw(sasl, property, (const char *)bytes_at(&b), bytes_len(&b));
	bytes_free(&b);
}

/* What is stored for the name that the client gave, once. */
static int verifier_supply(struct exchange *x, Gsasl_session *sasl)
{
	const char *name = gsasl_property_fast(sasl, GSASL_AUTHID);
	char text[SCRAM_TEXT_BYTES], iterations[16];
	struct scram_verifier v;
	struct passwd_user user;
	struct text line;

	if (x->name[0])
		return GSASL_OK;
	if (!name || !*name || strlen(name) > LOGIN_MAX)
		return GSASL_AUTHENTICATION_ERROR;
	text_copy(x->name, sizeof x->name, text_of(name));
	user_find(x, &user, &line, text);
	if (user.scheme != PASSWD_SCRAM || !scram_read(user.secret, &v)) {
		/* One without a verifier came into the file a moment ago. */
		x->why = "no SCRAM verifier is stored for this user";
		memset(&v, 0, sizeof v);
		v.iterations = SCRAM_ITERATIONS;
		v.salt_len = SCRAM_SALT_BYTES;
	}
	snprintf(iterations, sizeof iterations, "%u", (unsigned)v.iterations);
	gsasl_property_set(sasl, GSASL_SCRAM_ITER, iterations);
	property_put(sasl, GSASL_SCRAM_SALT, v.salt, v.salt_len);
	property_put(sasl, GSASL_SCRAM_STOREDKEY, v.stored_key, sizeof v.stored_key);
	property_put(sasl, GSASL_SCRAM_SERVERKEY, v.server_key, sizeof v.server_key);
	return GSASL_OK;
}

static int password_take(struct exchange *x, Gsasl_session *sasl)
{
	const char *name = gsasl_property_fast(sasl, GSASL_AUTHID);
	const char *password = gsasl_property_fast(sasl, GSASL_PASSWORD);

	if (!name || !password || strlen(name) > LOGIN_MAX)
		return GSASL_AUTHENTICATION_ERROR;
	text_copy(x->name, sizeof x->name, text_of(name));
	bytes_add(&x->held, password, strlen(password));
	return GSASL_OK;
}

static int sasl_asks(Gsasl *context, Gsasl_session *sasl, Gsasl_property property)
{
	struct exchange *x = gsasl_session_hook_get(sasl);

	(void)context;
	if (!x)
		return GSASL_NO_CALLBACK;
	if (property == GSASL_VALIDATE_SIMPLE)
		return password_take(x, sasl);
	if (property == GSASL_SCRAM_ITER || property == GSASL_SCRAM_SALT ||
	    property == GSASL_SCRAM_STOREDKEY || property == GSASL_SCRAM_SERVERKEY)
		return verifier_supply(x, sasl);
	if (property == GSASL_CB_TLS_EXPORTER && bytes_len(&x->binding)) {
		property_put(sasl, property, bytes_at(&x->binding), bytes_len(&x->binding));
		return GSASL_OK;
	}
	return GSASL_NO_CALLBACK;
}

/* Who acts for another (an authorization identity) has no right to it. */
static bool acts_for_himself(struct exchange *x)
{
	const char *other = gsasl_property_fast(x->sasl, GSASL_AUTHZID);

	return !other || !*other || passwd_same_name(text_of(other), text_of(x->name));
}

static void challenge_go(void *arg)
{
	struct exchange *x = arg;
	struct bytes challenge = x->held;

	x->held = (struct bytes){0};
	x->stage = STAGE_PROOF;
	exchange_challenge(x, bytes_text(&challenge));
	bytes_free(&challenge);
}

static void plain_stepped(struct exchange *x, int result)
{
	if (result == GSASL_AUTHENTICATION_ERROR)
		exchange_end(x, AUTH_WRONG, "no name, or one that is too long");
	else if (result != GSASL_OK)
		exchange_end(x, AUTH_MALFORMED, "malformed");
	else if (!acts_for_himself(x))
		exchange_end(x, AUTH_WRONG, "asks to act for another");
	else
		password_given(x);
}

static void scram_failed(struct exchange *x, int result)
{
	if (result == GSASL_AUTHENTICATION_ERROR || x->stage == STAGE_PROOF) {
		if (!x->why && result != GSASL_AUTHENTICATION_ERROR)
			x->why = "the proof is malformed, or bound to another channel";
		settle(x, false, "wrong password");
	} else {
		exchange_end(x, AUTH_MALFORMED, "malformed");
	}
}

static void scram_stepped(struct exchange *x, int result, struct text answer)
{
	if (result == GSASL_NEEDS_MORE && !answer.len) {
		exchange_end(x, AUTH_MALFORMED, "malformed");
	} else if (result == GSASL_NEEDS_MORE && !x->name[0]) {
		exchange_end(x, AUTH_WRONG, "no name, or one that is too long");
	} else if (result == GSASL_NEEDS_MORE && x->stage == STAGE_BEGIN) {
		if (!acts_for_himself(x)) {
			exchange_end(x, AUTH_WRONG, "asks to act for another");
			return;
		}
		x->stage = STAGE_CHECK;
		bytes_add(&x->held, answer.data, answer.len);
		exchange_wait(x, challenge_go);
	} else if (result != GSASL_OK) {
		scram_failed(x, result);
	} else if (x->why || x->disabled) {
		settle(x, true, NULL);
	} else {
		/* RFC 4954 section 4: what goes with success is a challenge, with an empty
		 * response to it. */
		x->stage = STAGE_FINAL;
		exchange_challenge(x, answer);
	}
}

/* RFC 5802 section 6: "y" says that we do not offer a channel binding; if we do, somebody in
 * between took it away. */
static bool is_downgraded(const struct exchange *x, struct text response)
{
	return x->mechanism == SASL_SCRAM_SHA_256 && x->stage == STAGE_BEGIN && response.len &&
	       response.data[0] == 'y' && bytes_len(&x->binding);
}

static void sasl_step(struct exchange *x, struct text response)
{
	struct checker *self = x->self;
	char *out = NULL;
	size_t len = 0;

	if (is_downgraded(x, response)) {
		exchange_end(x, AUTH_WRONG, "channel binding was hidden from the client");
		return;
	}
	if (!x->sasl &&
	    gsasl_server_start(self->sasl, sasl_name(x->mechanism), &x->sasl) != GSASL_OK) {
		x->sasl = NULL;
		exchange_end(x, AUTH_TEMPORARY, "GNU SASL does not know the mechanism");
		return;
	}
	gsasl_session_hook_set(x->sasl, x);
	int result =
	    gsasl_step(x->sasl, response.data ? response.data : "", response.len, &out, &len);

	if (x->mechanism == SASL_PLAIN)
		plain_stepped(x, result);
	else
		scram_stepped(x, result, (struct text){out, out ? len : 0});
	gsasl_free(out);
}

/* -- the backend's face
 * ----------------------------------------------------------------------------- */

static void file_step(struct exchange *x, struct text response)
{
	if (x->mechanism == SASL_EXTERNAL) {
		external_step(x, response);
	} else if (x->mechanism == SASL_LOGIN) {
		login_step(x, response);
	} else if (x->stage == STAGE_FINAL) {
		if (response.len)
			exchange_end(x, AUTH_MALFORMED, "malformed");
		else
			settle(x, true, NULL);
	} else {
		sasl_step(x, response);
	}
}

static void file_go(struct exchange *x, bool has_initial, struct text initial)
{
	struct checker *self = x->self;

	x->stage = STAGE_BEGIN;
	if (!self->users) {
		exchange_end(x, AUTH_TEMPORARY, self->users_fault);
		return;
	}
	if (x->mechanism == SASL_LOGIN && has_initial)
		x->stage = STAGE_NAME;
	if (has_initial || x->mechanism == SASL_LOGIN)
		file_step(x, initial);
	else
		exchange_challenge(x, (struct text){NULL, 0}); /* the client's turn, RFC 4954 4 */
}

static void file_begin(struct exchange *x, bool has_initial, struct text initial)
{
	struct checker *self = x->self;

	if (file_is_fresh(self) && !self->users_asked) {
		file_go(x, has_initial, initial);
		return;
	}
	exchange_await(x, has_initial, initial);
	file_ask(self);
}

static void file_drop(struct exchange *x)
{
	(void)x; /* nothing runs for it that does not end with it */
}

const struct backend file_backend = {file_begin, file_step, file_drop};

void file_start(struct checker *self)
{
	if (!self->users)
		file_ask(self);
}

void file_init(struct checker *self)
{
	gsasl_callback_set(self->sasl, sasl_asks);
	/* Until the lasting one comes. */
	(void)!getrandom(self->fake_key, sizeof self->fake_key, 0);
}
