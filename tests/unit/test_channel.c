/* SPDX-License-Identifier: ISC */
/*
 * Channels against hostile peers: whatever one end does, only its own
 * channel ends, once, and no descriptor is left behind.
 */
#include "channel.h"
#include "mem.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* What a channel under test saw. */
struct seen {
	unsigned leases, submits, handles, files, with_fd, fd_lost;
	unsigned opened, gone, drained;
	uint32_t last_count;
	size_t body_len;
	char why[96];
};

/* A channel and the raw descriptor by which its peer speaks. */
struct line {
	struct channel *channel; /* NULL once gone */
	int raw;
	struct seen seen;
};

static struct loop *loop;

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

static void line_open(struct line *line, unsigned self, unsigned peer)
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

static void line_close(struct line *line)
{
	channel_free(&line->channel);
	close(line->raw);
}

static void turns(unsigned count)
{
	while (count--)
		loop_turn(loop, MILLISECONDS(2));
}

/* -- what the hostile end sends ------------------------------------------------------ */

static void raw_send(struct line *line, const void *data, size_t len)
{
	assert_int_equal(send(line->raw, data, len, MSG_NOSIGNAL), len);
}

static void raw_send_fds_of(struct line *line, const void *data, size_t len, unsigned fds,
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

static void raw_send_fds(struct line *line, const void *data, size_t len, unsigned fds)
{
	raw_send_fds_of(line, data, len, fds, "/proc/self/exe");
}

static void frame_head(struct bytes *to, uint32_t len, uint16_t type, uint16_t flags)
{
	wire_put_u32(to, len);
	wire_put_u16(to, type);
	wire_put_u16(to, flags);
}

static void frame(struct bytes *to, enum message_type type, const void *m, uint16_t flags)
{
	struct bytes payload = {0};

	message_encode(&payload, type, m);
	frame_head(to, (uint32_t)bytes_len(&payload), (uint16_t)type, flags);
	bytes_add(to, bytes_at(&payload), bytes_len(&payload));
	bytes_free(&payload);
}

static void frame_hello(struct bytes *to)
{
	frame(to, MSG_hello, &(struct msg_hello){message_schema(), 9, 1, 77}, 0);
}

static void send_all(struct line *line, struct bytes *b)
{
	raw_send(line, bytes_at(b), bytes_len(b));
	bytes_free(b);
}

static void send_hello(struct line *line)
{
	struct bytes b = {0};

	frame_hello(&b);
	send_all(line, &b);
}

static unsigned descriptors_open(void)
{
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* -- rows: after a good hello (or not), these bytes end the channel for this reason ---- */

static void bad_schema(struct bytes *b)
{
	frame(b, MSG_hello, &(struct msg_hello){message_schema() + 1, 9, 1, 77}, 0);
}
static void before_hello(struct bytes *b)
{
	frame(b, MSG_lease, &(struct msg_lease){1}, 0);
}
static void type_zero(struct bytes *b)
{
	frame_head(b, 0, 0, 0);
}
static void type_unknown(struct bytes *b)
{
	frame_head(b, 0, MSG_COUNT, 0);
}
static void type_largest(struct bytes *b)
{
	frame_head(b, 0, 0xffff, 0);
}
static void flag_unknown(struct bytes *b)
{
	frame_head(b, 4, MSG_lease, 2);
	wire_put_u32(b, 1);
}
/* Ends at the header: nobody waits for, or makes room for, what is announced. */
static void length_over(struct bytes *b)
{
	frame_head(b, FRAME_MAX_BYTES + 1, MSG_lease, 0);
}
static void length_largest(struct bytes *b)
{
	frame_head(b, UINT32_MAX, MSG_lease, 0);
}
static void payload_short(struct bytes *b)
{
	frame_head(b, 3, MSG_lease, 0);
	bytes_add(b, "abc", 3);
}
static void payload_long(struct bytes *b)
{
	frame_head(b, 5, MSG_lease, 0);
	bytes_add(b, "abcde", 5);
}
static void payload_none(struct bytes *b)
{
	frame_head(b, 0, MSG_submit, 0);
}

static void submit_begin(struct bytes *b)
{
	wire_put_u64(b, 1);
	wire_put_u64(b, 0);
}

/* A text of a length that its field does not bear, its bytes all there. */
static void text_over(struct bytes *b)
{
	struct bytes p = {0};
	char *body = mem_new(1, INLINE_BODY_MAX + 1);

	submit_begin(&p);
	wire_put_text(&p, text_of("e"));
	wire_put_text(&p, text_of("p"));
	wire_put_text(&p, (struct text){body, INLINE_BODY_MAX + 1});
	wire_put_u64(&p, 0);
	wire_put_u32(&p, 0);
	wire_put_u8(&p, 0);
	frame_head(b, (uint32_t)bytes_len(&p), MSG_submit, 0);
	bytes_add(b, bytes_at(&p), bytes_len(&p));
	bytes_free(&p);
	free(body);
}
/* A text that ends behind its frame. */
static void text_beyond(struct bytes *b)
{
	struct bytes p = {0};

	submit_begin(&p);
	wire_put_u32(&p, 1000000);
	frame_head(b, (uint32_t)bytes_len(&p), MSG_submit, 0);
	bytes_add(b, bytes_at(&p), bytes_len(&p));
	bytes_free(&p);
}
static void text_wraps(struct bytes *b)
{
	struct bytes p = {0};

	submit_begin(&p);
	wire_put_u32(&p, UINT32_MAX);
	frame_head(b, (uint32_t)bytes_len(&p), MSG_submit, 0);
	bytes_add(b, bytes_at(&p), bytes_len(&p));
	bytes_free(&p);
}
static void only_master_may(struct bytes *b)
{
	frame(b, MSG_begin, &(struct msg_begin){1}, 0);
}
static void only_we_may(struct bytes *b)
{
	frame(b, MSG_leased, &(struct msg_leased){1, 2}, 0);
}
static void for_others(struct bytes *b)
{
	frame(b, MSG_name_ask, &(struct msg_name_ask){1, text_of("0123456789abcdef")}, 0);
}
static void nobody_serves(struct bytes *b)
{
	frame(b, MSG_body_drop, &(struct msg_body_drop){1}, 0);
}
static void fd_announced_never(struct bytes *b)
{
	frame(b, MSG_lease, &(struct msg_lease){1}, FRAME_FLAG_FD);
}

static const struct {
	void (*bytes)(struct bytes *b);
	bool hello; /* a good one goes first */
	const char *why;
} bad[] = {
    {bad_schema, false, "speaks another schema"},
    {before_hello, false, "out of phase: lease"},
    {frame_hello, true, "out of phase: hello"},
    {type_zero, true, "sent a frame that is none"},
    {type_unknown, true, "sent a frame that is none"},
    {type_largest, true, "sent a frame that is none"},
    {flag_unknown, true, "sent a frame that is none"},
    {length_over, true, "sent a frame that is none"},
    {length_largest, true, "sent a frame that is none"},
    {length_largest, false, "sent a frame that is none"},
    {payload_short, true, "malformed lease"},
    {payload_long, true, "malformed lease"},
    {payload_none, true, "malformed submit"},
    {text_over, true, "malformed submit"},
    {text_beyond, true, "malformed submit"},
    {text_wraps, true, "malformed submit"},
    {only_master_may, true, "may not send begin"},
    {only_we_may, true, "may not send leased"},
    {for_others, true, "may not send name_ask"},
    {nobody_serves, true, "not served: body_drop"},
    {fd_announced_never, true, "wrong descriptor with lease"},
};

static void test_bad_peers_end_alone(void **state)
{
	struct line good;

	(void)state;
	line_open(&good, PEER_QMGR, PEER_SMTPD);
	send_hello(&good);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct line line;
		struct bytes b = {0};

		line_open(&line, PEER_QMGR, PEER_SMTPD);
		if (bad[i].hello)
			frame_hello(&b);
		bad[i].bytes(&b);
		/* What follows the fault is never looked at. */
		frame(&b, MSG_lease, &(struct msg_lease){5}, 0);
		send_all(&line, &b);
		turns(2);
		assert_string_equal(line.seen.why, bad[i].why);
		assert_int_equal(line.seen.gone, 1);
		assert_int_equal(line.seen.leases, 0);
		line_close(&line);
		/* The neighbour goes on. */
		frame(&b, MSG_lease, &(struct msg_lease){(uint32_t)i}, 0);
		send_all(&good, &b);
		turns(1);
		assert_int_equal(good.seen.leases, i + 1);
		assert_int_equal(good.seen.last_count, i);
	}
	assert_int_equal(good.seen.gone, 0);
	line_close(&good);
}

/* Every type, in both phases, with an empty and a wild payload: no end but an orderly one. */
static void test_every_type_as_garbage(void **state)
{
	uint8_t wild[64];

	(void)state;
	memset(wild, 0xff, sizeof wild);
	for (unsigned type = 0; type <= MSG_COUNT; type++) {
		for (unsigned shape = 0; shape < 4; shape++) {
			struct line line;
			struct bytes b = {0};

			line_open(&line, PEER_QMGR, PEER_SMTPD);
			if (shape & 1)
				frame_hello(&b);
			frame_head(&b, shape & 2 ? sizeof wild : 0, (uint16_t)type, 0);
			if (shape & 2)
				bytes_add(&b, wild, sizeof wild);
			send_all(&line, &b);
			turns(1);
			assert_int_equal(line.seen.gone, 1);
			line_close(&line);
		}
	}
}

static void test_byte_by_byte(void **state)
{
	struct line line;
	struct bytes b = {0};
	char body[3000];

	(void)state;
	memset(body, 'x', sizeof body);
	line_open(&line, PEER_QMGR, PEER_SMTPD);
	frame_hello(&b);
	frame(
	    &b, MSG_submit,
	    &(struct msg_submit){.id = 1, .body = {body, sizeof body}, .body_length = sizeof body},
	    0);
	frame(&b, MSG_lease, &(struct msg_lease){3}, 0);
	while (bytes_len(&b)) {
		raw_send(&line, bytes_at(&b), 1);
		bytes_take(&b, 1, 0);
		loop_turn(loop, MILLISECONDS(0));
	}
	turns(2);
	assert_int_equal(line.seen.submits, 1);
	assert_int_equal(line.seen.body_len, sizeof body);
	assert_int_equal(line.seen.leases, 1);
	assert_int_equal(line.seen.gone, 0);
	line_close(&line);
	bytes_free(&b);
}

static void test_half_a_frame_and_gone(void **state)
{
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_QMGR, PEER_SMTPD);
	frame_hello(&b);
	frame_head(&b, 1000, MSG_submit, 0);
	bytes_add(&b, "half", 4);
	send_all(&line, &b);
	turns(1);
	assert_int_equal(line.seen.gone, 0);
	shutdown(line.raw, SHUT_RDWR);
	turns(1);
	assert_int_equal(line.seen.gone, 1);
	assert_string_equal(line.seen.why, "closed");
	line_close(&line);
}

/* -- descriptors --------------------------------------------------------------------- */

static void handle_frame(struct bytes *b, uint16_t index, uint16_t flags)
{
	frame(b, MSG_handle, &(struct msg_handle){1, index, text_of("n")}, flags);
}

static void test_descriptor_missing(void **state)
{
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_SMTPD, PEER_MASTER);
	frame_hello(&b);
	handle_frame(&b, 1, 0);
	send_all(&line, &b);
	turns(1);
	assert_string_equal(line.seen.why, "wrong descriptor with handle");
	line_close(&line);
	/* Announced, but not there. */
	line_open(&line, PEER_SMTPD, PEER_MASTER);
	frame_hello(&b);
	handle_frame(&b, 1, FRAME_FLAG_FD);
	send_all(&line, &b);
	turns(1);
	assert_string_equal(line.seen.why, "wrong descriptor with handle");
	assert_int_equal(line.seen.handles, 0);
	line_close(&line);
}

static void test_descriptor_optional(void **state)
{
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_SMTPD, PEER_QMGR);
	frame_hello(&b);
	frame(&b, MSG_body_file, &(struct msg_body_file){.id = 1}, 0);
	send_all(&line, &b);
	frame(&b, MSG_body_file, &(struct msg_body_file){.id = 2}, FRAME_FLAG_FD);
	raw_send_fds(&line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
	turns(2);
	assert_int_equal(line.seen.files, 2);
	assert_int_equal(line.seen.with_fd, 1);
	assert_int_equal(line.seen.gone, 0);
	line_close(&line);
}

static void send_file(struct line *line, uint64_t id)
{
	struct bytes b = {0};

	frame(&b, MSG_body_file, &(struct msg_body_file){.id = id}, FRAME_FLAG_FD);
	raw_send_fds(line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
}

/* Turns in which no descriptor can be had. */
static void turns_without_descriptors(unsigned count)
{
	struct rlimit usual, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none = usual;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turns(count);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* Our own shortage is not the peer's fault: the message comes without, and the next one with its
 * own. */
static void test_descriptor_that_cannot_be_taken(void **state)
{
	unsigned before = descriptors_open();
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_SMTPD, PEER_QMGR);
	send_hello(&line);
	send_file(&line, 1);
	send_file(&line, 2);
	turns_without_descriptors(3);
	assert_int_equal(line.seen.files, 2);
	assert_int_equal(line.seen.fd_lost, 2);
	assert_int_equal(line.seen.with_fd, 0);
	send_file(&line, 3);
	turns(2);
	assert_int_equal(line.seen.fd_lost, 2);
	assert_int_equal(line.seen.with_fd, 1);
	assert_int_equal(line.seen.gone, 0);
	line_close(&line);
	/* A channel that goes has nothing to close in its place. */
	line_open(&line, PEER_SMTPD, PEER_QMGR);
	raw_send_fds(&line, "x", 1, 1);
	turns_without_descriptors(2);
	line_close(&line);
	/* What master hands over is not to be done without. */
	line_open(&line, PEER_SMTPD, PEER_MASTER);
	send_hello(&line);
	handle_frame(&b, 1, FRAME_FLAG_FD);
	raw_send_fds(&line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
	turns_without_descriptors(2);
	assert_string_equal(line.seen.why, "wrong descriptor with handle");
	line_close(&line);
	assert_int_equal(descriptors_open(), before);
}

/* A descriptor that nothing announces belongs to no message, even if more bytes follow it. */
static void test_descriptor_unannounced(void **state)
{
	unsigned before = descriptors_open();
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_QMGR, PEER_SMTPD);
	send_hello(&line);
	frame(&b, MSG_lease, &(struct msg_lease){1}, 0);
	raw_send_fds(&line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
	turns(1);
	assert_int_equal(line.seen.gone, 1);
	assert_string_equal(line.seen.why, "sent a descriptor without its message");
	line_close(&line);
	assert_int_equal(descriptors_open(), before);
}

/* While a frame is not whole they pile up to a bound, and are all closed at the end. */
static void test_descriptor_flood(void **state)
{
	unsigned before = descriptors_open();
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_QMGR, PEER_SMTPD);
	send_hello(&line);
	frame_head(&b, 1000, MSG_lease, 0);
	send_all(&line, &b);
	for (unsigned i = 0; i < 200 && line.channel; i++) {
		raw_send_fds(&line, "x", 1, 1);
		turns(1);
	}
	assert_int_equal(line.seen.gone, 1);
	assert_string_equal(line.seen.why, "sent too many descriptors");
	line_close(&line);
	assert_int_equal(descriptors_open(), before);
}

/* Reading or writing what is no file could make the loop wait. */
static void test_descriptor_of_no_file(void **state)
{
	static const char *const paths[] = {"/dev/null", "/"};
	unsigned before = descriptors_open();

	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct line line;
		struct bytes b = {0};

		line_open(&line, PEER_SMTPD, PEER_QMGR);
		send_hello(&line);
		frame(&b, MSG_body_file, &(struct msg_body_file){.id = 2}, FRAME_FLAG_FD);
		raw_send_fds_of(&line, bytes_at(&b), bytes_len(&b), 1, paths[i]);
		bytes_free(&b);
		turns(1);
		assert_int_equal(line.seen.files, 0);
		assert_string_equal(line.seen.why, "wrong descriptor with body_file");
		line_close(&line);
	}
	assert_int_equal(descriptors_open(), before);
}

static void test_descriptors_in_one_heap(void **state)
{
	unsigned before = descriptors_open();
	struct line line;

	(void)state;
	line_open(&line, PEER_QMGR, PEER_SMTPD);
	send_hello(&line);
	turns(1);
	raw_send_fds(&line, "x", 1, 60);
	turns(1);
	assert_int_equal(line.seen.gone, 1);
	assert_string_equal(line.seen.why, "sent too many descriptors");
	line_close(&line);
	assert_int_equal(descriptors_open(), before);
}

/* Descriptors of messages that are refused are closed too. */
static void test_descriptor_of_the_refused(void **state)
{
	unsigned before = descriptors_open();
	struct line line;
	struct bytes b = {0};

	(void)state;
	line_open(&line, PEER_QMGR, PEER_SMTPD); /* an engine that plays master */
	send_hello(&line);
	handle_frame(&b, 1, FRAME_FLAG_FD);
	raw_send_fds(&line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
	turns(1);
	assert_string_equal(line.seen.why, "may not send handle");
	line_close(&line);
	line_open(&line, PEER_SMTPD, PEER_MASTER);
	send_hello(&line);
	frame_head(&b, 1, MSG_handle, FRAME_FLAG_FD);
	bytes_add(&b, "x", 1);
	raw_send_fds(&line, bytes_at(&b), bytes_len(&b), 1);
	bytes_free(&b);
	turns(1);
	assert_string_equal(line.seen.why, "malformed handle");
	line_close(&line);
	assert_int_equal(descriptors_open(), before);
}

/* -- two honest ends ------------------------------------------------------------------- */

static struct channel_config honest(unsigned self)
{
	return (struct channel_config){.loop = loop,
				       .self_kind = self,
				       .serves = serves,
				       .gone = gone,
				       .hello = {message_schema(), 1, 1, 77}};
}

static void drained(struct channel *c)
{
	line_of(c)->seen.drained++;
}

static void test_descriptors_stay_with_their_frames(void **state)
{
	unsigned before = descriptors_open();
	struct line a = {0}, b = {0};
	struct channel_config ca = honest(PEER_MASTER), cb = honest(PEER_SMTPD);
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a.channel = channel_new(&ca, pair[0], PEER_SMTPD, 0, &a);
	b.channel = channel_new(&cb, pair[1], PEER_MASTER, 0, &b);
	for (uint16_t i = 1; i <= 40; i++)
		channel_send(a.channel, MSG_handle, &(struct msg_handle){1, i, text_of("name")},
			     open("/dev/null", O_RDONLY | O_CLOEXEC));
	turns(60);
	assert_int_equal(b.seen.handles, 40);
	assert_int_equal(b.seen.with_fd, 40);
	assert_int_equal(b.seen.last_count, 40);
	/* Ours are closed once sent; a peer that takes none ends, and nothing stays open. */
	channel_pause(b.channel);
	for (unsigned i = 0; i < 900; i++)
		channel_send(a.channel, MSG_handle, &(struct msg_handle){1, 1, text_of("name")},
			     open("/dev/null", O_RDONLY | O_CLOEXEC));
	turns(3);
	assert_int_equal(a.seen.gone, 1);
	assert_string_equal(a.seen.why, "takes no descriptors");
	channel_free(&b.channel);
	assert_int_equal(descriptors_open(), before);
}

/* An owner that goes on all the same loses the channel, not its memory. */
static void test_a_peer_that_never_reads(void **state)
{
	struct line a = {0}, b = {0};
	struct channel_config ca = honest(PEER_MASTER), cb = honest(PEER_SMTPD);
	char *content = mem_new(1, 1048576);
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a.channel = channel_new(&ca, pair[0], PEER_SMTPD, 0, &a);
	b.channel = channel_new(&cb, pair[1], PEER_MASTER, 0, &b);
	turns(2);
	channel_pause(b.channel);
	for (unsigned i = 0; i < 200; i++)
		channel_send_config(a.channel, &(struct msg_config){i, {content, 1048576}});
	assert_true(channel_backlog(a.channel) < 130u << 20);
	turns(1);
	assert_int_equal(a.seen.gone, 1);
	assert_string_equal(a.seen.why, "does not read");
	channel_resume(b.channel);
	turns(5);
	assert_int_equal(b.seen.gone, 1);
	free(content);
}

static void test_a_peer_that_does_not_read(void **state)
{
	struct line a = {0}, b = {0};
	struct channel_config ca = honest(PEER_SMTPD), cb = honest(PEER_QMGR);
	char *body = mem_new(1, INLINE_BODY_MAX);
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	a.channel = channel_new(&ca, pair[0], PEER_QMGR, 0, &a);
	b.channel = channel_new(&cb, pair[1], PEER_SMTPD, 0, &b);
	turns(2);
	channel_pause(b.channel);
	for (unsigned i = 0; i < 100; i++)
		channel_send_submit(a.channel,
				    &(struct msg_submit){.id = i, .body = {body, INLINE_BODY_MAX}});
	turns(3);
	assert_int_equal(b.seen.submits, 0);
	assert_true(channel_backlog(a.channel) > 50 * (size_t)INLINE_BODY_MAX);
	channel_when_drained(a.channel, INLINE_BODY_MAX, drained);
	turns(3);
	assert_int_equal(a.seen.drained, 0);
	channel_resume(b.channel);
	turns(200);
	assert_int_equal(b.seen.submits, 100);
	assert_int_equal(a.seen.drained, 1);
	assert_int_equal(channel_backlog(a.channel), 0);
	assert_int_equal(a.seen.gone + b.seen.gone, 0);
	channel_free(&a.channel);
	turns(1);
	assert_int_equal(b.seen.gone, 1);
	free(body);
}

static int loop_begin(void **state)
{
	(void)state;
	loop = loop_new();
	return 0;
}

static int loop_end(void **state)
{
	(void)state;
	loop_free(&loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bad_peers_end_alone),
	    cmocka_unit_test(test_every_type_as_garbage),
	    cmocka_unit_test(test_byte_by_byte),
	    cmocka_unit_test(test_half_a_frame_and_gone),
	    cmocka_unit_test(test_descriptor_missing),
	    cmocka_unit_test(test_descriptor_optional),
	    cmocka_unit_test(test_descriptor_flood),
	    cmocka_unit_test(test_descriptor_unannounced),
	    cmocka_unit_test(test_descriptor_of_no_file),
	    cmocka_unit_test(test_descriptors_in_one_heap),
	    cmocka_unit_test(test_descriptor_that_cannot_be_taken),
	    cmocka_unit_test(test_descriptor_of_the_refused),
	    cmocka_unit_test(test_descriptors_stay_with_their_frames),
	    cmocka_unit_test(test_a_peer_that_never_reads),
	    cmocka_unit_test(test_a_peer_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, loop_begin, loop_end);
}
