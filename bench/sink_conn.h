/* SPDX-License-Identifier: ISC */
/* Part of sink.c: its connections: what they wait for, how they are answered, how they end. */
#ifndef SINK_CONN_H
#define SINK_CONN_H

#include "sink_tls.h"

static void conn_unwait(struct conn *conn)
{
	if (!conn->waiting)
		return;
	conn->waiting = false;
	*(conn->previous == NULL ? &self.waiting_first : &conn->previous->next) = conn->next;
	*(conn->next == NULL ? &self.waiting_last : &conn->next->previous) = conn->previous;
}

/* All delays are equal, so the end of the list is the right place. */
static void conn_wait(struct conn *conn)
{
	if (conn->waiting)
		return;
	conn->waiting = true;
	conn->due_ns = bench_now_ns() + self.delay_ns;
	conn->previous = self.waiting_last;
	conn->next = NULL;
	*(self.waiting_last == NULL ? &self.waiting_first : &self.waiting_last->next) = conn;
	self.waiting_last = conn;
}

/* Freed after the loop turn: an event of this turn may still name it. */
static void conn_end(struct conn *conn, bool reset)
{
	struct linger abort = {.l_onoff = 1, .l_linger = 0};
	if (conn->dead)
		return;
	conn_unwait(conn);
	if (reset)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
	tls_free(conn);
	close(conn->fd);
	conn->dead = true;
	conn->next_dead = self.dead;
	self.dead = conn;
	self.open--;
}

static void conn_bury(void)
{
	struct conn **at = &self.dead;
	while (*at != NULL) {
		struct conn *conn = *at;
		if (conn->flights > 0) { /* they name it */
			at = &conn->next_dead;
			continue;
		}
		*at = conn->next_dead;
		buffer_free(&conn->in);
		buffer_free(&conn->out);
		buffer_free(&conn->held);
		buffer_free(&conn->content);
		buffer_free(&conn->helo);
		buffer_free(&conn->mail);
		buffer_free(&conn->rcpt);
		free(conn);
	}
}

static void conn_watch(struct conn *conn, int operation, bool want_write)
{
	bool want_read = !conn->closing && !conn->deaf;
	struct epoll_event event = {
	    .events = (want_read ? EPOLLIN : 0u) | (want_write ? EPOLLOUT : 0u), .data.ptr = conn};
	if (epoll_ctl(self.poll, operation, conn->fd, &event) != 0)
		bench_die("epoll_ctl: %s", strerror(errno));
	conn->want_write = want_write;
}

static void conn_flush(struct conn *conn)
{
	while (buffer_length(&conn->out) > 0) {
		ssize_t n = wire_send(conn, buffer_head(&conn->out), buffer_length(&conn->out));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn_end(conn, false);
			return;
		}
		buffer_consume(&conn->out, (size_t)n);
	}
	bool more = buffer_length(&conn->out) > 0;
	if (!more && conn->closing && conn->flights == 0) {
		conn_end(conn, false);
		return;
	}
	if (more != conn->want_write)
		conn_watch(conn, EPOLL_CTL_MOD, more);
}

/* A reply leaves now for a peer that is far away. All are under way as long, so the end of the list
 * is the right place. */
static void flight_begin(struct conn *conn, size_t length)
{
	struct flight *flight = bench_zero(sizeof *flight);
	flight->conn = conn;
	flight->length = length;
	flight->due_ns = bench_now_ns() + self.delay_ns;
	*(self.flights_first == NULL ? &self.flights_first : &self.flights_last->next) = flight;
	self.flights_last = flight;
	conn->flights++;
}

/* Its first one is there. */
static void flight_end(void)
{
	struct flight *flight = self.flights_first;
	struct conn *conn = flight->conn;
	self.flights_first = flight->next;
	conn->flights--;
	if (!conn->dead) {
		buffer_add(&conn->out, buffer_head(&conn->held), flight->length);
		buffer_consume(&conn->held, flight->length);
		conn_flush(conn);
	}
	free(flight);
}

static void conn_say(struct conn *conn, const char *text)
{
	struct bench_buffer *to = self.delay_ns > 0 ? &conn->held : &conn->out;
	buffer_add_text(to, text);
	buffer_add(to, "\r\n", 2);
	if (self.away)
		flight_begin(conn, strlen(text) + 2);
	else if (self.delay_ns > 0)
		conn_wait(conn);
}

static void conn_wrong(struct conn *conn, const char *text)
{
	self.protocol_errors++;
	conn_say(conn, text);
}

static void conn_reset(struct conn *conn)
{
	if (conn->phase != PHASE_NEW)
		conn->phase = PHASE_READY;
	conn->rcpts = 0;
	conn->eightbit = false;
	conn->utf8 = false;
	conn->spoilt = false;
	conn->last_chunk = false;
	buffer_clear(&conn->mail);
	buffer_clear(&conn->rcpt);
	buffer_clear(&conn->content);
	if (conn->content.size > SINK_KEEP_BYTES)
		buffer_free(&conn->content);
}

static struct sink_rule *rule_find(enum sink_stage stage, const char *address, size_t n)
{
	for (unsigned i = 0; i < self.rule_count; i++) {
		struct sink_rule *rule = &self.rules[i];
		if (rule->stage != stage || rule->left == 0)
			continue;
		if (rule->address != NULL &&
		    (strlen(rule->address) != n || strncasecmp(rule->address, address, n) != 0))
			continue;
		rule->left -= rule->left == UINT64_MAX ? 0 : 1;
		return rule;
	}
	return NULL;
}

/* Answers with `good` unless a rule says otherwise; returns whether the peer is told of success (or
 * may go on). */
static bool conn_answer(struct conn *conn, enum sink_stage stage, const char *address, size_t n,
			const char *good)
{
	struct sink_rule *rule = rule_find(stage, address, n);
	if (rule == NULL) {
		conn_say(conn, good);
		return true;
	}
	switch (rule->action) {
	case ACTION_REPLY:
		conn_say(conn, rule->text);
		if (strncmp(rule->text, "421", 3) == 0)
			conn->closing = true;
		return rule->text[0] == '2' || rule->text[0] == '3';
	case ACTION_HANG:
		conn->hung = true;
		break;
	case ACTION_RESET:
		conn_end(conn, true);
		break;
	case ACTION_CLOSE:
		conn_end(conn, false);
		break;
	}
	return false;
}

#endif
