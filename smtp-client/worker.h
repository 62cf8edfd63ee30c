/* SPDX-License-Identifier: ISC */
/*
 * A worker: one process, its slots and jobs, its channels, and the promise
 * that no outcome is lost or doubled. Outcomes are kept until qmgr has
 * recorded them and are sent again to a qmgr that is new.
 */
#ifndef SMTP_CLIENT_WORKER_H
#define SMTP_CLIENT_WORKER_H

#include "connect.h"
#include "daemon.h"
#include "job.h"
#include "login.h"

enum {
	SLOTS_MAX = 100000, /* of a qmgr that is sane: the most that limits.deliveries can be */
	JOBS_MAX = SLOTS_MAX * (SLOT_JOBS_MAX + 2), /* with those whose outcomes wait for qmgr */
	TABLE_BUCKETS = 8192,
	BODY_BLOCK_BYTES = 65536,
	AUTHORITIES_BYTES_MAX = 4 * 1024 * 1024,
};

struct results;
struct slot;
struct probe;

struct worker {
	struct daemon *daemon;
	struct channel *qmgr;	   /* NULL while there is none */
	struct channel *resolver;  /* the same */
	struct channel *keeper;	   /* the same */
	struct timer certificates; /* how long a new qmgr is told nothing for want of them */
	bool telling;		   /* it is to be told */
	struct channel *limits;	   /* the same */
	struct hosts *hosts;
	struct logins *logins;
	struct failures *failures;
	struct results *results; /* of TLS, for limits */
	struct tls_client *tls;	 /* NULL: OpenSSL refuses */
	struct slot *slots;	 /* all */
	struct slot *dead;	 /* freed at the end of the turn */
	uint32_t slot_count, job_count;
	struct slot *slot_buckets[TABLE_BUCKETS]; /* those that qmgr knows */
	struct job *job_buckets[TABLE_BUCKETS];	  /* running, waiting and unconfirmed */
	struct bytes items;			  /* lists of messages are encoded here */
	struct probe *probes;			  /* under way */
	uint32_t probe_count;
	struct turn_end bury;
	struct timer drain_limit, dot_limit;
	uint32_t cut; /* deliveries cut off while draining */
	bool draining, drained;
	char block[BODY_BLOCK_BYTES]; /* of bodies in files */
};

struct worker *worker_new(struct daemon *d);

/* Whom certificates may lead to: master's descriptor of tls-authorities; taken over. */
void worker_trust(struct worker *w, int fd);

/* Asks master for a connection to the UNIX socket at PATH; what came of that goes to the slot that
 * waits for it. Takes over FD. */
void worker_ask_socket(struct worker *w, struct text path);
void worker_socket(struct worker *w, const struct msg_handle *m, int fd);

/* What qmgr sends (FD and FD_LOST as in job.h); false: it broke the rules, and its channel must
 * end. */
bool worker_job(struct worker *w, const struct msg_job *m, int fd, bool fd_lost);
bool worker_recorded(struct worker *w, uint64_t job);
void worker_slot_close(struct worker *w,
		       uint32_t slot); /* harmless for a slot that was never opened */

/* A fresh channel to qmgr is told what runs and what is unconfirmed; NULL: it is gone. */
void worker_set_qmgr(struct worker *w, struct channel *qmgr);

void worker_set_keeper(struct worker *w, struct channel *keeper);
/* Keeper has said which certificates routes show. */
void worker_has_certificates(struct worker *w);

void worker_drain(struct worker *w, struct duration limit);

/* For slots: a job whose recipients are all settled. It is the worker's from here on. */
void worker_finish_job(struct worker *w, struct job *job);
/* A job that was never begun is forgotten. */
void worker_forget_job(struct worker *w, struct job *job);
/* A slot came to its end. */
void worker_slot_ended(struct worker *w, struct slot *slot);

#endif
