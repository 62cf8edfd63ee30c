/* SPDX-License-Identifier: ISC */
/*
 * The outbound SMTP and LMTP engine (RFC 5321, RFC 2033): one connection's
 * conversation, from the greeting to QUIT, with a job at a time. It does no
 * I/O and reads no clock, and knows of TLS only when it begins: replies, blocks of a body, an
 * expiry or the end of the connection go in; commands and content are appended to a buffer; what is
 * to be done next comes back as a word.
 *
 * Several commands may be under way (RFC 2920): what they will be answered
 * with stands in a ring of expected replies, and each reply goes to the
 * handler of the verb at its head.
 */
#ifndef SMTP_CLIENT_DIALOG_H
#define SMTP_CLIENT_DIALOG_H

#include "config.h"
#include "content.h"
#include "job.h"
#include "offers.h"
#include "reply.h"

enum dialog_verb {
	VERB_GREETING,
	VERB_EHLO, /* LHLO too */
	VERB_HELO,
	VERB_STARTTLS,
	VERB_AUTH, /* and what follows a challenge */
	VERB_RSET,
	VERB_MAIL,
	VERB_RCPT,
	VERB_DATA,
	VERB_DOT,
	VERB_LONE_DOT, /* after a 354 with nobody to send to (RFC 2920 section 3.1) */
	VERB_BDAT,
	VERB_QUIT,
	VERB_COUNT
};

/* What the owner does next. */
enum dialog_says {
	DIALOG_WAIT,	/* give it what comes next */
	DIALOG_SECURE,	/* do the TLS handshake, then dialog_secured() */
	DIALOG_READY,	/* the session is up: dialog_begin() */
	DIALOG_CONTENT, /* the content is on its way; dialog_wants_body() tells whether blocks are
			   wanted */
	DIALOG_SETTLED, /* each recipient of the job has its verdict; it is the owner's again */
	DIALOG_UNFIT,	/* this host cannot take the job (job->unfit): leave, try another host */
	DIALOG_LATER,	/* the rest of the job goes when what was sent ahead of it is answered: the
			   owner's again, to be begun then; nothing goes ahead or behind with it */
	DIALOG_AGAIN,	/* the rest of the job wants a fresh connection: leave, connect, begin it
			   again */
	DIALOG_STALE, /* a reused connection was dead; nothing was done: the same, and close at once
		       */
	DIALOG_REFUSED,	  /* the host serves nobody now (dialog_trouble()): leave, try another host;
			     a job that was begun had sent no content, and is the owner's again */
	DIALOG_OVER,	  /* nothing more to say: close */
	DIALOG_LOGIN,	  /* a login is due: dialog_auth(), or leave */
	DIALOG_CHALLENGE, /* the receiver wants to hear more of it: dialog_auth_respond() */
	DIALOG_JUDGED, /* the login was taken or refused (dialog_trouble()): dialog_logged_in(), or
			  dialog_login_again(), or leave */
};

enum dialog_tls {
	DIALOG_CLEAR,	   /* none, whatever is offered */
	DIALOG_TLS_MAY,	   /* when it is offered */
	DIALOG_TLS_NEEDED, /* no mail without */
	DIALOG_TLS_DONE,   /* it began before the first word */
};

enum {
	DIALOG_AHEAD = SLOT_JOBS_MAX - 1,
	DIALOG_RING = 4 * SLOT_JOBS_MAX + 2, /* RSET, MAIL, RCPT and BDAT of each */
	/* Content that may be under way at once, over all of a connection's mails; who has its
	 * replies lost is sent no more than this once more. */
	DIALOG_AHEAD_BYTES = 256 * 1024,
};

/* A job of which more than is answered has been sent. */
struct dialog_ahead {
	struct job *job; /* not owned */
	uint32_t batch_end;
	size_t bytes; /* that were appended for it */
};

struct dialog {
	const struct config *config; /* outlives it */
	struct text helo;	     /* our name, where it is not hostname; outlives it */
	struct bytes *out;	     /* commands go here; not owned */
	struct job *job;	     /* under way; not owned; NULL between jobs */
	struct dialog_ahead ahead[DIALOG_AHEAD]; /* sent behind it, in this order */
	uint8_t ahead_count;
	bool ahead_whole; /* with their content; else the first one's commands alone */
	struct reply_reader reader;
	struct {
		uint8_t verb;
		uint16_t count; /* of replies */
	} ring[DIALOG_RING];
	uint8_t ring_head, ring_count;
	uint8_t how;	   /* enum hop_how */
	uint8_t tls;	   /* enum dialog_tls */
	uint8_t next_verb; /* of the transaction; VERB_COUNT: all has been sent */
	uint8_t place;	   /* enum content_place */
	struct offers offers;
	/* Who hears each line of the answer to EHLO, without its code; NULL: nobody. */
	void (*heard)(void *hearer, struct text line);
	void *hearer;
	uint32_t mails;			    /* transactions begun on this connection */
	uint32_t jobs;			    /* jobs begun on it */
	uint32_t send_cursor, reply_cursor; /* recipients of the transaction */
	uint32_t batch, batch_end;	    /* recipients in it; the first behind it */
	uint32_t accepted;
	uint64_t body_left; /* of a file, still to be sent */
	bool up;	    /* greeting and EHLO are done */
	bool over;	    /* nothing can be begun any more */
	bool needs_rset;
	bool mail_refused, mail_answered;
	bool later;	     /* the job is begun anew when its content is answered */
	bool several;	     /* the owner's to set: several mails at once are worth it */
	bool strange;	     /* it answered out of protocol */
	bool feeding;	     /* blocks of the body are wanted */
	bool unflushed;	     /* content was appended and has not left */
	bool loops;	     /* the receiver calls itself by our name */
	bool was_ahead;	     /* the job under way */
	bool secured;	     /* all that is said is said within TLS */
	bool lacks_tls;	     /* it was refused for that */
	bool lacks_for_good; /* and not for the moment */
	/* The owner's to set: REQUIRETLS may be used, since TLS proved who the receiver is; and no
	 * job goes without (RFC 8689 section 4.2.1). */
	bool proved, requires;
	bool declined; /* it offered STARTTLS and then would not */
	bool login;    /* no mail without a login; set behind dialog_start() */
	bool unlogged; /* it was refused since the receiver wants one, or another */
	struct text
	    challenge; /* base64; of DIALOG_CHALLENGE, until the call that said so returns */
};

/* Waits for the greeting. */
void dialog_start(struct dialog *d, const struct config *config, enum hop_how how,
		  enum dialog_tls tls, struct bytes *out);

/* The handshake is done, and what was asked of it was proved: begins anew with EHLO. */
void dialog_secured(struct dialog *d);

/*
 * The login (RFC 4954): "AUTH MECHANISM", with an initial response when there is one (it has to
 * fit into the command's 512 octets); then responses. The owner has it wiped when it has left. NULL
 * cancels.
 */
enum { AUTH_COMMAND_MAX = 512 };
void dialog_auth(struct dialog *d, struct text mechanism, const struct text *initial);
void dialog_auth_respond(struct dialog *d, const struct text *response);
/* After DIALOG_JUDGED: the session is up; a login is due again. */
enum dialog_says dialog_logged_in(struct dialog *d);
enum dialog_says dialog_login_again(struct dialog *d);

/* May a job be begun? */
static inline bool dialog_is_free(const struct dialog *d)
{
	return d->up && !d->over && !d->job;
}

/* Begins JOB, or goes on with the recipients of it that wait. Needs dialog_is_free(). */
enum dialog_says dialog_begin(struct dialog *d, struct job *job);

/*
 * Sends the next job ahead of the replies to the one under way:
 *
 * - Its commands, behind the content of that one, of which nothing but the reply is missing (RFC
 *   2920 section 3.1: the content may be followed by the next MAIL). A transaction costs one round
 *   trip then, not two. Of one job at a time.
 * - With CHUNKING and `several` all of it, content too (d->ahead_whole): up to DIALOG_AHEAD jobs
 *   and DIALOG_AHEAD_BYTES.
 *
 * False, and nothing is done, where this is not possible or not worth it. Jobs go ahead in the
 * order in which they are to be begun here. What was sent whole may have been taken whatever
 * becomes of the connection before it is answered; of commands alone nothing was.
 */
bool dialog_send_ahead(struct dialog *d, struct job *job);
/* Would it be possible here? */
bool dialog_chunks(const struct dialog *d);
/* The one whose commands alone were sent: nothing more can be begun. Harmless without one. */
void dialog_forget_ahead(struct dialog *d);

/* Reads replies until there is something to say; *USED tells how far. */
enum dialog_says dialog_input(struct dialog *d, const uint8_t *data, size_t len, size_t *used);

/* All that was appended has left. */
void dialog_flushed(struct dialog *d);

/* How many bytes of the body's file are wanted now, from where; 0: none. */
uint64_t dialog_wants_body(const struct dialog *d, uint64_t *offset);
/* A block of it; at most what is wanted. An empty one: the file is too short, or cannot be read. */
enum dialog_says dialog_body(struct dialog *d, struct text block);

/* Has some of the content of the job under way not left yet? */
bool dialog_is_sending(const struct dialog *d);

/* How long the present step may take, and what happens then. */
struct duration dialog_patience(const struct dialog *d);
enum dialog_says dialog_expired(struct dialog *d);

/* The connection is gone; WHY is for people. */
enum dialog_says dialog_ended(struct dialog *d, const char *why);

/* We stop: what is under way counts as deferred. */
enum dialog_says dialog_cut(struct dialog *d);

/* Sends QUIT; DIALOG_OVER follows. Only when no job is under way. */
void dialog_quit(struct dialog *d);

/* Has all that was sent been answered, so that a QUIT is taken for one? */
static inline bool dialog_is_answered(const struct dialog *d)
{
	return !d->ring_count;
}

/* Is it the answer to STARTTLS that is missing? */
bool dialog_asks_for_tls(const struct dialog *d);

/* Has the end of the content been sent, or appended, so that only its reply is missing? */
bool dialog_past_dot(const struct dialog *d);

/* Is its reply the next one, and has all of it left? */
bool dialog_awaits_end(const struct dialog *d);

/* After DIALOG_REFUSED: the receiver's words or ours. */
const struct reply *dialog_trouble(const struct dialog *d);

#endif
