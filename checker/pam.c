/* SPDX-License-Identifier: ISC */
/*
 * Logins by PAM: PLAIN and LOGIN, since PAM wants to see the password. Its
 * modules open what files they like, so its processes have a jail of another
 * kind: a user of their own, no capabilities, and none of the calls that are
 * for the machine's keepers.
 */
#include "pam.h"

#include "checker.h"
#include "jail.h"
#include "mem.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Modules tell by the time they take whether they know a name; failures are told at these marks. */
enum { MARK_MS = 500 };

enum stage {
	STAGE_BEGIN,	/* PLAIN: its response is due */
	STAGE_NAME,	/* LOGIN: its name is due */
	STAGE_PASSWORD, /* LOGIN: its password is due */
	STAGE_CHECK,	/* waits, or is being checked */
};

/* As they were at the start; others are another checker's. */
struct pam_keeping {
	char *service, *folder, *user;
};

static const struct daemon_row row = {
    .name = "checker-pam",
    .user = "veredus-pam", /* unless auth { pam-user } says another */
    .root = JAIL_NONE,
    .capabilities = "cap_audit_write=ep", /* of root; others have none */
    .system_calls = "",
};

static void jail(void *arg)
{
	const struct checker *self = arg;

	jail_enter_for_modules(&row, self->pam->user);
}

static void answer(void *arg, const struct question *q, struct answer *a)
{
	const struct checker *self = arg;

	pam_ask(self->pam->service, self->pam->folder, q, a);
}

static const struct pool_work asking = {jail, answer};

/* -- a check -------------------------------------------------------------------------- */

/* What is remembered with a password: no users file's line begins so. */
static struct text memory_line(const struct exchange *x, char *to, size_t size)
{
	return (struct text){to, (size_t)snprintf(to, size, "#pam %s", x->name)};
}

static void say_wrong(void *arg)
{
	struct exchange *x = arg;

	exchange_end(x, AUTH_WRONG, x->why);
}

static void end_at_mark(struct exchange *x, const char *why)
{
	struct duration took = monotime_since(loop_now(x->self->d->loop), x->asked_at);

	x->why = why;
	timer_clear(&x->delay);
	timer_init(&x->delay, x->self->d->loop, say_wrong, x);
	timer_set(&x->delay,
		  (struct duration){MILLISECONDS(MARK_MS).us - took.us % MILLISECONDS(MARK_MS).us});
}

static void checked(void *owner, const struct answer *a)
{
	struct exchange *x = owner;
	struct checker *self = x->self;
	char line[LOGIN_MAX + 8];

	x->job = NULL;
	if (a->verdict == AUTH_WRONG) {
		end_at_mark(x, "PAM: wrong password, or no such user");
	} else if (a->verdict == AUTH_DISABLED) {
		exchange_end(x, AUTH_DISABLED, "disabled: PAM's account says so");
	} else if (a->verdict != AUTH_GOOD || passwd_name_fault(text_of(a->name))) {
		exchange_end(x, AUTH_TEMPORARY, "PAM cannot check it (its modules' log says why)");
	} else {
		/* Modules may give a name another form; what is remembered is what was said. */
		if (passwd_same_name(text_of(a->name), text_of(x->name)))
			memory_keep(self->memory, loop_now(self->d->loop),
				    self->d->config->auth_remember,
				    memory_line(x, line, sizeof line), bytes_text(&x->held));
		if (!exchange_name(x, text_of(a->name)))
			return;
		const char *shut = exchange_shut(x);

		if (shut)
			end_at_mark(x, shut);
		else
			exchange_end(x, AUTH_GOOD, NULL);
	}
}

static bool is_remembered(const struct exchange *x)
{
	char line[LOGIN_MAX + 8];

	return !exchange_shut(x) &&
	       memory_has(x->self->memory, loop_now(x->self->d->loop),
			  memory_line(x, line, sizeof line), bytes_text(&x->held));
}

static void check(void *arg)
{
	struct exchange *x = arg;
	struct checker *self = x->self;
	char address[46];

	if (is_remembered(x)) {
		exchange_end(x, AUTH_GOOD, NULL);
		return;
	}
	x->asked_at = loop_now(self->d->loop);
	x->job = pool_check(self->pool,
			    &(struct pool_check){.secret = text_of(x->name),
						 .password = bytes_text(&x->held),
						 .address = host_address_print(x->address, address),
						 .preferred = x->known},
			    checked, x);
	if (!x->job)
		exchange_end(x, AUTH_LATER, "too many passwords wait to be checked");
}

/* PAM's texts end in NUL, and an empty password is none. */
static void password_given(struct exchange *x, struct text name, struct text password)
{
	struct checker *self = x->self;

	if (!exchange_name(x, name))
		return;
	x->stage = STAGE_CHECK;
	if (passwd_name_fault(name) || !password.len || password.len > PASSWORD_MAX) {
		exchange_end(x, AUTH_WRONG, "no name, or no password, as they can be");
		return;
	}
	bytes_add(&x->held, password.data, password.len);
	x->known =
	    guesses_knows(self->guesses, loop_now(self->d->loop), x->client, text_of(x->name));
	if (x->known && is_remembered(x))
		exchange_end(x, AUTH_GOOD, NULL);
	else
		exchange_wait(x, check);
}

/* -- what clients say --------------------------------------------------------------------- */

/* RFC 4616 section 2: [authzid] NUL authcid NUL passwd */
static void plain_take(struct exchange *x, struct text response)
{
	struct text part[3];

	for (int i = 0; i < 3; i++) {
		ptrdiff_t zero = text_find(response, '\0');

		if ((zero < 0) != (i == 2)) {
			exchange_end(x, AUTH_MALFORMED, "malformed");
			return;
		}
		part[i] = (struct text){response.data, zero < 0 ? response.len : (size_t)zero};
		if (zero >= 0)
			response = (struct text){response.data + zero + 1,
						 response.len - (size_t)zero - 1};
	}
	if (part[0].len && !passwd_same_name(part[0], part[1])) {
		if (exchange_name(x, part[1]))
			exchange_end(x, AUTH_WRONG, "asks to act for another");
		return;
	}
	password_given(x, part[1], part[2]);
}

static void login_take(struct exchange *x, struct text response)
{
	if (memchr(response.data ? response.data : "", '\0', response.len)) {
		exchange_end(x, AUTH_MALFORMED, "malformed");
	} else if (x->stage == STAGE_NAME) {
		if (!exchange_name(x, response))
			return;
		x->stage = STAGE_PASSWORD;
		exchange_challenge(x, text_of("Password:"));
	} else {
		char name[LOGIN_MAX + 1];

		text_copy(name, sizeof name, text_of(x->name));
		password_given(x, text_of(name), response);
	}
}

static void pam_step(struct exchange *x, struct text response)
{
	if (x->mechanism == SASL_LOGIN)
		login_take(x, response);
	else
		plain_take(x, response);
}

static void pam_start_exchange(struct exchange *x, bool has_initial, struct text initial)
{
	x->stage = x->mechanism == SASL_LOGIN ? STAGE_NAME : STAGE_BEGIN;
	if (has_initial)
		pam_step(x, initial);
	else
		exchange_challenge(x, x->mechanism == SASL_LOGIN ? text_of("Username:")
								 : (struct text){NULL, 0});
}

static void pam_drop(struct exchange *x)
{
	(void)x; /* its job ends with it */
}

const struct backend pam_backend = {pam_start_exchange, pam_step, pam_drop};

/* -- life ---------------------------------------------------------------------------------------
 */

void pam_init(struct checker *self, void (*withered)(void *arg))
{
	const struct config *config = self->d->config;
	struct text folder = config->auth_pam_folder;

	self->pam = mem_new(1, sizeof *self->pam);
	self->pam->service = mem_copy(config->auth_pam.data, config->auth_pam.len);
	self->pam->folder = folder.len ? mem_copy(folder.data, folder.len) : NULL;
	self->pam->user = mem_copy(config->auth_pam_user.data, config->auth_pam_user.len);
	self->pool =
	    pool_new(self->d->loop, (unsigned)config->auth_workers, &asking, withered, self);
}

void pam_begin(struct checker *self)
{
	checker_offer(self, SASL_PLAIN | SASL_LOGIN);
}

bool pam_is_another(const struct checker *self)
{
	const struct config *config = self->d->config;
	const struct pam_keeping *pam = self->pam;

	return !text_equals(config->auth_pam, pam->service) ||
	       !text_equals(config->auth_pam_user, pam->user) ||
	       !text_equals(config->auth_pam_folder, pam->folder ? pam->folder : "");
}
