/* SPDX-License-Identifier: ISC */
/* Becoming somebody, for good, to deliver one letter. */
#include "child.h"

#include "become.h"
#include "command.h"
#include "file.h"
#include "list_file.h"
#include "mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	RESULT_FD = 3, /* in the child */
	BODY_FD = 4,
	FILES_LIMIT_S = 600, /* for the file work of one delivery, locks included */
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

static void into_mailbox(const struct order *o, const char *note, struct result *r)
{
	static const struct mailbox_face face = {still_wanted, NULL};

	if (o->root && !mailbox_folders(o->path, o->root)) {
		mailbox_failed(r, errno, o->path);
		return;
	}
	if (mailbox_is_maildir(o->path))
		maildir_deliver(&o->letter, o->path, o->host, &face, r);
	else
		mbox_deliver(&o->letter, o->path, &face, r);
	if (!note || r->kind != OUTCOME_DELIVERED)
		return;
	char said[RESULT_REPLY_MAX + 1];

	memcpy(said, r->reply, sizeof said);
	result_set(r, OUTCOME_DELIVERED, 250, "2.0.0", "%.100s; .forward does not count: %.200s",
		   said, note);
}

/* A .forward that is no good counts as none: the mail is kept, and the log says why. */
static void as_forward_says(const struct order *o, struct result *r)
{
	const char *why = NULL;

	switch (forward_read(o->user, &o->letter, r, &why)) {
	case LIST_FOUND:
		result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", "forwarded to %u", r->added);
		return;
	case LIST_FAILED:
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", ".forward can't be read: %.200s", why);
		return;
	case LIST_ABSENT:
		why = NULL;
		break;
	case LIST_UNUSABLE:
		break;
	}
	into_mailbox(o, why, r);
}

/* It was changed since: what it says now counts; who has the mail already is left out by qmgr. */
static void as_changed_forward_says(const struct order *o, struct result *r)
{
	const char *why;

	if (forward_read(o->user, &o->letter, r, &why) != LIST_FOUND)
		result_add(r, o->letter.address, text_of("\\"));
	result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", ".forward has been changed");
}

static void as_list_says(const struct order *o, struct result *r)
{
	const char *why = NULL;

	if (include_read(o->path, o->user, &o->letter, r, &why) == LIST_FOUND)
		result_set(r, OUTCOME_EXPANDED, 250, "2.1.5", "list expanded to %u", r->added);
	else
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.5", "the list %.200s: %.200s", o->path,
			   why ? why : "it is empty");
}

static void deliver(const struct order *o, struct result *r)
{
	const struct command command = {.line = o->path,
					.user = o->user,
					.folder = o->forward.len ? o->user->home : "/",
					.limit = o->limit,
					.still_wanted = still_wanted};

	if (o->forward.len && !forward_has(o->user, &o->letter, o->forward)) {
		as_changed_forward_says(o, r);
		return;
	}
	switch (o->kind) {
	case ORDER_USER:
		as_forward_says(o, r);
		return;
	case ORDER_MAILBOX:
	case ORDER_FILE:
		into_mailbox(o, NULL, r);
		return;
	case ORDER_COMMAND:
		command_run(&command, &o->letter, r);
		return;
	case ORDER_INCLUDE:
		as_list_says(o, r);
		return;
	}
}

static _Noreturn void child_run(struct order *o, int result)
{
	struct result r = {0};
	struct bytes said = {0};
	const char *why;

	/* The loop's handler would write to a descriptor that is another one here. */
	signal(SIGCHLD, SIG_DFL);
	/* Whoever started us ignores it; it ends a child that hangs. */
	signal(SIGALRM, SIG_DFL);
	alarm(FILES_LIMIT_S);
	if (!descriptors_settle(result, &o->letter.fd))
		_exit(EX_OSERR);
	why = o->stays ? become_checked(o->user->uid) : become_user(o->user, o->folder_group);
	if (why)
		result_set(&r, OUTCOME_DEFERRED, 0, "4.3.0", "can't become the recipient: %s", why);
	else
		deliver(o, &r);
	result_encode(&said, &r);
	_exit(file_write(RESULT_FD, bytes_at(&said), bytes_len(&said)) ? EX_OK : EX_IOERR);
}

/* -- in local --------------------------------------------------------------------------- */

static void child_ended(struct child *c)
{
	struct result r = {0};
	struct bytes said = c->said;

	watch_remove(&c->watch);
	close(c->fd);
	c->fd = -1;
	c->runs = false;
	c->said = (struct bytes){0};
	if (!result_decode((struct text){(const char *)bytes_at(&said), bytes_len(&said)}, &r)) {
		result_free(&r);
		result_set(&r, OUTCOME_DEFERRED, 0, "4.3.0",
			   "the delivering process ended without a word");
	}
	c->done(c->owner, &r);
	bytes_free(&said);
	result_free(&r);
}

static void child_ready(void *arg, bool readable, bool writable)
{
	struct child *c = arg;

	(void)readable;
	(void)writable;
	ssize_t n = read(c->fd, bytes_room(&c->said, READ_BYTES), READ_BYTES);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->said.end += (size_t)n;
	if (n > 0 && bytes_len(&c->said) <= RESULT_BYTES_MAX)
		return;
	child_ended(c);
}

bool child_start(struct child *c, struct loop *loop, const struct order *order,
		 void (*done)(void *owner, struct result *r), void *owner)
{
	int pipe[2];

	if (pipe2(pipe, O_CLOEXEC) != 0)
		return false;
	pid_t pid = fork();

	if (pid == 0) {
		struct order own = *order;

		child_run(&own, pipe[1]);
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
	c->runs = true;
	c->done = done;
	c->owner = owner;
	watch_add(&c->watch, loop, c->fd, child_ready, c);
	watch_want(&c->watch, true, false);
	return true;
}

void children_reap(void *unused)
{
	(void)unused;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}
