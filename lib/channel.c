/* SPDX-License-Identifier: ISC */
/* Channels between processes. */
#include "channel.h"

#include "mem.h"
#include "must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FDS_MAX = 64,		   /* descriptors that came and were not taken */
	OUT_FDS_MAX = 800,	   /* descriptors that the peer has not taken */
	READ_BYTES = 256 * 1024,   /* asked for at once */
	TURN_BYTES = 1024 * 1024,  /* taken from one peer in a turn, so that others get theirs */
	OUT_BYTES_MAX = 128 << 20, /* unread: far above where owners that can stop have stopped */
	KEEP_BYTES = 512 * 1024,   /* buffers kept when empty */
	FD_LOST = -2,		   /* in its place among in_fds */
};

struct channel {
	struct channel_config config;
	struct watch watch;
	struct turn_end flush, bury, reread;
	struct bytes in, out;
	int in_fds[FDS_MAX], *out_fds;
	size_t in_fd_count, out_fd_count, out_fd_size;
	size_t *out_fd_at; /* where in the out stream (from out.start) its frame begins */
	void *owner;
	void (*drained)(struct channel *c);
	size_t drained_low;
	unsigned peer_kind, instance;
	uint32_t peer_pid;
	int fd;
	bool open, paused, ended, in_handler;
	char why[96];
};

static void channel_flush(void *arg);
static void channel_take_frames(struct channel *c);

unsigned channel_peer(const struct channel *c)
{
	return c->peer_kind;
}

unsigned channel_instance(const struct channel *c)
{
	return c->instance;
}

void *channel_owner(const struct channel *c)
{
	return c->owner;
}

void channel_set_owner(struct channel *c, void *owner)
{
	c->owner = owner;
}

uint32_t channel_peer_pid(const struct channel *c)
{
	return c->peer_pid;
}

size_t channel_backlog(const struct channel *c)
{
	return bytes_len(&c->out);
}

size_t channel_descriptors(const struct channel *c)
{
	return c->out_fd_count;
}

void channel_when_drained(struct channel *c, size_t low, void (*drained)(struct channel *c))
{
	c->drained_low = low;
	c->drained = drained;
}

static void channel_empty_out(struct channel *c)
{
	for (size_t i = 0; i < c->out_fd_count; i++)
		close(c->out_fds[i]);
	free(c->out_fds);
	free(c->out_fd_at);
	c->out_fds = NULL;
	c->out_fd_at = NULL;
	c->out_fd_count = c->out_fd_size = 0;
	bytes_free(&c->out);
}

static void channel_close(struct channel *c)
{
	watch_remove(&c->watch);
	turn_end_cancel(&c->flush);
	turn_end_cancel(&c->bury);
	turn_end_cancel(&c->reread);
	for (size_t i = 0; i < c->in_fd_count; i++)
		if (c->in_fds[i] != FD_LOST)
			close(c->in_fds[i]);
	c->in_fd_count = 0;
	bytes_free(&c->in);
	channel_empty_out(c);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void channel_bury(void *arg)
{
	struct channel *c = arg;

	channel_close(c);
	if (c->config.gone)
		c->config.gone(c, c->why);
	free(c);
}

void channel_end(struct channel *c, const char *why)
{
	if (c->ended)
		return;
	snprintf(c->why, sizeof c->why, "%s", why);
	channel_flush(c);
	c->ended = true;
	watch_want(&c->watch, false, false);
	turn_end_schedule(&c->bury, c->config.loop, channel_bury, c);
}

void channel_free(struct channel **c)
{
	if (!*c)
		return;
	must(!(*c)->in_handler);
	channel_close(*c);
	free(*c);
	*c = NULL;
}

static void channel_break_rule(struct channel *c, const char *what, const char *message)
{
	char why[96];

	snprintf(why, sizeof why, "%s %s", what, message);
	channel_end(c, why);
}

/* How many bytes may leave together with the first N descriptors: a descriptor leaves with its
 * frame. */
static size_t bytes_until_next_fd(const struct channel *c)
{
	for (size_t i = 0; i < c->out_fd_count; i++)
		if (c->out_fd_at[i] > 0)
			return c->out_fd_at[i];
	return bytes_len(&c->out);
}

static ssize_t channel_write_some(struct channel *c)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {bytes_at(&c->out), bytes_until_next_fd(c)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	bool with_fd = c->out_fd_count && c->out_fd_at[0] == 0;

	if (!c->out_fd_count)
		return send(c->fd, iov.iov_base, iov.iov_len, MSG_NOSIGNAL);
	if (with_fd) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof control.space;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &c->out_fds[0], sizeof(int));
	}
	ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

	if (n > 0 && with_fd) {
		close(c->out_fds[0]);
		c->out_fd_count--;
		memmove(c->out_fds, c->out_fds + 1, c->out_fd_count * sizeof *c->out_fds);
		memmove(c->out_fd_at, c->out_fd_at + 1, c->out_fd_count * sizeof *c->out_fd_at);
	}
	for (size_t i = 0; n > 0 && i < c->out_fd_count; i++)
		c->out_fd_at[i] -= (size_t)n;
	return n;
}

static void channel_flush(void *arg)
{
	struct channel *c = arg;

	while (!c->ended && bytes_len(&c->out)) {
		ssize_t n = channel_write_some(c);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ||
			      errno == ETOOMANYREFS))
			break;
		if (n <= 0) {
			const char *why = strerror(errno);
			bool closed = errno == EPIPE || errno == ECONNRESET;

			/* The reading side sees the end as well, after what is still to be read. */
			channel_empty_out(c);
			if (!closed)
				channel_end(c, why);
			break;
		}
		bytes_take(&c->out, (size_t)n, KEEP_BYTES);
	}
	if (!c->ended)
		watch_want(&c->watch, !c->paused, bytes_len(&c->out) > 0);
	if (c->drained && bytes_len(&c->out) <= c->drained_low) {
		void (*drained)(struct channel *) = c->drained;

		c->drained = NULL;
		drained(c);
	}
}

void channel_send(struct channel *c, enum message_type type, const void *m, int fd)
{
	const struct message_rule *rule = message_rule(type);

	must(rule && (rule->from & c->config.self_kind) && (rule->to & c->peer_kind));
	must(fd >= 0 ? rule->fd != FD_NEVER : rule->fd != FD_ALWAYS);
	if (c->ended || (fd >= 0 && c->out_fd_count == OUT_FDS_MAX)) {
		if (fd >= 0)
			close(fd);
		if (!c->ended)
			channel_end(c, "takes no descriptors");
		return;
	}
	if (bytes_len(&c->out) > OUT_BYTES_MAX) {
		if (fd >= 0)
			close(fd);
		channel_end(c, "does not read");
		return;
	}
	size_t begin = bytes_len(&c->out);

	bytes_room(&c->out, FRAME_HEADER_BYTES);
	c->out.end += FRAME_HEADER_BYTES;
	message_encode(&c->out, type, m);
	size_t len = bytes_len(&c->out) - begin - FRAME_HEADER_BYTES;

	must(len <= FRAME_MAX_BYTES);
	uint32_t len32 = (uint32_t)len;
	uint16_t head[2] = {(uint16_t)type, fd >= 0 ? FRAME_FLAG_FD : 0};
	uint8_t *at = bytes_at(&c->out) + begin;

	memcpy(at, &len32, sizeof len32);
	memcpy(at + sizeof len32, head, sizeof head);
	if (fd >= 0) {
		if (c->out_fd_count == c->out_fd_size) {
			c->out_fd_size = c->out_fd_size ? c->out_fd_size * 2 : 16;
			c->out_fds = mem_resize(c->out_fds, c->out_fd_size, sizeof *c->out_fds);
			c->out_fd_at =
			    mem_resize(c->out_fd_at, c->out_fd_size, sizeof *c->out_fd_at);
		}
		c->out_fds[c->out_fd_count] = fd;
		c->out_fd_at[c->out_fd_count++] = begin;
	}
	turn_end_schedule(&c->flush, c->config.loop, channel_flush, c);
}

static bool hello_fits(struct channel *c, const struct message *m)
{
	if (m->hello.schema != message_schema()) {
		channel_end(c, "speaks another schema");
		return false;
	}
	c->open = true;
	c->peer_pid = m->hello.pid;
	if (c->config.opened)
		c->config.opened(c, &m->hello);
	return true;
}

static void channel_serve(struct channel *c, struct message *m)
{
	const struct message_rule *rule = message_rule(m->type);
	const struct serve *s = c->config.serves;

	if (!(rule->from & c->peer_kind) || !(rule->to & c->config.self_kind)) {
		channel_break_rule(c, "may not send", rule->name);
		goto refused;
	}
	if (c->open == (m->type == MSG_hello)) {
		channel_break_rule(c, "out of phase:", rule->name);
		goto refused;
	}
	if (m->type == MSG_hello) {
		hello_fits(c, m);
		return;
	}
	while (s->type != MSG_NONE && !(s->type == m->type && (s->from & c->peer_kind)))
		s++;
	if (s->type == MSG_NONE) {
		channel_break_rule(c, "not served:", rule->name);
		goto refused;
	}
	c->in_handler = true;
	s->handler(c, m);
	c->in_handler = false;
	return;
refused:
	if (m->fd >= 0)
		close(m->fd);
}

/*
 * Between daemons only files travel. Reading a pipe, or writing one, could
 * make the loop wait for whoever holds its other end.
 */
static bool fd_fits(const struct channel *c, int fd)
{
	struct stat st;

	return c->peer_kind == PEER_MASTER || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
}

/* Takes the descriptor that belongs to this frame; false when the peer broke its word about it. */
static bool frame_take_fd(struct channel *c, const struct message_rule *rule, uint16_t flags,
			  int *fd, bool *lost)
{
	bool announced = (flags & FRAME_FLAG_FD) != 0;

	*fd = -1;
	*lost = false;
	if (announced ? rule->fd == FD_NEVER : rule->fd == FD_ALWAYS)
		return false;
	if (!announced)
		return true;
	if (!c->in_fd_count)
		return false;
	*lost = c->in_fds[0] == FD_LOST;
	if (*lost ? rule->fd == FD_ALWAYS : !fd_fits(c, c->in_fds[0]))
		return false;
	*fd = *lost ? -1 : c->in_fds[0];
	c->in_fd_count--;
	memmove(c->in_fds, c->in_fds + 1, c->in_fd_count * sizeof *c->in_fds);
	return true;
}

/* One frame off the buffer; false when none is whole (or the channel ended). */
static bool channel_take_frame(struct channel *c)
{
	uint32_t len;
	uint16_t head[2];
	struct message m;
	int fd;
	bool lost;

	if (bytes_len(&c->in) < FRAME_HEADER_BYTES)
		return false;
	memcpy(&len, bytes_at(&c->in), sizeof len);
	memcpy(head, bytes_at(&c->in) + sizeof len, sizeof head);
	if (len > FRAME_MAX_BYTES || !message_rule(head[0]) || (head[1] & ~FRAME_FLAG_FD)) {
		channel_end(c, "sent a frame that is none");
		return false;
	}
	if (bytes_len(&c->in) - FRAME_HEADER_BYTES < len) {
		bytes_room(&c->in, len + FRAME_HEADER_BYTES - bytes_len(&c->in));
		return false;
	}
	if (!frame_take_fd(c, message_rule(head[0]), head[1], &fd, &lost)) {
		channel_break_rule(c, "wrong descriptor with", message_rule(head[0])->name);
		return false;
	}
	if (!message_decode(bytes_at(&c->in) + FRAME_HEADER_BYTES, len, head[0], &m)) {
		if (fd >= 0)
			close(fd);
		channel_break_rule(c, "malformed", message_rule(head[0])->name);
		return false;
	}
	m.fd = fd;
	m.fd_lost = lost;
	channel_serve(c, &m);
	if (!c->ended)
		bytes_take(&c->in, len + FRAME_HEADER_BYTES, KEEP_BYTES);
	return !c->ended;
}

static void channel_take_frames(struct channel *c)
{
	while (!c->ended && !c->paused && channel_take_frame(c))
		;
	/* A descriptor comes with the first byte of its frame: one left over belongs to none. */
	if (c->in_fd_count && !c->ended && !bytes_len(&c->in))
		channel_end(c, "sent a descriptor without its message");
}

static void channel_reread(void *arg)
{
	channel_take_frames(arg);
}

void channel_pause(struct channel *c)
{
	if (c->paused)
		return;
	c->paused = true;
	if (!c->ended)
		watch_want(&c->watch, false, c->watch.wants_out);
}

void channel_resume(struct channel *c)
{
	if (!c->paused)
		return;
	c->paused = false;
	if (c->ended)
		return;
	watch_want(&c->watch, true, c->watch.wants_out);
	turn_end_schedule(&c->reread, c->config.loop, channel_reread, c);
}

static bool keep_fds(struct channel *c, struct msghdr *msg)
{
	bool cut = msg->msg_flags & MSG_CTRUNC, fits = true;
	size_t before = c->in_fd_count;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (c->in_fd_count < FDS_MAX) {
				c->in_fds[c->in_fd_count++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	/*
	 * Cut, and not one is left: it is we who had no descriptor for it. Our daemons send one at
	 * a time, so one message goes without; the channel and all that runs over it stay.
	 */
	if (cut && c->in_fd_count == before && before < FDS_MAX) {
		c->in_fds[c->in_fd_count++] = FD_LOST;
		cut = false;
	}
	return fits && !cut;
}

static ssize_t channel_read_some(struct channel *c)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * 8)];
	} control;
	struct iovec iov = {bytes_room(&c->in, READ_BYTES), 0};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof control.space};

	iov.iov_len = c->in.size - c->in.end;
	ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return n;
	if (!keep_fds(c, &msg)) {
		channel_end(c, "sent too many descriptors");
		return -1;
	}
	c->in.end += (size_t)n;
	return n;
}

static void channel_read(struct channel *c)
{
	for (size_t taken = 0; taken < TURN_BYTES && !c->ended && !c->paused;) {
		size_t asked = READ_BYTES;
		ssize_t n = channel_read_some(c);

		if (c->ended)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n <= 0) {
			channel_end(c, n == 0 ? "closed" : strerror(errno));
			return;
		}
		taken += (size_t)n;
		channel_take_frames(c);
		if ((size_t)n < asked)
			return;
	}
}

static void channel_ready(void *arg, bool readable, bool writable)
{
	struct channel *c = arg;

	if (writable)
		turn_end_schedule(&c->flush, c->config.loop, channel_flush, c);
	if (readable)
		channel_read(c);
}

struct channel *channel_new(const struct channel_config *config, int fd, unsigned peer_kind,
			    unsigned instance, void *owner)
{
	struct channel *c = mem_new(1, sizeof *c);

	c->config = *config;
	c->peer_kind = peer_kind;
	c->instance = instance;
	c->owner = owner;
	c->fd = fd;
	must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	watch_add(&c->watch, config->loop, fd, channel_ready, c);
	watch_want(&c->watch, true, false);
	channel_send(c, MSG_hello, &c->config.hello, -1);
	return c;
}
