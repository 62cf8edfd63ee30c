/* SPDX-License-Identifier: ISC */
/*
 * Where lines go: a file, a pipe, a terminal, a stream socket, or datagrams
 * to syslog and the journal. Never blocks and never stops anything: what a
 * slow reader or a full disk does not take is held up to a bound, then lines
 * are dropped and counted.
 */
#ifndef LOGGER_SINK_H
#define LOGGER_SINK_H

#include "bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SINK_BUFFER_MAX = 4 * 1024 * 1024, /* held; lines are dropped above it */
	SINK_BATCH_BYTES = 256 * 1024,	   /* enough for a write at once */
};

struct sink {
	int fd; /* -1: none, lines go nowhere */
	enum sink_kind { SINK_FILE, SINK_PIPE, SINK_TERMINAL, SINK_STREAM, SINK_DATAGRAMS } kind;
	char path[108];	     /* of datagrams: where to connect again; may be empty */
	struct bytes buffer; /* lines; each ends in a newline, or in NUL for datagrams */
	uint64_t lost;	     /* lines dropped and not yet reported */
	bool stuck;	     /* the last write was not taken whole */
};

void sink_init(struct sink *s);

/* Takes over FD in place of the old one. PATH is a datagram socket's peer, or NULL. */
void sink_open(struct sink *s, int fd, const char *path);
void sink_close(struct sink *s); /* tries once to write what is left */

/* Is there room for one more line? Otherwise it is counted as lost and the caller writes none. */
bool sink_takes(struct sink *s);

/* Writes what the target takes now. True when nothing is left. */
bool sink_write(struct sink *s);

#endif
