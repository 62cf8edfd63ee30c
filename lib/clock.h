/* SPDX-License-Identifier: ISC */
/*
 * Two clocks that are never mixed: monotonic for time-outs and back-off,
 * wall for what people read and for ages that must outlive a restart.
 */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdint.h>

/* Microseconds on CLOCK_MONOTONIC. */
struct monotime {
	int64_t us;
};

/* Microseconds since 1970-01-01 UTC. */
struct walltime {
	int64_t us;
};

/* A length of time, microseconds. */
struct duration {
	int64_t us;
};

#define SECONDS(n) ((struct duration){(int64_t)(n)*1000000})
#define MILLISECONDS(n) ((struct duration){(int64_t)(n)*1000})

struct monotime monotime_read(void);
struct walltime walltime_read(void);

struct monotime monotime_add(struct monotime t, struct duration d);
struct duration monotime_since(struct monotime later, struct monotime earlier);
static inline int64_t seconds_of(struct duration d)
{
	return d.us / 1000000;
}

enum { WALLTIME_TEXT_BYTES = 96 };

/*
 * "Sat, 21 Nov 2026 22:05:00 +0000", RFC 5322 section 3.3. TO holds
 * WALLTIME_TEXT_BYTES. Uses the local zone; call tzset() before the jail.
 */
void walltime_rfc5322(struct walltime t, char *to);

/* "2026-11-21T22:05:00.123456+00:00", RFC 3339. TO holds WALLTIME_TEXT_BYTES. */
void walltime_rfc3339(struct walltime t, char *to);

#endif
