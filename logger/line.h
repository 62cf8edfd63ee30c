/* SPDX-License-Identifier: ISC */
/*
 * An event as a line: text as syslog has it (and as twenty years of log
 * readers expect it), JSON, or the fields of the journal. The date is made
 * once a second. Called by logger.c; does no I/O.
 */
#ifndef LOGGER_LINE_H
#define LOGGER_LINE_H

#include "bytes.h"
#include "history.h"

#include <time.h>

enum line_form {
	LINE_TEXT,    /* "Nov 21 22:05:00 HOST veredus/qmgr[PID]: ID: ...", newline */
	LINE_JSON,    /* one object, newline */
	LINE_SYSLOG,  /* RFC 3164 as a local /dev/log takes it: "<22>Nov 21 22:05:00 veredus/...",
			 NUL */
	LINE_JOURNAL, /* systemd's native fields, NUL */
};

struct line_writer;

/* HOST is copied. Reads the time zone: before the jail. */
struct line_writer *line_writer_new(const char *host);
void line_writer_free(struct line_writer **writer);

/*
 * Appends EVENT's line with its end (newline or NUL, which no line holds
 * inside). False when events.def does not know the event: nothing is written.
 */
bool line_write(struct line_writer *writer, enum line_form form, struct bytes *to,
		const struct history_event *event);

/* "smtpd", "submission/smtpd", "smtp-client": the name after veredus/. */
const char *line_program(unsigned daemon);

#endif
