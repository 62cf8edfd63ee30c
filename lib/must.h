/* SPDX-License-Identifier: ISC */
/*
 * must(cond): a bug if it does not hold. Aborts, and master restarts the
 * process. Never used on data that came from disk, wire or a peer.
 */
#ifndef LIB_MUST_H
#define LIB_MUST_H

_Noreturn void must_failed(const char *what, const char *file, int line);

#define must(cond) ((cond) ? (void)0 : must_failed(#cond, __FILE__, __LINE__))

#endif
