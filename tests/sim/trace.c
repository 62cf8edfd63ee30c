/* SPDX-License-Identifier: ISC */
/* The last events of one kind. */
#include "trace.h"

#include <stdio.h>

void trace_add(struct trace *t, int64_t at_us, const char *text)
{
	size_t at = t->count++ % TRACE_EVENTS;

	t->events[at].at_us = at_us;
	snprintf(t->events[at].text, TRACE_TEXT, "%s", text);
}

void trace_print(const struct trace *t)
{
	size_t first = t->count > TRACE_EVENTS ? t->count - TRACE_EVENTS : 0;

	for (size_t i = first; i < t->count; i++)
		printf("  %9.2f s  %s\n", (double)t->events[i % TRACE_EVENTS].at_us / 1e6,
		       t->events[i % TRACE_EVENTS].text);
}
