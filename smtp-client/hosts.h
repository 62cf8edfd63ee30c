/* SPDX-License-Identifier: ISC */
/*
 * Where next hops are: the resolver's answers, kept for their lifetime in a
 * bounded cache. Slots that ask the same at the same time share a query. A
 * query outlives the resolver: it is asked again of the next one.
 */
#ifndef SMTP_CLIENT_HOSTS_H
#define SMTP_CLIENT_HOSTS_H

#include "channel.h"
#include "tls_client.h"

struct host {
	struct text name;
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint8_t place[18];   /* address and port, what tells it from others */
	uint16_t port;	     /* 0: a UNIX socket, whose path is the name */
	uint16_t preference;
	uint16_t weight;    /* its share among those of its preference; at least 1 */
	uint8_t dnssec;	    /* enum dnssec_state */
	bool vouched;	    /* its name comes from the route, or from an MX set that is secure */
	uint8_t tlsa_state; /* enum tlsa_state */
	struct text tlsa_base;
	struct text tlsa_why; /* of TLSA_FAILED, for people */
	uint32_t tlsa_count;
	const struct tls_tlsa *tlsa;
};

/* An answer. Never changes; shared by holders (host_list_keep, host_list_drop). */
struct host_list {
	uint32_t holders;
	size_t bytes;	 /* all of it */
	uint8_t verdict; /* enum hop_verdict */
	uint16_t code;
	char dsn[12];
	struct text reason;
	struct text canonical; /* where the CNAMEs of the domain end, all secure; or empty */
	uint32_t count;	       /* up to 64, in the order in which they are to be tried */
	struct host items[];
};

struct host_list *host_list_keep(struct host_list *list);
void host_list_drop(struct host_list **list); /* takes NULL, leaves NULL */

/* Who waits for an answer; embedded in its owner. */
struct hosts_waiter {
	struct hosts_waiter *next, **prev; /* prev is NULL when not waiting */
	/* LIST is held for the callee, who drops it. */
	void (*answered)(void *arg, struct host_list *list);
	void *arg;
};

struct hop_key {
	uint8_t how; /* enum hop_how */
	struct text target;
	uint16_t port;
	bool tlsa_wanted;
};

struct hosts;

/* Lives as long as the process. */
struct hosts *hosts_new(struct loop *loop);

/* An answer at once, held for the caller; or NULL, and WAITER is told later, never from within. */
struct host_list *hosts_ask(struct hosts *hosts, const struct hop_key *key,
			    struct hosts_waiter *waiter);
void hosts_cancel(struct hosts_waiter *waiter); /* harmless when not waiting */

/* The resolver came (open queries are asked of it), or went (NULL). */
void hosts_set_resolver(struct hosts *hosts, struct channel *resolver);

/* Its answer; false when nothing of the kind was asked. */
bool hosts_are(struct hosts *hosts, const struct msg_hosts_are *m);

#endif
