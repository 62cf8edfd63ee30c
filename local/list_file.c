/* SPDX-License-Identifier: ISC */
/* .forward and included lists. */
#include "list_file.h"

#include "alias_list.h"
#include "envelope.h"
#include "file.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct reading {
	const struct user *user;
	const struct letter *letter;
	struct result *r;
	const char *list; /* an included one; NULL: a .forward */
	bool forward;	  /* a .forward, or one that it names */
	const char *why;
};

/* -- the file ------------------------------------------------------------------------------ */

/* Could anybody but OWNER and root have put this here? */
static const char *stat_fault(const struct stat *st, uid_t owner)
{
	if (st->st_uid != owner && st->st_uid != 0)
		return "it belongs to another user";
	return st->st_mode & (S_IWGRP | S_IWOTH) ? "others than its owner may write it" : NULL;
}

static enum list_found open_failed(const char **why)
{
	*why = strerror(errno);
	return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? LIST_ABSENT : LIST_FAILED;
}

static enum list_found file_read(const char *path, uid_t owner, struct bytes *to, const char **why)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	enum list_found found = LIST_UNUSABLE;
	struct stat st;

	if (fd < 0)
		return open_failed(why);
	if (fstat(fd, &st) != 0)
		*why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		*why = "it is no regular file";
	else if (st.st_size > LIST_BYTES_MAX)
		*why = "it is too large";
	else if (!(*why = stat_fault(&st, owner)))
		found = st.st_size ? LIST_FOUND : LIST_ABSENT;
	if (found != LIST_FOUND) {
		close(fd);
		return found;
	}
	if (file_take(fd, (size_t)st.st_size, to))
		return LIST_FOUND;
	*why = "it is being changed";
	return LIST_FAILED;
}

/* -- what it says ---------------------------------------------------------------------------- */

static void add(struct reading *x, struct text address, struct text target)
{
	if (!x->why && !result_add(x->r, &(struct addition){.address = address, .target = target}))
		x->why = "it has too many members";
}

static void add_name(struct reading *x, struct text name, struct text domain, const char *target)
{
	char address[ADDRESS_MAX + 1];
	int n = snprintf(address, sizeof address, "%.*s@%.*s", (int)name.len, name.data,
			 (int)domain.len, domain.data);

	if (n <= 0 || n > ADDRESS_MAX)
		x->why = "an address in it is too long";
	else
		add(x, (struct text){address, (size_t)n}, text_of(target));
}

static void add_target(struct reading *x, const char *before, const struct alias_item *item)
{
	char target[TARGET_MAX + 1];
	int n = snprintf(target, sizeof target, "%s%s", before, item->value);

	add(x, x->letter->address, (struct text){target, n > 0 ? (size_t)n : 0});
}

/* "ann" in ann's .forward, and whom the mail is for: the mailbox, as \ann. */
static void add_address(struct reading *x, struct text value)
{
	struct text domain = address_domain(value), ours = address_domain(x->letter->address);
	bool own = domain.len ? text_equal_case(value, x->letter->address)
			      : text_equal_case(value, text_of(x->user->name));

	if (x->forward && own)
		add(x, x->letter->address, text_of("\\"));
	else if (domain.len)
		add(x, value, (struct text){NULL, 0});
	else
		add_name(x, value, ours, "");
}

static void add_own(struct reading *x, struct text value)
{
	struct text domain = address_domain(value);

	if (domain.len)
		value.len -= domain.len + 1;
	if (text_equal_case(value, text_of(x->user->name)))
		add(x, x->letter->address, text_of("\\"));
	else
		add_name(x, value, domain.len ? domain : address_domain(x->letter->address), "\\");
}

static void add_listed(struct reading *x, const struct alias_item *item)
{
	char target[TARGET_BYTES];

	if (target_of_list(target, x->forward, x->list, item))
		add(x, x->letter->address, text_of(target));
	else
		x->why = "a command or file in it is too long";
}

static void read_item(struct reading *x, const struct alias_item *item)
{
	struct text value = {item->value, item->len};

	if (item->kind == ALIAS_ADDRESS)
		add_address(x, value);
	else if (x->list && (item->kind == ALIAS_COMMAND || item->kind == ALIAS_FILE))
		add_listed(x, item);
	else if (x->list)
		x->why = "a list may name no other list, and no \\user";
	else if (item->kind == ALIAS_OWN)
		add_own(x, value);
	else
		add_target(x,
			   item->kind == ALIAS_COMMAND ? "~|"
			   : item->kind == ALIAS_FILE  ? "~"
						       : "~:include:",
			   item);
}

static enum list_found read_all(struct reading *x, struct bytes *content)
{
	struct text list = bytes_text(content);
	struct alias_item item;
	enum alias_next next;
	const char *why;

	while (!x->why && (next = alias_next(&list, true, &item, &why)) != ALIAS_END) {
		if (next == ALIAS_FAULT)
			x->why = why;
		else
			read_item(x, &item);
	}
	bytes_free(content);
	if (x->why)
		result_free(x->r);
	return x->why ? LIST_UNUSABLE : x->r->added ? LIST_FOUND : LIST_ABSENT;
}

enum list_found forward_read(const struct user *u, const struct letter *l, struct result *r,
			     const char **why)
{
	struct reading x = {u, l, r, NULL, true, NULL};
	char path[PATH_MAX + 16];
	struct bytes content = {0};
	struct stat home;

	/* Whoever may write the folder may put another file there. */
	if (stat(u->home, &home) != 0)
		return open_failed(why);
	snprintf(path, sizeof path, "%s/.forward", u->home);
	enum list_found found = file_read(path, u->uid, &content, why);

	if (found == LIST_FOUND && (*why = stat_fault(&home, u->uid))) {
		bytes_free(&content);
		*why = "others than its owner may write the home folder";
		return LIST_UNUSABLE;
	}
	if (found != LIST_FOUND)
		return found;
	found = read_all(&x, &content);
	*why = x.why;
	return found;
}

static enum list_found list_read(const char *path, bool forward, const struct user *u, uid_t owner,
				 const struct letter *l, struct result *r, const char **why)
{
	struct reading x = {u, l, r, path, forward, NULL};
	struct bytes content = {0};
	enum list_found found = file_read(path, owner, &content, why);

	if (found != LIST_FOUND)
		return found;
	found = read_all(&x, &content);
	*why = x.why;
	return found;
}

enum list_found include_read(const char *path, bool forward, const struct user *u,
			     const struct letter *l, struct result *r, const char **why)
{
	struct stat st;

	/* A list may be kept by whoever its file belongs to; nobody beside him. */
	return list_read(path, forward, u, stat(path, &st) == 0 ? st.st_uid : u->uid, l, r, why);
}

static bool has(const struct result *r, struct text target)
{
	struct text list = result_additions(r);
	struct addition a;

	while (result_next(&list, &a))
		if (text_equal(a.target, target))
			return true;
	return false;
}

enum list_found include_has(const char *path, bool forward, const struct user *u,
			    const struct letter *l, struct text target, const char **why)
{
	struct result r = {0};
	enum list_found found = list_read(path, forward, u, u->uid, l, &r, why);

	if (found == LIST_FOUND && !has(&r, target))
		found = LIST_ABSENT;
	result_free(&r);
	return found;
}

bool forward_has(const struct user *u, const struct letter *l, struct text target)
{
	struct result r = {0};
	const char *why;
	bool still = forward_read(u, l, &r, &why) == LIST_FOUND && has(&r, target);

	result_free(&r);
	return still;
}
