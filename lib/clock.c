/* SPDX-License-Identifier: ISC */
/* Reading the clocks and writing dates. */
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct monotime monotime_read(void)
{
	return (struct monotime){clock_us(CLOCK_MONOTONIC)};
}

struct walltime walltime_read(void)
{
	return (struct walltime){clock_us(CLOCK_REALTIME)};
}

struct monotime monotime_add(struct monotime t, struct duration d)
{
	return (struct monotime){t.us + d.us};
}

struct duration monotime_since(struct monotime later, struct monotime earlier)
{
	return (struct duration){later.us - earlier.us};
}

void walltime_rfc5322(struct walltime t, char *to)
{
	/* Fixed English names: strftime() would follow the locale. */
	static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
					   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t s = (time_t)(t.us / 1000000);
	struct tm tm;

	localtime_r(&s, &tm);
	long minutes = labs(tm.tm_gmtoff) / 60;

	snprintf(to, WALLTIME_TEXT_BYTES, "%s, %02d %s %04d %02d:%02d:%02d %c%02ld%02ld",
		 days[tm.tm_wday % 7], tm.tm_mday, months[tm.tm_mon % 12],
		 (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec,
		 tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
}

void walltime_rfc3339(struct walltime t, char *to)
{
	time_t s = (time_t)(t.us / 1000000);
	struct tm tm;

	localtime_r(&s, &tm);
	long minutes = labs(tm.tm_gmtoff) / 60;

	snprintf(to, WALLTIME_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d.%06d%c%02ld:%02ld",
		 (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
		 tm.tm_sec, (int)(t.us % 1000000), tm.tm_gmtoff < 0 ? '-' : '+', minutes / 60 % 100,
		 minutes % 60);
}
