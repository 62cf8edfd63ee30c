/* SPDX-License-Identifier: ISC */
/* Forward-confirmed reverse DNS. */
#include "client_name.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 4 };

struct candidate {
	struct client_name *owner;
	struct lookup lookup;
	char name[DNS_NAME_BYTES];
};

struct client_name {
	struct lookups *lookups;
	void (*done)(void *arg, const char *name, bool failed);
	void *arg;
	struct timer deadline;
	struct lookup reverse;
	struct candidate candidates[NAMES_MAX];
	size_t count, under_way;
	bool failed;
	uint8_t address[16];
};

void client_name_cancel(struct client_name **name)
{
	struct client_name *n = *name;

	if (!n)
		return;
	timer_clear(&n->deadline);
	lookup_cancel(&n->reverse);
	for (size_t i = 0; i < n->count; i++)
		lookup_cancel(&n->candidates[i].lookup);
	free(n);
	*name = NULL;
}

static void client_name_finish(struct client_name *n, const char *name, bool failed)
{
	n->done(n->arg, name, failed);
	client_name_cancel(&n);
}

static void out_of_time(void *arg)
{
	client_name_finish(arg, "", true);
}

static void forward_arrived(void *arg, const struct lookup_result *r)
{
	struct candidate *c = arg;
	struct client_name *n = c->owner;

	for (size_t i = 0; r->status == LOOKUP_FOUND && i < r->answer->count; i++) {
		if (memcmp(r->answer->records[i].address, n->address, 16) == 0) {
			client_name_finish(n, c->name, false);
			return;
		}
	}
	n->failed = n->failed || r->status == LOOKUP_FAILED;
	if (--n->under_way == 0)
		client_name_finish(n, "", n->failed);
}

static void reverse_arrived(void *arg, const struct lookup_result *r)
{
	struct client_name *n = arg;
	size_t records = r->status == LOOKUP_FOUND ? r->answer->count : 0;

	for (size_t i = 0; i < records && n->count < NAMES_MAX; i++) {
		if (!dns_name_is_host(r->answer->records[i].name))
			continue;
		struct candidate *c = &n->candidates[n->count++];

		c->owner = n;
		snprintf(c->name, sizeof c->name, "%s", r->answer->records[i].name);
	}
	n->under_way = n->count;
	if (!n->count) {
		client_name_finish(n, "", r->status == LOOKUP_FAILED);
		return;
	}
	uint16_t type = host_address_is_ipv4(n->address) ? DNS_A : DNS_AAAA;

	for (size_t i = 0; i < n->count; i++)
		lookup_start(n->lookups, &n->candidates[i].lookup, n->candidates[i].name, type,
			     forward_arrived, &n->candidates[i]);
}

/* "1.2.0.192.in-addr.arpa" (RFC 1035 3.5), nibbles and "ip6.arpa" (RFC 3596 2.5). */
static void reverse_name(const uint8_t *a, char *to)
{
	static const char hex[] = "0123456789abcdef";

	if (host_address_is_ipv4(a)) {
		snprintf(to, DNS_NAME_BYTES, "%u.%u.%u.%u.in-addr.arpa", a[15], a[14], a[13],
			 a[12]);
		return;
	}
	for (size_t i = 16; i-- > 0;) {
		*to++ = hex[a[i] & 15];
		*to++ = '.';
		*to++ = hex[a[i] >> 4];
		*to++ = '.';
	}
	memcpy(to, "ip6.arpa", sizeof "ip6.arpa");
}

struct client_name *client_name_start(struct loop *loop, struct lookups *lookups,
				      const uint8_t *address, struct duration timeout,
				      void (*done)(void *arg, const char *name, bool failed),
				      void *arg)
{
	struct client_name *n = mem_new(1, sizeof *n);
	char name[DNS_NAME_BYTES];

	n->lookups = lookups;
	n->done = done;
	n->arg = arg;
	memcpy(n->address, address, 16);
	timer_init(&n->deadline, loop, out_of_time, n);
	timer_set(&n->deadline, timeout);
	reverse_name(address, name);
	lookup_start(lookups, &n->reverse, name, DNS_PTR, reverse_arrived, n);
	return n;
}
