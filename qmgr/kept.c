/* SPDX-License-Identifier: ISC */
/* Reading what fetcher keeps. */
#include "kept.h"

#include "mem.h"
#include "qmgr.h"
#include "snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_US = 5 * 1000 * 1000 };

struct kept {
	struct qmgr *q;
	struct sts_store *store; /* NULL: it has not been read */
	struct reading *reading; /* under way */
	bool asked;		 /* master was */
	int64_t limit_us;	 /* then no more is waited for */
};

/* A file that is being read in a thread, of its own until it is done. */
struct reading {
	struct work work;
	struct kept *kept; /* NULL: nobody wants it any more */
	struct sts_store *store;
	int64_t now_s;
	int fd;
	bool good;
};

static void reading_run(void *arg)
{
	struct reading *r = arg;
	struct bytes content = {0};

	r->good =
	    snapshot_take(r->fd, STS_FILE_BYTES_MAX, &content) &&
	    sts_store_decode(r->store,
			     (struct text){(const char *)bytes_at(&content), bytes_len(&content)},
			     r->now_s);
	bytes_free(&content);
}

static void reading_done(void *arg)
{
	struct reading *r = arg;
	struct kept *k = r->kept;

	if (k) {
		k->reading = NULL;
		k->store = r->store;
		r->store = NULL;
		if (!r->good)
			log_warning(k->q->d->log,
				    "what fetcher has kept of MTA-STS policies is damaged");
	}
	sts_store_free(&r->store);
	close(r->fd);
	free(r);
}

static int64_t wall_s(const struct kept *k)
{
	return loop_wall(k->q->loop).us / 1000000;
}

void kept_handle(struct kept *k, int fd, unsigned error)
{
	struct reading *r;

	if (!k->asked || error) {
		close(fd);
		if (!k->asked)
			return;
		k->asked = false;
		k->store = sts_store_new();
		if (error != ENOENT)
			log_warning(k->q->d->log,
				    "what fetcher has kept of MTA-STS policies can't be opened: %s",
				    strerror((int)error));
		return;
	}
	k->asked = false;
	r = mem_new(1, sizeof *r);
	r->work = (struct work){.run = reading_run, .done = reading_done, .arg = r};
	r->kept = k;
	r->store = sts_store_new();
	r->now_s = wall_s(k);
	r->fd = fd;
	k->reading = r;
	pool_add(k->q->readers, &r->work);
}

bool kept_ready(struct kept *k)
{
	if (k->store)
		return true;
	if (!k->asked && !k->reading) {
		k->asked = true;
		k->limit_us = now_us(k->q) + WAIT_US;
		channel_send_handle_ask(k->q->d->master,
					&(struct msg_handle_ask){.role = HANDLE_POLICIES});
	}
	return now_us(k->q) >= k->limit_us;
}

const struct sts_policy *kept_find(struct kept *k, struct text domain, int64_t *left_s)
{
	char name[STS_DOMAIN_MAX + 1];
	struct sts_known *known;

	if (!k->store || domain.len > STS_DOMAIN_MAX)
		return NULL;
	for (size_t i = 0; i < domain.len; i++)
		name[i] = ascii_lower(domain.data[i]);
	known = sts_store_find(k->store, (struct text){name, domain.len}, wall_s(k));
	if (!known)
		return NULL;
	*left_s = sts_store_left(k->store, known, wall_s(k));
	return &known->policy;
}

void kept_forget(struct kept *k)
{
	sts_store_free(&k->store);
	if (k->reading)
		k->reading->kept = NULL;
	k->reading = NULL;
	k->asked = false;
}

struct kept *kept_new(struct qmgr *q)
{
	struct kept *k = mem_new(1, sizeof *k);

	k->q = q;
	return k;
}
