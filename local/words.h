/* SPDX-License-Identifier: ISC */
/*
 * What a child says over its pipe: results, each behind the number of its
 * order (u32) and its length (u32). The child runs as the recipient, so they
 * are read strictly.
 */
#ifndef LOCAL_WORDS_H
#define LOCAL_WORDS_H

#include "result.h"

void words_put(struct bytes *to, uint32_t number, const struct result *r);

enum words_verdict {
	WORDS_ONE,    /* *NUMBER is below COUNT, and *R, which was empty, is its result */
	WORDS_MORE,   /* the next one is not all there yet */
	WORDS_BROKEN, /* what stands there is no result: nothing behind it is one either */
};

/* Takes the first result off SAID, of a child that was given COUNT orders. */
enum words_verdict words_take(struct bytes *said, uint32_t count, uint32_t *number,
			      struct result *r);

#endif
