/* SPDX-License-Identifier: ISC */
/* Events on their way to the logger. */
#include "log.h"

#include "mem.h"
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
	uint64_t lost;
	bool debug;
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
	free(*log);
	*log = NULL;
}

void log_set_channel(struct log *log, struct channel *logger)
{
	log->channel = logger;
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
	struct msg_event m = {.what = (uint8_t)what, .id = id, .values = {.count = (uint32_t)count}};

	if (channel_backlog(log->channel) > BACKLOG_MAX) {
		log->lost++;
		return;
	}
	if (log->lost) {
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
	channel_send_event(log->channel, &m);
}

void log_event(struct log *log, enum event_kind what, uint64_t id, const struct text *values,
	       size_t count)
{
	const struct event_row *row = event_row(what);

	if (!row || (row->severity == SEVERITY_DEBUG && !log->debug))
		return;
	if (count > EVENT_VALUES_MAX)
		count = EVENT_VALUES_MAX;
	if (log->channel)
		log_send(log, what, id, values, count);
	else
		log_to_stderr(log, row, id, values, count);
}

static void log_format(struct log *log, enum event_kind what, const char *format, va_list args)
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
