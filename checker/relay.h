/* SPDX-License-Identifier: ISC */
/*
 * Logins of ours at relays: what routes log in with, and what is said for
 * it. smtp-client asks; passwords, refresh tokens and clients' secrets stay
 * here, and what it gets of them is what it has to say, when it has to.
 */
#ifndef CHECKER_RELAY_H
#define CHECKER_RELAY_H

#include "checker.h"
#include "relay_talk.h"
#include "token_answer.h"

enum {
	RELAY_TALKS_MAX = 20000,
	RELAY_BUCKETS = 1024,
	RELAY_SECRET_MAX = 4096, /* octets of a line */
	CONFIG_SECONDS = 5,	 /* an asker that is ahead of us is waited for */
	TOKEN_SECONDS = 20,	 /* for an answer */
	TOKEN_PAUSE_SECONDS = 5, /* after one that brought nothing */
};

/* Requests of relays are told from those of tokens.c by this bit of their number. */
#define RELAY_FETCH (UINT64_C(1) << 63)

enum relay_wait {
	WAIT_NOTHING,
	WAIT_CONFIG,  /* it is of a configuration that we do not have yet */
	WAIT_SECRET,  /* the password's file */
	WAIT_ANOTHER, /* the same, after a refusal: perhaps it is another one now */
	WAIT_TOKEN,
};

/* A route's login. */
struct relay {
	struct relay *next;
	uint64_t fingerprint;
	unsigned index;			  /* as master counts, in the present configuration */
	const struct config_route *route; /* in it; NULL while it is being replaced */
	char *label;
	struct bytes password, client_secret;
	struct bytes refresh_file, refresh; /* as the file has it; as it is now */
	bool asked;			    /* master was, for the secrets */
	char fault[300];		    /* why there is no password */
	uint64_t serial;		    /* of the password or the access token */
	struct salted salted;
	struct bytes access;
	struct monotime access_until, not_before;
	struct monotime fetched_at; /* the present access token */
	uint64_t fetch;		    /* its number; 0: none is under way */
	char trouble[240];	    /* why there was no token */
	int state;		    /* the file of later refresh tokens, -1 */
	uint64_t state_number;
};

/* One login at a relay. */
struct relay_talk {
	struct relay_talk *next;
	struct relays *all;
	struct channel *peer;
	uint64_t query;
	struct relay *relay; /* NULL: WAIT_CONFIG */
	enum relay_wait wait;
	bool relay_turn; /* it is for the relay to say something */
	struct monotime begun;
	struct timer limit; /* of WAIT_CONFIG */
	uint64_t serial;    /* of what was said */
	/* The question. */
	char *label;
	uint64_t fingerprint;
	unsigned mechanisms;
	uint8_t safety;
	struct bytes binding;
	struct talk talk;
};

struct relays {
	struct checker *checker;
	struct channel *fetcher; /* NULL while there is none */
	uint64_t last_fetch;
	struct relay *list;
	struct config *config; /* held */
	size_t talk_count;
	struct relay_talk *talks[RELAY_BUCKETS];
};

struct relays *relays_new(struct checker *checker);
void relays_start(struct relays *all); /* at the start, and at each reload */
void relays_fetcher(struct relays *all, struct channel *fetcher); /* NULL: it is gone */
void relays_fetched(struct relays *all, const struct msg_fetched *m);
/*
 * What master opened for the login with that INDEX. It counts only when NAME,
 * as master had it, is what our configuration wants there: master may have
 * another one meanwhile, in which that number is another route's.
 */
void relays_handle(struct relays *all, const struct msg_handle *m, int fd);
void relays_handle_none(struct relays *all, unsigned role, unsigned index, struct text why);

/* What smtp-clients say; one is gone. */
void relay_begin(struct relays *all, struct channel *c, const struct msg_relay_begin *m);
void relay_step(struct relays *all, struct channel *c, const struct msg_relay_step *m);
void relay_heard(struct relays *all, struct channel *c, const struct msg_relay_heard *m);
void relays_forget(struct relays *all, const struct channel *c);

/* Within: relay.c, relay_secret.c, relay_token.c, relay_state.c. */
void relays_follow(struct relays *all); /* the present configuration */
void relay_wipe(struct bytes *b);
/* All that wait so for RELAY go on: they end with DSN and WHY, or (NULL) are looked at again. */
void relay_go_on(struct relay *r, struct relays *all, enum relay_wait wait, const char *dsn,
		 const char *why);
/* Asks master for the files anew, once until they come. */
void relay_ask_files(struct relays *all, struct relay *r);

/* True when there is an access token; false: the talk has to wait, or (*WHY) there is none; *DSN is
 * then 4.3.0 when that is for want of our own fetcher. */
bool relay_token_ready(struct relays *all, struct relay *r, const char **dsn, const char **why);
/* The one with that number is worth nothing any more. */
void relay_token_drop(struct relay *r, uint64_t serial);

/* The refresh token that replaced the file's, if there is one. The file at FD is ours from here. */
void relay_state_open(struct relay *r, int fd);
void relay_state_read(struct relay *r);
void relay_state_keep(struct relays *all, struct relay *r);

#endif
