/* SPDX-License-Identifier: ISC */
/*
 * From which of our addresses mail leaves: a route or a sender's block names
 * a source, or a pool, of which each message has one by its queue ID.
 */
#ifndef LIB_CONFIG_SOURCE_H
#define LIB_CONFIG_SOURCE_H

#include "config.h"

#define SENDER_LOGIN "login:"

/*
 * The label of a sender block, in lower case: what stands before its domain, or "login:", says
 * what it is; else it is a domain, as a route's. False: *WHY says what is wrong.
 */
bool sender_label_read(struct text t, struct arena *arena, struct text *to, const char **why);

/* Whole configurations: names that stand twice or are missing. Sorts the senders. */
void config_source_finish(struct config *config, struct config_errors *errors);

/* NULL: there is none of that name. */
const struct config_source *config_source(const struct config *config, struct text name);

/* What the sender block says that fits best: a source's or pool's name; empty: none does. */
struct text config_sender_source(const struct config *config, struct text sender,
				 struct text login);

/*
 * The source of message ID by ROUTE, CHOSEN being what a sender block said
 * when it came in; NULL: the system chooses. A route for these recipients
 * knows what their server wants, so it goes first, and route *, which is for
 * all, last; as transport_maps and sender_dependent_default_transport_maps do.
 */
const struct config_source *config_source_of(const struct config *config,
					     const struct config_route *route, struct text chosen,
					     uint64_t id);

#endif
