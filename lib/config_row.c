/* SPDX-License-Identifier: ISC */
/* settings.def expanded into tables. */
#include "config_row.h"

#include <string.h>

/* Whose member a row's field is. */
#define OWNER_top struct config
#define OWNER_listen struct config_listen
#define OWNER_auth struct config
#define OWNER_tls struct config_tls
#define OWNER_submission struct config
#define OWNER_tables struct config
#define OWNER_rewrite struct config
#define OWNER_header struct config_header
#define OWNER_resolver struct config
#define OWNER_route struct config_route
#define OWNER_source struct config_source
#define OWNER_pool struct config_pool
#define OWNER_sender struct config_sender
#define OWNER_local struct config
#define OWNER_virtual struct config_virtual
#define OWNER_site struct config_site
#define OWNER_limits struct config
#define OWNER_rate struct config_rate
#define OWNER_takeover struct config
#define OWNER_tlsrpt struct config
#define OWNER_retry struct config
#define OWNER_timeout struct config
#define OWNER_history struct config
#define OWNER_workers struct config
#define OWNER_segments struct config

const struct setting_row setting_rows[] = {
#define SETTING(block, name, field, type, fallback, least, most, text)                             \
	{name,		fallback,   text, least, most, offsetof(OWNER_##block, field),             \
	 BLOCK_##block, TYPE_##type},
#define BLOCK(name, label, many, text)
#include "settings.def"
#undef SETTING
#undef BLOCK
};
const size_t setting_count = sizeof setting_rows / sizeof *setting_rows;

/* Arrays of the blocks that stand several times; zeros for the others. */
#define ARRAY(array, number, item)                                                                 \
	offsetof(struct config, array), offsetof(struct config, number), sizeof(struct item),      \
	    offsetof(struct item, line)
#define ARRAY_listen ARRAY(listens, listen_count, config_listen)
#define ARRAY_tls ARRAY(tls, tls_count, config_tls)
#define ARRAY_route ARRAY(routes, route_count, config_route)
#define ARRAY_site ARRAY(sites, site_count, config_site)
#define ARRAY_source ARRAY(sources, source_count, config_source)
#define ARRAY_pool ARRAY(pools, pool_count, config_pool)
#define ARRAY_sender ARRAY(senders, sender_count, config_sender)
#define ARRAY_local 0, 0, 0, 0
#define ARRAY_virtual ARRAY(virtuals, virtual_count, config_virtual)
#define ARRAY_auth 0, 0, 0, 0
#define ARRAY_submission 0, 0, 0, 0
#define ARRAY_tables 0, 0, 0, 0
#define ARRAY_rewrite 0, 0, 0, 0
#define ARRAY_header ARRAY(headers, header_count, config_header)
#define ARRAY_rate ARRAY(rates, rate_count, config_rate)
#define ARRAY_takeover 0, 0, 0, 0
#define ARRAY_resolver 0, 0, 0, 0
#define ARRAY_limits 0, 0, 0, 0
#define ARRAY_tlsrpt 0, 0, 0, 0
#define ARRAY_retry 0, 0, 0, 0
#define ARRAY_timeout 0, 0, 0, 0
#define ARRAY_history 0, 0, 0, 0
#define ARRAY_workers 0, 0, 0, 0
#define ARRAY_segments 0, 0, 0, 0

const struct block_row block_rows[BLOCK_COUNT] = {
    {"", "", false, false, 0, 0, 0, 0},
#define SETTING(block, name, field, type, fallback, least, most, text)
#define BLOCK(name, label, many, text) {#name, text, label, many, ARRAY_##name},
#include "settings.def"
#undef SETTING
#undef BLOCK
};

const char *const *setting_words(enum setting_type type)
{
	static const char *const newline[] = {"refuse", "normalise", NULL};
	static const char *const log[] = {"text", "json", NULL};
	static const char *const family[] = {"both",	  "ipv4",      "ipv6",
					     "ipv4-only", "ipv6-only", NULL};
	static const char *const tls[] = {"1.2", "1.3", NULL};
	static const char *const rule[] = {"repair", "refuse", "keep", NULL};
	static const char *const action[] = {"defer", "hold", "refuse", NULL};
	static const char *const refuse[] = {"refuse", "keep", NULL};
	static const char *const policy[] = {"default", "may",	     "encrypt",	    "verify",
					     "dane",	"dane-only", "fingerprint", NULL};

	static const char *const clear[] = {"never", "loopback", NULL};
	static const char *const takeover[] = {"off", "tell", "freeze", NULL};

	if (type == TYPE_WORD_TAKEOVER)
		return takeover;
	return type == TYPE_WORD_NEWLINE  ? newline
	       : type == TYPE_WORD_LOG	  ? log
	       : type == TYPE_WORD_FAMILY ? family
	       : type == TYPE_WORD_CLEAR  ? clear
	       : type == TYPE_WORD_TLS	  ? tls
	       : type == TYPE_WORD_RULE	  ? rule
	       : type == TYPE_WORD_REFUSE ? refuse
	       : type == TYPE_WORD_ACTION ? action
	       : type == TYPE_WORD_POLICY ? policy
					  : NULL;
}

const void *setting_field(const struct config *config, const struct setting_row *row, size_t i,
			  uint32_t *line)
{
	const struct block_row *block = &block_rows[row->block];
	const char *base = (const char *)config;
	struct setting_list list = {(void *)(uintptr_t)base, 1};

	*line = config->lines[row - setting_rows];
	if (block->many) {
		memcpy(&list.items, base + block->items, sizeof list.items);
		memcpy(&list.count, base + block->count, sizeof list.count);
	}
	if (i >= list.count)
		return NULL;
	const char *item = (const char *)list.items + i * block->size;

	if (block->many)
		memcpy(line, item + block->line, sizeof *line);
	return item + row->offset;
}

size_t setting_item_size(enum setting_type type)
{
	return type == TYPE_NETWORKS ? sizeof(struct network)
	       : type == TYPE_DOMAINS || type == TYPE_LOGINS || type == TYPE_TEXTS ||
		       type == TYPE_DIGESTS
		   ? sizeof(struct text)
	       : type == TYPE_RATES				? sizeof(struct rate)
	       : type == TYPE_SHARES				? sizeof(struct source_share)
	       : type == TYPE_ENDPOINTS || type == TYPE_SERVERS ? sizeof(struct endpoint)
								: 0;
}
