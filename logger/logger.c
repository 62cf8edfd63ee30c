/* SPDX-License-Identifier: ISC */
/*
 * The logger: takes events from all daemons, writes them as lines where the
 * configuration says and as records into the history, each in one write a
 * batch. Serves `event` and `event_lost`; never answers, never blocks mail.
 */
#include "daemon.h"
#include "history.h"
#include "line.h"
#include "sink.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "logger",
    .kind = PEER_LOGGER,
    .user = "veredus-logger",
    .root = JAIL_NONE, /* it holds the folder of the history and writes there */
    .capabilities = "",
    /* connect: a syslog daemon that came back; without socket it can reach nothing else. */
    .system_calls = "openat unlinkat getdents64 newfstatat fstat lseek ftruncate getsockopt "
		    "poll connect",
    .peers = PEER_ALL & ~(PEER_MASTER | PEER_LOGGER | PEER_CONTROL),
};

enum {
	BATCH_MS = 10, /* lines wait so long for company */
	REST_MS = 2,   /* and so long nobody is listened to, once somebody had something to say */
	STUCK_MS = 100,
};

struct self {
	struct daemon *daemon;
	struct line_writer *lines;
	enum line_form form;
	struct sink sink;
	struct history *history; /* NULL: none */
	struct timer timer;
	struct turn_end turn_end;
	int history_error; /* said once */
	bool journal;	   /* datagrams go to systemd's own socket */
	bool draining;
};

static struct self self;

static void flush(void *arg);

static void history_use(void)
{
	const struct config *c = self.daemon->config;

	if (self.history && c)
		history_configure(self.history, c->history_size, c->history_keep);
}

/* A line of the logger's own. */
static void say(enum event_kind what, const char *text)
{
	struct history_event e = {
	    .what = what,
	    .daemon = PEER_LOGGER,
	    .pid = (uint32_t)getpid(),
	    .wall = (uint64_t)loop_wall(self.daemon->loop).us,
	    .count = 1,
	    .values = {text_of(text)},
	};

	if (self.sink.fd >= 0)
		line_write(self.lines, self.form, &self.sink.buffer, &e);
	if (self.history)
		history_add(self.history, &e);
}

static void say_lost(uint64_t count)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
	say(EVENT_lost, digits);
}

static void history_flush(void)
{
	int error;

	if (!self.history)
		return;
	error = history_write(self.history, loop_wall(self.daemon->loop));
	if (error && error != self.history_error) {
		char text[160];

		snprintf(text, sizeof text, "the history cannot be written: %s", strerror(error));
		say(EVENT_warning, text);
	}
	self.history_error = error;
}

/* Writes the batch. What the target does not take waits for the timer. */
static void flush(void *arg)
{
	(void)arg;
	history_flush();
	if (sink_write(&self.sink) && self.sink.lost) {
		uint64_t lost = self.sink.lost;

		self.sink.lost = 0;
		say_lost(lost);
		sink_write(&self.sink);
	}
	if (self.sink.stuck)
		timer_set(&self.timer, MILLISECONDS(STUCK_MS));
	else
		timer_clear(&self.timer);
}

static void flush_later(void)
{
	if (self.draining || (!self.sink.stuck && bytes_len(&self.sink.buffer) >= SINK_BATCH_BYTES))
		turn_end_schedule(&self.turn_end, self.daemon->loop, flush, NULL);
	else if (!timer_is_set(&self.timer))
		timer_set(&self.timer, MILLISECONDS(BATCH_MS));
}

static void take(const struct history_event *e)
{
	if (sink_takes(&self.sink))
		line_write(self.lines, self.form, &self.sink.buffer, e);
	if (self.history)
		history_add(self.history, e);
	flush_later();
	if (!self.draining)
		loop_rest(self.daemon->loop, MILLISECONDS(REST_MS));
}

static void serve_event(struct channel *c, const struct message *m)
{
	const struct msg_event *in = &m->event;
	struct history_event e = {
	    .what = in->what,
	    .daemon = channel_peer(c),
	    .pid = channel_peer_pid(c),
	    .id = in->id,
	    .wall = in->wall,
	};
	struct wire_list list = in->values;
	struct rec_value v;

	if (!event_row(in->what)) {
		channel_end(c, "sent an event that is none");
		return;
	}
	while (e.count < EVENT_VALUES_MAX && list_next_value(&list, &v))
		e.values[e.count++] = v.text;
	take(&e);
}

static void serve_event_lost(struct channel *c, const struct message *m)
{
	char digits[24];
	struct history_event e = {
	    .what = EVENT_lost,
	    .daemon = channel_peer(c),
	    .pid = channel_peer_pid(c),
	    .wall = (uint64_t)loop_wall(self.daemon->loop).us,
	    .count = 1,
	};

	snprintf(digits, sizeof digits, "%llu", (unsigned long long)m->event_lost.count);
	e.values[0] = text_of(digits);
	take(&e);
}

static const struct serve serves[] = {
    {MSG_event, (DAEMONS | PEER_MASTER), serve_event},
    {MSG_event_lost, (DAEMONS | PEER_MASTER), serve_event_lost},
    {MSG_NONE, 0, NULL},
};

static void form_choose(const struct config *c)
{
	if (self.sink.fd >= 0 && self.sink.kind == SINK_DATAGRAMS)
		self.form = self.journal ? LINE_JOURNAL : LINE_SYSLOG;
	else
		self.form = c && c->log_format == LOG_JSON ? LINE_JSON : LINE_TEXT;
}

static void host_name(char *to, size_t size)
{
	if (gethostname(to, size) != 0)
		snprintf(to, size, "localhost");
	to[size - 1] = '\0';
	to[strcspn(to, ".")] = '\0';
}

static void begin(struct daemon *d)
{
	char host[256];

	if (self.lines)
		return;
	self.daemon = d;
	host_name(host, sizeof host);
	self.lines = line_writer_new(host);
	sink_init(&self.sink);
	timer_init(&self.timer, d->loop, flush, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void warm_up(struct daemon *d)
{
	begin(d);
	form_choose(d->config);
	history_use();
}

static void start(struct daemon *d)
{
	form_choose(d->config);
	history_use();
}

/* Descriptors come before the first begin, and again at each reload. */
static void handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	begin(d);
	if (m->role == HANDLE_LOG) {
		self.journal = text_equals(m->name, "journal");
		/* No line is made for nobody; the history goes on. */
		if (text_equals(m->name, "none")) {
			sink_close(&self.sink);
			close(fd);
			return;
		}
		/* Lines of the old form go to the old target. */
		sink_open(&self.sink, fd,
			  self.journal ? "/run/systemd/journal/socket" : "/dev/log");
		form_choose(d->config);
	} else if (m->role == HANDLE_HISTORY) {
		history_free(&self.history);
		self.history = history_new(fd);
		history_use();
	} else {
		close(fd);
	}
}

static void gone(struct daemon *d, struct channel *c)
{
	/* The peer's own channel ends with the peer; master brings the next one. */
	(void)d;
	(void)c;
}

static void drain(struct daemon *d, struct duration limit)
{
	(void)limit;
	self.draining = true;
	flush(NULL);
	daemon_drained(d, 0);
}

static const struct daemon_face face = {
    .warm_up = warm_up,
    .start = start,
    .reload = start,
    .handle = handle,
    .gone = gone,
    .drain = drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	int status = daemon_main(argc, argv, &row, &face);

	if (self.lines)
		flush(NULL);
	return status;
}
