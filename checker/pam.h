/* SPDX-License-Identifier: ISC */
/* Asking PAM about one password: what a process of the PAM pool does (pool.h). */
#ifndef CHECKER_PAM_H
#define CHECKER_PAM_H

#include "pool.h"

/*
 * The service and, unless NULL, the folder that its file lies in. In a child of its own, since
 * modules leak, hang and crash: after PAM_SECONDS it is killed, and nothing was found out.
 */
enum { PAM_SECONDS = 30 };
void pam_ask(const char *service, const char *folder, const struct question *q, struct answer *a);

#endif
