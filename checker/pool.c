/* SPDX-License-Identifier: ISC */
/* The checker's hash processes: the queue before them, and what each of them runs. */
#include "pool.h"

#include "mem.h"
#include "must.h"
#include "scram.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DISMISSED_FD = 3 };

struct job {
	struct job *next;
	struct question question;
	void (*done)(void *owner, const struct answer *a);
	void *owner;
	struct pool *pool;
	bool cancelled, running;
};

struct queue {
	struct job *first, **last;
};

struct worker {
	struct pool *pool;
	struct watch watch;
	struct job *job; /* NULL: idle */
	int fd;		 /* -1: gone */
};

struct pool {
	struct loop *loop;
	struct queue preferred, others;
	size_t waiting;
	struct worker *workers;
	unsigned count;
	void (*withered)(void *arg);
	void *arg;
};

/* -- in a worker -------------------------------------------------------------------- */

static bool crypt_fits(const char *secret, const char *password)
{
	static struct crypt_data data;
	const char *hash = crypt_rn(password, secret, &data, (int)sizeof data);
	size_t len = strlen(secret);
	bool fits = hash && strlen(hash) == len && CRYPTO_memcmp(hash, secret, len) == 0;

	OPENSSL_cleanse(&data, sizeof data);
	return fits;
}

void pool_hash(void *arg, const struct question *q, struct answer *a)
{
	char secret[PASSWD_SECRET_MAX + 1], password[PASSWORD_MAX + 1];
	struct scram_verifier verifier;
	bool fits = false;

	(void)arg;
	text_copy(secret, sizeof secret, (struct text){q->secret, q->secret_len});
	text_copy(password, sizeof password, (struct text){q->password, q->password_len});
	if (q->scheme == PASSWD_CRYPT)
		fits = crypt_fits(secret, password);
	else if (scram_read(text_of(secret), &verifier))
		fits = scram_fits(&verifier, text_of(password));
	OPENSSL_cleanse(password, sizeof password);
	a->verdict = fits ? AUTH_GOOD : AUTH_WRONG;
}

static _Noreturn void worker_run(int fd, const struct pool_work *work, void *arg)
{
	struct question q;
	ssize_t n;

	while ((n = recv(fd, &q, sizeof q, 0)) == (ssize_t)sizeof q || (n < 0 && errno == EINTR)) {
		struct answer a = {.verdict = AUTH_WRONG};

		if (n < 0)
			continue;
		must(q.secret_len <= sizeof q.secret && q.password_len <= sizeof q.password);
		work->answer(arg, &q, &a);
		OPENSSL_cleanse(&q, sizeof q);
		if (send(fd, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a)
			break;
	}
	_exit(0);
}

static _Noreturn void worker_become(int fd, const struct pool_work *work, void *arg)
{
	/* Master's channel and the others' sockets are not this process's affair. */
	if (dup2(fd, DISMISSED_FD) < 0)
		_exit(1);
	close_range(DISMISSED_FD + 1, ~0u, 0);
	work->jail(arg);
	worker_run(DISMISSED_FD, work, arg);
}

/* -- the queue ------------------------------------------------------------------------ */

static void queue_add(struct queue *q, struct job *job)
{
	*q->last = job;
	q->last = &job->next;
}

static struct job *queue_take(struct queue *q)
{
	struct job *job = q->first;

	if (!job)
		return NULL;
	q->first = job->next;
	if (!q->first)
		q->last = &q->first;
	job->next = NULL;
	return job;
}

static void job_free(struct job *job)
{
	OPENSSL_cleanse(&job->question, sizeof job->question);
	free(job);
}

static struct job *next_job(struct pool *pool)
{
	for (;;) {
		struct job *job = queue_take(&pool->preferred);

		if (!job)
			job = queue_take(&pool->others);
		if (!job)
			return NULL;
		pool->waiting--;
		if (!job->cancelled)
			return job;
		job_free(job);
	}
}

static void job_end(struct job *job, const struct answer *a)
{
	void (*done)(void *owner, const struct answer *a) = job->done;
	void *owner = job->owner;
	bool cancelled = job->cancelled;

	job_free(job);
	if (!cancelled)
		done(owner, a);
}

static void worker_gone(struct worker *w)
{
	struct pool *pool = w->pool;
	struct job *job = w->job;

	watch_remove(&w->watch);
	close(w->fd);
	w->fd = -1;
	w->job = NULL;
	/* What it was asked is what it died of, perhaps: nobody else is asked. */
	if (job)
		job_end(job, &(struct answer){.verdict = AUTH_WRONG});
	for (unsigned i = 0; i < pool->count; i++)
		if (pool->workers[i].fd >= 0)
			return;
	pool->withered(pool->arg);
}

static void worker_feed(struct worker *w)
{
	if (w->fd < 0 || w->job)
		return;
	w->job = next_job(w->pool);
	if (!w->job)
		return;
	w->job->running = true;
	/* If the worker is dead its end of file is on the way, and settles the job. */
	(void)!send(w->fd, &w->job->question, sizeof w->job->question, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void worker_ready(void *arg, bool readable, bool writable)
{
	struct worker *w = arg;
	struct answer a;
	ssize_t n = recv(w->fd, &a, sizeof a, MSG_DONTWAIT);
	struct job *job = w->job;

	(void)readable;
	(void)writable;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof a || !job || a.verdict >= AUTH_VERDICTS) {
		worker_gone(w);
		return;
	}
	a.name[LOGIN_MAX] = '\0';
	w->job = NULL;
	job_end(job, &a);
	worker_feed(w);
}

struct job *pool_check(struct pool *pool, const struct pool_check *check,
		       void (*done)(void *owner, const struct answer *a), void *owner)
{
	struct text secret = check->secret, password = check->password;

	if (pool->waiting >= POOL_WAITING_MAX || secret.len > PASSWD_SECRET_MAX ||
	    password.len > PASSWORD_MAX)
		return NULL;
	struct job *job = mem_new(1, sizeof *job);
	struct question *q = &job->question;

	job->done = done;
	job->owner = owner;
	job->pool = pool;
	q->scheme = check->scheme;
	q->secret_len = (uint16_t)secret.len;
	q->password_len = (uint16_t)password.len;
	text_copy(q->address, sizeof q->address, text_of(check->address));
	if (secret.len)
		memcpy(q->secret, secret.data, secret.len);
	if (password.len)
		memcpy(q->password, password.data, password.len);
	queue_add(check->preferred ? &pool->preferred : &pool->others, job);
	pool->waiting++;
	for (unsigned i = 0; i < pool->count && !job->running; i++)
		worker_feed(&pool->workers[i]);
	return job;
}

void job_cancel(struct job **job)
{
	if (*job)
		(*job)->cancelled = true;
	*job = NULL;
}

size_t pool_waiting(const struct pool *pool)
{
	return pool->waiting;
}

/* -- start -------------------------------------------------------------------------------- */

struct pool *pool_new(struct loop *loop, unsigned count, const struct pool_work *work,
		      void (*withered)(void *arg), void *arg)
{
	struct pool *pool = mem_new(1, sizeof *pool);

	pool->loop = loop;
	pool->preferred.last = &pool->preferred.first;
	pool->others.last = &pool->others.first;
	pool->workers = mem_new(count, sizeof *pool->workers);
	pool->count = count;
	pool->withered = withered;
	pool->arg = arg;
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = &pool->workers[i];
		int pair[2];

		must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0)
			worker_become(pair[1], work, arg);
		close(pair[1]);
		w->pool = pool;
		w->fd = pair[0];
		watch_add(&w->watch, loop, w->fd, worker_ready, w);
		watch_want(&w->watch, true, false);
	}
	return pool;
}
