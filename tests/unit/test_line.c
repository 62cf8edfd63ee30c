/* SPDX-License-Identifier: ISC */
/* Log lines in their forms, and targets that do not take them. */
#include "line.h"
#include "sink.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define WALL UINT64_C(1795298700123456) /* 2026-11-21 22:05:00.123456 UTC */

static struct history_event delivery(void)
{
	return (struct history_event){
	    .what = EVENT_delivery,
	    .daemon = PEER_SMTP_CLIENT,
	    .pid = 321,
	    .id = 1000,
	    .wall = WALL,
	    .count = 9,
	    .values = {TEXT("a@b.example"), TEXT("mx.b.example[192.0.2.1]:25"), TEXT("1.2"),
		       TEXT("0.1/0/0.5/0.6"), TEXT("2.0.0"), TEXT("sent"), TEXT("250 2.0.0 Ok"),
		       TEXT("none"), TEXT("dane/default")},
	};
}

static void expect_line(enum line_form form, const struct history_event *e, const char *want)
{
	struct line_writer *w = line_writer_new("mail");
	struct bytes b = {0};

	assert_true(line_write(w, form, &b, e));
	assert_int_equal(b.data[b.end - 1], form <= LINE_JSON ? '\n' : '\0');
	b.data[b.end - 1] = '\0';
	assert_string_equal((char *)bytes_at(&b), want);
	bytes_free(&b);
	line_writer_free(&w);
}

static void test_forms(void **state)
{
	struct history_event e = delivery();

	(void)state;
#define MESSAGE_TEXT                                                                               \
	"RS: to=<a@b.example>, relay=mx.b.example[192.0.2.1]:25, delay=1.2, "                      \
	"delays=0.1/0/0.5/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok) tls=none policy=dane/default"
	expect_line(LINE_TEXT, &e, "Nov 21 22:05:00 mail veredus/smtp-client[321]: " MESSAGE_TEXT);
	expect_line(LINE_SYSLOG, &e, "<22>Nov 21 22:05:00 veredus/smtp-client[321]: " MESSAGE_TEXT);
	expect_line(LINE_JOURNAL, &e,
		    "PRIORITY=6\nSYSLOG_FACILITY=2\nSYSLOG_PID=321\n"
		    "SYSLOG_IDENTIFIER=veredus/smtp-client\nVEREDUS_EVENT=delivery\n"
		    "VEREDUS_ID=RS\nMESSAGE=" MESSAGE_TEXT "\n");
	expect_line(LINE_JSON, &e,
		    "{\"time\":\"2026-11-21T22:05:00.123456+00:00\",\"severity\":\"info\","
		    "\"daemon\":\"smtp-client\",\"pid\":321,\"id\":\"RS\",\"event\":\"delivery\","
		    "\"to\":\"a@b.example\",\"relay\":\"mx.b.example[192.0.2.1]:25\","
		    "\"delay\":\"1.2\",\"delays\":\"0.1/0/0.5/0.6\",\"dsn\":\"2.0.0\","
		    "\"status\":\"sent\",\"reply\":\"250 2.0.0 "
		    "Ok\",\"tls\":\"none\",\"policy\":\"dane/default\"}");
#undef MESSAGE_TEXT
}

static void test_prefixes(void **state)
{
	struct history_event e = {.what = EVENT_reject,
				  .daemon = PEER_SMTPD,
				  .pid = 1,
				  .wall = WALL,
				  .count = 1,
				  .values = {TEXT("RCPT")}};

	(void)state;
	expect_line(LINE_TEXT, &e,
		    "Nov 21 22:05:00 mail veredus/smtpd[1]: NOQUEUE: reject: RCPT from : ; "
		    "from=<> to=<> proto= helo=<>");
	e = (struct history_event){.what = EVENT_client,
				   .daemon = PEER_SUBMISSION,
				   .pid = 2,
				   .id = 1,
				   .wall = WALL,
				   .count = 1,
				   .values = {TEXT("x[192.0.2.1]")}};
	expect_line(LINE_TEXT, &e,
		    "Nov 21 22:05:00 mail veredus/submission/smtpd[2]: 1: client=x[192.0.2.1]");
	e = (struct history_event){.what = EVENT_error,
				   .daemon = PEER_MASTER,
				   .pid = 3,
				   .wall = WALL,
				   .count = 1,
				   .values = {TEXT("oh")}};
	expect_line(LINE_SYSLOG, &e, "<19>Nov 21 22:05:00 veredus/master[3]: error: oh");
}

/* UTF-8 without a control character, of C0 or of C1. */
static void assert_tame(struct text line)
{
	const uint8_t *octets = (const uint8_t *)line.data;

	for (size_t i = 0; i < line.len; i++) {
		assert_true(octets[i] >= 0x20 && octets[i] != 0x7f);
		if (i)
			assert_false(octets[i - 1] == 0xc2 && octets[i] < 0xa0);
	}
	assert_true(text_is_utf8(line));
}

static json_t *json_of(struct text line)
{
	json_error_t error;
	json_t *j =
	    json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);

	assert_non_null(j);
	return j;
}

/* Nothing that a client sends can end a line or drive a terminal, and JSON stays JSON. */
static void test_hostile_values(void **state)
{
	static char all[256], long_value[EVENT_VALUE_BYTES];
	struct line_writer *w = line_writer_new("mail");
	struct bytes b = {0};

	(void)state;
	for (size_t i = 0; i < 256; i++)
		all[i] = (char)i;
	memset(long_value, 0xff, sizeof long_value);
	const struct text values[] = {
	    {all, 256},
	    {all, 128},
	    {long_value, sizeof long_value},
	    TEXT("\"}\n\r\\ \x1b[2J"),
	    TEXT("gr\xc3\xbc\xc3\x9f"),
	    TEXT("\xc2\x9b 2J"),
	};
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		for (enum line_form form = LINE_TEXT; form <= LINE_JOURNAL; form++) {
			struct history_event e = {
			    .what = EVENT_notice, .daemon = PEER_SMTPD, .wall = WALL, .count = 1};

			e.values[0] = values[i];
			b.start = b.end = 0;
			assert_true(line_write(w, form, &b, &e));
			size_t len = bytes_len(&b) - 1;
			const char *line = (const char *)bytes_at(&b);

			if (form != LINE_JOURNAL)
				assert_tame((struct text){line, len});
			if (form == LINE_JSON)
				json_decref(json_of((struct text){line, len}));
		}
	}
	/* JSON gives back the very value where it is UTF-8 without terminal controls. */
	struct history_event e = {.what = EVENT_notice, .wall = WALL, .count = 1};

	e.values[0] = (struct text){all, 128};
	b.start = b.end = 0;
	line_write(w, LINE_JSON, &b, &e);
	json_t *j = json_of(bytes_text(&b));

	assert_int_equal(json_string_length(json_object_get(j, "text")), 128);
	assert_memory_equal(json_string_value(json_object_get(j, "text")), all, 128);
	json_decref(j);
	bytes_free(&b);
	line_writer_free(&w);
}

/* No word of a row is also one of the keys that each line has, and none stands there twice. */
static void assert_own_keys(const struct bytes *line)
{
	json_error_t error;
	json_t *j =
	    json_loadb((char *)bytes_at(line), bytes_len(line), JSON_REJECT_DUPLICATES, &error);

	if (!j)
		fail_msg("%s: %.*s", error.text, (int)bytes_len(line), (char *)bytes_at(line));
	json_decref(j);
}

/* Every row of events.def renders, with no values and with too many. */
static void test_every_event(void **state)
{
	struct line_writer *w = line_writer_new("mail");
	unsigned known = 0;

	(void)state;
	for (unsigned what = 0; what < 300; what++) {
		struct history_event e = {.what = what, .id = 1, .wall = WALL};
		struct bytes b = {0};

		assert_int_equal(line_write(w, LINE_TEXT, &b, &e), event_row(what) != NULL);
		bytes_free(&b);
		e.count = EVENT_VALUES_MAX;
		for (size_t i = 0; i < EVENT_VALUES_MAX; i++)
			e.values[i] = (struct text)TEXT("v");
		if (!line_write(w, LINE_JSON, &b, &e)) {
			assert_null(event_row(what));
			continue;
		}
		assert_own_keys(&b);
		bytes_free(&b);
		known++;
	}
	assert_true(known > 20);
	line_writer_free(&w);
}

static void fill(struct sink *s, size_t lines)
{
	static char line[100];

	memset(line, 'x', sizeof line);
	for (size_t i = 0; i < lines; i++)
		if (sink_takes(s)) {
			bytes_add(&s->buffer, line, 99);
			bytes_add(&s->buffer, s->kind == SINK_DATAGRAMS ? "" : "\n", 1);
		}
}

/* A reader that does not read: what fits is held, the rest counted, nothing blocks; lines stay
 * whole. */
static void slow_reader(int read_fd, int write_fd)
{
	struct sink s;
	static char block[65536];
	size_t got = 0;
	ssize_t n;

	sink_init(&s);
	sink_open(&s, write_fd, NULL);
	for (int i = 0; i < 100; i++) {
		fill(&s, 1000);
		sink_write(&s);
	}
	assert_true(s.stuck);
	assert_true(s.lost > 10000);
	assert_true(bytes_len(&s.buffer) <= SINK_BUFFER_MAX + 100);
	uint64_t lost = s.lost;

	fcntl(read_fd, F_SETFL, O_NONBLOCK);
	while (bytes_len(&s.buffer) || got % 100) {
		while ((n = read(read_fd, block, sizeof block)) > 0)
			got += (size_t)n;
		sink_write(&s);
	}
	while ((n = read(read_fd, block, sizeof block)) > 0)
		got += (size_t)n;
	assert_false(s.stuck);
	assert_int_equal(got, (100000 - lost) * 100);
	/* The reader leaves: lines are dropped and counted. */
	close(read_fd);
	fill(&s, 10);
	sink_write(&s);
	assert_int_equal(bytes_len(&s.buffer), 0);
	assert_int_equal(s.lost, lost + 10);
	sink_close(&s);
}

static void test_slow_pipe(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	slow_reader(fds[0], fds[1]);
}

static void test_slow_stream(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	slow_reader(fds[0], fds[1]);
}

static void test_datagrams(void **state)
{
	int fds[2];
	char packet[200];
	struct sink s;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	sink_init(&s);
	sink_open(&s, fds[1], "");
	assert_int_equal(s.kind, SINK_DATAGRAMS);
	fill(&s, 5);
	assert_true(sink_write(&s));
	for (int i = 0; i < 5; i++)
		assert_int_equal(recv(fds[0], packet, sizeof packet, MSG_DONTWAIT), 99);
	/* A full socket queue holds them back. */
	fill(&s, 5000);
	assert_false(sink_write(&s));
	close(fds[0]);
	sink_close(&s);
}

/* /dev/full answers every write with ENOSPC, as a full log partition does. */
static void test_full_disk(void **state)
{
	struct sink s;

	(void)state;
	sink_init(&s);
	sink_open(&s, open("/dev/full", O_WRONLY), NULL);
	s.kind = SINK_FILE;
	fill(&s, 100000);
	assert_false(sink_write(&s));
	assert_true(s.lost > 0);
	assert_true(bytes_len(&s.buffer) > 0);
	sink_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forms),	   cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_every_event),
	    cmocka_unit_test(test_slow_pipe),	   cmocka_unit_test(test_slow_stream),
	    cmocka_unit_test(test_datagrams),	   cmocka_unit_test(test_full_disk),
	};

	setenv("TZ", "UTC0", 1);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
