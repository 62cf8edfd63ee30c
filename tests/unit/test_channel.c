/* SPDX-License-Identifier: ISC */
/*
 * Channels against hostile peers: whatever one end does, only its own
 * channel ends, and once. Descriptors: test_channel_descriptors.
 */
#include "channel_line.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

/* -- two honest ends ------------------------------------------------------------------- */

static void drained(struct channel *c)
{
	((struct line *)channel_owner(c))->seen.drained++;
}

/* An owner that goes on all the same loses the channel, not its memory. */
static void test_a_peer_that_never_reads(void **state)
{
	struct line a = {0}, b = {0};
	struct channel_config ca = honest_end(PEER_MASTER), cb = honest_end(PEER_SMTPD);
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
	struct channel_config ca = honest_end(PEER_SMTPD), cb = honest_end(PEER_QMGR);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bad_peers_end_alone),
	    cmocka_unit_test(test_every_type_as_garbage),
	    cmocka_unit_test(test_byte_by_byte),
	    cmocka_unit_test(test_half_a_frame_and_gone),
	    cmocka_unit_test(test_a_peer_that_never_reads),
	    cmocka_unit_test(test_a_peer_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, loop_begin, loop_end);
}
