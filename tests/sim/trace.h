/* SPDX-License-Identifier: ISC */
/* The last events of a run, and all that happened to one message that is watched. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stddef.h>
#include <stdint.h>

enum { TRACE_EVENTS = 40, TRACE_TEXT = 100 };

struct trace {
	struct {
		int64_t at_us;
		char text[TRACE_TEXT];
	} events[TRACE_EVENTS]; /* a ring */
	size_t count;		/* ever added */
	uint64_t watch;		/* ID of a message, or 0 */
};

void trace_add(struct trace *t, int64_t at_us, const char *text);
void trace_print(const struct trace *t);

#endif
