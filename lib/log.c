/* SPDX-License-Identifier: ISC */
/* Events on their way to the logger. */
#include "log.h"

#include "mem.h"
#include "must.h"
#include "queue_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Above this backlog the logger is too slow and events are dropped. */
enum { BACKLOG_MAX = 4 * 1024 * 1024 };

struct log {
	struct loop *loop;
	struct channel *channel;
	const char *program;
	struct bytes values;
	struct bytes
	    waiting; /* events for a logger that is being started again: u32 length, payload */
	uint64_t lost;
	bool debug, had_channel;
};

#define EVENT(name, number, severity, line) [number] = {#name, line, SEVERITY_##severity},
static const struct event_row rows[] = {
#include "events.def"
};
#undef EVENT

const struct event_row *event_row(unsigned number)
{
	return number < sizeof rows / sizeof *rows && rows[number].name ? &rows[number] : NULL;
}

struct log *log_new(struct loop *loop, const char *program)
{
	struct log *log = mem_new(1, sizeof *log);

	log->loop = loop;
	log->program = program;
	return log;
}

void log_free(struct log **log)
{
	if (!*log)
		return;
	bytes_free(&(*log)->values);
	bytes_free(&(*log)->waiting);
	free(*log);
	*log = NULL;
}

/* What happened while there was no logger. */
static void log_catch_up(struct log *log)
{
	struct wire_reader in = wire_reader_over(log->waiting.data, log->waiting.end);
	struct message m;

	while (in.at < in.end) {
		struct text payload = wire_text(&in, FRAME_MAX_BYTES);

		must(!in.bad && message_decode(payload.data, payload.len, MSG_event, &m));
		channel_send_event(log->channel, &m.event);
	}
	bytes_free(&log->waiting);
}

void log_set_channel(struct log *log, struct channel *logger)
{
	log->channel = logger;
	log->had_channel |= logger != NULL;
	if (logger && log->waiting.data)
		log_catch_up(log);
}

void log_set_debug(struct log *log, bool debug)
{
	log->debug = debug;
}

size_t event_print(char *to, size_t size, const struct event_row *row, const struct text *values,
		   size_t count)
{
	size_t out = 0, next = 0;

	for (const char *p = row->line; *p && out < size - 1;) {
		const char *close = *p == '{' ? strchr(p, '}') : NULL;

		if (!close) {
			to[out++] = *p++;
			continue;
		}
		if (next < count)
			out += text_printable(to + out, size - out, values[next]);
		next++;
		p = close + 1;
	}
	to[out] = '\0';
	return out;
}

static void log_to_stderr(const struct log *log, const struct event_row *row, uint64_t id,
			  const struct text *values, size_t count)
{
	char line[4096], id_text[QUEUE_ID_BYTES] = "";

	event_print(line, sizeof line, row, values, count);
	if (id)
		queue_id_print(id, id_text);
	fprintf(stderr, "veredus/%s: %s%s%s\n", log->program, id_text, id ? ": " : "", line);
}

static void log_send(struct log *log, enum event_kind what, uint64_t id, const struct text *values,
		     size_t count)
{
	struct msg_event m = {
	    .what = (uint8_t)what, .id = id, .values = {.count = (uint32_t)count}};

	size_t backlog = log->channel ? channel_backlog(log->channel) : bytes_len(&log->waiting);

	if (backlog > BACKLOG_MAX) {
		log->lost++;
		return;
	}
	if (log->lost && log->channel) {
		channel_send_event_lost(log->channel, &(struct msg_event_lost){log->lost});
		log->lost = 0;
	}
	m.wall = (uint64_t)loop_wall(log->loop).us;
	log->values.start = log->values.end = 0;
	for (size_t i = 0; i < count; i++) {
		struct text t = values[i];

		if (t.len > EVENT_VALUE_BYTES)
			t.len = EVENT_VALUE_BYTES;
		rec_value_encode(&log->values, &(struct rec_value){t});
	}
	m.values.items = (struct text){(const char *)log->values.data, log->values.end};
	if (log->channel) {
		channel_send_event(log->channel, &m);
		return;
	}
	struct bytes frame = {0};

	message_encode(&frame, MSG_event, &m);
	wire_put_text(&log->waiting, (struct text){(const char *)frame.data, frame.end});
	bytes_free(&frame);
}

void log_event(struct log *log, enum event_kind what, uint64_t id, const struct text *values,
	       size_t count)
{
	const struct event_row *row = event_row(what);

	if (!row || (row->severity == SEVERITY_DEBUG && !log->debug))
		return;
	if (count > EVENT_VALUES_MAX)
		count = EVENT_VALUES_MAX;
	if (log->channel || log->had_channel)
		log_send(log, what, id, values, count);
	else
		log_to_stderr(log, row, id, values, count);
}

__attribute__((format(printf, 3, 0))) static void log_format(struct log *log, enum event_kind what,
							     const char *format, va_list args)
{
	char line[EVENT_VALUE_BYTES];

	vsnprintf(line, sizeof line, format, args);
	log_event(log, what, 0, &(struct text){line, strlen(line)}, 1);
}

void log_notice(struct log *log, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_format(log, EVENT_notice, format, args);
	va_end(args);
}

void log_warning(struct log *log, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_format(log, EVENT_warning, format, args);
	va_end(args);
}

void log_error(struct log *log, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_format(log, EVENT_error, format, args);
	va_end(args);
}
