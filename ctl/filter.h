/* SPDX-License-Identifier: ISC */
/*
 * The one language for looking at queued mail and for acting on it: words
 * KEY=VALUE, all of which must hold. In sender, login, recipient, domain,
 * site and source a * stands for any run of characters, and letters compare
 * without case.
 *
 *   sender=ann@example.net   envelope sender; sender=<> is the null sender
 *   login=ann                who was authenticated
 *   recipient=*@example.com
 *   domain=example.com       the recipient's; .example.com is every name below it
 *   site=big                 where it goes: a site block's name, an MX host, or a fixed next hop
 *   source=192.0.2.*         the client that it came from; 192.0.2.0/24 is a network
 *   age=2h+                  older than two hours; 2h- younger
 *   state=deferred           ready, deferred (by itself, or since its site is down), held;
 *                            report: it is over, and a report on it is owed
 *   reply=greylist           the last reply, or why its site takes nothing, contains this
 *   id=QUEUEID
 */
#ifndef CTL_FILTER_H
#define CTL_FILTER_H

#include "clock.h"
#include "config.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum filter_key {
	FILTER_SENDER,
	FILTER_LOGIN,
	FILTER_RECIPIENT,
	FILTER_DOMAIN,
	FILTER_SITE,
	FILTER_SOURCE,
	FILTER_AGE,
	FILTER_STATE,
	FILTER_REPLY,
	FILTER_ID,
	FILTER_KEYS
};

enum filter_state { STATE_READY, STATE_DEFERRED, STATE_HELD, STATE_REPORT, STATE_COUNT };

const char *filter_state_text(enum filter_state state);

enum { FILTER_MAX = 32, FILTER_VALUE_MAX = 1024 };

struct filter {
	struct condition {
		enum filter_key key;
		struct text value; /* points into the words */
		uint64_t id;
		struct duration age;
		enum filter_state state;
		struct network of; /* when NETWORK */
		bool older, network;
	} items[FILTER_MAX];
	size_t count;
};

/* Sets of keys, one bit each, by what must be read before they can be judged. */
#define FILTER_BIT(key) (1u << (key))
#define FILTER_OF_INDEX                                                                            \
	(FILTER_BIT(FILTER_ID) | FILTER_BIT(FILTER_AGE) | FILTER_BIT(FILTER_DOMAIN) |              \
	 FILTER_BIT(FILTER_STATE))
#define FILTER_OF_ENVELOPE                                                                         \
	(FILTER_BIT(FILTER_SENDER) | FILTER_BIT(FILTER_LOGIN) | FILTER_BIT(FILTER_SOURCE) |        \
	 FILTER_BIT(FILTER_RECIPIENT))

/* One recipient of one message. Texts that a condition doesn't ask for may be empty. */
struct filter_subject {
	uint64_t id;
	struct duration age;
	enum filter_state state;
	struct text sender, login, source, recipient, domain;
	struct text reply, waits; /* waits: why its site or domain takes nothing now */
	/* FILTER_SITE asks this; PATTERN may hold a *. */
	struct text route; /* that its sender chose */
	bool (*site)(void *arg, struct text domain, struct text route, struct text pattern);
	void *site_arg;
};

/* Parses one word. False: *ERROR (SIZE bytes) says why. */
bool filter_add(struct filter *filter, const char *word, char *error, size_t size);

/* The keys that are asked for. */
unsigned filter_keys(const struct filter *filter);

/* True when all conditions on keys in the set KEYS hold. */
bool filter_matches(const struct filter *filter, unsigned keys, const struct filter_subject *s);

/* "192.0.2.0/24", "2001:db8::/32" or an address; false: *ERROR (SIZE bytes) says why. */
bool filter_network_read(struct text t, struct network *to, char *error, size_t size);

/* HOST: "address", "[address]" or "name[address]". */
bool filter_in_network(const struct network *network, struct text host);

/* * stands for any run; letters without case. */
bool filter_glob(struct text pattern, struct text t);

#endif
