/* SPDX-License-Identifier: ISC */
/*
 * A job: recipients of one message that go over one connection, its content,
 * and what became of each. One allocation holds all that qmgr sent, since
 * the frame it came in dies with its handler. A job lives until qmgr has
 * recorded its outcome.
 */
#ifndef SMTP_CLIENT_JOB_H
#define SMTP_CLIENT_JOB_H

#include "bytes.h"
#include "clock.h"
#include "config.h"
#include "message.h"
#include "policy_row.h"
#include "sts.h"

#include <stdbool.h>
#include <stdint.h>

enum recipient_stage {
	RECIPIENT_WAITING,  /* not offered yet, or to be offered again */
	RECIPIENT_SENT,	    /* RCPT is on its way */
	RECIPIENT_ACCEPTED, /* for this transaction */
	RECIPIENT_SETTLED,  /* kind, code, dsn and reply stand */
};

struct recipient {
	struct text address, orcpt;
	uint32_t number;
	uint8_t notify; /* enum dsn_notify */
	uint8_t stage;	/* enum recipient_stage */
	uint8_t kind;	/* enum outcome_kind, once settled */
	uint8_t receiver_dsn;
	uint16_t code;
	uint16_t reply_len;
	uint32_t reply_at; /* in job->words */
	char dsn[12];
};

struct job {
	struct job *hash_next;
	uint64_t number, id;
	uint32_t slot;
	uint8_t how, ret, body_type, smtputf8;
	uint8_t tls_wish; /* enum mail_tls */
	bool unsourced;	  /* its source did not count where it went; for the log */
	bool relaxed;	  /* a report that found no way with REQUIRETLS: now without */
	uint16_t port;
	struct config *config; /* in force when the job came; held, NULL before */
	/* In it, or in own: of the job's domain. */
	const struct config_route *route;
	struct policy_row *own; /* held, or NULL: the policy that a table has for the domain */
	/* From which it leaves, in config; NULL: the system chooses, or there is none of its name.
	 */
	const struct config_source *source;
	struct text source_name; /* empty: the system chooses */
	struct text route_name;	 /* that of its sender; empty: the domain's */
	struct text site, hop, target, domain, sender, envid, tls_row;
	struct sts_policy sts; /* of the domain; STS_NONE: it has none */
	struct text content;   /* prelude, and the body behind it unless a file holds that */
	size_t prelude_bytes;  /* of content */
	uint64_t body_length;  /* in the file, or within content */
	int fd;		       /* of the body, owned; -1: inline */
	uint32_t recipient_count;
	uint32_t open;	 /* recipients that are not settled */
	uint8_t scope;	 /* enum failure_scope: the widest so far */
	uint8_t unfit;	 /* enum job_unfit: what some host could not take */
	bool one_domain; /* qmgr says that all recipients are of its domain */
	bool dotted;	 /* a line of content begins with a dot; set before it is sent */
	bool retried;	 /* once more on a fresh connection: only once */
	bool alone;	 /* nothing is sent ahead of it or behind it before it is answered */
	bool finished;	 /* the outcome stands, and waits for recorded */
	struct walltime arrival, active, begun, sending, done; /* for delays= */
	struct bytes words;	 /* replies of the receiver, and the three below */
	struct text relay;	 /* in words or static; of the outcome */
	struct text policy, tls; /* likewise; for the log */
	struct recipient recipients[];
};

/* What of a message not every receiver takes. */
enum job_unfit { UNFIT_NONE, UNFIT_8BIT, UNFIT_UTF8, UNFIT_REQUIRETLS };

/*
 * Copies M; takes over FD (-1: none). FD_LOST: there was one that we could not take, so that all
 * recipients are deferred. Nobody need be asked when none is open. NULL, and FD closed, when M
 * makes no sense.
 */
struct job *job_new(const struct msg_job *m, int fd, bool fd_lost);
void job_free(struct job **job); /* takes NULL, leaves NULL */

/* The job keeps to CONFIG from here on; what does not fit into it is deferred. */
void job_set_config(struct job *job, const struct config *config);

uint64_t job_size(const struct job *job);   /* octets of the content */
bool job_is_8bit(const struct job *job);    /* reads a body in a file to its end */
bool job_needs_utf8(const struct job *job); /* RFC 6531: an address or header field has non-ASCII */

/* What became of one, or of all that are open. REPLY is cut to 512 bytes. */
struct verdict {
	enum outcome_kind kind;
	uint16_t code;
	const char *dsn;
	struct text reply;
};
void job_settle(struct job *job, struct recipient *r, const struct verdict *v);
void job_settle_open(struct job *job, const struct verdict *v);
void job_widen(struct job *job, enum failure_scope scope);

/* Copies whom it went to and under what TLS into the outcome; when all else of it stands. */
void job_set_way(struct job *job, struct text relay, struct text policy, struct text tls);

/* The messages about it. Lists are encoded into ITEMS, which is emptied first. */
struct msg_outcome job_outcome(const struct job *job, struct bytes *items);
struct msg_in_flight job_in_flight(const struct job *job, struct bytes *items);

/* A recipient's reply; valid until the next job_settle(). */
struct text job_reply(const struct job *job, const struct recipient *r);

#endif
