/* SPDX-License-Identifier: ISC */
/* One client: its name, its submitter. */
#include "caller.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct caller {
	struct caller **at;
	struct session *session;
	struct name_query *query;
	void (*known)(void *owner); /* NULL: nobody waits yet */
	void *owner;
};

static void caller_named(void *owner, struct text name)
{
	struct caller *c = owner;
	struct caller done = *c;

	*c->at = NULL;
	free(c);
	session_named(done.session, name);
	if (done.known)
		done.known(done.owner);
}

void caller_ask(struct caller **at, struct names *names, struct session *s)
{
	struct caller *c;

	*at = NULL;
	if (!session_config(s)->resolver_client_names)
		return;
	c = *at = mem_new(1, sizeof *c);
	*c = (struct caller){.at = at, .session = s};
	struct name_query *query = names_ask(names, session_address(s), caller_named, c);

	/* Without a query the answer came from within, and the caller is gone. */
	if (query)
		c->query = query;
}

bool caller_wait(struct caller *caller, void (*known)(void *owner), void *owner)
{
	if (!caller)
		return false;
	caller->known = known;
	caller->owner = owner;
	return true;
}

void caller_free(struct caller **at)
{
	if (!*at)
		return;
	names_cancel(&(*at)->query);
	free(*at);
	*at = NULL;
}

struct text caller_submitter(const uint8_t *address, char *to, size_t size)
{
	uint8_t network[16];
	char text[46];
	bool ipv4 = host_address_is_ipv4(address);

	memcpy(network, address, sizeof network);
	if (!ipv4)
		memset(network + 8, 0, 8);
	int n =
	    snprintf(to, size, "net:%s%s", host_address_print(network, text), ipv4 ? "" : "/64");

	return (struct text){to, n > 0 ? (size_t)n : 0};
}
