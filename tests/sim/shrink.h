/* SPDX-License-Identifier: ISC */
/*
 * From a run that broke a promise to a small one that breaks one too: faults are left out, senders
 * send less, receivers take everything, by trying. Each try is a run of its own, so it costs
 * as long as the break takes to come.
 */
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include "fault.h"

/* What a run came to. */
struct verdict {
	const char *broken; /* NULL: nothing */
	uint64_t id, step;
	bool unfinished; /* it was ended by the clock */
};

/* Runs it; at most so many real SECONDS. */
typedef struct verdict shrink_run(const struct recipe *r, double seconds);

/* R broke a promise as V says; on return it is the smallest recipe that was found in SECONDS. */
struct verdict shrink(struct recipe *r, struct verdict v, double seconds, shrink_run *run);

#endif
