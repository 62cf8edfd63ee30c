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
void slot_clock(struct slot *s); /* it has answered before it was given a job */
void slot_drop_connection(struct slot *s);
void slot_leave_host(struct slot *s);
void slot_settle(struct slot *s, const struct verdict *v, enum failure_scope scope);
void slot_follow(struct slot *s, enum dialog_says says);
void slot_advance(struct slot *s);			     /* no job runs */
bool slot_fits(const struct slot *s, const struct job *job); /* may it be the connection's next? */

/* slot_ahead.c */
void slot_note_spacing(struct slot *s); /* the job under way was answered */
void slot_want(struct slot *s);		/* as many jobs as it can use now */
void slot_send_ahead(struct slot *s);	/* those that can go now */
void slot_judge_ahead(
    struct slot *s);		     /* the job under way was not taken: since it was sent ahead? */
void slot_take_back(struct slot *s); /* the connection is gone: what was sent goes back to qmgr */
void slot_hand_back(struct slot *s); /* those that are not on their way, to qmgr */
struct job *slot_next(struct slot *s, bool *was_sent); /* NULL: none */

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
