/* SPDX-License-Identifier: ISC */
/* Descriptors on channels: each stays with its message, and none is left behind. */
#include "channel_line.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

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

static void test_descriptors_stay_with_their_frames(void **state)
{
	unsigned before = descriptors_open();
	struct line a = {0}, b = {0};
	struct channel_config ca = honest_end(PEER_MASTER), cb = honest_end(PEER_SMTPD);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_descriptor_missing),
	    cmocka_unit_test(test_descriptor_optional),
	    cmocka_unit_test(test_descriptor_flood),
	    cmocka_unit_test(test_descriptor_unannounced),
	    cmocka_unit_test(test_descriptor_of_no_file),
	    cmocka_unit_test(test_descriptors_in_one_heap),
	    cmocka_unit_test(test_descriptor_that_cannot_be_taken),
	    cmocka_unit_test(test_descriptor_of_the_refused),
	    cmocka_unit_test(test_descriptors_stay_with_their_frames),
	};

	return cmocka_run_group_tests(tests, loop_begin, loop_end);
}
