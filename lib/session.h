/* SPDX-License-Identifier: ISC */
/*
 * The SMTP session engine: RFC 5321's server side, without I/O and without a
 * clock. Octets, answers and times go in; replies, body octets and questions
 * come out. Its hosts are smtpd and submission; tests replay whole sessions.
 *
 * At named points the engine asks its host, and goes on when the answer
 * comes, from within the question or later. It consumes no input while an
 * answer is outstanding, while it is held, or while its replies are not read.
 * To reply_not_yet (at POINT_SENDER, from open()) it says nothing and asks
 * again at session_deadline(): 10 ms later, 20, and so on up to a third of a second.
 */
#ifndef LIB_SESSION_H
#define LIB_SESSION_H

#include "clock.h"
#include "config_source.h"
#include "log.h"
#include "reply.h"
#include "sasl.h"
#include "tls_facts.h"

#include <stdbool.h>

struct session;

/* The time, as the host knows it. */
struct moment {
	struct monotime mono;
	struct walltime wall;
};

enum session_point {
	POINT_NONE,
	POINT_CLIENT,	 /* before the greeting: is this client served? */
	POINT_SENDER,	 /* MAIL */
	POINT_RECIPIENT, /* RCPT, after the engine's own checks */
	POINT_TLS,	 /* STARTTLS: can it begin now? */
	POINT_HEADER,	 /* the header block is complete */
	POINT_DATA, /* end of data: the message is to be made safe; the answer is the reply, 250 or
		       not */
	POINT_AUTH, /* AUTH, or a response to a challenge: session_auth(), and answers of its own */
};

/* At POINT_DATA. Texts live until the answer. */
struct session_message {
	uint64_t id;
	struct text envelope; /* envelope.h */
	struct text prelude;
};

/* At POINT_AUTH: what the client said. DATA lives until the answer. */
struct session_auth {
	bool begins;	    /* the AUTH command; else a response to a challenge */
	unsigned mechanism; /* enum sasl_mechanism */
	bool has_initial;   /* the command had a response with it */
	struct text data;   /* decoded */
};

struct session_face {
	/* Answered with session_answer(). Must not free the session. */
	void (*ask)(void *owner, enum session_point point);
	/* Content is about to come. Returns its queue ID; 0 with *REFUSAL set when there is none.
	 */
	uint64_t (*open)(void *owner, const struct reply **refusal);
	/* The next octets of the body, CRLF lines, dots taken off. */
	void (*body)(void *owner, const uint8_t *data, size_t len);
	/* What open() began will not be handed over. */
	void (*drop)(void *owner);
	/* A line for the log. */
	void (*event)(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		      size_t count);
	/* What can be offered now, a set of enum sasl_mechanism; NULL unless setup.auth. */
	unsigned (*mechanisms)(void *owner);
	/* The exchange that POINT_AUTH was asked for ended without a verdict. */
	void (*auth_drop)(void *owner);
	/*
	 * A transaction of who has signed in is over: RECIPIENTS of a message that was taken,
	 * REFUSED ones, of those of a message that was refused all. May be NULL.
	 */
	void (*spent)(void *owner, uint32_t recipients, uint32_t refused);
};

/* What is done to addresses and header (RFC 6409): repair.h. */
enum session_repairs {
	REPAIRS_NONE, /* mail of others: RFC 5321 6.4 leaves it alone */
	REPAIRS_FULL, /* submitted: by a client that may relay with a password, or handed in */
	REPAIRS_OURS, /* reports: a missing Date and Message-ID is added */
};

struct session_setup {
	const struct session_face *face;
	void *owner;
	struct config *config; /* kept (config_keep) until the session is freed */
	struct bytes *out;   /* replies are appended here; NULL: handed-in mail, session_hand_*() */
	uint8_t address[16]; /* of the client */
	struct text login;   /* "uid:1000", "bounce" or empty */
	struct text submitter; /* envelope.h; copied */
	uint64_t seed;	       /* random, one for the process */
	bool auth;	       /* AUTH is offered where it is private enough */
	bool needs_login;      /* no mail before AUTH (RFC 6409 4.3) */
	bool offers_tls;       /* STARTTLS */
	uint8_t repairs;       /* enum session_repairs */
	uint8_t role;	       /* enum handle_role of the listener; 0: handed in */
};

enum {
	SESSION_COMMAND_MAX =
	    2048, /* octets of a command line with CRLF; RCPT needs about 1,100 (RFC 3461 4) */
	SESSION_OUT_MAX = 16384, /* replies unread, above which no command is taken */
};

struct session *session_new(const struct session_setup *setup, struct moment now);
/* Asks POINT_CLIENT; handed-in mail (no out) needs no greeting. */
void session_begin(struct session *s);
void session_free(struct session **s);

/* Returns how many octets were consumed; what is left is given again with more behind it. */
size_t session_input(struct session *s, struct moment now, const uint8_t *data, size_t len);

/*
 * The answer to the outstanding question: NULL is "go on", a reply is a
 * refusal; 421 and 521 also close. At POINT_DATA it is the reply, 250 included.
 */
void session_answer(struct session *s, struct moment now, const struct reply *r);

enum session_point session_asks(const struct session *s);

/* Only at POINT_AUTH; and its answers, in place of session_answer(). */
struct session_auth session_auth(const struct session *s);
void session_auth_challenge(struct session *s, struct moment now, struct text challenge);
/* LOGIN: who he is, when the verdict is good. */
void session_auth_done(struct session *s, struct moment now, enum auth_verdict verdict,
		       struct text login);

/* Whom AUTH has found him to be; empty: nobody. */
struct text session_login(const struct session *s);

/* Only at POINT_DATA. */
struct session_message session_message(const struct session *s);

/* The host has passed that on, and the answer may take a while: its memory serves others. */
void session_passed_on(struct session *s);

/* Whose mail it is: the login that AUTH has found, or that of handed-in mail ("uid:1000"). */
struct text session_identity(const struct session *s);
/* No client, no dialogue. */
bool session_is_handed_in(const struct session *s);

/* Its login is frozen: MAIL, RCPT and what is under way get 550 5.7.13 from now on. */
void session_revoke(struct session *s);

/* At POINT_HEADER: it will be refused for what its header says. The answer may be another refusal.
 */
bool session_is_refused(const struct session *s);

/* At POINT_HEADER: the header block as it will go out, but for Received. */
struct text session_header(const struct session *s);
uint32_t session_recipients(const struct session *s); /* of the transaction; 0 without one */

/* At POINT_RECIPIENT: whom it is about; canonical. */
const struct address *session_pending(const struct session *s);

/* What rewriting (rewrite.h) asks and changes, at POINT_RECIPIENT and POINT_HEADER. */
uint8_t session_role(const struct session *s);
enum session_repairs session_repairs(const struct session *s);
bool session_takes_utf8(const struct session *s);
/* ADDRESSES, copied, take the pending recipient's place, with its ORCPT and NOTIFY; false: they
 * are too many, and nothing was changed. */
bool session_is_expanded(const struct session *s); /* at POINT_RECIPIENT: that was done */
bool session_expand(struct session *s, const struct text *addresses, size_t count);
/* At POINT_HEADER: the recipients are put anew. Each becomes the pending one in turn, for
 * session_expand(); false: that was the last. */
void session_recipients_again(struct session *s);
bool session_recipient_again(struct session *s);
void session_set_sender(struct session *s, struct text sender);
/* What HEADER holds is taken over. */
void session_set_header(struct session *s, struct bytes *header);
/* One more recipient, of whom nobody hears: NOTIFY=NEVER. False: there is no room for more. */
bool session_add_blind(struct session *s, struct text address);

/* At POINT_HEADER: the message is to be held in the queue when it is taken; WHY is copied. */
void session_hold_message(struct session *s, struct text why);

/* At POINT_HEADER: what is said of its sender, in place of what the sender blocks say. */
void session_choose(struct session *s, const struct sender_choice *choice);

const uint8_t *session_address(const struct session *s); /* of the client, 16 bytes */
bool session_is_trusted(const struct session *s);	 /* may relay to anywhere */

/* All of the message is there: nothing but answers is outstanding. */
bool session_has_all(const struct session *s);

/* Where the path of the sender or recipient asked about stands; empty at other points. */
struct text session_sender(const struct session *s);

/* Asks its host again at its deadline: it is not the client that is waited for. */
bool session_asks_again(const struct session *s);

/* Takes no input: asks, is held, or its replies wait. */
bool session_blocked(const struct session *s);

/*
 * Consumes no more until released (the body's file is not there yet). Once
 * released session_input() is called, also with nothing: an end may be due.
 */
void session_hold(struct session *s, bool held);

/*
 * STARTTLS was answered with 220: no octet is consumed until the host has
 * made the handshake and calls session_secured(). A host whose connection
 * begins with TLS calls it before it answers POINT_CLIENT. What was learned
 * in clear is forgotten (RFC 3207 4.2). FACTS live as long as the session.
 */
bool session_wants_tls(const struct session *s);
void session_secured(struct session *s, struct moment now, const struct tls_facts *facts);

/* Over: what was written may leave, then the connection is closed. */
bool session_is_over(const struct session *s);
/* Over because the client said QUIT: it has nothing more to send. */
bool session_has_quit(const struct session *s);

/* Octets of memory that its message takes; nothing between two messages. */
size_t session_held(const struct session *s);

/*
 * There is too little memory: the content under way is given up, its end answered 452 4.3.1. False
 * when none is, or it is being looked at.
 */
bool session_shed(struct session *s);
/* 421 4.3.1, for who leaves us with unread input then. The host cancels what it was asked. */
void session_overdrawn(struct session *s);

/* Over at once, without a word: neither 250 nor 4xx would be true. */
void session_abort(struct session *s);

/* When session_expire() has something to do; never earlier than before but after MAIL. */
struct monotime session_deadline(const struct session *s);
void session_expire(struct session *s, struct moment now);

/* The client is gone. Drops what was begun and says so in the log. */
void session_lost(struct session *s);

/* Ends the session with 421 as soon as no message is under way. */
void session_drain(struct session *s, struct moment now);

/*
 * What the client is called: a name that leads back to its address. From now on it stands in
 * Received (RFC 5321 4.4: TCP-info) and in the log; without it "unknown" does.
 */
void session_named(struct session *s, struct text name);

/* "unknown[192.0.2.1]", or with its name. */
struct text session_client(const struct session *s);
const struct config *session_config(const struct session *s);

/*
 * Mail that is handed in whole: the same transaction without the dialogue.
 * Each returns false when the mail is refused; session_hand_verdict() tells
 * why. TLS: enum mail_tls. At session_hand_end() POINT_DATA is asked, or the mail refused.
 */
bool session_hand_sender(struct session *s, struct moment now, struct text sender, bool smtputf8,
			 uint8_t body_type, uint8_t tls);
/* Behind the sender: ENVID as xtext and RET (RFC 3461 4.3 and 4.4). False: refused. */
bool session_hand_dsn(struct session *s, struct text envid, uint8_t ret);
bool session_hand_recipient(struct session *s, struct text address, uint8_t notify);
/* How much was taken: less than LEN when the session is blocked, or, when it is not, refused. */
size_t session_hand_content(struct session *s, struct moment now, const uint8_t *data, size_t len);
bool session_hand_end(struct session *s, struct moment now);

struct session_verdict {
	uint16_t code;
	char dsn[12];
	char text[REPLY_TEXT_MAX + 1];
};
const struct session_verdict *session_hand_verdict(const struct session *s);

#endif
