/* SPDX-License-Identifier: ISC */
/* The engine's side of intake against a qmgr played here: settling, files, a qmgr that dies. */
#include "intake.h"
#include "must.h"
#include "queue.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* What the played qmgr saw, and what the owner of a message was told. */
static struct {
	struct loop *loop;
	struct intake *intake;
	struct channel *engine, *qmgr;
	uint64_t next_id, submitted[16], doubted[16], dropped;
	size_t submits, doubts, ends, files_asked;
	struct msg_submit last;
	char body[16];
	unsigned settled_code, settled, lost, went_on;
	bool give_file, read_only;
	FILE *file;
} self;

static void on_engine(struct channel *c, const struct message *m)
{
	intake_serve(self.intake, c, m);
}

static void on_lease(struct channel *c, const struct message *m)
{
	channel_send_leased(c, &(struct msg_leased){self.next_id, m->lease.count});
	self.next_id += m->lease.count;
}

static void on_submit(struct channel *c, const struct message *m)
{
	(void)c;
	must(self.submits < 16);
	self.submitted[self.submits++] = m->submit.id;
	self.last = m->submit;
	text_copy(self.body, sizeof self.body, m->submit.body);
}

static void on_body_open(struct channel *c, const struct message *m)
{
	int fd = -1;

	self.files_asked++;
	if (self.give_file) {
		self.file = tmpfile();
		fd = self.read_only ? open("/etc/passwd", O_RDONLY) : dup(fileno(self.file));
	}
	channel_send(c, MSG_body_file, &(struct msg_body_file){.id = m->body_open.id}, fd);
}

static void on_body_drop(struct channel *c, const struct message *m)
{
	(void)c;
	self.dropped = m->body_drop.id;
}

static void on_doubt(struct channel *c, const struct message *m)
{
	(void)c;
	must(self.doubts < 16);
	self.doubted[self.doubts++] = m->in_doubt.id;
}

static void on_doubt_end(struct channel *c, const struct message *m)
{
	(void)c;
	(void)m;
	self.ends++;
}

static const struct serve engine_serves[] = {
    {MSG_leased, PEER_QMGR, on_engine},
    {MSG_intake, PEER_QMGR, on_engine},
    {MSG_body_file, PEER_QMGR, on_engine},
    {MSG_settled, PEER_QMGR, on_engine},
    {MSG_NONE, 0, NULL},
};
static const struct serve qmgr_serves[] = {
    {MSG_lease, PEER_SMTPD, on_lease},
    {MSG_submit, PEER_SMTPD, on_submit},
    {MSG_body_open, PEER_SMTPD, on_body_open},
    {MSG_body_drop, PEER_SMTPD, on_body_drop},
    {MSG_in_doubt, PEER_SMTPD, on_doubt},
    {MSG_in_doubt_end, PEER_SMTPD, on_doubt_end},
    {MSG_NONE, 0, NULL},
};

static void settled(void *owner, const struct reply *r)
{
	(void)owner;
	self.settled++;
	self.settled_code = r->code;
}

static void lost(void *owner)
{
	(void)owner;
	self.lost++;
}

static void went_on(void *owner)
{
	(void)owner;
	self.went_on++;
}

static const struct intake_face face = {settled, lost, went_on};

static void turns(void)
{
	for (int i = 0; i < 6; i++)
		loop_turn(self.loop, MILLISECONDS(1));
}

static void qmgr_starts(enum intake_state state)
{
	int fds[2];
	struct channel_config config = {.loop = self.loop,
					.self_kind = PEER_SMTPD,
					.serves = engine_serves,
					.hello = {.schema = message_schema()}};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	self.engine = channel_new(&config, fds[0], PEER_QMGR, 0, NULL);
	config.self_kind = PEER_QMGR;
	config.serves = qmgr_serves;
	self.qmgr = channel_new(&config, fds[1], PEER_SMTPD, 0, NULL);
	intake_open(self.intake, self.engine);
	channel_send_intake(self.qmgr, &(struct msg_intake){(uint8_t)state});
	turns();
}

static void qmgr_dies(void)
{
	channel_free(&self.qmgr);
	channel_free(&self.engine);
	intake_gone(self.intake);
}

static int begin(void **state)
{
	(void)state;
	memset(&self, 0, sizeof self);
	self.next_id = 1000;
	self.loop = loop_new();
	self.intake = intake_new(self.loop, NULL, queue_crc32c);
	qmgr_starts(INTAKE_OPEN);
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (self.qmgr)
		channel_free(&self.qmgr);
	if (self.engine)
		channel_free(&self.engine);
	if (self.file)
		fclose(self.file);
	intake_free(&self.intake);
	loop_free(&self.loop);
	return 0;
}

static struct intake_message *message(const char *body)
{
	struct intake_message *m = intake_begin(self.intake, &face, &self);

	assert_non_null(m);
	intake_body(m, (const uint8_t *)body, strlen(body));
	return m;
}

static void submit(struct intake_message *m)
{
	intake_submit(m, 0, text_of("envelope"), text_of("prelude"));
	turns();
}

static void test_settles(void **state)
{
	struct intake_message *m = message("b1"), *n = message("b2");
	uint64_t id = intake_id(m);

	(void)state;
	assert_int_not_equal(id, intake_id(n));
	submit(m);
	assert_int_equal(self.submitted[0], id);
	assert_string_equal(self.body, "b1");
	assert_int_equal(self.last.body_length, 2);
	assert_int_equal(self.settled, 0);
	channel_send_settled(self.qmgr, &(struct msg_settled){.id = id, .committed = 1});
	turns();
	assert_int_equal(self.settled_code, 250);
	submit(n);
	channel_send_settled(self.qmgr, &(struct msg_settled){.id = self.submitted[1],
							      .code = 452,
							      .dsn = text_of("4.3.1"),
							      .reply = text_of("full")});
	turns();
	assert_int_equal(self.settled_code, 452);
	assert_int_equal(intake_unsettled(self.intake), 0);
}

/* A refusal that contradicts itself never becomes a 2xx. */
static void test_nonsense_is_no_promise(void **state)
{
	struct intake_message *m = message("b");

	(void)state;
	submit(m);
	channel_send_settled(
	    self.qmgr,
	    &(struct msg_settled){.id = self.submitted[0], .code = 250, .dsn = text_of("2.0.0")});
	turns();
	assert_int_equal(self.settled_code, 451);
}

static void test_states(void **state)
{
	static const uint16_t codes[] = {[INTAKE_FULL] = 452,
					 [INTAKE_LIMIT] = 452,
					 [INTAKE_BROKEN] = 451,
					 [INTAKE_CLOSED] = 451};

	(void)state;
	assert_null(intake_refusal(self.intake));
	for (uint8_t s = INTAKE_FULL; s <= INTAKE_CLOSED; s++) {
		channel_send_intake(self.qmgr, &(struct msg_intake){s});
		turns();
		assert_int_equal(intake_refusal(self.intake)->code, codes[s]);
		assert_null(intake_begin(self.intake, &face, &self));
	}
}

/* Before qmgr's first word, while it is away and while more IDs are on their way: not yet, for ten
 * seconds. */
static void test_not_yet(void **state)
{
	struct intake_message *m;

	(void)state;
	qmgr_dies();
	assert_ptr_equal(intake_refusal(self.intake), &reply_not_yet);
	qmgr_starts(INTAKE_CLOSED);
	assert_ptr_equal(intake_refusal(self.intake), &reply_not_yet);
	channel_send_intake(self.qmgr, &(struct msg_intake){INTAKE_OPEN});
	turns();
	assert_null(intake_refusal(self.intake));
	while ((m = intake_begin(self.intake, &face, &self)))
		intake_drop(&m);
	assert_ptr_equal(intake_refusal(self.intake), &reply_not_yet);
	turns();
	assert_null(intake_refusal(self.intake));
	/* A full disk is no matter of milliseconds. */
	channel_send_intake(self.qmgr, &(struct msg_intake){INTAKE_FULL});
	turns();
	assert_int_equal(intake_refusal(self.intake)->code, 452);
}

static void test_in_doubt(void **state)
{
	struct intake_message *m = message("a"), *open = message("c");
	uint64_t id = intake_id(m);

	(void)state;
	submit(m);
	qmgr_dies();
	assert_non_null(intake_refusal(self.intake));
	/* Not yet submitted: its ID was the old qmgr's to give. */
	submit(open);
	assert_int_equal(self.settled_code, 451);
	assert_int_equal(self.settled, 1);
	qmgr_starts(INTAKE_OPEN);
	assert_int_equal(self.doubts, 1);
	assert_int_equal(self.doubted[0], id);
	assert_int_equal(self.ends, 2);
	channel_send_settled(self.qmgr, &(struct msg_settled){.id = id, .committed = 1});
	turns();
	assert_int_equal(self.settled, 2);
	assert_int_equal(self.settled_code, 250);
	assert_null(intake_refusal(self.intake));
}

/* The client is gone, but what was submitted is still asked about and settled in silence. */
static void test_dropped_while_submitted(void **state)
{
	struct intake_message *m = message("a");

	(void)state;
	submit(m);
	intake_drop(&m);
	assert_null(m);
	assert_int_equal(intake_unsettled(self.intake), 1);
	channel_send_settled(self.qmgr,
			     &(struct msg_settled){.id = self.submitted[0], .committed = 1});
	turns();
	assert_int_equal(self.settled, 0);
	assert_int_equal(intake_unsettled(self.intake), 0);
}

static char big[INLINE_BODY_MAX + 1];

static struct intake_message *big_message(void)
{
	struct intake_message *m = intake_begin(self.intake, &face, &self);

	memset(big, 'x', sizeof big);
	intake_body(m, (const uint8_t *)big, INLINE_BODY_MAX);
	assert_false(intake_is_waiting(m));
	intake_body(m, (const uint8_t *)"y", 1);
	assert_true(intake_is_waiting(m));
	return m;
}

static void test_large_body(void **state)
{
	struct intake_message *m;
	char *read_back = calloc(1, sizeof big + 8);

	(void)state;
	self.give_file = true;
	m = big_message();
	turns();
	assert_int_equal(self.went_on, 1);
	intake_body(m, (const uint8_t *)"z", 1);
	submit(m);
	assert_int_equal(self.last.body_in_file, 1);
	assert_int_equal(self.last.body_length, INLINE_BODY_MAX + 2);
	rewind(self.file);
	size_t n = fread(read_back, 1, sizeof big + 8, self.file);

	assert_int_equal(n, INLINE_BODY_MAX + 2);
	assert_memory_equal(read_back + INLINE_BODY_MAX, "yz", 2);
	assert_int_equal(self.last.body_crc, queue_crc32c(0, read_back, n));
	free(read_back);
}

/* The end of data may come while the file is still awaited. */
static void test_end_before_file(void **state)
{
	struct intake_message *m;

	(void)state;
	self.give_file = true;
	m = big_message();
	intake_submit(m, 0, text_of("envelope"), text_of("prelude"));
	turns();
	assert_int_equal(self.submits, 1);
	assert_int_equal(self.went_on, 0);
	assert_int_equal(self.last.body_length, INLINE_BODY_MAX + 1);
}

static void test_file_refused(void **state)
{
	struct intake_message *m = big_message();

	(void)state;
	turns();
	assert_int_equal(self.went_on, 1);
	intake_body(m, (const uint8_t *)"z", 1);
	submit(m);
	assert_int_equal(self.submits, 0);
	assert_int_equal(self.settled_code, 451);
}

/* A file that can't be written is given back, or a full disk would stay full of them. */
static void test_file_cannot_be_written(void **state)
{
	struct intake_message *m;

	(void)state;
	self.give_file = self.read_only = true;
	m = big_message();
	turns();
	assert_int_equal(self.went_on, 1);
	assert_int_equal(self.dropped, intake_id(m));
	submit(m);
	assert_int_equal(self.submits, 0);
	assert_int_equal(self.settled_code, 451);
}

static void test_body_given_up(void **state)
{
	struct intake_message *m;

	(void)state;
	self.give_file = true;
	m = big_message();
	uint64_t id = intake_id(m);

	intake_drop(&m);
	turns();
	assert_int_equal(self.dropped, id);
	assert_int_equal(self.went_on, 0);
}

/* IDs never run out while qmgr answers, and never repeat. */
static void test_leases(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (int i = 0; i < 30000; i++) {
		struct intake_message *m = intake_begin(self.intake, &face, &self);

		assert_non_null(m);
		assert_true(intake_id(m) > before);
		before = intake_id(m);
		intake_drop(&m);
		if (i % 1000 == 0)
			turns();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_settles, begin, end),
	    cmocka_unit_test_setup_teardown(test_nonsense_is_no_promise, begin, end),
	    cmocka_unit_test_setup_teardown(test_states, begin, end),
	    cmocka_unit_test_setup_teardown(test_not_yet, begin, end),
	    cmocka_unit_test_setup_teardown(test_in_doubt, begin, end),
	    cmocka_unit_test_setup_teardown(test_dropped_while_submitted, begin, end),
	    cmocka_unit_test_setup_teardown(test_large_body, begin, end),
	    cmocka_unit_test_setup_teardown(test_end_before_file, begin, end),
	    cmocka_unit_test_setup_teardown(test_file_refused, begin, end),
	    cmocka_unit_test_setup_teardown(test_file_cannot_be_written, begin, end),
	    cmocka_unit_test_setup_teardown(test_body_given_up, begin, end),
	    cmocka_unit_test_setup_teardown(test_leases, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
