/* SPDX-License-Identifier: ISC */
/*
 * The logins that limits has frozen, as its neighbours keep them: engines and
 * the checker let none of them in, qmgr holds their mail. What limits said
 * last stays in force while it is away.
 */
#ifndef LIB_FROZEN_H
#define LIB_FROZEN_H

#include "message.h"

struct frozen;

struct frozen *frozen_new(void);
void frozen_free(struct frozen **f); /* takes NULL, leaves NULL */

/* The list takes the place of the one before. */
void frozen_take(struct frozen *f, struct wire_list logins);

/* Names compare without case, in ASCII. */
bool frozen_has(const struct frozen *f, struct text login);

size_t frozen_count(const struct frozen *f);

/* Has limits said anything yet? */
bool frozen_known(const struct frozen *f);

#endif
