/* SPDX-License-Identifier: ISC */
/* The hatch (hatch.h) from postdrop's side: without any right that its caller has not. */
#ifndef PICKUP_POSTDROP_HATCH_H
#define PICKUP_POSTDROP_HATCH_H

#include <stddef.h>

/*
 * Passes what standard input has to the socket PATH. Returns an exit status: 0 when the mail is on
 * disk, its number in SAID; else SAID tells why not, with *ERROR an errno, or 0.
 */
int hatch_pass(const char *path, char *said, size_t size, int *error);

#endif
