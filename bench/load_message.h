/* SPDX-License-Identifier: ISC */
/* Part of load.c: its state, and the messages that it makes. */
#ifndef LOAD_MESSAGE_H
#define LOAD_MESSAGE_H

#include "bench.h"

#include <getopt.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>

#define LOAD_BODIES 16u
#define LOAD_REPLY_MOST 65536u
#define LOAD_RETRY_NS (100 * BENCH_NS_PER_MS)

enum load_step {
	STEP_OFF, /* no connection; tried again at retry_ns */
	STEP_CONNECT,
	STEP_HANDSHAKE,
	STEP_GREETING,
	STEP_EHLO,
	STEP_HELO,
	STEP_STARTTLS,
	STEP_AUTH,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_DOT,
	STEP_RSET,
	STEP_QUIT,
	STEP_DONE /* nothing left to send */
};

enum load_tls { LOAD_TLS_NONE, LOAD_TLS_STARTTLS, LOAD_TLS_IMPLICIT };

struct load_body {
	char *wire; /* dot-stuffed, with the final dot */
	size_t wire_length;
	uint64_t hash; /* of the body without its stuffing */
};

struct load_session {
	int fd;
	enum load_step step;
	bool pipelining;
	bool leaving;	  /* QUIT went with the last dot */
	bool has_message; /* `number` is this session's, not yet settled */
	bool want_write;
	bool secure;	  /* the handshake is done */
	bool wants_write; /* TLS waits for the socket to take more */
	unsigned refused; /* first code that refused this message, 0 if none */
	uint64_t number;
	uint64_t sent_here;
	uint64_t dot_ns;
	uint64_t retry_ns;
	SSL *ssl;
	SSL_SESSION *ticket;
	struct bench_buffer in;
	struct bench_buffer out;
};

static struct load {
	struct bench_address to;
	const char *from;
	const char *rcpt_domain;
	const char *run;
	char date[64];
	FILE *accepted_list;
	uint64_t sessions;
	uint64_t messages;
	uint64_t size_bytes;
	uint64_t domains;
	uint64_t users;
	uint64_t per_connection;
	uint64_t sources;
	uint64_t seed;
	uint64_t idle;
	uint64_t hold_ms;
	uint64_t timeout_s;
	enum load_tls tls;
	bool resume;
	bool only_connect; /* a connection is greeted, and says goodbye */
	SSL_CTX *context;
	char auth[768]; /* the whole command, or empty */
	char tls_facts[128];
	uint64_t handshakes;
	uint64_t resumed;
	int poll;
	uint64_t next;
	uint64_t settled;
	uint64_t live;
	uint64_t accepted;
	uint64_t unknown;
	uint64_t connections;
	uint64_t connect_failures;
	uint64_t opened;
	uint64_t first_send_ns;
	uint64_t last_accept_ns;
	uint64_t rejected[1000];
	struct bench_histogram latency;
	struct load_body bodies[LOAD_BODIES];
	struct load_session *all;
} self;

static uint64_t load_random(void)
{
	self.seed ^= self.seed << 13;
	self.seed ^= self.seed >> 7;
	self.seed ^= self.seed << 17;
	return self.seed;
}

/* Lines of 76 printable bytes; every tenth begins with a dot, one is a lone dot: what a relay must
 * stuff and unstuff. */
static void body_make(struct load_body *body, size_t length)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct bench_buffer plain = {0};
	struct bench_buffer wire = {0};
	for (unsigned row = 1; buffer_length(&plain) + 2 < length; row++) {
		char line[80];
		size_t room = length - buffer_length(&plain) - 2;
		size_t n = row == 5 ? 1 : (room < 76 ? room : 76);
		for (size_t i = 0; i < n; i++)
			line[i] = letters[load_random() % 64u];
		if (row % 10 == 5)
			line[0] = '.';
		memcpy(line + n, "\r\n", 2);
		if (line[0] == '.')
			buffer_add(&wire, ".", 1);
		buffer_add(&plain, line, n + 2);
		buffer_add(&wire, line, n + 2);
	}
	buffer_add_text(&wire, ".\r\n");
	body->hash = bench_hash(plain.data, buffer_length(&plain), 0);
	body->wire = wire.data;
	body->wire_length = buffer_length(&wire);
	buffer_free(&plain);
}

static void message_recipient(uint64_t number, char *text, size_t size)
{
	if (self.domains > 0)
		snprintf(text, size, "u%u@d%u.%s", (unsigned)(number % self.users),
			 (unsigned)(number % self.domains), self.rcpt_domain);
	else
		snprintf(text, size, "u%u@%s", (unsigned)(number % self.users), self.rcpt_domain);
}

static void message_write(struct load_session *session)
{
	const struct load_body *body = &self.bodies[session->number % LOAD_BODIES];
	unsigned long long number = session->number;
	char recipient[512];
	char head[2048];
	char sum[64];
	session->dot_ns = bench_now_ns();
	message_recipient(session->number, recipient, sizeof recipient);
	int n =
	    snprintf(head, sizeof head,
		     BENCH_HEADER
		     "%s-%llu %llu\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: bench %llu\r\nDate: %s\r\n"
		     "Message-ID: <%s-%llu@bench.example>\r\n\r\n",
		     self.run, number, (unsigned long long)session->dot_ns, self.from, recipient,
		     number, self.date, self.run, number);
	if (n < 0 || (size_t)n >= sizeof head)
		bench_die("addresses too long");
	uint64_t hash = bench_hash(head, (size_t)n, body->hash);
	snprintf(sum, sizeof sum, BENCH_SUM_HEADER "%016llx\r\n", (unsigned long long)hash);
	buffer_add_text(&session->out, sum);
	buffer_add(&session->out, head, (size_t)n);
	buffer_add(&session->out, body->wire, body->wire_length);
}

#endif
