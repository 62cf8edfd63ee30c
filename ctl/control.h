/* SPDX-License-Identifier: ISC */
/*
 * The client's end of the control socket: one question and its answer at a
 * time, over a blocking socket with a deadline. What we may do there, qmgr
 * decides by our uid.
 */
#ifndef CTL_CONTROL_H
#define CTL_CONTROL_H

#include "ctl.h"
#include "message.h"

struct control;

/* Connects and exchanges hellos; NULL after saying why not, with an exit status in *STATUS. */
struct control *control_open(const struct ctl *ctl, int *status);

/* The same with what is told meanwhile left out: NULL when qmgr can't be asked within SECONDS. */
struct control *control_try(const struct ctl *ctl, unsigned seconds);

/*
 * Sends message TYPE (M is its struct msg_NAME) and waits for ANSWER. Texts
 * of *REPLY live until the next call; its descriptor, if it has one, is the
 * caller's. False after saying what went wrong.
 */
bool control_ask(struct control *control, enum message_type type, const void *m,
		 enum message_type answer, struct message *reply);

/* Sends what has no answer. */
bool control_tell(struct control *control, enum message_type type, const void *m);

void control_close(struct control **control); /* takes NULL, leaves NULL */

#endif
