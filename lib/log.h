/* SPDX-License-Identifier: ISC */
/*
 * Logging: an event is a row of events.def and its values. It travels to the
 * logger with the other frames of the turn and never blocks: when the logger
 * is slow, events are dropped and counted; while it is being started again
 * they wait, within bounds.
 */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "channel.h"
#include "text.h"

#include <stdarg.h>
#include <stdint.h>

enum event_kind {
	EVENT_none,
#define EVENT(name, number, severity, line) EVENT_##name = number,
#include "events.def"
#undef EVENT
};

enum event_severity { SEVERITY_DEBUG, SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_ERROR };

struct event_row {
	const char *name;
	const char *line;
	enum event_severity severity;
};

/* The row of an event; NULL for what is none. */
const struct event_row *event_row(unsigned number);

enum { EVENT_VALUES_MAX = 16, EVENT_VALUE_BYTES = 2048 };

/* One per process: where events go. */
struct log;

/*
 * Until there was a channel lines go to standard error. LOOP gives the time; may be
 * NULL. DEBUG events are dropped here unless log_set_debug().
 */
struct log *log_new(struct loop *loop, const char *program);
void log_free(struct log **log);

/* The channel to the logger, or NULL when it is gone. Not owned. */
void log_set_channel(struct log *log, struct channel *logger);
void log_set_debug(struct log *log, bool debug);

/* ID is a queue ID or 0. Values are copied; over-long ones are cut. */
void log_event(struct log *log, enum event_kind what, uint64_t id, const struct text *values,
	       size_t count);

#define LOG(log, what, id, ...)                                                                    \
	log_event((log), EVENT_##what, (id), (const struct text[]){__VA_ARGS__},                   \
		  sizeof((const struct text[]){__VA_ARGS__}) / sizeof(struct text))

void log_notice(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warning(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_error(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Writes the event's line (without prefix) with its values printable, to at
 * most SIZE - 1 bytes and a NUL; missing values print as nothing. Returns
 * the length.
 */
size_t event_print(char *to, size_t size, const struct event_row *row, const struct text *values,
		   size_t count);

#endif
