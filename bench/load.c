/* SPDX-License-Identifier: ISC */
/*
 * The load generator: one thread, one epoll loop, any number of SMTP sessions that send as fast as
 * the server answers.
 *
 *   load --to 127.0.0.1:2525 [--sessions 50] [--messages 20000] [--size 2048] [--per-connection 0]
 *
 * Each message is unique and carries its send time and a checksum (bench.h), so that sink.c can
 * tell whether it arrived exactly once and unchanged. Where the server offers PIPELINING, MAIL,
 * RCPT and DATA go in one write; content and dot always wait for the 354. A connection that breaks
 * before the dot costs nothing (the message is sent again); one that breaks after it leaves a
 * message of which nobody knows, counted as "unknown". Ends with JSON on stdout; status 0 if every
 * message was accepted.
 *
 * With --tls and --auth sessions speak TLS and log in first (load_tls.h). With --only-connect a
 * connection is greeted and says QUIT, and --messages is how many of them. With --idle N it opens N
 * connections instead, keeps them, and measures how long a new one waits for its greeting
 * (load_idle.h).
 */
#include "load_idle.h"

static void session_watch(struct load_session *session, bool want_write, int operation)
{
	struct epoll_event event = {.events = EPOLLIN | (want_write ? EPOLLOUT : 0u),
				    .data.ptr = session};
	if (epoll_ctl(self.poll, operation, session->fd, &event) != 0)
		bench_die("epoll_ctl: %s", strerror(errno));
	session->want_write = want_write;
}

static void session_close(struct load_session *session, uint64_t retry_ns)
{
	tls_close(session);
	if (session->fd >= 0)
		close(session->fd);
	session->fd = -1;
	buffer_clear(&session->in);
	buffer_clear(&session->out);
	session->step = STEP_OFF;
	session->retry_ns = retry_ns;
}

static void session_settle(struct load_session *session)
{
	session->has_message = false;
	self.settled++;
}

/* The connection is gone. Only a message whose dot was sent may have been taken. */
static void session_break(struct load_session *session)
{
	if (session->step == STEP_DOT && session->has_message && session->refused == 0) {
		self.unknown++;
		session_settle(session);
	}
	if (session->step <= STEP_GREETING)
		self.connect_failures++;
	session_close(session, bench_now_ns() + LOAD_RETRY_NS);
}

static bool session_flush(struct load_session *session)
{
	while (buffer_length(&session->out) > 0) {
		ssize_t n =
		    wire_send(session, buffer_head(&session->out), buffer_length(&session->out));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			session_break(session);
			return false;
		}
		buffer_consume(&session->out, (size_t)n);
	}
	bool more = buffer_length(&session->out) > 0;
	if (more != session->want_write)
		session_watch(session, more, EPOLL_CTL_MOD);
	return true;
}

static void session_open(struct load_session *session)
{
	session->fd =
	    socket(self.to.socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (session->fd < 0)
		bench_die("socket: %s", strerror(errno));
	session_bind(session);
	self.opened++;
	socket_no_delay(session->fd);
	session->step = STEP_CONNECT;
	session->sent_here = 0;
	session->leaving = false;
	session->dot_ns = bench_now_ns();
	if (connect(session->fd, (struct sockaddr *)&self.to.socket, self.to.length) != 0 &&
	    errno != EINPROGRESS) {
		session_break(session);
		return;
	}
	/* Where the server speaks first its greeting says that the connection is there. */
	session_watch(session, self.tls == LOAD_TLS_IMPLICIT, EPOLL_CTL_ADD);
}

static void session_command(struct load_session *session, enum load_step step, const char *text)
{
	session->step = step;
	buffer_add_text(&session->out, text);
}

static void session_rcpt(struct load_session *session)
{
	char recipient[512];
	message_recipient(session->number, recipient, sizeof recipient);
	buffer_add_text(&session->out, "RCPT TO:<");
	buffer_add_text(&session->out, recipient);
	buffer_add_text(&session->out, ">\r\n");
}

/* --only-connect: it is greeted, and that was all. */
static void session_greeted(struct load_session *session)
{
	uint64_t now = bench_now_ns();
	if (self.first_send_ns == 0)
		self.first_send_ns = session->dot_ns;
	if (self.next < self.messages) {
		self.next++;
		self.accepted++;
		self.settled++;
		self.last_accept_ns = now;
		histogram_add(&self.latency, now - session->dot_ns);
	}
	session_command(session, STEP_QUIT, "QUIT\r\n");
}

static bool session_is_full(const struct load_session *session)
{
	return self.per_connection > 0 && session->sent_here >= self.per_connection;
}

/* Takes the next message, or says goodbye. */
static void session_next(struct load_session *session)
{
	bool full = session_is_full(session);
	if (!session->has_message && self.next == self.messages) {
		session_command(session, STEP_QUIT, "QUIT\r\n");
		return;
	}
	if (full) {
		session_command(session, STEP_QUIT, "QUIT\r\n");
		return;
	}
	if (!session->has_message) {
		session->number = self.next++;
		session->has_message = true;
	}
	if (self.first_send_ns == 0)
		self.first_send_ns = bench_now_ns();
	session->refused = 0;
	session->sent_here++;
	session_command(session, STEP_MAIL, "MAIL FROM:<");
	buffer_add_text(&session->out, self.from);
	buffer_add_text(&session->out, ">\r\n");
	if (session->pipelining) {
		session_rcpt(session);
		buffer_add_text(&session->out, "DATA\r\n");
	}
}

static void session_refuse(struct load_session *session, unsigned code)
{
	if (session->refused == 0)
		session->refused = code;
}

static void session_reject(struct load_session *session)
{
	self.rejected[session->refused]++;
	session_settle(session);
	if (session->leaving)
		session->step = STEP_QUIT;
	else
		session_command(session, STEP_RSET, "RSET\r\n");
}

static void session_accept(struct load_session *session)
{
	uint64_t now = bench_now_ns();
	histogram_add(&self.latency, now - session->dot_ns);
	self.last_accept_ns = now;
	self.accepted++;
	if (self.accepted_list != NULL)
		fprintf(self.accepted_list, "%llu\n", (unsigned long long)session->number);
	session_settle(session);
	if (session->leaving)
		session->step = STEP_QUIT;
	else
		session_next(session);
}

static void session_mail_or_rcpt(struct load_session *session, unsigned code)
{
	bool was_mail = session->step == STEP_MAIL;
	if (code / 100 != 2)
		session_refuse(session, code);
	if (!session->pipelining && session->refused != 0) {
		session_reject(session);
		return;
	}
	session->step = was_mail ? STEP_RCPT : STEP_DATA;
	if (session->pipelining)
		return;
	if (was_mail)
		session_rcpt(session);
	else
		buffer_add_text(&session->out, "DATA\r\n");
}

/* A server may say 354 although it refused MAIL or RCPT: then a lone dot ends the data (RFC
 * 2920, 3.1). */
static void session_data(struct load_session *session, unsigned code)
{
	if (code != 354) {
		session_refuse(session, code);
		session_reject(session);
		return;
	}
	session->step = STEP_DOT;
	if (session->refused != 0)
		buffer_add_text(&session->out, ".\r\n");
	else
		message_write(session);
	/* Commands may follow the content at once (RFC 2920 section 3.1); smtp(8) of Postfix, too,
	 * says QUIT with the last dot. */
	session->leaving = session->pipelining && session_is_full(session);
	if (session->leaving)
		buffer_add_text(&session->out, "QUIT\r\n");
}

static void session_dot(struct load_session *session, unsigned code)
{
	if (code / 100 == 2 && session->refused == 0) {
		session_accept(session);
		return;
	}
	session_refuse(session, code);
	session_reject(session);
}

/* EHLO has its answer: what stands between it and the first message, in its order. */
static void session_ready(struct load_session *session)
{
	if (self.tls == LOAD_TLS_STARTTLS && !session->secure)
		session_command(session, STEP_STARTTLS, "STARTTLS\r\n");
	else if (self.only_connect)
		session_greeted(session);
	else if (self.auth[0] != '\0')
		session_command(session, STEP_AUTH, self.auth);
	else
		session_next(session);
}

/* Goes on with the handshake. Returns false once the connection is closed. */
static bool session_handshake(struct load_session *session)
{
	session->step = STEP_HANDSHAKE;
	if (session->ssl == NULL)
		tls_open(session);
	ssize_t n = tls_handshake(session);
	if (n != 1 && (n == 0 || errno != EAGAIN)) {
		session_break(session);
		return false;
	}
	if (session->want_write != session->wants_write)
		session_watch(session, session->wants_write, EPOLL_CTL_MOD);
	if (n != 1)
		return true;
	tls_done(session);
	if (self.tls == LOAD_TLS_IMPLICIT)
		session->step = STEP_GREETING;
	else
		session_command(session, STEP_EHLO, "EHLO load.example\r\n");
	return true;
}

static void session_greeting(struct load_session *session)
{
	if (self.only_connect && self.tls != LOAD_TLS_STARTTLS)
		session_greeted(session);
	else
		session_command(session, STEP_EHLO, "EHLO load.example\r\n");
}

/* The answer to EHLO. */
static void session_ehlo(struct load_session *session, unsigned code, const char *lines, size_t n)
{
	if (code / 100 != 2) {
		session_command(session, STEP_HELO, "HELO load.example\r\n");
		return;
	}
	session->pipelining = memmem(lines, n, "PIPELINING", 10) != NULL;
	session_ready(session);
}

/* 421: the server closes, and a message that it had some of is rejected. */
static void session_shut(struct load_session *session)
{
	if (session->step > STEP_GREETING && session->has_message) {
		self.rejected[421]++;
		session_settle(session);
		session->step = STEP_RSET;
	}
	session_break(session);
}

/* One whole reply; `lines` are all of its lines. Returns false once the connection is closed. */
static bool session_reply(struct load_session *session, unsigned code, const char *lines, size_t n)
{
	if (code == 421) {
		session_shut(session);
		return false;
	}
	switch (session->step) {
	case STEP_GREETING:
		if (code != 220) {
			session_break(session);
			return false;
		}
		session_greeting(session);
		break;
	case STEP_EHLO:
		session_ehlo(session, code, lines, n);
		break;
	case STEP_STARTTLS:
		if (code == 220)
			return session_handshake(session);
		session_break(session);
		return false;
	case STEP_AUTH:
		if (code == 235) {
			session_next(session);
			break;
		}
		session_break(session);
		return false;
	case STEP_HELO:
		session->pipelining = false;
		session_next(session);
		break;
	case STEP_MAIL:
	case STEP_RCPT:
		session_mail_or_rcpt(session, code);
		break;
	case STEP_DATA:
		session_data(session, code);
		break;
	case STEP_DOT:
		session_dot(session, code);
		break;
	case STEP_RSET:
		session_next(session);
		break;
	case STEP_QUIT:
	case STEP_OFF:
	case STEP_CONNECT:
	case STEP_HANDSHAKE:
	case STEP_DONE:
		session_close(session, 0);
		return false;
	}
	return true;
}

/* Finds one reply in the buffer: its length, or 0 if more must come. */
static size_t reply_find(const char *text, size_t n, unsigned *code)
{
	size_t at = 0;
	while (at < n) {
		const char *line = text + at;
		const char *end = memchr(line, '\n', n - at);
		if (end == NULL)
			return 0;
		size_t length = (size_t)(end - line) + 1;
		bool digits = length >= 5 && line[0] >= '2' && line[0] <= '5' && line[1] >= '0' &&
			      line[1] <= '9' && line[2] >= '0' && line[2] <= '9';
		*code = digits ? (unsigned)(line[0] - '0') * 100u +
				     (unsigned)(line[1] - '0') * 10u + (unsigned)(line[2] - '0')
			       : 999u;
		at += length;
		if (!digits || line[3] != '-')
			return at;
	}
	return 0;
}

/* All replies that are whole. Returns false once the connection is closed. */
static bool session_replies(struct load_session *session)
{
	for (;;) {
		unsigned code = 0;
		size_t n =
		    reply_find(buffer_head(&session->in), buffer_length(&session->in), &code);
		if (n == 0 && buffer_length(&session->in) > LOAD_REPLY_MOST) {
			session_break(session);
			return false;
		}
		if (n == 0)
			return true;
		if (!session_reply(session, code, buffer_head(&session->in), n))
			return false;
		buffer_consume(&session->in, n);
	}
}

static void session_read(struct load_session *session)
{
	do {
		buffer_reserve(&session->in, 4096);
		ssize_t got = wire_receive(session, session->in.data + session->in.end,
					   session->in.size - session->in.end);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (got <= 0) {
			if (session->step == STEP_QUIT)
				session_close(session, 0);
			else
				session_break(session);
			return;
		}
		session->in.end += (size_t)got;
		if (!session_replies(session))
			return;
	} while (wire_has_more(session));
	if (session->fd >= 0 && buffer_length(&session->out) > 0)
		session_flush(session);
}

static void session_event(struct load_session *session, uint32_t events)
{
	if (session->fd < 0)
		return;
	if (session->step == STEP_CONNECT) {
		if (events & EPOLLERR) {
			session_break(session);
			return;
		}
		session->step = self.tls == LOAD_TLS_IMPLICIT ? STEP_HANDSHAKE : STEP_GREETING;
		self.connections++;
	}
	if (session->step == STEP_HANDSHAKE && !session_handshake(session))
		return;
	if (session->step == STEP_HANDSHAKE)
		return;
	if ((events & EPOLLOUT) != 0 && !session_flush(session))
		return;
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		session_read(session);
}

/* Opens what is closed and due. Returns how long the loop may sleep. */
static int load_reopen(uint64_t now)
{
	int wait_ms = 1000;
	self.live = 0;
	for (uint64_t i = 0; i < self.sessions; i++) {
		struct load_session *session = &self.all[i];
		if (session->step == STEP_OFF && !session->has_message &&
		    self.next == self.messages)
			session->step = STEP_DONE;
		if (session->step == STEP_DONE)
			continue;
		self.live++;
		if (session->step != STEP_OFF)
			continue;
		if (session->retry_ns <= now)
			session_open(session);
		else
			wait_ms = 20;
	}
	return wait_ms;
}

/* Returns false if the time was over first. */
static bool load_run(void)
{
	uint64_t end_ns = bench_now_ns() + self.timeout_s * BENCH_NS_PER_S;
	struct epoll_event events[256];
	self.poll = epoll_create1(EPOLL_CLOEXEC);
	for (;;) {
		uint64_t now = bench_now_ns();
		int wait_ms = load_reopen(now);
		if (self.live == 0)
			return true;
		if (now >= end_ns)
			return false;
		int n = epoll_wait(self.poll, events, 256, wait_ms);
		for (int i = 0; i < n; i++)
			session_event(events[i].data.ptr, events[i].events);
	}
}

static void load_report(bool finished)
{
	double seconds = self.last_accept_ns > self.first_send_ns
			     ? (double)(self.last_accept_ns - self.first_send_ns) / 1e9
			     : 0.0;
	printf("{\"run\": \"%s\", \"accepted\": %llu, \"unknown\": %llu, \"rejected\": {", self.run,
	       (unsigned long long)self.accepted, (unsigned long long)self.unknown);
	const char *comma = "";
	for (unsigned code = 0; code < 1000; code++) {
		if (self.rejected[code] == 0)
			continue;
		printf("%s\"%u\": %llu", comma, code, (unsigned long long)self.rejected[code]);
		comma = ", ";
	}
	printf("}, \"unsent\": %llu, \"connections\": %llu, \"connect_failures\": %llu, "
	       "\"seconds\": %.6f, "
	       "\"messages_per_s\": %.1f, \"dot_to_250_p50_ms\": %.4f, \"dot_to_250_p99_ms\": "
	       "%.4f, \"first_send_ns\": %llu, \"last_accept_ns\": %llu, \"handshakes\": %llu, "
	       "\"resumed\": %llu, \"tls\": \"%s\", \"timeout\": %s}\n",
	       (unsigned long long)(self.messages - self.settled),
	       (unsigned long long)self.connections, (unsigned long long)self.connect_failures,
	       seconds, seconds > 0 ? (double)self.accepted / seconds : 0.0,
	       (double)histogram_percentile(&self.latency, 50) / 1e6,
	       (double)histogram_percentile(&self.latency, 99) / 1e6,
	       (unsigned long long)self.first_send_ns, (unsigned long long)self.last_accept_ns,
	       (unsigned long long)self.handshakes, (unsigned long long)self.resumed,
	       self.tls_facts, finished ? "false" : "true");
}

enum load_kind { KIND_NUMBER, KIND_TEXT, KIND_FLAG };

static const struct load_option {
	const char *name;
	enum load_kind kind;
	uint64_t most;
	void *value;
	const char *help;
} load_options[] = {
    {"to", KIND_TEXT, 0, NULL, "ADDRESS:PORT of the server"},
    {"sessions", KIND_NUMBER, 20000, &self.sessions, "sessions at once (50)"},
    {"messages", KIND_NUMBER, 100000000, &self.messages, "messages in all (1000)"},
    {"size", KIND_NUMBER, 67108864, &self.size_bytes, "bytes of a message (2048)"},
    {"from", KIND_TEXT, 0, &self.from, "sender (bench@load.example)"},
    {"rcpt-domain", KIND_TEXT, 0, &self.rcpt_domain, "recipients' domain (sink.example)"},
    {"domains", KIND_NUMBER, 10000000, &self.domains,
     "spread recipients over d0.DOMAIN, d1.DOMAIN, ..."},
    {"users", KIND_NUMBER, 1000000, &self.users, "and over u0, u1, ... (1000)"},
    {"per-connection", KIND_NUMBER, 100000000, &self.per_connection,
     "messages a connection (0: no limit)"},
    {"sources", KIND_NUMBER, 250, &self.sources, "come from 127.0.1.1, 127.0.1.2, ... in turn"},
    {"lone", KIND_FLAG, 0, NULL, "one session"},
    {"tls", KIND_TEXT, 0, NULL, "starttls, or implicit: from the first octet on"},
    {"resume", KIND_FLAG, 0, &self.resume, "show the ticket of the connection before"},
    {"auth", KIND_TEXT, 0, NULL, "NAME:PASSWORD for AUTH PLAIN"},
    {"only-connect", KIND_FLAG, 0, &self.only_connect, "connections without messages"},
    {"run", KIND_TEXT, 0, &self.run, "this run's name in the messages (from the clock)"},
    {"seed", KIND_NUMBER, UINT64_MAX, &self.seed, "of the bodies (1)"},
    {"accepted-list", KIND_TEXT, 0, NULL, "file to which each accepted number goes, one a line"},
    {"idle", KIND_NUMBER, 100000, &self.idle, "open N idle connections, then greet new ones"},
    {"hold-ms", KIND_NUMBER, 600000, &self.hold_ms, "wait so long before greeting new ones (1000)"},
    {"timeout", KIND_NUMBER, 86400, &self.timeout_s, "seconds for all of it (120)"},
};
#define LOAD_OPTIONS (sizeof load_options / sizeof load_options[0])

static void load_usage(void)
{
	for (size_t i = 0; i < LOAD_OPTIONS; i++)
		fprintf(stderr, "  --%-16s %s\n", load_options[i].name, load_options[i].help);
	exit(2);
}

static void load_option_special(const char *name)
{
	if (strcmp(name, "to") == 0) {
		self.to = address_parse(optarg);
	} else if (strcmp(name, "auth") == 0) {
		auth_prepare(optarg);
	} else if (strcmp(name, "tls") == 0) {
		self.tls = strcmp(optarg, "starttls") == 0 ? LOAD_TLS_STARTTLS : LOAD_TLS_IMPLICIT;
		if (self.tls == LOAD_TLS_IMPLICIT && strcmp(optarg, "implicit") != 0)
			bench_die("--tls: starttls or implicit");
		tls_prepare();
	} else {
		self.accepted_list = fopen(optarg, "we");
		if (self.accepted_list == NULL)
			bench_die("%s: %s", optarg, strerror(errno));
	}
}

static void load_option_set(size_t index)
{
	const struct load_option *option = &load_options[index];
	if (option->kind == KIND_NUMBER) {
		*(uint64_t *)option->value = bench_number(option->name, optarg, option->most);
	} else if (option->kind == KIND_FLAG) {
		if (option->value != NULL)
			*(bool *)option->value = true;
		else
			self.sessions = 1;
	} else if (option->value != NULL) {
		if (strlen(optarg) > 255)
			bench_die("--%s: too long", option->name);
		*(const char **)option->value = optarg;
	} else {
		load_option_special(option->name);
	}
}

static void load_arguments(int argc, char **argv)
{
	struct option options[LOAD_OPTIONS + 1] = {0};
	for (size_t i = 0; i < LOAD_OPTIONS; i++) {
		options[i].name = load_options[i].name;
		options[i].has_arg =
		    load_options[i].kind == KIND_FLAG ? no_argument : required_argument;
		options[i].val = (int)i;
	}
	for (;;) {
		int index = getopt_long(argc, argv, "", options, NULL);
		if (index < 0)
			break;
		if ((size_t)index >= LOAD_OPTIONS)
			load_usage();
		load_option_set((size_t)index);
	}
	if (self.to.length == 0 || optind != argc || self.sessions == 0 || self.users == 0)
		load_usage();
}

static void load_prepare(void)
{
	time_t now = time(NULL);
	struct tm parts;
	gmtime_r(&now, &parts);
	strftime(self.date, sizeof self.date, "%a, %d %b %Y %H:%M:%S +0000", &parts);
	if (self.seed == 0)
		self.seed = 1;
	size_t length = self.size_bytes > 400 + 64 ? (size_t)self.size_bytes - 400 : 64;
	for (unsigned i = 0; i < LOAD_BODIES; i++)
		body_make(&self.bodies[i], length);
	self.all = bench_zero((size_t)self.sessions * sizeof *self.all);
	for (uint64_t i = 0; i < self.sessions; i++)
		self.all[i].fd = -1;
}

int main(int argc, char **argv)
{
	char run[32];
	snprintf(run, sizeof run, "%llx",
		 (unsigned long long)(bench_now_ns() ^ ((uint64_t)getpid() << 48)));
	self.from = "bench@load.example";
	self.rcpt_domain = "sink.example";
	self.run = run;
	self.sessions = 50;
	self.messages = 1000;
	self.users = 1000;
	self.size_bytes = 2048;
	self.seed = 1;
	self.hold_ms = 1000;
	self.timeout_s = 120;
	load_arguments(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	bench_raise_files();
	if (self.idle > 0)
		return idle_run();
	load_prepare();
	bool finished = load_run();
	load_report(finished);
	if (self.accepted_list != NULL && fclose(self.accepted_list) != 0)
		bench_die("accepted-list: %s", strerror(errno));
	return finished && self.accepted == self.messages ? 0 : 1;
}
