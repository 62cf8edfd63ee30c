/* SPDX-License-Identifier: ISC */
/*
 * The sink: a strict, event-driven SMTP receiver that verifies what arrives.
 *
 *   sink --listen 127.0.0.1:2626 [--expect 20000] [--timeout 60] [--dump DIR]
 *
 * Of load.c's messages each must arrive exactly once and unchanged; other mail is counted as
 * "other". Each reply can be made late (--delay-ms, by timers; nothing is read meanwhile), or be so
 * long on its way (--away-ms: a receiver that is far away but not slow), or be bad (--behaviour,
 * --reply-..., --reply-for), for the first N times or always. It ends when --expect messages are
 * there, at
 * --timeout, or at SIGTERM, with JSON on stdout; SIGUSR1 prints the same at once. Status 0 if
 * nothing is missing, doubled or corrupt. With port 0 the kernel chooses; --ready-file tells what
 * it chose.
 *
 * With --certificate and --key STARTTLS is offered (sink_tls.h). With --lmtp it speaks LMTP
 * (RFC 2033): LHLO, and a reply for each recipient behind the dot. --listen /PATH is a UNIX socket.
 *
 * --dump writes NUMBER.eml (the content as received, dots unstuffed) and after it NUMBER.json (the
 * envelope: peer, helo, mail and rcpt with their parameters as sent), each by rename, so that a
 * test may poll for NUMBER.json.
 */
#include "sink_conn.h"
#include "sink_dump.h"
#include "sink_message.h"
#include "sink_options.h"

/* ---- content ---- */

static void message_end(struct conn *conn)
{
	uint64_t now = bench_now_ns();
	bool good;
	if (conn->spoilt) {
		conn_say(conn, "552 5.3.4 Message too big");
		good = false;
	} else {
		good = conn_answer(conn, STAGE_DOT, "", 0, "250 2.0.0 Ok");
		/* RFC 2033, 4.2: one for each RCPT that was taken. */
		for (uint64_t i = 1; self.lmtp && i < conn->rcpts && !conn->dead && !conn->hung;
		     i++)
			good = conn_answer(conn, STAGE_DOT, "", 0, "250 2.0.0 Ok") || good;
	}
	if (!good) {
		self.refused++;
	} else {
		message_verify(buffer_length(&conn->content) > 0 ? buffer_head(&conn->content) : "",
			       buffer_length(&conn->content), now);
		self.first_ns = self.first_ns == 0 ? now : self.first_ns;
		self.last_ns = now;
		if (self.dump != NULL)
			message_dump(conn);
	}
	conn_reset(conn);
	if (self.expect > 0 && self.arrived + self.other >= self.expect &&
	    self.end_ns > now + self.linger_ns) {
		self.end_ns = now + self.linger_ns;
		self.expect =
		    self.arrived + self.other; /* a later one does not lengthen the wait again */
	}
}

static void content_add(struct conn *conn, const char *bytes, size_t n)
{
	if (n > self.size_limit - buffer_length(&conn->content))
		conn->spoilt = true;
	if (!conn->spoilt)
		buffer_add(&conn->content, bytes, n);
}

static void content_judge(struct conn *conn, const char *line, size_t n)
{
	const char *cr = memchr(line, '\r', n);
	if (n < 2 || cr != line + n - 2)
		self.bare_newlines++;
	if (n > 1000)
		self.long_lines++;
	if (conn->eightbit)
		return;
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)line[i] > 127) {
			self.eightbit_undeclared++;
			conn->eightbit = true;
			return;
		}
	}
}

/* Takes one line of content. RFC 5321, 4.5.2: a lone dot ends it, else a leading dot goes. */
static void content_line(struct conn *conn, const char *line, size_t n)
{
	if (n == 3 && memcmp(line, ".\r\n", 3) == 0) {
		message_end(conn);
		return;
	}
	content_judge(conn, line, n);
	if (line[0] == '.') {
		line++;
		n--;
	}
	content_add(conn, line, n);
}

/* ---- commands ---- */

/* The address between < and >, or NULL. A quoted local part may hold a >, so the last one before a
 * blank counts. */
static const char *path_find(const char *text, size_t n, size_t *length)
{
	bool quoted = false;
	if (n == 0 || text[0] != '<')
		return NULL;
	for (size_t i = 1; i < n; i++) {
		if (text[i] == '\\' && quoted)
			i++;
		else if (text[i] == '"')
			quoted = !quoted;
		else if (text[i] == '>' && !quoted) {
			*length = i - 1;
			return text + 1;
		}
	}
	return NULL;
}

static bool text_is_ascii(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] > 127)
			return false;
	}
	return true;
}

static void conn_ehlo(struct conn *conn, const char *argument, size_t n, bool extended)
{
	char text[512];
	size_t at = (size_t)snprintf(text, sizeof text, "250%csink.example", extended ? '-' : ' ');
	conn_reset(conn);
	conn->phase = PHASE_READY;
	buffer_clear(&conn->helo);
	buffer_add(&conn->helo, argument, n);
	unsigned left = extended ? self.extensions : 0;
	if (self.tls == NULL || conn->tls == TLS_ON)
		left &= ~(unsigned)EXT_STARTTLS;
	for (size_t i = 0; i < SINK_EXTENSIONS; i++) {
		if ((left & sink_extensions[i].bit) == 0)
			continue;
		left &= ~sink_extensions[i].bit;
		at += (size_t)snprintf(text + at, sizeof text - at, "\r\n250-%s",
				       sink_extensions[i].name);
		if (sink_extensions[i].bit == EXT_SIZE)
			at += (size_t)snprintf(text + at, sizeof text - at, " %llu",
					       (unsigned long long)self.size_limit);
	}
	if (extended)
		snprintf(text + at, sizeof text - at, "\r\n250 HELP");
	if (!conn_answer(conn, STAGE_EHLO, "", 0, text))
		conn->phase = PHASE_NEW;
}

/* Reads MAIL's parameters; returns the refusal, NULL if all is well. */
static const char *mail_parameters(struct conn *conn, const char *text, size_t n)
{
	const char *end = text + n;
	while (text < end) {
		const char *stop = memchr(text, ' ', (size_t)(end - text));
		size_t length = (size_t)((stop == NULL ? end : stop) - text);
		if (length == 0)
			return "501 5.5.4 Two blanks";
		if (length == 13 && strncasecmp(text, "BODY=8BITMIME", 13) == 0 &&
		    (self.extensions & EXT_8BITMIME) != 0)
			conn->eightbit = true;
		else if (length == 8 && strncasecmp(text, "SMTPUTF8", 8) == 0 &&
			 (self.extensions & EXT_SMTPUTF8) != 0)
			conn->utf8 = true;
		else if (length > 5 && strncasecmp(text, "SIZE=", 5) == 0 &&
			 (self.extensions & EXT_SIZE) != 0) {
			if (strtoull(text + 5, NULL, 10) > self.size_limit)
				return "552 5.3.4 Message too big";
		} else if (!(length == 9 && strncasecmp(text, "BODY=7BIT", 9) == 0 &&
			     (self.extensions & EXT_8BITMIME) != 0) &&
			   !((self.extensions & EXT_DSN) != 0 &&
			     (strncasecmp(text, "RET=", 4) == 0 ||
			      strncasecmp(text, "ENVID=", 6) == 0)))
			return "555 5.5.4 Unknown parameter";
		text = stop == NULL ? end : stop + 1;
	}
	return NULL;
}

static void conn_mail(struct conn *conn, const char *argument, size_t n)
{
	size_t length = 0;
	const char *path = n > 5 && strncasecmp(argument, "FROM:", 5) == 0
			       ? path_find(argument + 5, n - 5, &length)
			       : NULL;
	if (conn->phase != PHASE_READY) {
		conn_wrong(conn, "503 5.5.1 Not now");
		return;
	}
	size_t used = path == NULL ? 0 : (size_t)(path - argument) + length + 1;
	if (path == NULL || (used < n && argument[used] != ' ')) {
		conn_wrong(conn, "501 5.5.4 MAIL FROM:<address>");
		return;
	}
	const char *bad =
	    used < n ? mail_parameters(conn, argument + used + 1, n - used - 1) : NULL;
	if (bad != NULL || (!conn->utf8 && !text_is_ascii(path, length))) {
		conn_wrong(conn, bad != NULL ? bad : "553 5.6.7 Address needs SMTPUTF8");
		return;
	}
	if (!conn_answer(conn, STAGE_MAIL, path, length, "250 2.1.0 Ok"))
		return;
	conn->phase = PHASE_MAIL;
	buffer_add(&conn->mail, argument + 5, n - 5);
}

static void conn_rcpt(struct conn *conn, const char *argument, size_t n)
{
	size_t length = 0;
	const char *path = n > 3 && strncasecmp(argument, "TO:", 3) == 0
			       ? path_find(argument + 3, n - 3, &length)
			       : NULL;
	if (conn->phase != PHASE_MAIL && conn->phase != PHASE_RCPT) {
		/* After a refused MAIL a pipelining client's RCPT and DATA are no fault of its own.
		 */
		if (conn->phase == PHASE_NEW)
			self.protocol_errors++;
		conn_say(conn, "503 5.5.1 MAIL first");
	} else if (path == NULL || length == 0) {
		conn_wrong(conn, "501 5.5.4 RCPT TO:<address>");
	} else if (!conn->utf8 && !text_is_ascii(path, length)) {
		conn_wrong(conn, "553 5.6.7 Address needs SMTPUTF8");
	} else if (conn->rcpts == SINK_RCPT_MOST) {
		conn_say(conn, "452 4.5.3 Too many recipients");
	} else if (conn_answer(conn, STAGE_RCPT, path, length, "250 2.1.5 Ok")) {
		conn->phase = PHASE_RCPT;
		conn->rcpts++;
		buffer_add(&conn->rcpt, argument + 3, n - 3);
		buffer_add(&conn->rcpt, "\n", 1);
	}
}

static void conn_data(struct conn *conn)
{
	if (conn->phase != PHASE_RCPT) {
		conn_say(conn, conn->phase == PHASE_MAIL ? "554 5.5.1 No recipients"
							 : "503 5.5.1 MAIL first");
		return;
	}
	/* RFC 2920, 3.1: DATA ends a group, nothing may follow before its reply. */
	if (buffer_length(&conn->in) > 0)
		self.protocol_errors++;
	if (conn_answer(conn, STAGE_DATA, "", 0, "354 Go"))
		conn->phase = PHASE_CONTENT;
}

static void conn_bdat(struct conn *conn, const char *argument, size_t n)
{
	char text[32] = "";
	char *end = NULL;
	if (n < sizeof text)
		memcpy(text, argument, n);
	unsigned long long size = strtoull(text, &end, 10);
	bool last = strcasecmp(end, " LAST") == 0;
	if (end == text || (*end != '\0' && !last)) {
		conn_wrong(conn, "501 5.5.4 BDAT size [LAST]");
		conn->closing = true; /* how much follows is unknown */
		return;
	}
	if (conn->phase != PHASE_RCPT)
		conn->spoilt = true; /* RFC 3030, 2: the chunk is read all the same, and refused */
	conn->chunk_left = size;
	conn->last_chunk = last;
	if (conn->phase != PHASE_RCPT)
		conn->rcpts = 0;
	conn->phase = PHASE_CHUNKS;
}

static void chunk_end(struct conn *conn)
{
	bool none = conn->rcpts == 0;
	conn->phase = none ? PHASE_READY : PHASE_RCPT;
	if (none) {
		conn_say(conn, "503 5.5.1 RCPT first");
		conn_reset(conn);
	} else if (conn->last_chunk) {
		message_end(conn);
	} else {
		conn_say(conn, "250 2.0.0 Chunk taken");
	}
}

/* RFC 3207, 4.2: what was said before counts no longer. */
static void conn_starttls(struct conn *conn)
{
	if (buffer_length(&conn->in) > 0)
		self.protocol_errors++;
	buffer_clear(&conn->in);
	conn_say(conn, "220 2.0.0 Go");
	conn_reset(conn);
	conn->phase = PHASE_NEW;
	conn->tls = TLS_READY;
}

static bool verb_is(const char *line, size_t n, const char *verb)
{
	size_t length = strlen(verb);
	return n >= length && strncasecmp(line, verb, length) == 0 &&
	       (n == length || line[length] == ' ');
}

/* One command, without its CRLF. */
static void conn_command(struct conn *conn, const char *line, size_t n)
{
	if (memchr(line, '\r', n) != NULL || memchr(line, '\0', n) != NULL || n > 2048)
		conn_wrong(conn, "500 5.5.2 Bad line");
	else if (verb_is(line, n, self.lmtp ? "LHLO" : "EHLO") && n > 5)
		conn_ehlo(conn, line + 5, n - 5, true);
	else if (!self.lmtp && verb_is(line, n, "HELO") && n > 5)
		conn_ehlo(conn, line + 5, n - 5, false);
	else if (verb_is(line, n, "QUIT") && n == 4)
		conn->closing =
		    conn_answer(conn, STAGE_QUIT, "", 0, "221 2.0.0 Bye") || conn->closing;
	else if (verb_is(line, n, "NOOP"))
		conn_say(conn, "250 2.0.0 Ok");
	else if (verb_is(line, n, "RSET") && n == 4) {
		if (conn_answer(conn, STAGE_RSET, "", 0, "250 2.0.0 Ok"))
			conn_reset(conn);
	} else if (conn->phase == PHASE_NEW)
		conn_wrong(conn, "503 5.5.1 EHLO first");
	else if (verb_is(line, n, "STARTTLS") && n == 8 && self.tls != NULL &&
		 conn->tls == TLS_NONE)
		conn_starttls(conn);
	else if (verb_is(line, n, "MAIL") && n > 5)
		conn_mail(conn, line + 5, n - 5);
	else if (verb_is(line, n, "RCPT") && n > 5)
		conn_rcpt(conn, line + 5, n - 5);
	else if (verb_is(line, n, "DATA") && n == 4)
		conn_data(conn);
	else if (verb_is(line, n, "BDAT") && n > 5 && (self.extensions & EXT_CHUNKING) != 0)
		conn_bdat(conn, line + 5, n - 5);
	else
		conn_wrong(conn, "500 5.5.1 Unknown command");
}

/* Takes a part of a chunk; returns how many bytes. */
static size_t conn_chunk(struct conn *conn, const char *bytes, size_t n)
{
	size_t take = n < conn->chunk_left ? n : (size_t)conn->chunk_left;
	content_add(conn, bytes, take);
	conn->chunk_left -= take;
	return take;
}

/* Works off what was read until a reply must wait, more must come, or the connection ends. */
static void conn_work(struct conn *conn)
{
	while (!conn->dead && !conn->hung && !conn->waiting && !conn->closing) {
		const char *text = buffer_length(&conn->in) > 0 ? buffer_head(&conn->in) : "";
		size_t n = buffer_length(&conn->in);
		if (conn->phase == PHASE_CHUNKS) {
			buffer_consume(&conn->in, conn_chunk(conn, text, n));
			if (conn->chunk_left > 0)
				break;
			chunk_end(conn);
			continue;
		}
		const char *end = n == 0 ? NULL : memchr(text, '\n', n);
		if (end == NULL) {
			if (n > SINK_LINE_MOST) {
				conn_wrong(conn, "500 5.5.2 Line too long");
				conn->closing = true;
			}
			break;
		}
		size_t length = (size_t)(end - text) + 1;
		buffer_consume(&conn->in, length);
		if (conn->phase == PHASE_CONTENT)
			content_line(conn, text, length);
		else if (length < 2 || text[length - 2] != '\r')
			conn_wrong(conn, "500 5.5.2 Lines end with CRLF");
		else
			conn_command(conn, text, length - 2);
	}
}

static void conn_settle(struct conn *conn)
{
	if (!conn->dead && !conn->waiting)
		conn_flush(conn);
}

/* While a reply waits the socket is not read, and TCP slows the sender down. Few send then, so that
 * epoll is told only of those that do. */
static void conn_deafen(struct conn *conn, bool deaf)
{
	if (deaf == conn->deaf)
		return;
	conn->deaf = deaf;
	conn_watch(conn, EPOLL_CTL_MOD, conn->want_write);
}

/* The first flight has come. The answer to it is as late as any other. */
static void conn_handshake(struct conn *conn)
{
	if (conn->tls == TLS_READY && self.delay_ns > 0) {
		conn->tls = TLS_SHAKING;
		conn_wait(conn);
		conn_deafen(conn, true);
		return;
	}
	conn->tls = TLS_SHAKING;
	if (tls_handshake(conn) != 1 && errno != EAGAIN)
		conn_end(conn, false);
}

/* Returns false when nothing came, or the connection has ended. */
static bool conn_read_some(struct conn *conn)
{
	buffer_reserve(&conn->in, 16384);
	ssize_t n = wire_receive(conn, conn->in.data + conn->in.end, conn->in.size - conn->in.end);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		conn_end(conn, false);
		return false;
	}
	if (!conn->hung) /* what a hung one is sent is read and dropped */
		conn->in.end += (size_t)n;
	return true;
}

static void conn_read(struct conn *conn)
{
	if (conn->tls == TLS_READY || conn->tls == TLS_SHAKING)
		conn_handshake(conn);
	if (conn->dead || conn->tls == TLS_READY || conn->tls == TLS_SHAKING)
		return;
	while (conn_read_some(conn) && wire_has_more(conn))
		;
	if (conn->dead || conn->hung)
		return;
	conn_work(conn);
	conn_settle(conn);
}

static void conn_release(struct conn *conn)
{
	conn_unwait(conn);
	buffer_add(&conn->out, buffer_head(&conn->held), buffer_length(&conn->held));
	buffer_clear(&conn->held);
	if (conn->tls == TLS_SHAKING)
		conn_handshake(conn);
	else
		conn_work(conn);
	if (conn->dead)
		return;
	if (!conn->waiting)
		conn_deafen(conn, false);
	conn_flush(conn);
	/* A peer that is quick has answered the flight before the handshake returned. */
	if (!conn->dead && !conn->waiting && wire_has_more(conn))
		conn_read(conn);
}

static void conn_accept(struct conn *listener)
{
	for (unsigned turn = 0; turn < 64; turn++) {
		struct sockaddr_storage peer = {0};
		socklen_t length = sizeof peer;
		int fd = accept4(listener->fd, (struct sockaddr *)&peer, &length,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct conn *conn = bench_zero(sizeof *conn);
		conn->fd = fd;
		address_print(&peer, conn->peer, sizeof conn->peer);
		socket_no_delay(fd);
		self.open++;
		if (self.open > self.peak)
			self.peak = self.open;
		conn_watch(conn, EPOLL_CTL_ADD, false);
		if (self.open > self.max_connections) {
			self.turned_away++;
			conn_say(conn, "421 4.3.2 Too many connections");
			conn->closing = true;
		} else {
			self.connections++;
			conn_answer(conn, STAGE_GREETING, "", 0,
				    self.lmtp ? "220 sink.example LMTP" : "220 sink.example ESMTP");
		}
		conn_settle(conn);
	}
}

/* ---- the program ---- */

static void sink_signal(void)
{
	struct signalfd_siginfo info;
	if (read(self.signals, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	if (info.ssi_signo == SIGUSR1)
		sink_report();
	else
		self.stop = true;
}

static int sink_wait_ms(uint64_t now)
{
	uint64_t until = self.end_ns;
	if (self.waiting_first != NULL && self.waiting_first->due_ns < until)
		until = self.waiting_first->due_ns;
	if (self.flights_first != NULL && self.flights_first->due_ns < until)
		until = self.flights_first->due_ns;
	if (until <= now)
		return 0;
	uint64_t ms = (until - now + BENCH_NS_PER_MS - 1) / BENCH_NS_PER_MS;
	return ms > 60000 ? 60000 : (int)ms;
}

static void sink_run(void)
{
	struct epoll_event events[256];
	while (!self.stop) {
		uint64_t now = bench_now_ns();
		if (now >= self.end_ns)
			return;
		int n = epoll_wait(self.poll, events, 256, sink_wait_ms(now));
		for (int i = 0; i < n; i++) {
			struct conn *conn = events[i].data.ptr;
			if (conn == NULL)
				sink_signal();
			else if (conn->listener)
				conn_accept(conn);
			else if (!conn->dead && (events[i].events & (EPOLLERR | EPOLLHUP)) != 0 &&
				 conn->waiting)
				conn_end(conn, false);
			else if (!conn->dead && (events[i].events & EPOLLOUT) != 0)
				conn_flush(conn);
			else if (!conn->dead && conn->waiting)
				conn_deafen(conn, true);
			else if (!conn->dead)
				conn_read(conn);
		}
		now = bench_now_ns();
		while (self.waiting_first != NULL && self.waiting_first->due_ns <= now)
			conn_release(self.waiting_first);
		while (self.flights_first != NULL && self.flights_first->due_ns <= now)
			flight_end();
		conn_bury();
	}
}

/* Says on which addresses it listens, in the order of the options. */
static void sink_announce(void)
{
	char temporary[4352];
	FILE *file = NULL;
	if (self.ready_file != NULL) {
		snprintf(temporary, sizeof temporary, "%s.new", self.ready_file);
		file = fopen(temporary, "we");
		if (file == NULL)
			bench_die("%s: %s", temporary, strerror(errno));
	}
	for (unsigned i = 0; i < self.listener_count; i++) {
		struct sockaddr_storage name = {0};
		socklen_t length = sizeof name;
		char text[64];
		getsockname(self.listeners[i].fd, (struct sockaddr *)&name, &length);
		if (name.ss_family == AF_UNIX)
			snprintf(text, sizeof text, "unix");
		else
			address_print(&name, text, sizeof text);
		fprintf(stderr, "listening %s\n", text);
		if (file != NULL)
			fprintf(file, "%s\n", text);
	}
	if (file != NULL)
		dump_close(file, temporary, self.ready_file);
}

static void sink_start(void)
{
	sigset_t set;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	bench_raise_files();
	self.poll = epoll_create1(EPOLL_CLOEXEC);
	self.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (self.poll < 0 || self.signals < 0 ||
	    epoll_ctl(self.poll, EPOLL_CTL_ADD, self.signals, &event) != 0)
		bench_die("epoll: %s", strerror(errno));
	for (unsigned i = 0; i < self.listener_count; i++) {
		event.data.ptr = &self.listeners[i];
		if (epoll_ctl(self.poll, EPOLL_CTL_ADD, self.listeners[i].fd, &event) != 0)
			bench_die("epoll_ctl: %s", strerror(errno));
	}
	self.end_ns =
	    self.timeout_s == 0 ? UINT64_MAX : bench_now_ns() + self.timeout_s * BENCH_NS_PER_S;
}

int main(int argc, char **argv)
{
	self.extensions =
	    EXT_PIPELINING | EXT_8BITMIME | EXT_SIZE | EXT_ENHANCED | EXT_SMTPUTF8 | EXT_DSN;
	self.linger_ns = 100 * BENCH_NS_PER_MS;
	self.max_connections = 20000;
	self.size_limit = 64u << 20;
	sink_arguments(argc, argv);
	tls_prepare();
	uint64_t expect = self.expect;
	self.linger_ns += self.delay_ns;
	sink_start();
	sink_announce();
	sink_run();
	self.expect = expect;
	sink_report();
	if (self.arrived_list != NULL && fclose(self.arrived_list) != 0)
		bench_die("arrived-list: %s", strerror(errno));
	bool missing = expect > self.arrived + self.other;
	return missing || self.duplicates > 0 || self.corrupt > 0 ? 1 : 0;
}
