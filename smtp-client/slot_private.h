/* SPDX-License-Identifier: ISC */
/* What the files that make up a slot have of each other. Nobody else includes this. */
#ifndef SMTP_CLIENT_SLOT_PRIVATE_H
#define SMTP_CLIENT_SLOT_PRIVATE_H

#include "slot.h"

static inline struct loop *slot_loop(const struct slot *s)
{
	return s->worker->daemon->loop;
}

/* slot.c */
void slot_set_deadline(struct slot *s, struct duration after);
void slot_step_done(struct slot *s);
void slot_drop_connection(struct slot *s);
void slot_leave_host(struct slot *s);
void slot_settle(struct slot *s, const struct verdict *v, enum failure_scope scope);
void slot_follow(struct slot *s, enum dialog_says says);
void slot_advance(struct slot *s); /* no job runs */

/* slot_host.c */
void slot_connect(struct slot *s);		    /* for its job, anew */
void slot_hosts(void *arg, struct host_list *list); /* for hosts_ask(); LIST is taken over */
void slot_try_next(struct slot *s);		    /* the next host, or slot_exhausted() */
void slot_exhausted(struct slot *s);
void slot_secure(struct slot *s);
bool slot_is_securing(const struct slot *s);
void slot_tls_failed(struct slot *s, unsigned fault, const char *why);
void slot_feed(struct slot *s);

#endif
