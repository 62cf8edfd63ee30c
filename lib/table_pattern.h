/* SPDX-License-Identifier: ISC */
/*
 * What a rule asks of a key: to be in a network, or to fit a pattern. Patterns
 * run without compilation to machine code, which no jail allows, and under
 * limits of steps, depth and memory.
 */
#ifndef LIB_TABLE_PATTERN_H
#define LIB_TABLE_PATTERN_H

#include "bytes.h"
#include "config.h"

enum { PATTERN_WHY_BYTES = 200 };

enum pattern_verdict { PATTERN_FITS, PATTERN_DIFFERS, PATTERN_FAILED /* it takes too long */ };

/* A pattern, and what matching needs. */
struct pattern;

/*
 * The pattern at the beginning of TEXT, /RE/FLAGS, with any character that is no letter or digit
 * in place of the slashes; TEXT becomes what is behind it. NULL: WHY, of
 * PATTERN_WHY_BYTES, tells what is wrong.
 */
struct pattern *pattern_new(struct text *text, char *why);
void pattern_free(struct pattern **pattern);
size_t pattern_bytes(const struct pattern *pattern);	/* of memory */
unsigned pattern_groups(const struct pattern *pattern); /* the highest number of a group */

/*
 * Does KEY fit? If so, and EXPAND is not empty, it is appended to *VALUE, with
 * what the groups found put in; PATTERN_FAILED when that makes it longer than MOST.
 */
enum pattern_verdict pattern_fits(const struct pattern *pattern, struct text key,
				  struct text expand, size_t most, struct bytes *value);

/* What is wrong with a value for a pattern with so many GROUPS; NULL: nothing. */
const char *pattern_value_fault(struct text value, unsigned groups);

/* "192.0.2.0/24", "[2001:db8::]/32" or an address; NULL, or what is wrong. */
const char *network_read(struct text text, struct network *to);

#endif
