/* SPDX-License-Identifier: ISC */
/* A text is a pointer and a length; it owns nothing and need not end in NUL. */
#ifndef LIB_TEXT_H
#define LIB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	const char *data;
	size_t len;
};

/* A text over a string literal, usable in initialisers. */
#define TEXT(literal)                                                                              \
	{                                                                                          \
		(literal), sizeof(literal) - 1                                                     \
	}

struct text text_of(const char *nul_terminated); /* NULL gives the empty text */
bool text_equal(struct text a, struct text b);
bool text_equal_case(struct text a, struct text b); /* ASCII letters compare without case */
/* Below, at or above 0 as A stands before, with or after B: bytes, ASCII letters without case. */
int text_order_case(struct text a, struct text b);
bool text_equals(struct text a, const char *b); /* with case */
bool text_starts_case(struct text t, const char *prefix);
bool text_ends_case(struct text t, struct text suffix);
struct text text_trim(struct text t); /* without SP and HT at both ends */

/* Index of the first C, or -1. */
ptrdiff_t text_find(struct text t, char c);

/* Copies with a NUL, cutting to SIZE - 1; returns how much was copied. */
size_t text_copy(char *to, size_t size, struct text t);

/*
 * Strict decimal: digits only, at least one, no sign, value <= MAX.
 * False otherwise, and *VALUE is left alone.
 */
bool text_number(struct text t, uint64_t max, uint64_t *value);

/* ASCII only, whatever the locale. */
char ascii_lower(char c);
bool ascii_is_alnum(char c);

/*
 * Writes T for a log line or a terminal: control characters, DEL, backslash
 * and bytes that are no valid UTF-8 become \xNN; at most SIZE - 1 bytes and a NUL.
 * Returns the bytes written without the NUL.
 */
size_t text_printable(char *to, size_t size, struct text t);

/* True when T is well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates). */
bool text_is_utf8(struct text t);
bool text_is_ascii(struct text t);

#endif
