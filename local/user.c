/* SPDX-License-Identifier: ISC */
/* Users. */
#include "user.h"

#include "envelope.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

enum { FOLDER_MAX = 200 };

bool user_part(struct text address, char *to, size_t size)
{
	struct text domain = address_domain(address);
	size_t len = domain.data ? (size_t)(domain.data - address.data) - 1 : address.len, out = 0;
	bool quoted = len >= 2 && address.data[0] == '"' && address.data[len - 1] == '"';

	for (size_t i = quoted; i < len - quoted; i++) {
		if (quoted && address.data[i] == '\\' && i + 1 < len - quoted)
			i++;
		if (out == size - 1)
			return false;
		to[out++] = ascii_lower(address.data[i]);
	}
	to[out] = '\0';
	return out > 0 && !memchr(to, '\0', out);
}

/* What the database says goes into paths. */
static bool name_is_sound(const char *name)
{
	return *name && *name != '.' && *name != '-' && !strchr(name, '/') &&
	       strlen(name) <= USER_NAME_MAX;
}

static enum user_found look(struct user *u, const char *name)
{
	errno = 0;
	const struct passwd *p = getpwnam(name);

	if (!p)
		return errno == 0 || errno == ENOENT || errno == ESRCH ? USER_ABSENT : USER_FAILED;
	if (!name_is_sound(p->pw_name) || p->pw_dir[0] != '/' || strlen(p->pw_dir) >= PATH_MAX)
		return USER_ABSENT;
	text_copy(u->name, sizeof u->name, text_of(p->pw_name));
	text_copy(u->home, sizeof u->home, text_of(p->pw_dir));
	u->uid = p->pw_uid;
	u->gid = p->pw_gid;
	u->group_count = USER_GROUPS_MAX;
	if (getgrouplist(u->name, u->gid, u->groups, &u->group_count) < 0)
		u->group_count = USER_GROUPS_MAX;
	return USER_FOUND;
}

enum user_found user_find(struct user *u, struct text local, const struct config *config)
{
	char name[USER_NAME_MAX + 1];

	/* No shell's name has one of these; some databases take them for a pattern. */
	if (!local.len || local.len > USER_NAME_MAX || memchr(local.data, '\0', local.len) ||
	    memchr(local.data, '*', local.len) || memchr(local.data, ':', local.len) ||
	    local.data[0] == '-')
		return USER_ABSENT;
	text_copy(name, sizeof name, local);
	enum user_found found = look(u, name);
	size_t end = config ? user_end(config, local) : local.len;

	if (found != USER_ABSENT || end == local.len || !end)
		return found;
	name[end] = '\0';
	return look(u, name);
}

static bool is_role(struct text name)
{
	static const char request[] = "-request";
	size_t len = sizeof request - 1;

	return text_starts_case(name, "owner-") ||
	       (name.len > len &&
		text_equal_case((struct text){name.data + name.len - len, len}, text_of(request)));
}

size_t user_end(const struct config *config, struct text name)
{
	struct text separators = config->local_separators;
	bool none = text_equals(separators, "none"), whole = is_role(name);
	size_t end = 0;

	while (end < name.len && (none || (whole && name.data[end] == '-') ||
				  text_find(separators, name.data[end]) < 0))
		end++;
	return end;
}

/*
 * Dots part folders within folders; none begins or ends with one, so that neither "." nor ".." is
 * made, and the Trash, which no quota counts, is nobody's to choose.
 */
bool user_folder(const struct config *config, struct text address, char *to, size_t size)
{
	struct text domain = address_domain(address);
	struct text name = {address.data,
			    domain.data ? (size_t)(domain.data - address.data) - 1 : address.len};
	size_t end = user_end(config, name), len = end + 1 < name.len ? name.len - end - 1 : 0;
	char last = '.';

	if (!len || len + 2 > size || len > FOLDER_MAX || name.data[0] == '"')
		return false;
	to[0] = '.';
	for (size_t i = 0; i < len; i++) {
		char c = name.data[end + 1 + i];

		if ((unsigned char)c <= ' ' || (unsigned char)c >= 0x7f || c == '/' ||
		    (c == '.' && last == '.'))
			return false;
		to[1 + i] = last = c;
	}
	to[1 + len] = '\0';
	return last != '.' && !text_equal_case(text_of(to), text_of(".trash"));
}

static bool domain_is_folder(struct text domain)
{
	return domain.len && domain.data[0] != '.' && text_find(domain, '/') < 0 &&
	       !memchr(domain.data, '\0', domain.len);
}

bool user_mailbox(const struct user *u, struct text pattern, struct text domain, char *to,
		  size_t size)
{
	size_t out = 0, i = 0;
	struct text piece;

	for (; i < pattern.len; i++) {
		char next = i + 1 < pattern.len ? pattern.data[i + 1] : '\0';

		piece = (struct text){pattern.data + i, 1};
		if (i == 0 && pattern.data[0] == '~' && next == '/') {
			piece = text_of(u->home);
		} else if (pattern.data[i] == '%' && next == 'u') {
			piece = text_of(u->name);
			i++;
		} else if (pattern.data[i] == '%' && next == 'd') {
			if (!domain_is_folder(domain))
				return false;
			piece = domain;
			i++;
		}
		if (piece.len > size - 1 - out)
			return false;
		memcpy(to + out, piece.data, piece.len);
		out += piece.len;
	}
	to[out] = '\0';
	return out > 1 && to[0] == '/';
}
