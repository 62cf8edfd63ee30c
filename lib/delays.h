/* SPDX-License-Identifier: ISC */
/* How long a delivery took, as log lines tell it: delay= and delays=. */
#ifndef LIB_DELAYS_H
#define LIB_DELAYS_H

#include "bytes.h"
#include "clock.h"

struct delays {
	struct walltime arrival, active, begun, sending, done; /* 0: it did not come to that */
};

/* From arrival to the end: seconds with two digits below ten, one below a hundred ("0.05", "2.1",
 * "330"). */
void delays_put_total(struct bytes *to, const struct delays *d);

/* Before the queue's turn, waiting in it, connecting, sending: "a/b/c/d". */
void delays_put(struct bytes *to, const struct delays *d);

#endif
