/* SPDX-License-Identifier: ISC */
/*
 * Processes that compute password hashes, so that the checker's loop never
 * does: a yescrypt hash takes 15 ms. They are made before the jail, each
 * enters its own, and each knows nothing but the one hash and password that
 * it is asked about. What waits for them is bounded.
 */
#ifndef CHECKER_POOL_H
#define CHECKER_POOL_H

#include "loop.h"
#include "passwd_file.h"

struct pool;
struct job;

enum { POOL_WAITING_MAX = 512 };

/* Makes COUNT processes; JAIL is called in each. WITHERED when the last of them is gone. */
struct pool *pool_new(struct loop *loop, unsigned count, void (*jail)(void *arg),
		      void (*withered)(void *arg), void *arg);

/*
 * Does PASSWORD fit SECRET? DONE is called later, once, unless the job is
 * cancelled. PREFERRED ones go before the others. NULL: too many are waiting. Texts are copied.
 */
struct job *pool_check(struct pool *pool, enum passwd_scheme scheme, struct text secret,
		       struct text password, bool preferred, void (*done)(void *owner, bool fits),
		       void *owner);

void job_cancel(struct job **job); /* takes NULL, leaves NULL */

size_t pool_waiting(const struct pool *pool);

#endif
