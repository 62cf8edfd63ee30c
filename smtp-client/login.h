/* SPDX-License-Identifier: ISC */
/*
 * Logins at relays, as the checker is asked about them: it knows the
 * passwords and the tokens, and says what is to be said. A login that begins
 * while there is no checker waits for one.
 */
#ifndef SMTP_CLIENT_LOGIN_H
#define SMTP_CLIENT_LOGIN_H

#include "channel.h"
#include "config.h"
#include "sasl.h"

enum { LOGIN_BUCKETS = 256 };

struct logins;

/* One login; embedded in its owner. */
struct login {
	struct login *next, **prev; /* in its bucket; prev is NULL when it is not open */
	struct logins *all;
	uint64_t query;
	bool asked; /* of the present checker */
	bool final; /* success may come now */
	bool tried; /* a second time, with another secret */
	/* What the question is; ROUTE is the owner's. */
	const struct config_route *route;
	uint16_t mechanisms;
	uint8_t safety;
	uint8_t binding[SASL_BINDING_MAX];
	size_t binding_len;
	/* To be said; the response dies with the call, and is wiped. */
	void (*say)(void *arg, const struct msg_relay_say *m);
	/* There is no more to be had: a failure, or (m->again) it may be begun once more. The login
	 * is not open any more. */
	void (*done)(void *arg, const struct msg_relay_done *m);
	void *arg;
};

/* Lives as long as the process. */
struct logins *logins_new(void);

/* A fresh channel to the checker; one that is gone. */
void logins_set_checker(struct logins *all, struct channel *checker);
void logins_lost_checker(struct logins *all, const struct channel *checker);

/* May a failure of the login with that fingerprint be logged now? Once a minute each. */
bool logins_may_say(struct logins *all, struct monotime now, uint64_t fingerprint);

/* What it says on C. False: there is no such login. */
bool logins_say(struct logins *all, const struct channel *c, const struct msg_relay_say *m);
bool logins_done(struct logins *all, const struct channel *c, const struct msg_relay_done *m);

/* Its question, say, done and arg stand; it is not open. Answers never come from within. */
void login_begin(struct login *l, struct logins *all);
static inline bool login_is_open(const struct login *l)
{
	return l->prev != NULL;
}

/* The receiver's challenge, decoded. */
void login_step(struct login *l, struct text challenge);

/* It ended; harmless when it is not open. After RELAY_REFUSED it stays open, and done follows. */
void login_end(struct login *l, enum relay_outcome outcome);

#endif
