/* SPDX-License-Identifier: ISC */
/* Attempts over hosts. */
#include "connect.h"

#include "mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAILURES = 1024, FRESH_S = 60, BROKE_OFF_S = 3600 };

/* In place of a source's: whoever asks, the receiver is the same. */
#define BROKE_OFF_MARK UINT64_MAX

struct failure {
	uint8_t address[16];
	uint64_t source; /* source_mark() */
	uint16_t port;
	bool set;
	struct monotime failed, logged;
};

struct failures {
	struct failure items[FAILURES];
};

struct failures *failures_new(void)
{
	return mem_new(1, sizeof(struct failures));
}

/* Tells sources apart; 0: none. */
static uint64_t source_mark(const struct config_source *source)
{
	uint64_t hash = source ? 14695981039346656037u : 0;

	for (size_t i = 0; source && i < source->label.len; i++)
		hash = (hash ^ (uint8_t)source->label.data[i]) * 1099511628211u;
	return hash;
}

static size_t failure_index(const struct host *host, uint64_t source)
{
	uint64_t hash = 14695981039346656037u ^ host->port ^ source;

	for (size_t i = 0; i < sizeof host->address; i++)
		hash = (hash ^ host->address[i]) * 1099511628211u;
	return (size_t)(hash >> 40) % FAILURES;
}

static bool failure_is_of(const struct failure *f, const struct host *host, uint64_t source)
{
	return f->set && f->port == host->port && f->source == source &&
	       memcmp(f->address, host->address, sizeof f->address) == 0;
}

bool failures_note(struct failures *f, const struct host *host, const struct config_source *source,
		   struct monotime now)
{
	uint64_t mark = source_mark(source);
	struct failure *at = &f->items[failure_index(host, mark)];

	if (!failure_is_of(at, host, mark)) {
		*at = (struct failure){.port = host->port, .source = mark, .set = true};
		memcpy(at->address, host->address, sizeof at->address);
		at->logged.us = now.us - 2 * SECONDS(FRESH_S).us;
	}
	at->failed = now;
	if (now.us - at->logged.us < SECONDS(FRESH_S).us)
		return false;
	at->logged = now;
	return true;
}

void failures_forget(struct failures *f, const struct host *host,
		     const struct config_source *source)
{
	uint64_t mark = source_mark(source);
	struct failure *at = &f->items[failure_index(host, mark)];

	if (failure_is_of(at, host, mark))
		at->failed.us -= SECONDS(FRESH_S).us;
}

static bool failed_of_late(const struct failures *f, const struct host *host, uint64_t source,
			   struct monotime now)
{
	const struct failure *at = &f->items[failure_index(host, source)];

	return failure_is_of(at, host, source) && now.us - at->failed.us < SECONDS(FRESH_S).us;
}

void failures_break_off(struct failures *f, const struct host *host, struct monotime now)
{
	struct failure *at = &f->items[failure_index(host, BROKE_OFF_MARK)];

	*at = (struct failure){
	    .port = host->port, .source = BROKE_OFF_MARK, .set = true, .failed = now};
	memcpy(at->address, host->address, sizeof at->address);
}

bool failures_broke_off(const struct failures *f, const struct host *host, struct monotime now)
{
	const struct failure *at = &f->items[failure_index(host, BROKE_OFF_MARK)];

	return failure_is_of(at, host, BROKE_OFF_MARK) &&
	       now.us - at->failed.us < SECONDS(BROKE_OFF_S).us;
}

/* Addresses from I on that are one host's. */
static uint32_t host_addresses(const struct host_list *list, uint32_t i, uint32_t count)
{
	uint32_t end = i + 1;

	while (end < count && list->items[end].preference == list->items[i].preference &&
	       list->items[end].port == list->items[i].port &&
	       text_equal(list->items[end].name, list->items[i].name))
		end++;
	return end - i;
}

/*
 * RFC 5321 section 5.1: of equal preference, "the sender-SMTP MUST randomize
 * them to spread the load". An answer is kept for a while, so that is done for
 * each connection. PLACES are the first addresses of COUNT hosts; the one that
 * is drawn comes first.
 */
static void draw(const struct host_list *list, uint8_t *places, uint32_t count)
{
	uint32_t all = 0, i = 0;

	for (uint32_t k = 0; k < count; k++)
		all += list->items[places[k]].weight;
	uint32_t left = all ? arc4random_uniform(all) : 0;

	while (i + 1 < count && left >= list->items[places[i]].weight)
		left -= list->items[places[i++]].weight;
	uint8_t drawn = places[i];

	memmove(places + 1, places, i);
	places[0] = drawn;
}

static void attempt_order(struct attempt *a)
{
	const struct host_list *list = a->list;
	uint32_t count = list->count < ATTEMPT_HOSTS_MAX ? list->count : ATTEMPT_HOSTS_MAX;
	uint32_t at = 0, filled = 0;
	uint8_t places[ATTEMPT_HOSTS_MAX];

	while (at < count) {
		uint32_t hosts = 0, first = at;

		for (; at < count && list->items[at].preference == list->items[first].preference;
		     at += host_addresses(list, at, count))
			places[hosts++] = (uint8_t)at;
		for (uint32_t i = 0; i < hosts; i++) {
			draw(list, places + i, hosts - i);
			for (uint32_t n = host_addresses(list, places[i], count), k = 0; k < n; k++)
				a->order[filled++] = (uint8_t)(places[i] + k);
		}
	}
}

void attempt_begin(struct attempt *a, struct host_list *list)
{
	attempt_end(a);
	a->list = list;
	attempt_order(a);
}

void attempt_end(struct attempt *a)
{
	host_list_drop(&a->list);
	*a = (struct attempt){0};
}

static bool is_loopback(struct text t)
{
	uint8_t address[16];

	return host_address_parse(t, address) && host_address_is_loopback(address);
}

const struct config_source *source_towards(const struct config_source *source,
					   const struct host *host)
{
	if (!source || !host->port || !host_address_is_loopback(host->address))
		return source;
	return is_loopback(source->ipv4) || is_loopback(source->ipv6) ? source : NULL;
}

struct text source_address(const struct config_source *source, const struct host *host)
{
	return host_address_is_ipv4(host->address) ? source->ipv4 : source->ipv6;
}

bool attempt_next(struct attempt *a, const struct failures *f, const struct config_source *source,
		  struct monotime now)
{
	uint64_t mark = source_mark(source);
	uint32_t count = a->list->count < ATTEMPT_HOSTS_MAX ? a->list->count : ATTEMPT_HOSTS_MAX;

	for (int last_resort = 0; last_resort < 2; last_resort++)
		for (uint32_t k = 0; k < count; k++) {
			uint32_t i = a->order[k];
			const struct host *host = &a->list->items[i];

			if (a->tried >> i & 1)
				continue;
			if (!last_resort && failed_of_late(f, host, mark, now))
				continue;
			a->tried |= UINT64_C(1) << i;
			const struct config_source *from = source_towards(source, host);

			if (from && host->port && !source_address(from, host).len) {
				a->strange = true;
				continue;
			}
			a->host = host;
			return true;
		}
	return false;
}

size_t host_relay(const struct host *host, char *to)
{
	char address[46];

	if (!host->port)
		return text_copy(to, RELAY_BYTES, host->name);
	int n = snprintf(to, RELAY_BYTES, "%.*s[%s]:%u", (int)host->name.len, host->name.data,
			 host_address_print(host->address, address), host->port);

	return n < RELAY_BYTES ? (size_t)n : RELAY_BYTES - 1;
}

static bool bind_source(int fd, struct text source)
{
	struct sockaddr_storage from;
	uint8_t address[16];
	int on = 1;

	if (!host_address_parse(source, address)) {
		errno = EADDRNOTAVAIL;
		return false;
	}
	socklen_t len = host_address_put(address, 0, &from);

	/* The port is chosen at connect(), where the same one can serve towards many receivers:
	 * else an address would have 28,000 connections at most. */
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	return bind(fd, (struct sockaddr *)&from, len) == 0;
}

struct stream *connect_host(struct loop *loop, const struct host *host,
			    const struct config_source *source, const struct stream_face *face,
			    void *owner, bool *unbound)
{
	*unbound = false;
	source = source_towards(source, host);
	struct sockaddr_storage to;
	socklen_t len = host_address_put(host->address, host->port, &to);
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return NULL;
	if (source && !bind_source(fd, source_address(source, host))) {
		int error = errno;

		*unbound = true;
		close(fd);
		errno = error;
		return NULL;
	}
	return stream_connect(loop, fd, (struct sockaddr *)&to, len, face, owner);
}
