/* SPDX-License-Identifier: ISC */
/*
 * What submitters are called, the unit of qmgr's fairness: a login, or a
 * client's network, or who hands mail in ("uid:1000", "bounce").
 */
#ifndef LIB_SUBMITTER_H
#define LIB_SUBMITTER_H

#include "text.h"

#include <stdint.h>

#define SUBMITTER_LOGIN "login:"

/* The login behind "login:"; empty when it is none. */
struct text submitter_login(struct text submitter);

#endif
