/* SPDX-License-Identifier: ISC */
/*
 * The login of a slot's connection: between the dialog, which says it, and
 * the checker, which knows what is to be said. Within slot.c's walls: nobody
 * else includes this.
 */
#ifndef SMTP_CLIENT_SLOT_LOGIN_H
#define SMTP_CLIENT_SLOT_LOGIN_H

#include "slot.h"

void slot_login_init(struct slot *s);

/* DIALOG_LOGIN, DIALOG_CHALLENGE or DIALOG_JUDGED. */
void slot_login_follow(struct slot *s, enum dialog_says says);

/* The checker says nothing. */
void slot_login_late(struct slot *s);

/* The present host does not let us in. */
void slot_login_trouble(struct slot *s, const struct reply *why);

#endif
