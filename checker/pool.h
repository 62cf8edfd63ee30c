/* SPDX-License-Identifier: ISC */
/*
 * Processes that check passwords, so that the checker's loop never waits: a
 * yescrypt hash takes 15 ms, a PAM module what it likes. They are made before
 * the jail, each enters its own, and each knows nothing but the one password
 * that it is asked about. What waits for them is bounded.
 */
#ifndef CHECKER_POOL_H
#define CHECKER_POOL_H

#include "loop.h"
#include "passwd_file.h"
#include "sasl.h"
#include "scram.h"

struct pool;
struct job;

enum { POOL_WAITING_MAX = 512 };

/* What goes through the socket, as one packet each way. */
struct question {
	uint32_t scheme;
	uint16_t secret_len, password_len;
	char address[46];		/* of the client, for PAM */
	char secret[PASSWD_SECRET_MAX]; /* the hash; for PAM the name */
	char password[PASSWORD_MAX];
};
struct answer {
	uint8_t verdict;	  /* enum auth_verdict */
	char name[LOGIN_MAX + 1]; /* PAM: whom its modules call him */
};

/* What a pool's processes do, both called there: once at first, and for each question. */
struct pool_work {
	void (*jail)(void *arg);
	void (*answer)(void *arg, const struct question *q, struct answer *a);
};

/* Hashes: WORK's answer for those who need no more. */
void pool_hash(void *arg, const struct question *q, struct answer *a);

/* Makes COUNT processes. WITHERED when the last of them is gone. */
struct pool *pool_new(struct loop *loop, unsigned count, const struct pool_work *work,
		      void (*withered)(void *arg), void *arg);

/*
 * Does PASSWORD fit SECRET? DONE is called later, once, unless the job is
 * cancelled. PREFERRED ones go before the others. NULL: too many are waiting. Texts are copied.
 */
struct pool_check {
	enum passwd_scheme scheme;
	struct text secret, password;
	const char *address; /* or NULL */
	bool preferred;
};
struct job *pool_check(struct pool *pool, const struct pool_check *check,
		       void (*done)(void *owner, const struct answer *a), void *owner);

void job_cancel(struct job **job); /* takes NULL, leaves NULL */

size_t pool_waiting(const struct pool *pool);

#endif
