/* SPDX-License-Identifier: ISC */
/*
 * A slot: the right that qmgr gave for one connection to a site, and the
 * jobs that go over it, one running and one ahead; to a receiver that is far
 * away several. It finds the hosts,
 * connects, runs the dialog, keeps the connection for the next job with the
 * same hop and TLS policy, and connects anew for another.
 */
#ifndef SMTP_CLIENT_SLOT_H
#define SMTP_CLIENT_SLOT_H

#include "dialog.h"
#include "login.h"
#include "worker.h"

enum slot_state {
	SLOT_EMPTY,	 /* no connection */
	SLOT_ASKING,	 /* for hosts */
	SLOT_CONNECTING, /* to one of them */
	SLOT_SECURING,	 /* the TLS handshake runs */
	SLOT_OPEN,	 /* the dialog runs or is idle */
	SLOT_QUITTING,	 /* QUIT was sent */
	SLOT_DEAD,	 /* freed at the end of the turn */
};

struct slot {
	struct worker *worker;
	struct slot *next, **prev; /* all of the worker, or its dead ones */
	struct slot *hash_next;
	uint32_t number;
	uint8_t state;	   /* enum slot_state */
	bool known;	   /* to the present qmgr, under its number */
	bool closing;	   /* no more work: end when the running job is done */
	uint8_t wanted;	   /* jobs that were asked for and have not come */
	bool near;	   /* the receiver answered fast */
	bool step_by_step; /* and not well to a job that was sent ahead */
	struct job *job;   /* under way */
	/* They come next, in this order; the first SENT are on their way over the connection, with
	 * their content. */
	struct job *ahead[SLOT_JOBS_MAX];
	uint8_t ahead_count, sent;
	struct hosts_waiter waiter;
	struct attempt attempt;
	char *hop; /* of the connection */
	size_t hop_len;
	struct config *config;		  /* of the connection, held */
	const struct config_route *route; /* in it, or in own: whose TLS policy it is under */
	struct policy_row *own;		  /* held, or NULL */
	struct slot_counted *counted; /* the domains that reports on TLS count it for; or NULL */
	char *bound;  /* the one domain that the receiver proved itself for; NULL: any */
	uint8_t need; /* enum tls_need of the present host */
	uint8_t sts;  /* enum sts_verdict on it, under the policy of the job it was opened for */
	uint8_t sts_mode; /* of that policy */
	bool sts_said;	  /* what would have failed is in the log */
	bool clear;	  /* its handshake failed: once more, without TLS */
	struct stream *stream;
	struct dialog dialog;  /* valid in SLOT_OPEN and SLOT_QUITTING */
	struct reply *trouble; /* why the last host was of no use; NULL: none so far */
	bool tls_trouble;      /* it is that of a host which did not do what the policy wants */
	bool final;	       /* and it will not tomorrow */
	bool strict_failed;    /* some host did not do what REQUIRETLS asks for */
	bool relaxed;	       /* the connection was made for a job that does not ask for it */
	bool login_trouble;    /* or of one that did not let us in */
	bool ours;	       /* or of ourselves: no host is to blame */
	struct login login;    /* at the checker */
	bool login_said;       /* AUTH was */
	struct timer timer;
	struct monotime deadline, armed; /* the timer is moved only when it would be late */
	struct monotime job_deadline;	 /* until only the last reply is missing */
	struct monotime given;		 /* to the dialog */
	struct monotime asked;		 /* the receiver, before it was given any */
	struct duration round_trip;	 /* the shortest of its answers then */
	struct monotime answered;	 /* it has answered to a whole mail */
	bool behind;			 /* the job under way was sent before that */
	/* The shortest time that one took behind another's answer; INT64_MAX: not known. */
	struct duration spacing;
	struct monotime feeding_turn; /* of the loop, in which fed_blocks were read */
	uint32_t fed_blocks;
	size_t backlog; /* when the deadline was set */
};

/* Does it wait for a connection to the UNIX socket at PATH; and here it is, or an errno. FD is
 * taken over. */
bool slot_awaits_socket(const struct slot *s, struct text path);
void slot_socket(struct slot *s, int fd, int error);

struct slot *slot_new(struct worker *w, uint32_t number);
void slot_free(struct slot *s);

/* Runs JOB, or keeps it ahead; false when none was asked for. JOB stays the worker's then. */
bool slot_take_job(struct slot *s, struct job *job);

/* The jobs ahead that are not on their way are nobody's any more. */
void slot_forget_ahead(struct slot *s);

/* No more work: ends when the running job is done; worker_slot_ended() is called. */
void slot_close(struct slot *s);

/* Cuts the running job off; with PAST_DOT also when only the last reply is missing. True when it
 * did. */
bool slot_cut(struct slot *s, bool past_dot);

#endif
