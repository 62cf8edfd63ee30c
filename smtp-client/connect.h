/* SPDX-License-Identifier: ISC */
/*
 * Attempts: from a list of hosts to a connection. Hosts are tried in the
 * order of their preference, equal ones by chance and weight; an address that has just failed waits
 * behind the others for a minute, so that a dead first MX does not cost every delivery its
 * time-out.
 */
#ifndef SMTP_CLIENT_CONNECT_H
#define SMTP_CLIENT_CONNECT_H

#include "config.h"
#include "hosts.h"
#include "stream.h"

enum { ATTEMPT_HOSTS_MAX = 64, RELAY_BYTES = 321 };

/* Addresses that failed of late; direct-mapped, so bounded and forgetful. */
struct failures;

/* Lives as long as the process. */
struct failures *failures_new(void);

/*
 * Marks HOST as failed from SOURCE (NULL: from the system's choice): it may serve another one.
 * True when that has not been logged for a minute.
 */
bool failures_note(struct failures *f, const struct host *host, const struct config_source *source,
		   struct monotime now);
void failures_forget(struct failures *f, const struct host *host,
		     const struct config_source *source);

/* HOST broke off while several mails were under way, or answered out of protocol: for an hour it
 * gets them one by one. */
void failures_break_off(struct failures *f, const struct host *host, struct monotime now);
bool failures_broke_off(const struct failures *f, const struct host *host, struct monotime now);

struct attempt {
	struct host_list *list;		  /* held */
	uint8_t order[ATTEMPT_HOSTS_MAX]; /* indices into list */
	uint64_t tried;			  /* a bit a host */
	const struct host *host;	  /* the present one, in list; NULL: none yet */
	bool strange; /* a host was left out: the source has no address of its family */
};

/* Takes over LIST (already held for it). */
void attempt_begin(struct attempt *a, struct host_list *list);
void attempt_end(struct attempt *a);

/* The next host, which becomes a->host; false when all have been tried. Not those of a family of
 * which SOURCE has no address. */
bool attempt_next(struct attempt *a, const struct failures *f, const struct config_source *source,
		  struct monotime now);

/* "name[192.0.2.1]:25" of a host, RELAY_BYTES at TO; returns its length. */
size_t host_relay(const struct host *host, char *to);

/*
 * SOURCE, where it counts towards HOST; else NULL, and the system chooses. From an
 * address of the outside nobody on this machine need be reached: towards a
 * loopback address a source counts only if it has such an address itself.
 */
const struct config_source *source_towards(const struct config_source *source,
					   const struct host *host);

/*
 * Starts to connect to HOST from the address that SOURCE has of its family
 * (NULL: the system's choice). NULL with errno set when that fails at once;
 * *UNBOUND: since that address can't be had.
 */
struct stream *connect_host(struct loop *loop, const struct host *host,
			    const struct config_source *source, const struct stream_face *face,
			    void *owner, bool *unbound);

/* The address of SOURCE for HOST; empty: there is none. */
struct text source_address(const struct config_source *source, const struct host *host);

#endif
