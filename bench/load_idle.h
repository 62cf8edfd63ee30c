/* SPDX-License-Identifier: ISC */
/*
 * Part of load.c: --idle N. Opens N connections one after the other, with TLS and a login where
 * asked for, keeps them, and then measures how long a new one waits for its greeting.
 */
#ifndef LOAD_IDLE_H
#define LOAD_IDLE_H

#include "load_tls.h"

static void session_bind(struct load_session *session)
{
	struct sockaddr_in source = {.sin_family = AF_INET};
	int on = 1;
	if (self.sources == 0)
		return;
	source.sin_addr.s_addr = htonl(0x7f000100u + (uint32_t)(self.opened % self.sources) + 1);
	setsockopt(session->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (bind(session->fd, (struct sockaddr *)&source, sizeof source) != 0)
		bench_die("bind: %s", strerror(errno));
}

/* Says `line`, or nothing, and reads a whole reply. Sockets wait here. */
static bool idle_said(struct load_session *session, const char *line, const char *code)
{
	char reply[4096];
	size_t have = 0;
	if (*line != '\0' && wire_send(session, line, strlen(line)) != (ssize_t)strlen(line))
		return false;
	while (have < sizeof reply - 1) {
		ssize_t n = wire_receive(session, reply + have, sizeof reply - 1 - have);
		if (n < 0 && errno == EAGAIN && wire_has_more(session))
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
		reply[have] = '\0';
		char *last = reply[have - 1] == '\n' ? reply + have - 1 : NULL;
		while (last > reply && last[-1] != '\n')
			last--;
		if (last != NULL && strlen(last) > 4 && last[3] == ' ')
			return memcmp(last, code, 3) == 0;
	}
	return false;
}

static bool idle_handshake(struct load_session *session)
{
	tls_open(session);
	if (tls_handshake(session) != 1)
		return false;
	tls_done(session);
	return true;
}

/* Connects and waits for the greeting: its nanoseconds, 0 if it did not come within `limit_s`. */
static uint64_t idle_greet(struct load_session *session, uint64_t limit_s)
{
	struct timeval limit = {.tv_sec = (time_t)limit_s};
	uint64_t start = bench_now_ns();
	session->fd = socket(self.to.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (session->fd < 0)
		return 0;
	session_bind(session);
	self.opened++;
	socket_no_delay(session->fd);
	setsockopt(session->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(session->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	if (connect(session->fd, (struct sockaddr *)&self.to.socket, self.to.length) != 0)
		return 0;
	if (self.tls == LOAD_TLS_IMPLICIT && !idle_handshake(session))
		return 0;
	return idle_said(session, "", "220") ? bench_now_ns() - start : 0;
}

static bool idle_log_in(struct load_session *session)
{
	if (self.tls == LOAD_TLS_STARTTLS &&
	    !(idle_said(session, "EHLO load.example\r\n", "250") &&
	      idle_said(session, "STARTTLS\r\n", "220") && idle_handshake(session)))
		return false;
	return self.auth[0] == '\0' || (idle_said(session, "EHLO load.example\r\n", "250") &&
					idle_said(session, self.auth, "235"));
}

static void idle_close(struct load_session *session)
{
	tls_close(session);
	if (session->fd >= 0)
		close(session->fd);
}

static int idle_run(void)
{
	struct load_session *all =
	    bench_zero((size_t)(self.idle + 1) * sizeof *all); /* one may fail */
	uint64_t start = bench_now_ns();
	uint64_t end = start + self.timeout_s * BENCH_NS_PER_S;
	uint64_t greeted = 0;
	unsigned missed = 0;
	while (greeted < self.idle && bench_now_ns() < end && idle_greet(&all[greeted], 3) != 0 &&
	       idle_log_in(&all[greeted]))
		greeted++;
	double fill_s = (double)(bench_now_ns() - start) / 1e9;
	fprintf(stderr, "idle %llu\n", (unsigned long long)greeted);
	usleep((useconds_t)(self.hold_ms * 1000));
	for (unsigned i = 0; i < 21 && missed == 0; i++) {
		struct load_session fresh = {.fd = -1};
		uint64_t ns = idle_greet(&fresh, 3);
		if (ns != 0)
			histogram_add(&self.latency, ns);
		else
			missed++;
		idle_close(&fresh);
	}
	printf("{\"idle\": %llu, \"greeted\": %llu, \"fill_seconds\": %.3f, \"new_greeted\": %llu, "
	       "\"new_missed\": %u, \"greet_p50_ms\": %.4f, \"greet_worst_ms\": %.4f, \"tls\": "
	       "\"%s\"}\n",
	       (unsigned long long)self.idle, (unsigned long long)greeted, fill_s,
	       (unsigned long long)self.latency.count, missed,
	       (double)histogram_percentile(&self.latency, 50) / 1e6,
	       (double)histogram_percentile(&self.latency, 100) / 1e6, self.tls_facts);
	return greeted == self.idle && missed == 0 ? 0 : 1;
}

#endif
