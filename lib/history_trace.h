/* SPDX-License-Identifier: ISC */
/*
 * Reading the history: the story of a message by its queue ID, its
 * Message-ID, an address or a client, with the reports that it caused, the
 * message that a report is about, and what was refused to that address, client or login. Bounded
 * in memory, whatever the size.
 */
#ifndef LIB_HISTORY_TRACE_H
#define LIB_HISTORY_TRACE_H

#include "history.h"

enum {
	TRACE_IDS_MAX = 1000,		     /* messages of one answer */
	TRACE_EVENTS_MAX = 100000,	     /* events of one answer */
	TRACE_BYTES_MAX = 128 * 1024 * 1024, /* their memory */
};

struct trace {
	struct history_event *events; /* in time order */
	size_t count;
	uint64_t *ids; /* messages found, sorted */
	size_t id_count;
	bool cut;	  /* there is more than the bounds allow */
	uint64_t damaged; /* damaged places that were skipped */
	struct arena *arena;
};

/*
 * Reads the folder behind FOLDER_FD (not taken over). WHAT is a queue ID, a
 * Message-ID, address (with or without <>) or login, or what a client's name
 * or address contains. 0, or the errno of what could not be read; finding
 * nothing is no error. The caller frees *TRACE in any case.
 */
int trace_read(int folder_fd, struct text what, struct trace *trace);

/* The same for one queue ID, without its text form. */
int trace_read_id(int folder_fd, uint64_t id, struct trace *trace);

void trace_free(struct trace *trace);

/*
 * Calls VISIT for each good record of the history file behind FD, in the
 * order of writing, until it returns false. Texts live until it returns.
 * Counts damaged places in *DAMAGED. 0, or an errno.
 */
int history_scan(int fd, bool (*visit)(void *arg, const struct history_event *event), void *arg,
		 uint64_t *damaged);

#endif
