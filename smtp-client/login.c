/* SPDX-License-Identifier: ISC */
/* Asking the checker. */
#include "login.h"

#include "mem.h"

#include <openssl/crypto.h>

enum { SAID_MAX = 64, SAID_SECONDS = 60 };

struct logins {
	struct channel *checker; /* NULL while there is none */
	uint64_t last_query;
	struct login *buckets[LOGIN_BUCKETS];
	struct {
		uint64_t fingerprint;
		struct monotime at;
	} said[SAID_MAX]; /* by fingerprint; forgetful */
};

struct logins *logins_new(void)
{
	return mem_new(1, sizeof(struct logins));
}

bool logins_may_say(struct logins *all, struct monotime now, uint64_t fingerprint)
{
	size_t i = fingerprint % SAID_MAX;

	if (all->said[i].fingerprint == fingerprint &&
	    monotime_since(now, all->said[i].at).us < SECONDS(SAID_SECONDS).us)
		return false;
	all->said[i].fingerprint = fingerprint;
	all->said[i].at = now;
	return true;
}

static struct login *login_find(const struct logins *all, uint64_t query)
{
	struct login *l = all->buckets[query % LOGIN_BUCKETS];

	while (l && l->query != query)
		l = l->next;
	return l;
}

static void login_unlink(struct login *l)
{
	if (!l->prev)
		return;
	*l->prev = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->prev = NULL;
}

static void login_ask(struct login *l)
{
	struct logins *all = l->all;

	if (!all->checker)
		return;
	l->asked = true;
	channel_send_relay_begin(all->checker,
				 &(struct msg_relay_begin){
				     .query = l->query,
				     .route = l->route->label,
				     .fingerprint = l->route->fingerprint,
				     .mechanisms = l->mechanisms,
				     .safety = l->safety,
				     .binding = {(const char *)l->binding, l->binding_len},
				 });
}

void login_begin(struct login *l, struct logins *all)
{
	l->all = all;
	l->query = ++all->last_query;
	l->asked = l->final = false;
	l->prev = &all->buckets[l->query % LOGIN_BUCKETS];
	l->next = *l->prev;
	if (l->next)
		l->next->prev = &l->next;
	*l->prev = l;
	login_ask(l);
}

void login_step(struct login *l, struct text challenge)
{
	if (l->all->checker)
		channel_send_relay_step(l->all->checker,
					&(struct msg_relay_step){l->query, challenge});
}

void login_end(struct login *l, enum relay_outcome outcome)
{
	if (!login_is_open(l))
		return;
	if (l->asked && l->all->checker)
		channel_send_relay_heard(l->all->checker,
					 &(struct msg_relay_heard){l->query, (uint8_t)outcome});
	if (outcome != RELAY_REFUSED)
		login_unlink(l);
}

/* -- the checker ------------------------------------------------------------------------- */

void logins_set_checker(struct logins *all, struct channel *checker)
{
	if (all->checker)
		logins_lost_checker(all, all->checker);
	all->checker = checker;
	for (size_t i = 0; i < LOGIN_BUCKETS; i++)
		for (struct login *l = all->buckets[i]; l; l = l->next)
			if (!l->asked)
				login_ask(l);
}

/* What was under way there is known to nobody now. */
void logins_lost_checker(struct logins *all, const struct channel *checker)
{
	static const struct msg_relay_done lost = {.dsn = TEXT("4.3.0"),
						   .reason = TEXT("the checker is gone")};

	if (all->checker != checker)
		return;
	all->checker = NULL;
	for (size_t i = 0; i < LOGIN_BUCKETS; i++)
		for (struct login *l = all->buckets[i], *next; l; l = next) {
			next = l->next;
			if (!l->asked)
				continue;
			login_unlink(l);
			l->done(l->arg, &lost);
			/* Whoever was told may have closed others. */
			next = all->buckets[i];
		}
}

bool logins_say(struct logins *all, const struct channel *c, const struct msg_relay_say *m)
{
	struct login *l = login_find(all, m->query);

	if (c != all->checker)
		return true;
	if (m->query > all->last_query || !m->query)
		return false;
	if (l && l->asked) {
		l->final = m->final != 0;
		l->say(l->arg, m);
	}
	/* The channel's own memory: what it holds was for us. */
	if (m->response.len)
		OPENSSL_cleanse((void *)(uintptr_t)m->response.data, m->response.len);
	return true;
}

bool logins_done(struct logins *all, const struct channel *c, const struct msg_relay_done *m)
{
	struct login *l = login_find(all, m->query);

	if (c != all->checker)
		return true;
	if (m->query > all->last_query || !m->query)
		return false;
	if (l && l->asked) { /* else we gave it up meanwhile */
		login_unlink(l);
		l->done(l->arg, m);
	}
	return true;
}
