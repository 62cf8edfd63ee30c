/* SPDX-License-Identifier: ISC */
/*
 * Walls. jail_enter() gives up everything that the row does not keep:
 * chroot, user, groups, capabilities, no_new_privs, system calls. It is the
 * one function by which daemons and the jail tests do it.
 */
#ifndef LIB_JAIL_H
#define LIB_JAIL_H

#include "daemon.h"

/*
 * QUEUE is the configured queue folder. As an ordinary user there is no
 * chroot and no change of user; the rest holds. Ends the process with a
 * message on standard error when anything fails: nobody serves half-jailed.
 */
void jail_enter(const struct daemon_row *row, struct text queue);

/*
 * For processes that run other people's modules (PAM), of which nobody knows
 * what they open: no chroot and no list of calls that are allowed, but one of those that
 * are not (mounts, modules of the kernel, tracing, other clocks ...), which fail with EPERM. USER
 * in place of ROW's; root keeps its number, and of the capabilities those of ROW.
 */
void jail_enter_for_modules(const struct daemon_row *row, const char *user);

/* The folder below the queue folder that is a row's root, e.g. "empty"; NULL for JAIL_NONE. */
const char *jail_root_name(enum jail_root root);

#endif
