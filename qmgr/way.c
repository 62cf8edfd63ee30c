/* SPDX-License-Identifier: ISC */
/* Ways, and how they are written down. */
#include "scheduler_private.h"

#include "config_source.h"

#include <stdio.h>
#include <string.h>

#define SITE_SOURCE " source="

static const char letters[] = {
    [MAIL_TLS_ANY] = '-', [MAIL_TLS_REQUIRED] = 'r', [MAIL_TLS_OPTIONAL] = 'o'};

bool way_equal(const struct way *a, const struct way *b)
{
	return a->tls == b->tls && text_equal(a->source, b->source) &&
	       text_equal(a->route, b->route);
}

struct way way_of(const struct scheduler *s, const struct mail *mail, struct text domain)
{
	struct way way = {.tls = mail->tls};

	if (!s->config->source_count && !mail->route)
		return way;
	struct text chosen = mails_source_name(s->mails, mail->route);
	const struct config_route *route = config_route_of(s->config, domain, chosen);

	/* To a mailbox of this machine nothing leaves from an address. */
	if (route->kind == ROUTE_LOCAL)
		return way;
	const struct config_source *source =
	    config_source_of(s->config, route, mails_source_name(s->mails, mail->source), mail->id);

	if (source)
		way.source = source->label;
	if (route_is_named(route))
		way.route = chosen;
	return way;
}

static struct text until_nul(struct text t)
{
	const char *nul = t.len ? memchr(t.data, 0, t.len) : NULL;

	return nul ? (struct text){t.data, (size_t)(nul - t.data)} : t;
}

struct text way_store(char *to, struct text submitter, const struct way *way)
{
	size_t names = way->source.len + way->route.len;

	submitter = until_nul(submitter);
	if ((!way->tls && !names) || names > QUEUE_SUBMITTER_MAX - 2 - SUBMITTER_MAX ||
	    submitter.len > SUBMITTER_MAX || way->tls > MAIL_TLS_OPTIONAL)
		return submitter;
	if (submitter.len)
		memcpy(to, submitter.data, submitter.len);
	to[submitter.len] = '\0';
	to[submitter.len + 1] = letters[way->tls];
	if (way->source.len)
		memcpy(to + submitter.len + 2, way->source.data, way->source.len);
	if (way->route.len)
		memcpy(to + submitter.len + 2 + way->source.len, way->route.data, way->route.len);
	return (struct text){to, submitter.len + 2 + names};
}

struct text way_load(struct text stored, struct way *way)
{
	struct text submitter = until_nul(stored);
	size_t behind = submitter.len + 1;

	*way = (struct way){0};
	if (behind >= stored.len)
		return submitter;
	for (size_t i = 0; i < sizeof letters; i++)
		if (letters[i] == stored.data[behind])
			way->tls = (uint8_t)i;
	way->source = (struct text){stored.data + behind + 1, stored.len - behind - 1};
	ptrdiff_t mark = text_find(way->source, ROUTE_MARK[0]);

	if (mark >= 0) {
		way->route = (struct text){way->source.data + mark, way->source.len - (size_t)mark};
		way->source.len = (size_t)mark;
	}
	return submitter;
}

size_t way_site_key(const struct way *way, char *to)
{
	*to = '\0';
	if (!way->source.len)
		return 0;
	int n = snprintf(to, WAY_SITE_BYTES, SITE_SOURCE "%.*s", (int)way->source.len,
			 way->source.data);

	return n < WAY_SITE_BYTES ? (size_t)n : WAY_SITE_BYTES - 1;
}

size_t way_hop_key(const struct way *way, char *to)
{
	static const char *const words[] = {[MAIL_TLS_ANY] = "",
					    [MAIL_TLS_REQUIRED] = " requiretls",
					    [MAIL_TLS_OPTIONAL] = " tls-optional"};
	size_t n = way_site_key(way, to);

	return n + text_copy(to + n, WAY_HOP_BYTES - n, text_of(words[way->tls]));
}

struct text way_site_name(struct text site)
{
	const char *source =
	    site.len ? memmem(site.data, site.len, SITE_SOURCE, sizeof SITE_SOURCE - 1) : NULL;

	return source ? (struct text){site.data, (size_t)(source - site.data)} : site;
}
