/* SPDX-License-Identifier: ISC */
/*
 * What clients are called: names that resolver has confirmed (their addresses
 * lead back to the client), asked for once and remembered for minutes, so
 * that one who comes again and again costs one question. Nobody waits for
 * longer than some seconds, and no name is no fault: then there is none.
 */
#ifndef LIB_NAMES_H
#define LIB_NAMES_H

#include "channel.h"

struct names;
struct name_query;

/* NAME is empty when there is none, or none is known in time; it lives until this returns. */
typedef void name_answer(void *owner, struct text name);

struct names *names_new(struct loop *loop);

/* The channel to resolver, and its end. */
void names_open(struct names *names, struct channel *resolver);
void names_gone(struct names *names);

/* name_is. */
void names_serve(struct names *names, const struct msg_name_is *m);

/*
 * ADDRESS is 16 bytes. ANSWER is called later, or from within: then NULL is returned. Of this
 * machine itself (127.0.0.1, ::1) there is nothing to learn, and it is not asked about.
 */
struct name_query *names_ask(struct names *names, const uint8_t *address, name_answer *answer,
			     void *owner);

/* Takes NULL, leaves NULL: the answer is wanted no more, though it is remembered. */
void names_cancel(struct name_query **query);

/* A host's name as the DNS has it: letters, digits, "-", "_" and single dots. */
bool name_is_host(struct text name);

#endif
