/* SPDX-License-Identifier: ISC */
/*
 * Who calls: a client's name on its way into its session, asked for when the client comes and due
 * when it has mail; and whom its mail counts for.
 */
#ifndef LIB_CALLER_H
#define LIB_CALLER_H

#include "names.h"
#include "session.h"

struct caller;

/*
 * Asks what the client of S is called, if the configuration wants it. *AT, where the caller is
 * kept, is NULL when there is nothing to wait for, and becomes so when the answer has gone into the
 * session.
 */
void caller_ask(struct caller **at, struct names *names, struct session *s);

/* KNOWN is called when the name, or that there is none, has come; false: there is nothing to wait
 * for. */
bool caller_wait(struct caller *caller, void (*known)(void *owner), void *owner);

/* The client is gone. Takes NULL, leaves NULL. */
void caller_free(struct caller **at);

/* qmgr is fair to submitters: for a client stands its network. Written to TO. */
struct text caller_submitter(const uint8_t *address, char *to, size_t size);

#endif
