/* SPDX-License-Identifier: ISC */
/*
 * The bare loop: what the machine itself can do, as the yardstick for everything else.
 *
 *   loop --listen 127.0.0.1:2525 --next-hop 127.0.0.1:2626 --file DIR/loop.queue
 *
 * One process takes mail over SMTP, appends it to a preallocated and zeroed file that it overwrites
 * from the start when it is full, syncs once for all messages that came while the last sync ran (a
 * thread of its own), only then says 250, and sends each message on over sessions to the next hop
 * that stay open. Nothing more: no policy, no recovery, no retries, no log, no change to the
 * message. A message is one piece of memory from its reception to its delivery, and the system
 * calls left are those that no server can do without: two reads and two writes on each side, and a
 * share in one epoll_wait, one pwritev and one fdatasync. A next hop that refuses a message or goes
 * away ends the program. SIGTERM ends it with JSON on stdout.
 */
#include "loop_disk.h"

/* ---- sending on ---- */

static void hop_flush(struct hop *hop)
{
	while (hop->rest_length > 0) {
		ssize_t n = send(hop->end.fd, hop->rest, hop->rest_length, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0)
			bench_die("next hop: %s", strerror(errno));
		hop->rest += n;
		hop->rest_length -= (size_t)n;
	}
	bool want_write = hop->rest_length > 0;
	if (want_write != hop->want_write)
		endpoint_watch(&hop->end, EPOLL_CTL_MOD, EPOLLIN | (want_write ? EPOLLOUT : 0u));
	hop->want_write = want_write;
}

static void hop_send(struct hop *hop, const char *bytes, size_t n)
{
	hop->rest = bytes;
	hop->rest_length = n;
	hop_flush(hop);
}

/* The next message on this session, or rest. */
static void hop_next(struct hop *hop)
{
	struct message *message = list_take(&self.ready);
	hop->message = message;
	if (message == NULL) {
		hop->step = HOP_IDLE;
		hop->next_idle = self.idle;
		self.idle = hop;
		return;
	}
	hop->step = HOP_ENVELOPE;
	hop->replies_left = message->replies;
	hop_send(hop, message->data, message->envelope_length);
}

static void hop_reply(struct hop *hop, unsigned code, const char *line, size_t n)
{
	static const char ehlo[] = "EHLO loop.example\r\n";
	if (code / 100 != (hop->step == HOP_ENVELOPE && hop->replies_left == 1 ? 3u : 2u))
		bench_die("next hop: %.*s", (int)n, line);
	switch (hop->step) {
	case HOP_GREETING:
		hop->step = HOP_EHLO;
		hop_send(hop, ehlo, sizeof ehlo - 1);
		break;
	case HOP_EHLO:
		hop_next(hop);
		break;
	case HOP_ENVELOPE:
		if (--hop->replies_left > 0)
			break;
		hop->step = HOP_DOT;
		hop_send(hop, hop->message->data + hop->message->envelope_length,
			 hop->message->length - hop->message->envelope_length);
		break;
	case HOP_DOT:
		self.delivered++;
		self.ready_bytes -= hop->message->length;
		free(hop->message);
		hop_next(hop);
		break;
	case HOP_IDLE:
		bench_die("next hop, unasked: %.*s", (int)n, line);
	}
}

static void hop_read(struct hop *hop)
{
	buffer_reserve(&hop->in, 2048);
	ssize_t got = recv(hop->end.fd, hop->in.data + hop->in.end, hop->in.size - hop->in.end, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
		bench_die("the next hop closed the connection");
	hop->in.end += (size_t)got;
	for (;;) {
		size_t n = buffer_length(&hop->in);
		char *line = buffer_head(&hop->in);
		char *end = n == 0 ? NULL : memchr(line, '\n', n);
		if (end == NULL && n > LOOP_LINE_MOST)
			bench_die("next hop: endless reply");
		if (end == NULL)
			return;
		n = (size_t)(end - line) + 1;
		buffer_consume(&hop->in, n);
		if (n >= 5 && line[3] == '-')
			continue;
		hop_reply(hop, n >= 5 ? (unsigned)(line[0] - '0') * 100u : 0, line, n);
	}
}

static void hop_open(void)
{
	struct hop *hop = bench_zero(sizeof *hop);
	hop->end.kind = KIND_HOP;
	hop->end.fd = socket(self.next_hop.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (hop->end.fd < 0 || connect(hop->end.fd, (struct sockaddr *)&self.next_hop.socket,
				       self.next_hop.length) != 0)
		bench_die("next hop: %s", strerror(errno));
	fcntl(hop->end.fd, F_SETFL, O_NONBLOCK);
	socket_no_delay(hop->end.fd);
	endpoint_watch(&hop->end, EPOLL_CTL_ADD, EPOLLIN);
}

static void hops_feed(void)
{
	while (self.idle != NULL && self.ready.first != NULL) {
		struct hop *hop = self.idle;
		self.idle = hop->next_idle;
		hop_next(hop);
	}
}

/* ---- receiving ---- */

static void session_close(struct session *session)
{
	if (session->dead)
		return;
	if (session->waits_for != NULL)
		session->waits_for->session = NULL;
	close(session->end.fd);
	session->dead = true;
	session->next_dead = self.dead;
	self.dead = session;
}

static void session_bury(void)
{
	while (self.dead != NULL) {
		struct session *session = self.dead;
		self.dead = session->next_dead;
		buffer_free(&session->in);
		buffer_free(&session->out);
		buffer_free(&session->envelope);
		free(session);
	}
}

static void session_flush(struct session *session)
{
	while (buffer_length(&session->out) > 0) {
		ssize_t n = send(session->end.fd, buffer_head(&session->out),
				 buffer_length(&session->out), MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			session_close(session);
			return;
		}
		buffer_consume(&session->out, (size_t)n);
	}
	bool want_write = buffer_length(&session->out) > 0;
	if (!want_write && session->closing) {
		session_close(session);
		return;
	}
	if (want_write != session->want_write)
		endpoint_watch(&session->end, EPOLL_CTL_MOD,
			       EPOLLIN | (want_write ? EPOLLOUT : 0u));
	session->want_write = want_write;
}

static void session_envelope(struct session *session, const char *line, size_t n, const char *reply)
{
	if (n > LOOP_ENVELOPE_MOST - buffer_length(&session->envelope)) {
		buffer_add_text(&session->out, "452 4.5.3 Too many recipients\r\n");
		return;
	}
	buffer_add(&session->envelope, line, n);
	buffer_add_text(&session->out, reply);
}

static void session_reset(struct session *session)
{
	session->rcpts = 0;
	buffer_clear(&session->envelope);
}

/* A command with its CRLF. */
static void session_command(struct session *session, const char *line, size_t n)
{
	bool mail = buffer_length(&session->envelope) > 0;
	if (n > 10 && !mail && memcmp(line, "MAIL FROM:", 10) == 0) {
		session_envelope(session, line, n, "250 2.1.0 Ok\r\n");
	} else if (n > 8 && mail && memcmp(line, "RCPT TO:", 8) == 0) {
		session_envelope(session, line, n, "250 2.1.5 Ok\r\n");
		session->rcpts++;
	} else if (n == 6 && session->rcpts > 0 && memcmp(line, "DATA", 4) == 0) {
		session_envelope(session, line, n, "354 Go\r\n");
		session->content = true;
		session->scanned = 0;
	} else if (n > 5 && memcmp(line, "EHLO ", 5) == 0) {
		session_reset(session);
		buffer_add_text(&session->out,
				"250-loop.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n");
	} else if (n == 6 && memcmp(line, "RSET", 4) == 0) {
		session_reset(session);
		buffer_add_text(&session->out, "250 2.0.0 Ok\r\n");
	} else if (n == 6 && memcmp(line, "QUIT", 4) == 0) {
		session->closing = true;
		buffer_add_text(&session->out, "221 2.0.0 Bye\r\n");
	} else {
		buffer_add_text(&session->out, "503 5.5.1 Not understood or not now\r\n");
	}
}

static void session_message(struct session *session, const char *content, size_t n)
{
	size_t envelope_length = buffer_length(&session->envelope);
	struct message *message = bench_alloc(NULL, sizeof *message + envelope_length + n);
	message->length = envelope_length + n;
	message->envelope_length = (uint32_t)envelope_length;
	message->replies = session->rcpts + 2;
	message->session = session;
	memcpy(message->data, buffer_head(&session->envelope), envelope_length);
	memcpy(message->data + envelope_length, content, n);
	session->waits_for = message;
	session->content = false;
	session_reset(session);
	list_add(&self.fresh, message);
}

/* Looks for CRLF.CRLF, from where the last look ended. Returns the content's length with its dot, 0
 * if not there. */
static size_t session_content_end(struct session *session)
{
	size_t n = buffer_length(&session->in);
	const char *text = buffer_head(&session->in);
	if (n >= 3 && memcmp(text, ".\r\n", 3) == 0)
		return 3;
	if (n < 5)
		return 0;
	const char *dot = memmem(text + session->scanned, n - session->scanned, "\r\n.\r\n", 5);
	if (dot != NULL)
		return (size_t)(dot - text) + 5;
	session->scanned = n - 4;
	return 0;
}

static void session_work(struct session *session)
{
	while (!session->dead && !session->closing && session->waits_for == NULL &&
	       buffer_length(&session->in) > 0) {
		char *text = buffer_head(&session->in);
		size_t n;
		if (session->content) {
			n = session_content_end(session);
			if (n == 0 && buffer_length(&session->in) > self.message_most)
				session_close(session);
			if (n == 0)
				return;
			session_message(session, text, n);
			buffer_consume(&session->in, n);
			continue;
		}
		char *end = memchr(text, '\n', buffer_length(&session->in));
		if (end == NULL && buffer_length(&session->in) > LOOP_LINE_MOST)
			session_close(session);
		if (end == NULL)
			return;
		n = (size_t)(end - text) + 1;
		buffer_consume(&session->in, n);
		session_command(session, text, n);
	}
}

static void session_read(struct session *session)
{
	/* Between messages nothing is due; a client that sends on without waiting for its 250 is
	 * not read for ever. */
	if (session->waits_for != NULL && buffer_length(&session->in) > LOOP_LINE_MOST) {
		session_close(session);
		return;
	}
	buffer_reserve(&session->in, 8192);
	ssize_t n = recv(session->end.fd, session->in.data + session->in.end,
			 session->in.size - session->in.end, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session_close(session);
		return;
	}
	session->in.end += (size_t)n;
	session_work(session);
	if (!session->dead && buffer_length(&session->out) > 0)
		session_flush(session);
}

static void session_accept(void)
{
	for (unsigned turn = 0; turn < 64; turn++) {
		int fd = accept4(self.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		struct session *session = bench_zero(sizeof *session);
		session->end.kind = KIND_SESSION;
		session->end.fd = fd;
		endpoint_watch(&session->end, EPOLL_CTL_ADD, EPOLLIN);
		buffer_add_text(&session->out, "220 loop.example ESMTP\r\n");
		session_flush(session);
	}
}

/* Says 250 for what is durable, unless too much waits to be sent on: then the clients wait, which
 * bounds memory. */
static void sessions_tell(void)
{
	while (self.durable.first != NULL && self.ready.count < self.ready_most &&
	       self.ready_bytes < self.ready_bytes_most) {
		struct message *message = list_take(&self.durable);
		struct session *session = message->session;
		self.accepted++;
		self.ready_bytes += message->length;
		list_add(&self.ready, message);
		if (session == NULL)
			continue;
		message->session = NULL;
		session->waits_for = NULL;
		buffer_add_text(&session->out, "250 2.0.0 Ok\r\n");
		session_work(session);
		if (!session->dead)
			session_flush(session);
	}
}

/* ---- the program ---- */

static void loop_event(struct endpoint *end, uint32_t events, bool *batch_out)
{
	uint64_t counter = 0;
	switch (end->kind) {
	case KIND_LISTENER:
		session_accept();
		break;
	case KIND_SIGNALS:
		self.stop = true;
		break;
	case KIND_SYNCED:
		if (read(end->fd, &counter, sizeof counter) != (ssize_t)sizeof counter)
			break;
		pthread_mutex_lock(&self.lock);
		list_move(&self.durable, &self.batch);
		pthread_mutex_unlock(&self.lock);
		*batch_out = false;
		break;
	case KIND_SESSION: {
		struct session *session = (struct session *)end;
		if (!session->dead && (events & EPOLLOUT) != 0)
			session_flush(session);
		if (!session->dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			session_read(session);
		break;
	}
	case KIND_HOP:
		if ((events & EPOLLOUT) != 0)
			hop_flush((struct hop *)end);
		if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			hop_read((struct hop *)end);
		break;
	}
}

static void loop_run(void)
{
	struct epoll_event events[256];
	bool batch_out = false;
	while (!self.stop) {
		int n = epoll_wait(self.poll, events, 256, -1);
		for (int i = 0; i < n; i++)
			loop_event(events[i].data.ptr, events[i].events, &batch_out);
		/* The disk first: it works while the replies and deliveries of this turn are
		 * written. */
		sync_start(&batch_out);
		sessions_tell();
		hops_feed();
		sync_start(&batch_out);
		session_bury();
	}
}

/* Written once from end to end: overwriting costs half of what a sync of freshly allocated blocks
 * does. */
static void file_prepare(void)
{
	static const char zero[1 << 20];
	self.file = open(self.file_name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (self.file < 0)
		bench_die("%s: %s", self.file_name, strerror(errno));
	for (uint64_t at = 0; at < self.file_size; at += sizeof zero) {
		if (pwrite(self.file, zero, sizeof zero, (off_t)at) != (ssize_t)sizeof zero)
			bench_die("%s: %s", self.file_name, strerror(errno));
	}
	if (fsync(self.file) != 0)
		bench_die("%s: %s", self.file_name, strerror(errno));
}

static void loop_start(const char *listen_on)
{
	sigset_t set;
	pthread_t thread;
	int on = 1;
	struct bench_address address = address_parse(listen_on);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	self.poll = epoll_create1(EPOLL_CLOEXEC);
	self.signals = (struct endpoint){KIND_SIGNALS, signalfd(-1, &set, SFD_CLOEXEC)};
	self.synced = (struct endpoint){KIND_SYNCED, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	self.listener =
	    (struct endpoint){KIND_LISTENER, socket(address.socket.ss_family,
						    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	setsockopt(self.listener.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	socket_no_delay(self.listener.fd); /* inherited by what it accepts */
	pthread_mutex_init(&self.lock, NULL);
	pthread_cond_init(&self.work, NULL);
	if (pthread_create(&thread, NULL, sync_main, NULL) != 0)
		bench_die("no thread");
	for (uint64_t i = 0; i < self.hop_count; i++)
		hop_open();
	if (bind(self.listener.fd, (struct sockaddr *)&address.socket, address.length) != 0 ||
	    listen(self.listener.fd, 4096) != 0)
		bench_die("%s: %s", listen_on, strerror(errno));
	endpoint_watch(&self.signals, EPOLL_CTL_ADD, EPOLLIN);
	endpoint_watch(&self.synced, EPOLL_CTL_ADD, EPOLLIN);
	endpoint_watch(&self.listener, EPOLL_CTL_ADD, EPOLLIN);
}

static const struct option loop_options[] = {
    {"listen", 1, NULL, 'l'},	   /* ADDRESS:PORT */
    {"next-hop", 1, NULL, 'n'},	   /* ADDRESS:PORT; must offer PIPELINING and keep sessions open */
    {"file", 1, NULL, 'f'},	   /* the queue */
    {"file-size", 1, NULL, 's'},   /* bytes, rounded up to a megabyte (256 MB) */
    {"hops", 1, NULL, 'h'},	   /* sessions to the next hop (50) */
    {"max-message", 1, NULL, 'm'}, /* bytes (64 MB) */
    {"ready", 1, NULL,
     'r'}, /* with so many messages to be sent on, 250s wait (no limit but ready-bytes) */
    {"ready-bytes", 1, NULL, 'b'}, /* the same for bytes (64 MB) */
    {NULL, 0, NULL, 0},
};

static const char *loop_arguments(int argc, char **argv)
{
	const char *listen_on = NULL;
	for (;;) {
		int index = 0;
		int option = getopt_long(argc, argv, "", loop_options, &index);
		const char *name = loop_options[index].name;
		if (option < 0)
			break;
		switch (option) {
		case 'l':
			listen_on = optarg;
			break;
		case 'n':
			self.next_hop = address_parse(optarg);
			break;
		case 'f':
			self.file_name = optarg;
			break;
		case 's':
			self.file_size = bench_number(name, optarg, UINT64_C(1) << 40);
			break;
		case 'h':
			self.hop_count = bench_number(name, optarg, LOOP_HOPS_MOST);
			break;
		case 'm':
			self.message_most = bench_number(name, optarg, UINT32_MAX / 2);
			break;
		case 'r':
			self.ready_most = bench_number(name, optarg, UINT32_MAX);
			break;
		case 'b':
			self.ready_bytes_most = bench_number(name, optarg, UINT64_C(1) << 40);
			break;
		default:
			bench_die("usage: loop --listen A:P --next-hop A:P --file F [--hops N "
				  "--file-size B --ready N]");
		}
	}
	if (listen_on == NULL || self.next_hop.length == 0 || self.file_name == NULL ||
	    optind != argc)
		bench_die("--listen, --next-hop and --file are needed");
	self.file_size = (self.file_size + (1 << 20) - 1) >> 20 << 20;
	return listen_on;
}

int main(int argc, char **argv)
{
	self.file_size = 256u << 20;
	self.hop_count = 50;
	self.message_most = 64u << 20;
	self.ready_most = UINT32_MAX;
	self.ready_bytes_most = 64u << 20;
	const char *listen_on = loop_arguments(argc, argv);
	bench_raise_files();
	file_prepare();
	loop_start(listen_on);
	fprintf(stderr, "listening %s\n", listen_on);
	loop_run();
	printf("{\"accepted\": %llu, \"delivered\": %llu, \"batches\": %llu}\n",
	       (unsigned long long)self.accepted, (unsigned long long)self.delivered,
	       (unsigned long long)self.batches);
	return self.accepted == self.delivered ? 0 : 1;
}
