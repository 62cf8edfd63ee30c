/* SPDX-License-Identifier: ISC */
/* Becoming the recipient: in a child, before it touches anything of his. No way leads back. */
#ifndef LOCAL_BECOME_H
#define LOCAL_BECOME_H

#include "user.h"

/* Gives up all capabilities and becomes U, with his groups and, unless 0, EXTRA. NULL, or what went
 * wrong: then nothing may be done. Never root. */
const char *become_user(const struct user *u, gid_t extra);

/* The same where there is nothing to change: are we UID, with no way to be anybody else? */
const char *become_checked(uid_t uid);

#endif
