/* SPDX-License-Identifier: ISC */
/* From a host to its TLSA records. */
#include "dane.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void dane_settle(struct dane *d, enum tlsa_state state, const char *why)
{
	d->state = state;
	free(d->why);
	d->why = *why ? mem_copy(why, strlen(why)) : NULL;
}

static void dane_finish(struct dane *d, enum tlsa_state state, const char *why)
{
	dane_settle(d, state, why);
	d->under_way = false;
	d->done(d->arg);
}

static void dane_ttl(struct dane *d, uint32_t ttl_s)
{
	if (ttl_s < d->ttl_s)
		d->ttl_s = ttl_s;
}

static void records_arrived(void *arg, const struct lookup_result *r);

/* Asks for the records below BASE; false: its name would be too long to exist. */
static bool records_ask(struct dane *d, const char *base)
{
	char name[DNS_NAME_BYTES + 16];
	int len = snprintf(name, sizeof name, "_%u._tcp.%s", d->port, base);

	if (len < 0 || (size_t)len >= DNS_NAME_BYTES - 2 || !dns_name_is_host(name))
		return false;
	d->base = base;
	d->asked = true;
	lookup_start(d->lookups, &d->lookup, name, DNS_TLSA, records_arrived, d);
	return true;
}

/* None that are secure stand below BASE: the host's own name comes after the end of its CNAMEs. */
static void records_absent(struct dane *d, const char *why)
{
	if (d->base != d->name && records_ask(d, d->name))
		return;
	d->base = NULL;
	dane_finish(d, TLSA_NONE, why);
}

/*
 * RFC 7672 section 2.2: records count when they are "secure"; a lookup that fails, bogus
 * or without an answer, leaves the host unusable, whatever the next name would give.
 */
static void records_arrived(void *arg, const struct lookup_result *r)
{
	struct dane *d = arg;

	dane_ttl(d, r->ttl_s);
	if (r->status == LOOKUP_FAILED) {
		dane_finish(d, TLSA_FAILED, r->why);
	} else if (!r->secure) {
		records_absent(d, "the answer about TLSA records is not secure");
	} else if (r->status != LOOKUP_FOUND || !r->answer->count) {
		records_absent(d, "");
	} else {
		d->set = tlsa_set_new(r->answer);
		dane_finish(d, d->set->state,
			    d->set->state == TLSA_FAILED ? "records too large to be held" : "");
	}
}

/*
 * The addresses are not secure, but the first CNAME may be: then the host's own
 * name stands for itself (RFC 7672 section 2.2.2, "insecure CNAME").
 */
static void alias_arrived(void *arg, const struct lookup_result *r)
{
	struct dane *d = arg;

	dane_ttl(d, r->ttl_s);
	if (r->status == LOOKUP_FAILED)
		dane_finish(d, TLSA_FAILED, r->why);
	else if (r->status != LOOKUP_FOUND || !r->secure)
		dane_finish(d, TLSA_NONE, "addresses are not secure");
	else if (!records_ask(d, d->name))
		dane_finish(d, TLSA_NONE, "");
}

bool dane_start(struct dane *d, struct lookups *lookups, const struct dane_host *host,
		void (*done)(void *arg), void *arg)
{
	*d = (struct dane){.lookups = lookups,
			   .done = done,
			   .arg = arg,
			   .name = host->name,
			   .alias = host->alias,
			   .port = host->port,
			   .ttl_s = UINT32_MAX};
	if (host->secure)
		d->under_way = (host->alias && *host->alias && records_ask(d, host->alias)) ||
			       records_ask(d, host->name);
	else if (host->alias)
		d->under_way = true;
	if (d->under_way && !host->secure)
		lookup_start(lookups, &d->lookup, host->name, DNS_CNAME, alias_arrived, d);
	if (!d->under_way)
		dane_settle(d, TLSA_NONE, host->secure ? "" : "addresses are not secure");
	return d->under_way;
}

void dane_give_up(struct dane *d, const char *why)
{
	dane_stop(d);
	dane_settle(d, TLSA_FAILED, why);
}

void dane_stop(struct dane *d)
{
	lookup_cancel(&d->lookup);
	d->under_way = false;
}

void dane_clear(struct dane *d)
{
	dane_stop(d);
	free(d->set);
	free(d->why);
	d->set = NULL;
	d->why = NULL;
}
