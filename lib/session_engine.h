/* SPDX-License-Identifier: ISC */
/* Inside the session engine: what its files share. Nobody else includes this. */
#ifndef LIB_SESSION_ENGINE_H
#define LIB_SESSION_ENGINE_H

#include "address.h"
#include "content.h"
#include "esmtp.h"
#include "header.h"
#include "mem.h"
#include "session.h"

/* Where a session stands. Commands are legal in some; two take content. */
enum session_step {
	STEP_CONNECTED, /* not yet greeted */
	STEP_START,	/* greeted, no EHLO or HELO yet */
	STEP_READY,	/* no transaction */
	STEP_SENDER,	/* MAIL was taken */
	STEP_RECIPIENT, /* RCPT was taken */
	STEP_CHUNKS,	/* between two BDAT */
	STEP_TEXT,	/* in DATA */
	STEP_CHUNK,	/* in the octets of a BDAT, wanted or not */
	STEP_AUTH,	/* in an AUTH exchange: a response is due */
	STEP_SETTLE,	/* end of data: waits for the verdict */
	STEP_TLS,	/* 220 to STARTTLS was said: waits for the handshake */
	STEP_OVER,
	STEP_COUNT
};

enum {
	AT_CONNECTED = 1 << STEP_CONNECTED,
	AT_START = 1 << STEP_START,
	AT_READY = 1 << STEP_READY,
	AT_SENDER = 1 << STEP_SENDER,
	AT_RECIPIENT = 1 << STEP_RECIPIENT,
	AT_CHUNKS = 1 << STEP_CHUNKS,
	AT_ANY = AT_START | AT_READY | AT_SENDER | AT_RECIPIENT | AT_CHUNKS
};

/* Where in the envelope a recipient stands, by the hash of its address. */
struct known_recipient {
	uint32_t hash, at;
};

/* One mail transaction (RFC 5321 3.3); lives in its arena, from MAIL to its end. */
struct transaction {
	struct arena *arena;
	uint64_t id; /* from open() on */
	struct text sender, envid;
	uint8_t body_type, ret, smtputf8;
	uint8_t tls; /* enum mail_tls */
	struct walltime arrival;
	struct monotime began;

	struct bytes envelope;	       /* recipients as they come; the rest at the end of data */
	struct known_recipient *known; /* as many as recipient_count, to find doubles */
	uint32_t recipient_count, refused_count, overshoot;
	struct text first_recipient;

	/* The recipient that is asked about. */
	struct address pending;
	char orcpt[ORCPT_MAX + 1];
	uint8_t notify;
	bool expanded;	    /* others stand in its place */
	struct bytes blind; /* each a u16 length and an address */
	struct bytes old;   /* of handed-in mail: the recipients as they came, while they are
			       put anew */
	struct envelope_iter old_at;

	struct content content;
	struct bytes header; /* repaired; empty: content.head as it came */
	struct bytes prelude;
	struct text message_id, hold;
	struct sender_choice chosen; /* of the session's configuration, once is_chosen */
	bool is_chosen;
	bool taken, rejected; /* whole, for good */
	bool header_asked;
	bool ended;		  /* all content is there, the answer about its header not yet */
	bool line_start, last_cr; /* DATA: behind a CRLF; behind a CR */
	struct session_verdict *refused; /* said at the end of data, whatever comes */
};

struct session {
	struct session_setup setup;
	struct text submitter;
	char *helo;		     /* owned; NULL before EHLO */
	const struct tls_facts *tls; /* NULL: in clear */
	struct transaction *t;
	struct session_verdict *verdict; /* of a handed-in mail */
	struct moment now;
	struct monotime command_deadline, again_at;
	void (*again)(struct session *s); /* what is asked again at again_at; NULL: nothing */
	uint64_t chunk_left;
	const struct reply *chunk_refusal; /* said when the octets have been eaten */
	uint32_t errors, idle_commands, messages, again_us;
	struct auth *auth; /* while an exchange lasts */
	uint8_t step, point, auth_mechanism, auth_failures;
	bool logged_in, revoked;
	bool esmtp, trusted, early, held, draining, skipping_line, chunk_last;
	bool has_quit;
	char *name;	 /* owned; NULL: unknown */
	char *named;	 /* owned: CLIENT with the name; NULL: without */
	char client[64]; /* "unknown[192.0.2.1]" */
};

/* The one function that changes the step. */
void session_change(struct session *s, enum session_step step);

void session_say(struct session *s, const struct reply *r);
void session_sayf(struct session *s, uint16_t code, const char *dsn, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Says it and closes. */
void session_close(struct session *s, const struct reply *r);

/* The same with a line in the log: reject: STAGE from ... */
void session_reject(struct session *s, const char *stage, struct text to, const struct reply *r);

void session_ask(struct session *s, enum session_point point);

/* True when the host said reply_not_yet: AGAIN is called soon, and the reply to the client waits.
 */
bool session_wait(struct session *s, const struct reply *r, void (*again)(struct session *s));

/* Ends the session if it is to drain and nothing is under way. */
void session_settle_drain(struct session *s);

/* session_auth.c */
void session_verb_auth(struct session *s, struct text args);
bool session_take_auth(struct session *s, const uint8_t *data, size_t len, size_t *used);
/* Writes "AUTH PLAIN ..." for EHLO; 0: nothing is offered. */
size_t session_auth_offer(const struct session *s, char *to, size_t size);
/* Is AUTH= of MAIL ours to take? */
bool session_takes_auth_parameter(const struct session *s);
/* Gives up an exchange, if there is one. */
void session_auth_end(struct session *s);

/* session_verbs.c: LINE is a command without CRLF. */
void session_command(struct session *s, struct text line);
/* Counts a command that brings no mail; true: they were too many, and the session is over. */
bool session_idles(struct session *s);
void session_verb_unimplemented(struct session *s, struct text args);

void session_tls_answered(struct session *s, const struct reply *r);

/* session_mail.c */
void transaction_begin(struct session *s);
void transaction_end(struct session *s);
void transaction_add(struct session *s);
bool transaction_is_full(const struct session *s);
/* For COUNT recipients that take OCTETS of the envelope. */
bool transaction_has_room(const struct session *s, size_t count, size_t octets);
void session_verb_mail(struct session *s, struct text args);
void session_verb_rcpt(struct session *s, struct text args);
void session_sender_answered(struct session *s, const struct reply *r);
void session_recipient_answered(struct session *s, const struct reply *r);

/* RFC 5248 2.4, X.7.13: "the failure is permanent until the user contacts their system
 * administrator". */
extern const struct reply reply_revoked;

/* True when the login is frozen, which was said. */
bool session_refuses_revoked(struct session *s, const char *stage);

/* session_data.c */
void session_verb_data(struct session *s, struct text args);
void session_verb_bdat(struct session *s, struct text args);
bool session_take_text(struct session *s, const uint8_t *data, size_t len, size_t *used);
bool session_take_chunk(struct session *s, const uint8_t *data, size_t len, size_t *used);
void session_header_answered(struct session *s, const struct reply *r);
void session_data_answered(struct session *s, const struct reply *r);
bool transaction_open(struct session *s);
/* Said at the end of data, whatever comes; the first one counts. */
void transaction_refuse(struct session *s, const struct reply *r);
void transaction_content(struct session *s, const uint8_t *data, size_t len, size_t *used);
void session_end_of_data(struct session *s);

/* session_repair.c: what RFC 6409 asks of submitted mail. */
void transaction_repair(struct session *s);
/* Completes what address.h has read. ADDRESS_ALONE: no full domain, and none to be had. */
enum address_result session_complete(const struct session *s, struct address *a,
				     enum address_result r);

/* session_rewrite.c */
void transaction_add_blind(struct session *s);

/* session_trace.c: Received in front of the header block. */
void transaction_make_prelude(struct session *s, const struct header_facts *facts);
void transaction_make_envelope(struct session *s);

#endif
