/* SPDX-License-Identifier: ISC */
/* Guests at the hatch. */
#include "hatch.h"

#include "drop_taker.h"
#include "mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	ACCEPTED_AT_ONCE = 32,
	READ_BYTES = 65536,
	REST_S = 1, /* when there are no descriptors */
};

static const char too_many[] = "too many mails are on their way at once";

struct guest {
	TAILQ_ENTRY(guest) line;
	struct hatch *hatch;
	struct watch watch;
	struct timer limit;
	struct monotime end;   /* for all of it */
	struct monotime heard; /* his last octet, or his coming */
	int fd;
	int file; /* -1: not begun */
	uint32_t uid;
	bool whole; /* the file is a mail now */
	char name[DROP_NAME_BYTES];
	struct drop_taker taker;
};

struct hatch {
	struct pickup *self;
	struct watch watch;
	struct timer rest;
	int fd; /* -1: closed */
	uid_t ours;
	TAILQ_HEAD(guests, guest) guests; /* who has been silent for longest first */
	size_t count;
};

/* -- leaving ------------------------------------------------------------------------------- */

static void say(int fd, int status, const char *text)
{
	char line[256];
	int n = snprintf(line, sizeof line, "%d %s\n", status, text);

	/* One line fits into any socket's buffer; who does not read it does not want it. */
	(void)!send(fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void guest_free(struct guest *g)
{
	struct hatch *h = g->hatch;

	if (g->file >= 0) {
		close(g->file);
		if (!g->whole)
			(void)unlinkat(h->self->folder, g->name, 0);
	}
	watch_remove(&g->watch);
	timer_clear(&g->limit);
	close(g->fd);
	TAILQ_REMOVE(&h->guests, g, line);
	h->count--;
	free(g);
}

static void guest_end(struct guest *g, int status, const char *text)
{
	say(g->fd, status, text);
	guest_free(g);
}

static void guest_fail(struct guest *g)
{
	char text[200];
	int status, error = g->taker.error == ESTALE ? 0 : g->taker.error;
	const char *why = drop_why(&g->taker, &status);

	snprintf(text, sizeof text, "%s%s%s", why, error ? ": " : "", error ? strerror(error) : "");
	guest_end(g, status, text);
}

static void guest_expired(void *arg)
{
	guest_end(arg, EX_TEMPFAIL, "the mail came too slowly");
}

/* -- a mail --------------------------------------------------------------------------------- */

/* False: he is gone. */
static bool guest_begin(struct guest *g)
{
	struct pickup *self = g->hatch->self;

	if (!drop_has_room(self->folder)) {
		guest_end(g, EX_TEMPFAIL, "no room for mail");
		return false;
	}
	g->file = drop_file_make(self->folder, true, g->uid, SLOTS_TRIED, g->name);
	if (g->file < 0) {
		guest_end(g, EX_TEMPFAIL,
			  errno == EEXIST ? "too many mails of yours wait already"
					  : "the maildrop cannot be written to");
		return false;
	}
	drop_taker_begin(&g->taker, g->file);
	return true;
}

static void guest_finish(struct guest *g)
{
	struct pickup *self = g->hatch->self;
	uint64_t token = 0;
	char text[24];

	if (g->file < 0)
		drop_taker_begin(&g->taker, -1);
	(void)!getrandom(&token, sizeof token, 0);
	if (!drop_is_whole(&g->taker) ||
	    !drop_finish(&g->taker, (uint64_t)loop_wall(self->d->loop).us, token)) {
		guest_fail(g);
		return;
	}
	g->whole = true;
	snprintf(text, sizeof text, "%016llx", (unsigned long long)token);
	guest_end(g, EX_OK, text);
	/* The bell rings for it, where there is one. */
	if (self->bell < 0)
		pickup_look(self);
}

static void guest_heard(struct guest *g)
{
	g->heard = loop_now(g->hatch->self->d->loop);
	TAILQ_REMOVE(&g->hatch->guests, g, line);
	TAILQ_INSERT_TAIL(&g->hatch->guests, g, line);
}

/* One piece a turn, so that everybody has his. */
static void guest_ready(void *arg, bool readable, bool writable)
{
	struct guest *g = arg;
	struct loop *loop = g->hatch->self->d->loop;
	uint8_t *octets = loop_scratch(loop);
	ssize_t n = read(g->fd, octets, READ_BYTES);
	int64_t left = g->end.us - loop_now(loop).us;

	(void)readable;
	(void)writable;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		guest_free(g);
		return;
	}
	if (n == 0) {
		guest_finish(g);
		return;
	}
	if (left <= 0) {
		guest_expired(g);
		return;
	}
	guest_heard(g);
	timer_set(&g->limit, left < SECONDS(GUEST_IDLE_S).us ? (struct duration){left}
							     : SECONDS(GUEST_IDLE_S));
	if (g->file < 0 && !guest_begin(g))
		return;
	if (!drop_take(&g->taker, octets, (size_t)n))
		guest_fail(g);
	else if (g->taker.scan.content_bytes > g->hatch->self->d->config->limit_message)
		guest_end(g, EX_DATAERR, drop_fault_text(DROP_LARGE));
}

/* -- coming --------------------------------------------------------------------------------- */

static size_t count_of(const struct hatch *h, uint32_t uid)
{
	const struct guest *g;
	size_t count = 0;

	TAILQ_FOREACH(g, &h->guests, line)
	{
		count += g->uid == uid;
	}
	return count;
}

/*
 * Who goes when all places are taken and a user comes who has MINE of them: one of a user who has
 * two more at least, so that nobody keeps others out by being many; else, since a user may be
 * many users (subuid(5)), whoever has said nothing for a while. NULL: nobody.
 */
static struct guest *guest_to_go(struct hatch *h, size_t mine)
{
	struct guest *first = TAILQ_FIRST(&h->guests), *g;
	struct monotime now = loop_now(h->self->d->loop);

	TAILQ_FOREACH(g, &h->guests, line)
	{
		if (count_of(h, g->uid) >= mine + 2)
			return g;
	}
	return first && monotime_since(now, first->heard).us >= GUEST_SILENT_US ? first : NULL;
}

static bool make_room(struct hatch *h, size_t mine)
{
	struct guest *g = h->count < GUESTS_MAX ? NULL : guest_to_go(h, mine);

	if (g)
		guest_end(g, EX_TEMPFAIL, too_many);
	return h->count < GUESTS_MAX;
}

/* NULL: he may come in. */
static const char *refusal(struct hatch *h, uint32_t uid, int *status)
{
	*status = EX_NOPERM;
	/* An ordinary user's server is his own. */
	if (h->self->d->unprivileged && uid != h->ours && uid != 0)
		return "this server is another user's";
	*status = EX_TEMPFAIL;
	size_t mine = count_of(h, uid);

	return mine < GUESTS_EACH && make_room(h, mine) ? NULL : too_many;
}

static void guest_new(struct hatch *h, int fd)
{
	struct loop *loop = h->self->d->loop;
	struct ucred cred = {0};
	socklen_t len = sizeof cred;
	int status;
	const char *why;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
		close(fd);
		return;
	}
	why = refusal(h, cred.uid, &status);
	if (why) {
		say(fd, status, why);
		close(fd);
		return;
	}
	struct guest *g = mem_new(1, sizeof *g);

	g->hatch = h;
	g->fd = fd;
	g->file = -1;
	g->uid = cred.uid;
	g->heard = loop_now(loop);
	g->end = (struct monotime){loop_now(loop).us + SECONDS(GUEST_WHOLE_S).us};
	timer_init(&g->limit, loop, guest_expired, g);
	timer_set(&g->limit, SECONDS(GUEST_IDLE_S));
	watch_add(&g->watch, loop, fd, guest_ready, g);
	watch_want(&g->watch, true, false);
	TAILQ_INSERT_TAIL(&h->guests, g, line);
	h->count++;
}

static void hatch_ready(void *arg, bool readable, bool writable)
{
	struct hatch *h = arg;

	(void)readable;
	(void)writable;
	for (int i = 0; i < ACCEPTED_AT_ONCE; i++) {
		int fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			guest_new(h, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			watch_want(&h->watch, false, false);
			timer_set(&h->rest, SECONDS(REST_S));
		}
		return;
	}
}

static void hatch_rested(void *arg)
{
	struct hatch *h = arg;

	if (h->fd >= 0)
		watch_want(&h->watch, true, false);
}

static void hatch_shut(struct hatch *h)
{
	if (h->fd < 0)
		return;
	watch_remove(&h->watch);
	timer_clear(&h->rest);
	close(h->fd);
	h->fd = -1;
}

void hatch_open(struct pickup *self, int fd)
{
	struct hatch *h = self->hatch;
	struct stat st;

	if (!h) {
		h = self->hatch = mem_new(1, sizeof *h);
		TAILQ_INIT(&h->guests);
		h->self = self;
		h->fd = -1;
		timer_init(&h->rest, self->d->loop, hatch_rested, h);
	}
	hatch_shut(h);
	if (self->drained || self->folder < 0 || fstat(self->folder, &st) != 0) {
		close(fd);
		return;
	}
	h->ours = st.st_uid;
	h->fd = fd;
	watch_add(&h->watch, self->d->loop, fd, hatch_ready, h);
	watch_want(&h->watch, true, false);
}

void hatch_close(struct pickup *self)
{
	struct hatch *h = self->hatch;

	if (!h)
		return;
	hatch_shut(h);
	while (!TAILQ_EMPTY(&h->guests))
		guest_end(TAILQ_FIRST(&h->guests), EX_TEMPFAIL, "the server is being stopped");
}
