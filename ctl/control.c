/* SPDX-License-Identifier: ISC */
/* Frames over the control socket, without a loop: this program has nothing else to do meanwhile. */
#include "control.h"

#include "bytes.h"
#include "clock.h"
#include "mem.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 60 };

struct control {
	int fd;
	struct bytes in;
	size_t last;	  /* bytes of the frame that the last reply points into */
	int descriptor;	  /* that came with bytes not yet taken, or -1 */
	unsigned seconds; /* for an answer */
	bool quiet;
};

static struct monotime deadline(const struct control *c)
{
	return monotime_add(monotime_read(), SECONDS(c->seconds));
}

static bool wait_for(const struct control *c, short what, struct monotime until)
{
	for (;;) {
		int64_t left = monotime_since(until, monotime_read()).us / 1000;
		struct pollfd p = {.fd = c->fd, .events = what};

		if (left <= 0)
			return false;
		int n = poll(&p, 1, (int)left);

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

static bool send_all(struct control *c, const uint8_t *data, size_t len, struct monotime until)
{
	while (len) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			return false;
		if (n < 0 && !wait_for(c, POLLOUT, until)) {
			errno = ETIMEDOUT;
			return false;
		}
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return true;
}

static bool send_message(struct control *c, enum message_type type, const void *m)
{
	struct bytes out = {0};
	uint16_t head[2] = {(uint16_t)type, 0};

	bytes_room(&out, FRAME_HEADER_BYTES);
	out.end += FRAME_HEADER_BYTES;
	message_encode(&out, type, m);
	uint32_t len = (uint32_t)(bytes_len(&out) - FRAME_HEADER_BYTES);

	memcpy(out.data, &len, sizeof len);
	memcpy(out.data + sizeof len, head, sizeof head);
	bool sent = send_all(c, out.data, out.end, deadline(c));
	int error = errno;

	bytes_free(&out);
	errno = error;
	return sent;
}

static ssize_t receive_once(struct control *c)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} extra;
	struct iovec iov = {bytes_room(&c->in, 65536), 65536};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = extra.space,
			     .msg_controllen = sizeof extra.space};
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
		if (c->descriptor >= 0)
			close(c->descriptor);
		memcpy(&c->descriptor, CMSG_DATA(h), sizeof c->descriptor);
	}
	return n;
}

/* More bytes into the buffer; false with errno (0: the end). */
static bool receive_some(struct control *c, struct monotime until)
{
	for (;;) {
		if (!wait_for(c, POLLIN, until)) {
			errno = ETIMEDOUT;
			return false;
		}
		ssize_t n = receive_once(c);

		if (n > 0) {
			c->in.end += (size_t)n;
			return true;
		}
		if (n == 0)
			errno = 0;
		if (n == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK))
			return false;
	}
}

/* The next message, whatever it is. */
static bool receive_message(struct control *c, struct message *m)
{
	struct monotime until = deadline(c);
	uint32_t len = 0;
	uint16_t head[2];

	bytes_take(&c->in, c->last, 1 << 20);
	c->last = 0;
	while (bytes_len(&c->in) < FRAME_HEADER_BYTES)
		if (!receive_some(c, until))
			return false;
	memcpy(&len, bytes_at(&c->in), sizeof len);
	memcpy(head, bytes_at(&c->in) + sizeof len, sizeof head);
	errno = EPROTO;
	if (len > FRAME_MAX_BYTES || (head[1] & ~FRAME_FLAG_FD) || !message_rule(head[0]))
		return false;
	while (bytes_len(&c->in) - FRAME_HEADER_BYTES < len)
		if (!receive_some(c, until))
			return false;
	errno = EPROTO;
	c->last = len + FRAME_HEADER_BYTES;
	if (!message_decode(bytes_at(&c->in) + FRAME_HEADER_BYTES, len, head[0], m) ||
	    (head[1] && c->descriptor < 0))
		return false;
	if (head[1]) {
		m->fd = c->descriptor;
		c->descriptor = -1;
	}
	return true;
}

static const char *failure(int error)
{
	return error == 0 ? "qmgr closed the connection: it is stopping, or too many are connected"
	       : error == ETIMEDOUT ? "no answer in time: qmgr is busy, or stopped"
	       : error == EPROTO    ? "the other side speaks another version"
				    : strerror(error);
}

/*
 * qmgr closes a stranger's connection without a word. Whose queue it is, its
 * folder says; where that can't be seen, who asks is a stranger too.
 */
static bool stranger(const struct ctl *ctl)
{
	char queue[PATH_MAX];
	struct stat st;

	if (geteuid() == 0)
		return false;
	ctl_path(ctl, "queue", queue, sizeof queue);
	return stat(queue, &st) != 0 || st.st_uid != geteuid();
}

static bool say_hello(struct control *c, const struct ctl *ctl, int *status)
{
	struct msg_hello hello = {.schema = message_schema(),
				  .epoch = (uint64_t)walltime_read().us,
				  .pid = (uint32_t)getpid()};
	struct message m;
	int error = EPROTO;

	if (!send_message(c, MSG_hello, &hello) || !receive_message(c, &m))
		error = errno;
	else if (m.type == MSG_hello && m.hello.schema == message_schema())
		return true;
	if (error == EPIPE || error == ECONNRESET)
		error = 0;
	if (c->quiet)
		return false;
	if (error == 0 && stranger(ctl)) {
		*status = EX_NOPERM;
		ctl_say("not permitted: only root and the queue's owner may");
	} else {
		ctl_say("control socket: %s", failure(error));
	}
	return false;
}

static void say_unreachable(const char *path, int error, int *status)
{
	bool down = error == ENOENT || error == ECONNREFUSED;

	if (error == EACCES || error == EPERM) {
		*status = EX_NOPERM;
		ctl_say("%s: not permitted: only root and the queue's owner may", path);
	} else {
		ctl_say("%s: %s%s", path, strerror(error), down ? ": is veredus running?" : "");
	}
}

static struct control *control_new(const struct ctl *ctl, unsigned seconds, bool quiet, int *status)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct control *c = mem_new(1, sizeof *c);

	ctl_path(ctl, "control", to.sun_path, sizeof to.sun_path);
	c->descriptor = -1;
	c->seconds = seconds;
	c->quiet = quiet;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	*status = EX_UNAVAILABLE;
	if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to, sizeof to) != 0) {
		if (!quiet)
			say_unreachable(to.sun_path, errno, status);
		control_close(&c);
	} else if (!say_hello(c, ctl, status)) {
		control_close(&c);
	}
	return c;
}

struct control *control_open(const struct ctl *ctl, int *status)
{
	return control_new(ctl, ANSWER_SECONDS, false, status);
}

struct control *control_try(const struct ctl *ctl, unsigned seconds)
{
	int status;

	return control_new(ctl, seconds, true, &status);
}

bool control_tell(struct control *c, enum message_type type, const void *m)
{
	return send_message(c, type, m);
}

bool control_ask(struct control *c, enum message_type type, const void *m, enum message_type answer,
		 struct message *reply)
{
	if (!send_message(c, type, m) || !receive_message(c, reply)) {
		if (!c->quiet)
			ctl_say("control socket: %s",
				failure(errno == EPIPE || errno == ECONNRESET ? 0 : errno));
		return false;
	}
	if (reply->type != answer) {
		ctl_say("control socket: an answer to another question");
		if (reply->fd >= 0)
			close(reply->fd);
		return false;
	}
	return true;
}

void control_close(struct control **control)
{
	struct control *c = *control;

	*control = NULL;
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	if (c->descriptor >= 0)
		close(c->descriptor);
	bytes_free(&c->in);
	free(c);
}
