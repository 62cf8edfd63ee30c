/* SPDX-License-Identifier: ISC */
/* Site and hop names. */
#include "site.h"

#include "bytes.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

/* Providers whose tenants have MX names of their own, or whose names are many. */
static const struct {
	const char *pattern, *site;
} built_in[] = {
    {"*.google.com", "google"},
    {"*.googlemail.com", "google"},
    {"*.mail.protection.outlook.com", "outlook"},
    {"*.olc.protection.outlook.com", "outlook"},
    {"*.mx.microsoft", "outlook"},
    {"*.yahoodns.net", "yahoo"},
    {"*.icloud.com", "icloud"},
    {"*.pphosted.com", "proofpoint"},
    {"*.ppe-hosted.com", "proofpoint"},
    {"*.mimecast.com", "mimecast"},
    {"*.mimecast.co.za", "mimecast"},
    {"*.iphmx.com", "cisco"},
    {"*.barracudanetworks.com", "barracuda"},
    {"*.messagelabs.com", "symantec"},
    {"*.zoho.com", "zoho"},
    {"*.zoho.eu", "zoho"},
    {"*.secureserver.net", "godaddy"},
    {"*.mail.ovh.net", "ovh"},
    {"*.messagingengine.com", "fastmail"},
    {"*.qq.com", "qq"},
    {"*.mxhichina.com", "aliyun"},
};

static void bytes_print(struct bytes *b, const char *text)
{
	bytes_add(b, text, strlen(text));
}

/* What was gathered, or as much as fits and a keyed hash of the whole. */
static void name_settle(struct bytes *b, const uint8_t *key, char *to, size_t size)
{
	size_t len = bytes_len(b);

	if (len < size) {
		memcpy(to, bytes_at(b), len);
		to[len] = '\0';
	} else {
		uint8_t other[SIPHASH_KEY_BYTES];
		size_t keep = size - 1 - 33;

		for (size_t i = 0; i < sizeof other; i++)
			other[i] = key[i] ^ 0xa5;
		memcpy(to, bytes_at(b), keep);
		snprintf(to + keep, size - keep, "~%016llx%016llx",
			 (unsigned long long)siphash(key, bytes_at(b), len),
			 (unsigned long long)siphash(other, bytes_at(b), len));
	}
	bytes_free(b);
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool rule_find(const struct config *config, const char *host, bool by_mx, char *site)
{
	struct text name = text_of(host);

	for (size_t i = 0; i < config->site_count; i++) {
		for (size_t j = 0; j < config->sites[i].mx.count; j++) {
			if (!domain_matches(config->sites[i].mx.items[j], name))
				continue;
			text_copy(site, SITE_BYTES, config->sites[i].label);
			return true;
		}
	}
	for (size_t i = 0; by_mx && i < sizeof built_in / sizeof *built_in; i++) {
		if (!domain_matches(text_of(built_in[i].pattern), name))
			continue;
		text_copy(site, SITE_BYTES, text_of(built_in[i].site));
		return true;
	}
	return false;
}

/* "mx.example:25", "[192.0.2.1]:25", "unix:/path". */
static void endpoint_print(struct bytes *b, const struct mx_host *h, enum hop_how how)
{
	uint8_t address[16];
	char port[8];

	if (how == HOP_LMTP_UNIX) {
		bytes_print(b, "unix:");
		bytes_print(b, h->name);
		return;
	}
	bool literal = host_address_parse(text_of(h->name), address);

	bytes_print(b, literal ? "[" : "");
	bytes_print(b, h->name);
	snprintf(port, sizeof port, ":%u", h->port);
	bytes_print(b, literal ? "]" : "");
	bytes_print(b, port);
}

static int endpoint_compare(const void *a, const void *b)
{
	const struct mx_host *x = *(const struct mx_host *const *)a;
	const struct mx_host *y = *(const struct mx_host *const *)b;
	int d = strcmp(x->name, y->name);

	return d ? d : (x->port > y->port) - (x->port < y->port);
}

/* Of a route's hosts, in whatever order they are to be tried: limits are the hosts'. */
static void endpoints_print(struct bytes *b, const struct mx_result *r, enum hop_how how)
{
	const struct mx_host *hosts[MX_HOSTS_MAX];

	for (size_t i = 0; i < r->count; i++)
		hosts[i] = &r->hosts[i];
	qsort(hosts, r->count, sizeof(struct mx_host *), endpoint_compare);
	for (size_t i = 0; i < r->count; i++) {
		bytes_print(b, i ? "," : "");
		endpoint_print(b, hosts[i], how);
	}
}

void site_name(const struct config *config, const uint8_t *key, const struct mx_result *r,
	       enum hop_how how, char *site)
{
	const char *names[MX_HOSTS_MAX];
	struct bytes b = {0};

	if (how != HOP_LMTP_UNIX && rule_find(config, r->hosts[0].name, r->by_mx, site))
		return;
	if (!r->by_mx) {
		endpoints_print(&b, r, how);
		name_settle(&b, key, site, SITE_BYTES);
		return;
	}
	for (size_t i = 0; i < r->count; i++)
		names[i] = r->hosts[i].name;
	qsort(names, r->count, sizeof *names, name_compare);
	for (size_t i = 0; i < r->count; i++) {
		bytes_print(&b, i ? "," : "");
		bytes_print(&b, names[i]);
	}
	if (r->port != 25) {
		char port[8];

		snprintf(port, sizeof port, ":%u", r->port);
		bytes_print(&b, port);
	}
	name_settle(&b, key, site, SITE_BYTES);
}

/* In their order, with their weights. */
static void route_hop_name(struct bytes *b, const struct mx_result *r, enum hop_how how)
{
	char number[24];

	bytes_print(b, how == HOP_LMTP || how == HOP_LMTP_UNIX ? "lmtp:"
		       : how == HOP_SMTPS		       ? "smtps:"
							       : "smtp:");
	for (size_t i = 0; i < r->count; i++) {
		snprintf(number, sizeof number, "%s%u*%u ", i ? "," : "", r->hosts[i].preference,
			 r->hosts[i].weight);
		bytes_print(b, r->count > 1 ? number : "");
		endpoint_print(b, &r->hosts[i], how);
	}
}

void hop_name(const uint8_t *key, const struct mx_result *r, enum hop_how how, char *hop)
{
	struct bytes b = {0};
	unsigned rank = 0;
	char number[24];

	if (!r->by_mx) {
		route_hop_name(&b, r, how);
		name_settle(&b, key, hop, HOP_BYTES);
		return;
	}
	snprintf(number, sizeof number, "mx:%u:", r->port);
	bytes_print(&b, number);
	/* Ranks, not preferences: 10 and 20 lead to the same hosts in the same order as 5 and 50.
	 */
	for (size_t i = 0; i < r->count; i++) {
		if (i && r->hosts[i].preference != r->hosts[i - 1].preference)
			rank++;
		snprintf(number, sizeof number, "%s%u ", i ? "," : "", rank);
		bytes_print(&b, number);
		bytes_print(&b, r->hosts[i].name);
	}
	name_settle(&b, key, hop, HOP_BYTES);
}
