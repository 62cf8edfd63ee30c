/* SPDX-License-Identifier: ISC */
/*
 * The history behind `veredus trace`: every event of the log, kept on disk
 * outside of the commit path. The logger writes it, unsynced and in batches;
 * trace reads it (history_trace.h). A folder of append-only files, each named
 * by the microsecond it was begun in, so that names sort by time.
 *
 * A file is a head and records, numbers little endian:
 *
 *   head     8 bytes "VHIST\0\0\1" (the last one is the format), u64 begun
 *   record   2 bytes mark, u16 length of what follows the checksum, u32 checksum of that,
 *            u8 what, u8 count, u16 daemon, u32 pid, u64 id, u64 wall,
 *            COUNT values, each u16 length and bytes
 *
 * A torn or damaged record is skipped: the mark of the next good one is found.
 */
#ifndef LIB_HISTORY_H
#define LIB_HISTORY_H

#include "bytes.h"
#include "clock.h"
#include "log.h"
#include "text.h"

#include <stddef.h>
#include <stdint.h>

enum {
	HISTORY_HEAD_BYTES = 16,
	HISTORY_FIXED_BYTES = 32, /* of a record, before its values */
	HISTORY_RECORD_MAX = HISTORY_FIXED_BYTES + EVENT_VALUES_MAX * (2 + EVENT_VALUE_BYTES),
	HISTORY_NAME_BYTES = 40,
};

/* One event. Read ones point into the reader's memory. */
struct history_event {
	unsigned what;	 /* number in events.def */
	unsigned daemon; /* enum peer_kind */
	uint32_t pid;
	uint64_t id; /* queue ID, 0: none */
	uint64_t wall;
	uint64_t place; /* order of reading, set by trace */
	size_t count;
	struct text values[EVENT_VALUES_MAX];
};

/* Appends EVENT's record to TO. Over-long values are cut. */
void history_encode(struct bytes *to, const struct history_event *event);

/*
 * Reads the record at the front of DATA. Above 0: it was good, that many
 * bytes long, and *EVENT points into DATA. 0: more bytes are needed to tell.
 * Below 0: damage; the next place that may hold a record is that far ahead.
 */
ptrdiff_t history_decode(const void *data, size_t len, struct history_event *event);

/* True when DATA (HISTORY_HEAD_BYTES) begins a history file of a format that we know. */
bool history_head_is_good(const void *data);

/* True when NAME is one of a history file. */
bool history_name_is_good(const char *name);

/* -- the writer ------------------------------------------------------------ */

struct history;

/* Writes into the folder behind FOLDER_FD, which it takes over. */
struct history *history_new(int folder_fd);
void history_free(struct history **history); /* what is buffered is written first */

/* Bounds: all files together hold at most SIZE bytes, and nothing KEEP old; KEEP 0: no history. */
void history_configure(struct history *history, uint64_t size, struct duration keep);

/* Buffers an event; when HISTORY cannot be written and the buffer is full it is dropped. */
void history_add(struct history *history, const struct history_event *event);

/*
 * Writes what is buffered; begins a new file and removes old ones when due.
 * A full or broken disk loses history and stops nothing. Returns 0 or the
 * errno of what failed.
 */
int history_write(struct history *history, struct walltime now);

/* Events dropped since the last call. */
uint64_t history_lost(struct history *history);

#endif
