/* SPDX-License-Identifier: ISC */
/*
 * From which of our addresses mail leaves: a route or a sender's block names
 * a source, or a pool, of which each message has one by its queue ID. And by
 * which route, where the sender decides: config_route_of().
 */
#ifndef LIB_CONFIG_SOURCE_H
#define LIB_CONFIG_SOURCE_H

#include "config.h"
#include "envelope.h"

#define SENDER_LOGIN "login:"
#define SENDER_NULL "<>"

/* Who says what of a sender, for veredus route. */
enum sender_by { SENDER_NOT_ASKED, SENDER_NOBODY, SENDER_BLOCK, SENDER_TABLE };

/* What is said of a sender; empty: nothing. */
struct sender_choice {
	struct text source; /* a source's or pool's name */
	struct text route;  /* "@big" */
};

/*
 * The label of a sender block, in lower case: what stands before its domain, or "login:", says
 * what it is; else it is a domain, as a route's. False: *WHY says what is wrong.
 */
bool sender_label_read(struct text t, struct arena *arena, struct text *to, const char **why);

/* Whole configurations: names that stand twice or are missing. Sorts the senders. */
void config_source_finish(struct config *config, struct config_errors *errors);

/* NULL: there is none of that name. */
const struct config_source *config_source(const struct config *config, struct text name);

/*
 * What is said of a sender is looked for under these keys, in lower case and this order: his
 * address ("<>" for none), "login:NAME", his domain, the .suffixes of it, "*".
 */
struct sender_keys {
	struct text key; /* the present one */
	struct text sender, login, domain;
	unsigned step;
	char sender_room[ADDRESS_MAX + 1], login_room[sizeof SENDER_LOGIN + SUBMITTER_MAX];
};
/* K stays where it is. */
void sender_keys_begin(struct sender_keys *k, struct text sender, struct text login);
bool sender_keys_next(struct sender_keys *k);

/* What the block of that label says; false: there is none. */
bool config_sender_named(const struct config *config, struct text label, struct sender_choice *to);

/* What the sender block says that fits best. */
struct sender_choice config_sender_choice(const struct config *config, struct text sender,
					  struct text login);

/* NAME as the configuration has it, if there is a source or a pool called so; else empty. */
struct text config_source_name(const struct config *config, struct text name);

/*
 * The source of message ID by ROUTE, CHOSEN being what a sender block said
 * when it came in; NULL: the system chooses. A route for these recipients
 * knows what their server wants, so it goes first, and route *, which is for
 * all, last; as transport_maps and sender_dependent_default_transport_maps do. So does a
 * route that the sender's block names: what stands in that block is the sender's own.
 */
const struct config_source *config_source_of(const struct config *config,
					     const struct config_route *route, struct text chosen,
					     uint64_t id);
/* The name that it comes from: its own, or that of its pool. */
struct text config_source_chosen(const struct config *config, const struct config_route *route,
				 struct text chosen);

#endif
