/* SPDX-License-Identifier: ISC */
/*
 * Logins that look taken over: what engines and qmgr say of them goes into
 * their habits; who shows a sign is frozen, or told of. The neighbours hear of
 * it at once, the log once, the postmaster by a mail that submission writes.
 */
#ifndef LIMITS_TAKEOVER_H
#define LIMITS_TAKEOVER_H

#include "daemon.h"

struct takeover;

/* In the jail, at the start: reads what FOLDER has. */
struct takeover *takeover_open(struct daemon *d, const char *folder);

/* A channel to an engine, the checker or qmgr, and its end. */
void takeover_peer(struct takeover *t, struct channel *c);
void takeover_gone(struct takeover *t, struct channel *c);

/* What serve rows call. */
void takeover_note(struct takeover *t, const struct msg_login_note *m);
void takeover_failures(struct takeover *t, const struct msg_failures *m);
void takeover_settle(struct takeover *t, struct channel *c, const struct msg_login_settle *m);
void takeover_handed(struct takeover *t, const struct msg_handed *m);

/* A message of LOGIN was above its rate. ADDRESS: of the client, 16 bytes. */
void takeover_limited(struct takeover *t, struct text login, struct text address);

/* All to disk, before the end. */
void takeover_write(struct takeover *t);

#endif
