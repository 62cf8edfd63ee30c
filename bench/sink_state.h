/* SPDX-License-Identifier: ISC */
/* Part of sink.c: what the sink knows, and how it reports it. */
#ifndef SINK_STATE_H
#define SINK_STATE_H

#include "bench.h"

#include <fcntl.h>
#include <getopt.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SINK_LISTENERS 256u
#define SINK_RUNS 64u
#define SINK_RULES 64u
#define SINK_NUMBER_MOST 100000000u
#define SINK_LINE_MOST 65536u
#define SINK_RCPT_MOST 10000u
#define SINK_KEEP_BYTES 65536u

enum sink_extension {
	EXT_PIPELINING = 1,
	EXT_8BITMIME = 2,
	EXT_SIZE = 4,
	EXT_ENHANCED = 8,
	EXT_SMTPUTF8 = 16,
	EXT_DSN = 32,
	EXT_CHUNKING = 64,
	EXT_STARTTLS = 128 /* with a certificate, until TLS is there */
};

static const struct {
	const char *name;
	unsigned bit;
} sink_extensions[] = {
    {"PIPELINING", EXT_PIPELINING},
    {"8BITMIME", EXT_8BITMIME},
    {"SIZE", EXT_SIZE},
    {"ENHANCEDSTATUSCODES", EXT_ENHANCED},
    {"SMTPUTF8", EXT_SMTPUTF8},
    {"DSN", EXT_DSN},
    {"CHUNKING", EXT_CHUNKING},
    {"STARTTLS", EXT_STARTTLS},
};
#define SINK_EXTENSIONS (sizeof sink_extensions / sizeof sink_extensions[0])

enum sink_stage {
	STAGE_GREETING,
	STAGE_EHLO,
	STAGE_MAIL,
	STAGE_RCPT,
	STAGE_DATA,
	STAGE_DOT,
	STAGE_RSET,
	STAGE_QUIT
};
static const char *const sink_stages[] = {"greeting", "ehlo", "mail", "rcpt",
					  "data",     "dot",  "rset", "quit"};
#define SINK_STAGES 8u

enum sink_action { ACTION_REPLY, ACTION_HANG, ACTION_RESET, ACTION_CLOSE };

struct sink_rule {
	enum sink_stage stage;
	enum sink_action action;
	const char *address; /* of --reply-for; NULL is any */
	const char *text;
	uint64_t left; /* how many times it still applies */
};

enum conn_phase { PHASE_NEW, PHASE_READY, PHASE_MAIL, PHASE_RCPT, PHASE_CONTENT, PHASE_CHUNKS };

/* READY: 220 was said. */
enum conn_tls { TLS_NONE, TLS_READY, TLS_SHAKING, TLS_ON };

struct conn {
	int fd;
	bool listener;
	bool dead;
	bool hung;    /* never answers again */
	bool waiting; /* a reply is held until due_ns */
	bool deaf;    /* input came meanwhile: it is not asked for until then */
	bool closing; /* closes once its output is written */
	bool want_write;
	bool eightbit;
	bool utf8;
	bool spoilt; /* content over the limit */
	bool last_chunk;
	enum conn_phase phase;
	enum conn_tls tls;
	SSL *ssl;
	uint64_t chunk_left;
	uint64_t due_ns;
	uint64_t rcpts;
	struct bench_buffer in;
	struct bench_buffer out;
	struct bench_buffer held;
	uint64_t flights; /* of what is held */
	struct bench_buffer content;
	struct bench_buffer helo;
	struct bench_buffer mail;
	struct bench_buffer rcpt; /* lines, each with its newline */
	char peer[64];
	struct conn *previous; /* in the list of the waiting, the first due first */
	struct conn *next;
	struct conn *next_dead;
};

/* Octets of a reply on their way to a peer that is far away. */
struct flight {
	struct conn *conn;
	size_t length;
	uint64_t due_ns;
	struct flight *next;
};

struct sink_run {
	char name[40];
	uint8_t *seen; /* one bit a number */
	uint64_t size;
};

static struct sink {
	struct conn listeners[SINK_LISTENERS];
	unsigned listener_count;
	struct sink_run runs[SINK_RUNS];
	unsigned run_count;
	struct sink_rule rules[SINK_RULES];
	unsigned rule_count;
	unsigned extensions;
	uint64_t delay_ns;
	bool lmtp;
	bool away; /* delay_ns is the way there and back: each reply is under way by itself */
	uint64_t expect;
	uint64_t timeout_s;
	uint64_t linger_ns;
	uint64_t fail_first;
	uint64_t max_connections;
	uint64_t size_limit;
	const char *dump;
	const char *certificate;
	const char *key;
	SSL_CTX *tls;
	const char *ready_file;
	FILE *arrived_list;
	int poll;
	int signals;
	bool stop;
	uint64_t end_ns;
	uint64_t open;
	uint64_t peak;
	uint64_t connections;
	uint64_t turned_away;
	uint64_t arrived;
	uint64_t other;
	uint64_t duplicates;
	uint64_t corrupt;
	uint64_t refused;
	uint64_t protocol_errors;
	uint64_t bare_newlines;
	uint64_t long_lines;
	uint64_t eightbit_undeclared;
	uint64_t dumped;
	uint64_t handshakes;
	uint64_t resumed;
	uint64_t first_ns;
	uint64_t last_ns;
	struct bench_histogram latency;
	struct conn *waiting_first;
	struct conn *waiting_last;
	struct flight *flights_first; /* with --away-ms; the first due first */
	struct flight *flights_last;
	struct conn *dead;
} self;

static void sink_report(void)
{
	uint64_t total = self.arrived + self.other;
	double seconds =
	    self.last_ns > self.first_ns ? (double)(self.last_ns - self.first_ns) / 1e9 : 0.0;
	printf("{\"arrived\": %llu, \"other\": %llu, \"duplicates\": %llu, \"corrupt\": %llu, "
	       "\"missing\": %llu, ",
	       (unsigned long long)self.arrived, (unsigned long long)self.other,
	       (unsigned long long)self.duplicates, (unsigned long long)self.corrupt,
	       (unsigned long long)(self.expect > total ? self.expect - total : 0));
	printf("\"refused\": %llu, \"connections\": %llu, \"connections_peak\": %llu, "
	       "\"turned_away\": %llu, ",
	       (unsigned long long)self.refused, (unsigned long long)self.connections,
	       (unsigned long long)self.peak, (unsigned long long)self.turned_away);
	printf("\"protocol_errors\": %llu, \"bare_newlines\": %llu, \"long_lines\": %llu, "
	       "\"eightbit_undeclared\": %llu, ",
	       (unsigned long long)self.protocol_errors, (unsigned long long)self.bare_newlines,
	       (unsigned long long)self.long_lines, (unsigned long long)self.eightbit_undeclared);
	printf("\"seconds\": %.6f, \"messages_per_s\": %.1f, \"latency_p50_ms\": %.4f, "
	       "\"latency_p99_ms\": %.4f, ",
	       seconds, seconds > 0 ? (double)total / seconds : 0.0,
	       (double)histogram_percentile(&self.latency, 50) / 1e6,
	       (double)histogram_percentile(&self.latency, 99) / 1e6);
	printf("\"handshakes\": %llu, \"resumed\": %llu, ", (unsigned long long)self.handshakes,
	       (unsigned long long)self.resumed);
	printf("\"first_arrival_ns\": %llu, \"last_arrival_ns\": %llu}\n",
	       (unsigned long long)self.first_ns, (unsigned long long)self.last_ns);
	fflush(stdout);
}

#endif
