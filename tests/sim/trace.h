/* SPDX-License-Identifier: ISC */
/* The last events of one kind, each with its time. */
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
};

void trace_add(struct trace *t, int64_t at_us, const char *text);
void trace_print(const struct trace *t);

#endif
