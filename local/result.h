/* SPDX-License-Identifier: ISC */
/*
 * What a child says of its delivery, over its pipe: kind, code, status, a line
 * for people, and the addresses and targets that take the recipient's place.
 * The child runs as the recipient, so its words are not trusted: read strictly.
 */
#ifndef LOCAL_RESULT_H
#define LOCAL_RESULT_H

#include "bytes.h"
#include "message.h"

enum {
	RESULT_REPLY_MAX = 500,
	RESULT_ADDRESS_MAX = 320,
	RESULT_TARGET_MAX = 1000,
	RESULT_ADDITIONS_MAX = 9000,
	RESULT_ADDED_BYTES_MAX = 900000, /* of them; a frame takes those of one recipient */
	RESULT_BYTES_MAX = 1024 * 1024,
};

struct result {
	uint8_t kind; /* enum outcome_kind: delivered, deferred, failed, expanded */
	uint16_t code;
	char dsn[12];
	char reply[RESULT_REPLY_MAX + 1];
	uint32_t added; /* expanded: of these so many */
	struct bytes
	    additions; /* one after the other: address, target, sender, each with a length */
};

/* Sets all but the additions; the text as printf gives it, cut, without control characters. */
void result_set(struct result *r, enum outcome_kind kind, uint16_t code, const char *dsn,
		const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Who takes the recipient's place. SENDER: of the list that he is reached by; empty: it stays. */
struct addition {
	struct text address, target, sender;
};

/* False: too many, or too long. */
bool result_add(struct result *r, const struct addition *a);

/* Takes the next one off *LIST, which lies over the additions; false at the end. */
bool result_next(struct text *list, struct addition *a);
struct text result_additions(const struct result *r);

void result_encode(struct bytes *to, const struct result *r);

/* Strict, and a child has no say in who is the sender; *R is empty before. False: it is no result.
 */
bool result_decode(struct text from, struct result *r);
void result_free(struct result *r);

#endif
