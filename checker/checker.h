/* SPDX-License-Identifier: ISC */
/* The checker's state, and what its files say to each other. */
#ifndef CHECKER_CHECKER_H
#define CHECKER_CHECKER_H

#include "daemon.h"
#include "frozen.h"
#include "guesses.h"
#include "memory.h"
#include "pool.h"
#include "sasl.h"
#include "siphash.h"
#include "users.h"

#include <gsasl.h>

enum {
	EXCHANGES_MOST = 8192,	    /* of one peer */
	EXCHANGES_CLIENT_MOST = 64, /* of one client network */
	EXCHANGE_BUCKETS = 4096,
	FAKE_KEY_BYTES = 32,
};

struct exchange;
struct dovecot;
struct holder;
struct pam_keeping;
struct stat;
struct relays;
struct tokens;

/* What is asked about logins: the users file, Dovecot, PAM, or for tokens introspection. */
struct backend {
	void (*begin)(struct exchange *x, bool has_initial, struct text initial);
	void (*step)(struct exchange *x, struct text response);
	void (*drop)(struct exchange *x); /* the exchange ends: give up what runs for it */
};

struct checker {
	struct daemon *d;
	const struct backend *backend; /* for passwords; no_backend: there is none */
	struct pool *pool;
	struct guesses *guesses;
	struct memory *memory;
	struct frozen *frozen; /* logins */
	Gsasl *sasl;
	uint8_t key[SIPHASH_KEY_BYTES];

	struct holder *holders; /* peers */

	/* exchange.c */
	struct exchange *by_id[EXCHANGE_BUCKETS], *by_client[EXCHANGE_BUCKETS];
	uint8_t backend_offers, offered; /* as peers know it; 0: nothing was loaded yet */

	/* file.c */
	struct users *users; /* NULL: the file could not be read */
	char users_fault[1024];
	int users_fd;		 /* the file that USERS was read from, -1 */
	struct stat *users_stat; /* as it was then */
	bool users_asked;	 /* master was asked and has not answered */
	struct monotime users_asked_at;
	uint8_t fake_key[FAKE_KEY_BYTES];

	struct pam_keeping *pam;		    /* pam.c */
	struct tokens *tokens;			    /* token.c */
	struct relays *relays;			    /* relay.c */
	struct dovecot *dovecot;		    /* dovecot.c */
	struct exchange *awaiting, **awaiting_last; /* await.c */
};

/* One attempt to log in. */
struct exchange {
	struct exchange *next_id, *next_client, *next_awaiting;
	struct checker *self;
	struct channel *peer;
	uint64_t id, client;
	const struct backend *backend;
	uint8_t address[16];
	uint8_t mechanism;
	bool counted;	       /* its failure was said and counted already */
	bool tls, client_turn; /* it is for the client to say something */
	char name[LOGIN_MAX + 1];
	struct bytes binding, identity;

	/* Of the backend. */
	uint8_t stage;
	bool awaits, has_initial, known, disabled;
	const char *why;   /* what the proof will fail of */
	struct bytes held; /* an initial response, a challenge, or a password */
	Gsasl_session *sasl;
	struct timer delay;
	struct job *job;
	uint64_t line_mark;	  /* a hash of the user's line when JOB began */
	uint32_t dovecot_id;	  /* its number there; 0: not there */
	uint64_t fetch_id;	  /* its number at the fetcher; 0: not there */
	struct monotime asked_at; /* PAM */
};

/* exchange.c: what engines say. */
void exchange_begin(struct checker *self, struct channel *c, const struct msg_auth_begin *m);
void exchange_step(struct checker *self, struct channel *c, const struct msg_auth_step *m);
void exchange_cancel(struct checker *self, struct channel *c, uint64_t id);

/* A peer is gone, and its exchanges with it. */
void exchanges_forget(struct checker *self, const struct channel *c);

/* What the backends answer. After exchange_end() the exchange is gone; WHY is for the log alone. */
void exchange_challenge(struct exchange *x, struct text challenge);
void exchange_end(struct exchange *x, enum auth_verdict verdict, const char *why);

/* Counts and logs its failure before its end, which a client may never wait for. */
void exchange_count_failure(struct exchange *x, const char *why);

/* Its name is known from here on. False: it was too long and the exchange is over. */
bool exchange_name(struct exchange *x, struct text name);

/*
 * Why its login is shut to this client, whatever it proves, or NULL: it is frozen, and its owner
 * has not logged in from there. A backend lets it fail as a wrong password does, reply and time,
 * lest who guesses learns that he has found it.
 */
const char *exchange_shut(const struct exchange *x);

/* Calls GO when this attempt's turn has come; false: it never does, and the exchange is over. */
bool exchange_wait(struct exchange *x, void (*go)(void *arg));

/* offer.c: a peer came, or is gone with its exchanges. */
void offer_peer(struct checker *self, struct channel *c);
void offer_gone(struct checker *self, struct channel *c);
size_t *offer_count(const struct checker *self, const struct channel *c); /* its exchanges */

/* The password backend can do these: tells all peers what is offered, if that changed. */
void checker_offer(struct checker *self, uint8_t mechanisms);

/* await.c: kept until its backend goes on with all that wait. */
void exchange_await(struct exchange *x, bool has_initial, struct text initial);
void exchange_await_end(struct exchange *x); /* harmless when it does not wait */
void awaiting_go_on(struct checker *self,
		    void (*go)(struct exchange *x, bool has_initial, struct text initial));

/* dovecot.c */
extern const struct backend dovecot_backend;
void dovecot_init(struct checker *self);
void dovecot_start(struct checker *self); /* connects, so that its mechanisms are known */
void dovecot_arrived(struct checker *self, int fd, struct text path);
void dovecot_missing(struct checker *self, struct text why);

/* file.c */
extern const struct backend file_backend;
void file_init(struct checker *self);  /* before the jail */
void file_start(struct checker *self); /* asks for the file, if it has not come */
void file_arrived(struct checker *self, int fd);
void file_missing(struct checker *self, struct text why);
void file_key_arrived(struct checker *self, int fd);

/* pam.c */
extern const struct backend pam_backend;
/* Before the jail: makes its processes. WITHERED as pool_new() has it. */
void pam_init(struct checker *self, void (*withered)(void *arg));
void pam_begin(struct checker *self);		 /* in the jail */
bool pam_is_another(const struct checker *self); /* than the configuration says now */

/* token.c */
extern const struct backend token_backend;
void token_init(struct checker *self);
void token_reload(struct checker *self);
void token_secret_arrived(struct checker *self, int fd);
void token_fetcher(struct checker *self, struct channel *fetcher); /* NULL: it is gone */
void token_fetched(struct checker *self, const struct msg_fetched *m);

#endif
