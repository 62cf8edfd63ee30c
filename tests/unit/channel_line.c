/* SPDX-License-Identifier: ISC */
/* A channel under test, and the other end of it, which may say anything. */
#include "channel_line.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct loop *loop;

static struct line *line_of(struct channel *c)
{
	return channel_owner(c);
}

static void on_lease(struct channel *c, const struct message *m)
{
	line_of(c)->seen.leases++;
	line_of(c)->seen.last_count = m->lease.count;
}

static void on_submit(struct channel *c, const struct message *m)
{
	line_of(c)->seen.submits++;
	line_of(c)->seen.body_len = m->submit.body.len;
}

static void take_fd(struct channel *c, const struct message *m)
{
	line_of(c)->seen.fd_lost += m->fd_lost;
	if (m->fd < 0)
		return;
	line_of(c)->seen.with_fd++;
	close(m->fd);
}

static void on_handle(struct channel *c, const struct message *m)
{
	line_of(c)->seen.handles++;
	line_of(c)->seen.last_count = m->handle.index;
	take_fd(c, m);
}

static void on_body_file(struct channel *c, const struct message *m)
{
	line_of(c)->seen.files++;
	take_fd(c, m);
}

/* body_drop is in the schema and served here by nobody. */
static const struct serve serves[] = {
    {MSG_lease, PEER_SMTPD, on_lease},
    {MSG_submit, PEER_SMTPD, on_submit},
    {MSG_handle, PEER_MASTER, on_handle},
    {MSG_body_file, PEER_QMGR, on_body_file},
    {MSG_NONE, 0, NULL},
};

static void gone(struct channel *c, const char *why)
{
	struct line *line = line_of(c);

	line->seen.gone++;
	snprintf(line->seen.why, sizeof line->seen.why, "%s", why);
	line->channel = NULL;
}

static void opened(struct channel *c, const struct msg_hello *hello)
{
	assert_int_equal(hello->pid, 77);
	line_of(c)->seen.opened++;
}

void line_open(struct line *line, unsigned self, unsigned peer)
{
	struct channel_config config = {.loop = loop,
					.self_kind = self,
					.serves = serves,
					.gone = gone,
					.opened = opened,
					.hello = {message_schema(), 1, 1, 1}};
	int pair[2];

	memset(line, 0, sizeof *line);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	line->raw = pair[1];
	line->channel = channel_new(&config, pair[0], peer, 0, line);
}

void line_close(struct line *line)
{
	channel_free(&line->channel);
	close(line->raw);
}

void turns(unsigned count)
{
	while (count--)
		loop_turn(loop, MILLISECONDS(2));
}

/* -- what the hostile end sends ------------------------------------------------------ */

void raw_send(struct line *line, const void *data, size_t len)
{
	assert_int_equal(send(line->raw, data, len, MSG_NOSIGNAL), len);
}

void raw_send_fds_of(struct line *line, const void *data, size_t len, unsigned fds,
		     const char *path)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * 64)];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = CMSG_SPACE(sizeof(int) * fds)};
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && fds <= 64);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int) * fds);
	for (unsigned i = 0; i < fds; i++)
		memcpy(CMSG_DATA(&control.header) + i * sizeof fd, &fd, sizeof fd);
	assert_int_equal(sendmsg(line->raw, &msg, MSG_NOSIGNAL), len);
	close(fd);
}

void raw_send_fds(struct line *line, const void *data, size_t len, unsigned fds)
{
	raw_send_fds_of(line, data, len, fds, "/proc/self/exe");
}

void frame_head(struct bytes *to, uint32_t len, uint16_t type, uint16_t flags)
{
	wire_put_u32(to, len);
	wire_put_u16(to, type);
	wire_put_u16(to, flags);
}

void frame(struct bytes *to, enum message_type type, const void *m, uint16_t flags)
{
	struct bytes payload = {0};

	message_encode(&payload, type, m);
	frame_head(to, (uint32_t)bytes_len(&payload), (uint16_t)type, flags);
	bytes_add(to, bytes_at(&payload), bytes_len(&payload));
	bytes_free(&payload);
}

void frame_hello(struct bytes *to)
{
	frame(to, MSG_hello, &(struct msg_hello){message_schema(), 9, 1, 77}, 0);
}

void send_all(struct line *line, struct bytes *b)
{
	raw_send(line, bytes_at(b), bytes_len(b));
	bytes_free(b);
}

void send_hello(struct line *line)
{
	struct bytes b = {0};

	frame_hello(&b);
	send_all(line, &b);
}

unsigned descriptors_open(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

struct channel_config honest_end(unsigned self)
{
	return (struct channel_config){.loop = loop,
				       .self_kind = self,
				       .serves = serves,
				       .gone = gone,
				       .hello = {message_schema(), 1, 1, 77}};
}

int loop_begin(void **state)
{
	(void)state;
	loop = loop_new();
	return 0;
}

int loop_end(void **state)
{
	(void)state;
	loop_free(&loop);
	return 0;
}
