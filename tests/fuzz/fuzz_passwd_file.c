/* SPDX-License-Identifier: ISC */
/*
 * The users file: every line is a user, nothing or broken, and is read the
 * same again; a change touches the one user that it is for. The first line
 * is a name, the rest the file.
 */
#include "must.h"
#include "passwd_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many users; and whether NAME is one, enabled. */
static size_t count(struct text content, struct text name, bool *there, bool *enabled)
{
	static const uint8_t address[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
	struct passwd_user user;
	struct text line;
	const char *why;
	size_t n = 0;

	*there = *enabled = false;
	while (passwd_next_line(&content, &line)) {
		must(!memchr(line.data ? line.data : "", '\n', line.len));
		enum passwd_kind kind = passwd_line_read(line, &user, &why);

		must((kind == PASSWD_BROKEN) == (why != NULL));
		if (kind != PASSWD_USER)
			continue;
		must(!passwd_name_fault(user.name) && user.secret.len <= PASSWD_SECRET_MAX);
		must(user.secret.len || user.disabled);
		(void)passwd_net_allows(user.allow_nets, address);
		n++;
		if (!*there && passwd_same_name(user.name, name)) {
			*there = true;
			*enabled = !user.disabled;
		}
	}
	return n;
}

static void edit(struct text content, struct text name)
{
	static const struct text secret = TEXT("{CRYPT}$y$j9T$JsQ5wNAmIQiMS1O3nE6C31$1PgV/tDF");
	struct bytes added = {0}, off = {0}, on = {0}, other = {0};
	bool there, enabled;
	size_t before = count(content, name, &there, &enabled);
	enum passwd_edit result = passwd_add(content, name, secret, &added);

	if (result == PASSWD_DONE) {
		must(count(bytes_text(&added), name, &there, &enabled) == before + 1);
		must(there && enabled);
		content = bytes_text(&added);
	}
	must(passwd_set_password(content, name, secret, &other) == PASSWD_DONE);
	/* Broken lines of that name are none any more. */
	must(count(bytes_text(&other), name, &there, &enabled) >= before && there);
	result = passwd_set_disabled(content, name, true, &off);
	must(result == PASSWD_DONE || result == PASSWD_SAME);
	count(bytes_text(&off), name, &there, &enabled);
	must(!there || !enabled);
	result = passwd_set_disabled(bytes_text(&off), name, false, &on);
	must(result == PASSWD_DONE || result == PASSWD_SAME);
	bytes_free(&added);
	bytes_free(&off);
	bytes_free(&on);
	bytes_free(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text content = {(const char *)data, size}, name;
	bool there, enabled;

	if (!passwd_next_line(&content, &name))
		return 0;
	count(content, name, &there, &enabled);
	if (!passwd_name_fault(name))
		edit(content, name);
	return 0;
}
