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

/*
 * Sends message TYPE (M is its struct msg_NAME) and waits for ANSWER. Texts
 * of *REPLY live until the next call. False after saying what went wrong.
 */
bool control_ask(struct control *control, enum message_type type, const void *m,
		 enum message_type answer, struct message *reply);

void control_close(struct control **control); /* takes NULL, leaves NULL */

#endif
