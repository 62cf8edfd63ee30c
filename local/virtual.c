/* SPDX-License-Identifier: ISC */
/* Looking a virtual mailbox up. */
#include "virtual.h"

#include "envelope.h"
#include "user.h"

#include <stdio.h>
#include <string.h>

enum { PART_BYTES = 330 };

/* What an address is looked up as, the most exact first. */
struct keys {
	char texts[5][PART_BYTES + 260];
	bool untagged[5];
	size_t count;
};

static void key_add(struct keys *k, const char *part, struct text domain, bool untagged)
{
	k->untagged[k->count] = untagged;
	snprintf(k->texts[k->count++], sizeof k->texts[0], "%s%s%.*s", part, domain.len ? "@" : "",
		 (int)domain.len, domain.data);
}

/* Of patterns each is tried with the whole of what is looked up: pcre_table(5). */
static bool is_for_patterns(struct text table)
{
	enum table_type type;
	struct text path;

	return table_parse(table, &type, &path) && type == TABLE_PCRE;
}

static bool keys_make(struct keys *k, const struct config *config, const struct config_virtual *v,
		      struct text address)
{
	static const struct text none = TEXT("");
	char part[PART_BYTES], plain[PART_BYTES], lower[256];
	struct text domain = address_domain(address);

	if (!user_part(address, part, sizeof part) || domain.len > 255)
		return false;
	size_t end = user_end(config, text_of(part));
	bool tagged = end && part[end];

	text_copy(plain, sizeof plain, (struct text){part, end});
	/* A pattern may tell cases apart. */
	for (size_t i = 0; i < domain.len; i++)
		lower[i] = ascii_lower(domain.data[i]);
	domain.data = lower;
	k->count = 0;
	key_add(k, part, domain, false);
	if (tagged)
		key_add(k, plain, domain, true);
	if (is_for_patterns(v->mailboxes))
		return true;
	/* A quoted local part such as "@example.net" must not meet a line that is for others. */
	if (!strchr(part, '@')) {
		key_add(k, part, none, false);
		if (tagged)
			key_add(k, plain, none, true);
	}
	key_add(k, "", domain, false);
	return true;
}

/* What stands there, when it makes sense. TABLE is NULL where it was asked for. */
static enum table_verdict take(struct table_files *all, const struct table_view *table,
			       const struct config_virtual *v, struct text address,
			       struct text value, struct virtual_found *to)
{
	struct text path;

	to->quota = (struct quota){.bytes = v->quota, .messages = v->quota_messages};
	const char *wrong = virtual_value_read(value, &path, &to->quota);

	if (!wrong) {
		text_copy(to->path, sizeof to->path, path);
		return TABLE_FOUND;
	}
	if (table)
		log_warning(all->log, "%s: the mailbox of %.*s: %s", table_view_name(table),
			    (int)(address.len < 320 ? address.len : 320), address.data, wrong);
	else
		table_files_complain(all, v->mailboxes, "the mailbox", address, wrong);
	return TABLE_FAILED;
}

static enum table_verdict find_asked(struct table_files *all, const struct config *config,
				     const struct config_virtual *v, struct answers *answers,
				     struct text address, struct virtual_found *to)
{
	enum table_verdict verdict = TABLE_ABSENT;
	struct text value = {NULL, 0};
	struct keys keys;

	if (!keys_make(&keys, config, v, address))
		return TABLE_ABSENT;
	for (size_t i = 0; verdict == TABLE_ABSENT && i < keys.count; i++) {
		verdict = answers_find(answers, v->mailboxes, text_of(keys.texts[i]), &value);
		to->untagged = keys.untagged[i];
	}
	return verdict == TABLE_FOUND ? take(all, NULL, v, address, value, to) : verdict;
}

enum table_verdict virtual_find(struct table_files *all, const struct config *config,
				const struct config_virtual *v, struct answers *answers,
				struct text address, struct virtual_found *to)
{
	if (table_is_asked(v->mailboxes))
		return find_asked(all, config, v, answers, address, to);
	const struct table_view *table = table_files_open(all, v->mailboxes, config->tables_size);
	enum table_verdict verdict = TABLE_ABSENT;
	struct bytes value = {0};
	struct keys keys;

	if (!table)
		return TABLE_FAILED;
	if (!keys_make(&keys, config, v, address))
		return TABLE_ABSENT;
	for (size_t i = 0; verdict == TABLE_ABSENT && i < keys.count; i++) {
		verdict = table_view_find(table, text_of(keys.texts[i]), &value);
		to->untagged = keys.untagged[i];
	}
	if (verdict == TABLE_FOUND)
		verdict = take(all, table, v, address, bytes_text(&value), to);
	bytes_free(&value);
	return verdict == TABLE_ABSENT && table_view_is_fresh(table) ? TABLE_FAILED : verdict;
}
