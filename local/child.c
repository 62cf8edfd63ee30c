/* SPDX-License-Identifier: ISC */
/* Becoming somebody, for good, to deliver his letters. */
#include "child.h"

#include "become.h"
#include "command.h"
#include "file.h"
#include "list_file.h"
#include "mailbox.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	RESULT_FD = 3, /* in the child */
	BODY_FD = 4,
	FILES_LIMIT_S = 600, /* for the file work of one delivery, or of those that go together;
				locks included */
	GRACE_S = 10, /* for a command's end, and before a child that has ended itself is killed */
	READ_BYTES = 4096,
};

/* -- in the child --------------------------------------------------------------------- */

/* The reading end is local's alone: when it is closed, local has ended. */
static bool still_wanted(void *arg)
{
	struct pollfd p = {RESULT_FD, 0, 0};

	(void)arg;
	return poll(&p, 1, 0) <= 0 || !(p.revents & (POLLERR | POLLHUP));
}

/* Nothing of local's is left open: no channel, no other delivery's body. */
static bool descriptors_settle(int result, int *body)
{
	int high_result = fcntl(result, F_DUPFD_CLOEXEC, BODY_FD + 1);
	int high_body = *body < 0 ? -1 : fcntl(*body, F_DUPFD_CLOEXEC, BODY_FD + 1);

	if (high_result < 0 || (*body >= 0 && high_body < 0) ||
	    dup3(high_result, RESULT_FD, O_CLOEXEC) < 0)
		return false;
	if (*body >= 0 && dup3(high_body, BODY_FD, O_CLOEXEC) < 0)
		return false;
	if (*body < 0)
		close(BODY_FD);
	else
		*body = BODY_FD;
	return close_range(BODY_FD + 1, ~0u, 0) == 0;
}

static const struct mailbox_face face = {still_wanted, NULL};

/* An order under way. A letter for a Maildir waits for the others, so that they go together. */
struct work {
	struct order *order;
	const char *note; /* why its .forward does not count; NULL: nothing to say */
	bool grouped;
	struct result result;
};

static void note_add(struct work *w)
{
	struct result *r = &w->result;
	char said[RESULT_REPLY_MAX + 1];

	if (!w->note || r->kind != OUTCOME_DELIVERED)
		return;
	memcpy(said, r->reply, sizeof said);
	result_set(r, OUTCOME_DELIVERED, 250, "2.0.0", "%.100s; .forward does not count: %.200s",
		   said, w->note);
}

static void into_mailbox(struct work *w)
{
	const struct order *o = w->order;

	if (o->root && !mailbox_folders(o->path, o->root))
		mailbox_failed(&w->result, errno, o->path);
	else if (mailbox_is_maildir(o->path))
		w->grouped = true;
	else
		mbox_deliver(&o->letter, o->path, &o->room, &face, &w->result);
}

/* A .forward that is no good counts as none: the mail is kept, and the log says why. */
static void as_forward_says(struct work *w)
{
	const struct order *o = w->order;
	struct result *r = &w->result;
	const char *why = NULL;

	switch (forward_read(o->user, &o->letter, r, &why)) {
	case LIST_FOUND:
		result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", "forwarded to %u", r->added);
		return;
	case LIST_FAILED:
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", ".forward can't be read: %.200s", why);
		return;
	case LIST_ABSENT:
		break;
	case LIST_UNUSABLE:
		w->note = why;
		break;
	}
	into_mailbox(w);
}

/* It was changed since: what it says now counts; who has the mail already is left out by qmgr. */
static void as_changed_forward_says(const struct order *o, struct result *r)
{
	const char *why;

	if (forward_read(o->user, &o->letter, r, &why) != LIST_FOUND)
		result_add(r,
			   &(struct addition){.address = o->letter.address, .target = TEXT("\\")});
	result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", ".forward has been changed");
}

static void as_list_says(const struct order *o, const char *path, struct result *r)
{
	const char *why = NULL;

	if (include_read(path, o->of_forward, o->user, &o->letter, r, &why) == LIST_FOUND)
		result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", "list expanded to %u", r->added);
	else
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.5", "the list %.200s: %.200s", path,
			   why ? why : "it is empty");
}

/* A list's command or file; false: it is not to be done, and *R says why. */
static bool list_still_says(const struct order *o, struct result *r)
{
	const char *why = NULL;

	switch (include_has(o->list, o->of_forward, o->user, &o->letter, o->listed, &why)) {
	case LIST_FOUND:
		return true;
	case LIST_ABSENT:
		as_list_says(o, o->list, r);
		return false;
	case LIST_UNUSABLE:
		/* Whoever keeps a list must not come to be whoever runs its commands. */
		result_set(r, OUTCOME_FAILED, 550, "5.7.1",
			   "no command or file of the list %.200s counts for %s: %.200s", o->list,
			   o->user->name, why);
		return false;
	case LIST_FAILED:
		break;
	}
	result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", "the list %.200s: %.200s", o->list, why);
	return false;
}

static void work_begin(struct work *w)
{
	const struct order *o = w->order;
	const struct command command = {.line = o->path,
					.user = o->user,
					.folder = o->of_forward ? o->user->home : "/",
					.limit = o->limit,
					.still_wanted = still_wanted};

	if (o->forward.len && !forward_has(o->user, &o->letter, o->forward)) {
		as_changed_forward_says(o, &w->result);
		return;
	}
	if (o->listed.len && !list_still_says(o, &w->result))
		return;
	switch (o->kind) {
	case ORDER_USER:
		as_forward_says(w);
		return;
	case ORDER_MAILBOX:
	case ORDER_FILE:
		into_mailbox(w);
		return;
	case ORDER_COMMAND:
		command_run(&command, &o->letter, &w->result);
		return;
	case ORDER_INCLUDE:
		as_list_says(o, o->path, &w->result);
		return;
	}
}

static bool work_say(struct work *w, uint32_t number)
{
	struct bytes said = {0};

	note_add(w);
	words_put(&said, number, &w->result);
	bool fine = file_write(RESULT_FD, bytes_at(&said), bytes_len(&said));

	bytes_free(&said);
	result_free(&w->result);
	return fine;
}

/* All of them: first what is done alone, then the letters that go together. */
static bool work_all(struct work *all, uint32_t count)
{
	struct maildir_letter group[CHILD_ORDERS_MAX];
	uint32_t number[CHILD_ORDERS_MAX], grouped = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct work *w = &all[i];

		alarm(FILES_LIMIT_S);
		work_begin(w);
		if (w->grouped) {
			number[grouped] = i;
			group[grouped++] = (struct maildir_letter){.letter = &w->order->letter,
								   .path = w->order->path,
								   .folder = w->order->folder,
								   .room = w->order->room,
								   .result = &w->result};
		} else if (!work_say(w, i)) {
			return false;
		}
	}
	alarm(FILES_LIMIT_S);
	maildir_deliver(group, grouped, all[0].order->host, &face);
	for (uint32_t i = 0; i < grouped; i++)
		if (!work_say(&all[number[i]], number[i]))
			return false;
	return true;
}

static _Noreturn void child_run(struct work *all, uint32_t count, int result)
{
	struct order *first = all[0].order;
	const char *why;

	/* The loop's handler would write to a descriptor that is another one here. */
	signal(SIGCHLD, SIG_DFL);
	/* Whoever started us ignores it; it ends a child that hangs. */
	signal(SIGALRM, SIG_DFL);
	if (!descriptors_settle(result, &first->letter.fd))
		_exit(EX_OSERR);
	why = first->stays ? become_checked(first->user->uid)
			   : become_user(first->user, first->folder_group);
	if (!why) {
		bool fine = work_all(all, count);

		/* What local waits for; the kernel takes longer with what sync.h has left. */
		close(RESULT_FD);
		_exit(fine ? EX_OK : EX_IOERR);
	}
	for (uint32_t i = 0; i < count; i++) {
		result_set(&all[i].result, OUTCOME_DEFERRED, 0, "4.3.0",
			   "can't become the recipient: %s", why);
		if (!work_say(&all[i], i))
			break;
	}
	_exit(EX_OK);
}

/* -- in local --------------------------------------------------------------------------- */

bool order_is_shared(const struct order *o)
{
	return (o->kind == ORDER_USER || o->kind == ORDER_MAILBOX) && !o->forward.len &&
	       o->letter.fd < 0;
}

bool order_fits(const struct order *a, const struct order *b)
{
	const struct user *x = a->user, *y = b->user;

	return order_is_shared(a) && order_is_shared(b) && a->stays == b->stays &&
	       a->folder_group == b->folder_group && x->uid == y->uid && x->gid == y->gid &&
	       x->group_count == y->group_count &&
	       memcmp(x->groups, y->groups, (size_t)x->group_count * sizeof *x->groups) == 0;
}

static void child_ended(struct child *c)
{
	watch_remove(&c->watch);
	close(c->fd); /* if it still runs it sees that nobody hears it, and delivers no more */
	bytes_free(&c->said);
	c->ended(c->owner);
}

static void child_ready(void *arg, bool readable, bool writable)
{
	struct child *c = arg;
	enum words_verdict verdict;
	uint32_t number;

	(void)readable;
	(void)writable;
	ssize_t n = read(c->fd, bytes_room(&c->said, READ_BYTES), READ_BYTES);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->said.end += (size_t)n;
	do {
		struct result r = {0};

		verdict = words_take(&c->said, c->count, &number, &r);
		if (verdict == WORDS_ONE)
			c->done(c->owner, number, &r);
		result_free(&r);
	} while (verdict == WORDS_ONE);
	if (n <= 0 || verdict == WORDS_BROKEN)
		child_ended(c);
}

/* Its own come first. */
static struct duration limit_of(const struct order *o)
{
	int64_t own = o->kind == ORDER_COMMAND ? seconds_of(o->limit) : (int64_t)FILES_LIMIT_S;

	return SECONDS(own + GRACE_S);
}

bool child_start(struct child *c, struct loop *loop, struct order *const orders[], uint32_t count)
{
	int pipe[2];

	if (pipe2(pipe, O_CLOEXEC) != 0)
		return false;
	pid_t pid = fork();

	if (pid == 0) {
		static struct work all[CHILD_ORDERS_MAX];

		for (uint32_t i = 0; i < count; i++)
			all[i].order = orders[i];
		child_run(all, count, pipe[1]);
	}
	int error = errno;

	close(pipe[1]);
	if (pid < 0) {
		close(pipe[0]);
		errno = error;
		return false;
	}
	fcntl(pipe[0], F_SETFL, O_NONBLOCK);
	c->said = (struct bytes){0};
	c->fd = pipe[0];
	c->pid = pid;
	c->limit = limit_of(orders[0]);
	c->count = count;
	watch_add(&c->watch, loop, c->fd, child_ready, c);
	watch_want(&c->watch, true, false);
	return true;
}
