/* SPDX-License-Identifier: ISC */
/* Remembering users. */
#include "users.h"

#include "file.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_S = 10 };

/* With room for what is in use: most of a struct user is for long paths and many groups. */
struct users_entry {
	struct monotime until;
	char asked[USER_NAME_MAX + 8]; /* how, and for which name */
	char name[USER_NAME_MAX + 1];
	uid_t uid;
	gid_t gid;
	int group_count;
	gid_t groups[]; /* and behind them the home */
};

static char *home_of(struct users_entry *e)
{
	return (char *)(e->groups + e->group_count);
}

static struct users_entry *entry_new(const char *asked, const struct user *u)
{
	size_t groups = (size_t)u->group_count * sizeof *u->groups;
	struct users_entry *e = mem_new(1, sizeof *e + groups + strlen(u->home) + 1);

	strcpy(e->asked, asked);
	strcpy(e->name, u->name);
	e->uid = u->uid;
	e->gid = u->gid;
	e->group_count = u->group_count;
	memcpy(e->groups, u->groups, groups);
	strcpy(home_of(e), u->home);
	e->until.us = monotime_read().us + (int64_t)KEPT_S * 1000000;
	return e;
}

static void entry_give(struct users_entry *e, struct user *u)
{
	strcpy(u->name, e->name);
	strcpy(u->home, home_of(e));
	u->uid = e->uid;
	u->gid = e->gid;
	u->group_count = e->group_count;
	memcpy(u->groups, e->groups, (size_t)e->group_count * sizeof *e->groups);
}

/* False: it is no name. */
static bool asked_put(char *to, size_t size, char how, struct text name)
{
	if (name.len + 2 > size || !name.len || memchr(name.data, '\0', name.len))
		return false;
	snprintf(to, size, "%c%.*s", how, (int)name.len, name.data);
	return true;
}

/* Where it is; or, when it is nowhere, which place it would take: a free one, or the oldest's. */
static struct users_entry **place_of(struct users *all, const char *asked)
{
	struct users_entry **set, **best = NULL;
	uint32_t hash = 5381;

	for (const char *c = asked; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	set = all->entries[hash % USERS_SETS];
	for (size_t i = 0; i < USERS_EACH; i++) {
		if (set[i] && strcmp(set[i]->asked, asked) == 0)
			return &set[i];
		if (!best || (*best && (!set[i] || set[i]->until.us < (*best)->until.us)))
			best = &set[i];
	}
	return best;
}

/* Has the file changed, or has it come or gone? */
static bool changed(const char *path, struct stat *seen)
{
	struct stat now;

	if (stat(path, &now) != 0)
		now = (struct stat){0};
	if (file_is_same(&now, seen))
		return false;
	*seen = now;
	return true;
}

bool users_recall(struct users *all, char how, struct text name, struct user *u)
{
	char asked[USER_NAME_MAX + 8];
	bool stale = changed("/etc/passwd", &all->passwd);

	if (changed("/etc/group", &all->group) || stale)
		users_free(all);
	if (!asked_put(asked, sizeof asked, how, name))
		return false;
	struct users_entry *e = *place_of(all, asked);

	if (!e || strcmp(e->asked, asked) != 0 || e->until.us <= monotime_read().us)
		return false;
	entry_give(e, u);
	return true;
}

void users_keep(struct users *all, char how, struct text name, const struct user *u)
{
	char asked[USER_NAME_MAX + 8];

	if (!asked_put(asked, sizeof asked, how, name))
		return;
	struct users_entry **place = place_of(all, asked);

	free(*place);
	*place = entry_new(asked, u);
}

void users_free(struct users *all)
{
	for (size_t i = 0; i < USERS_SETS; i++)
		for (size_t k = 0; k < USERS_EACH; k++) {
			free(all->entries[i][k]);
			all->entries[i][k] = NULL;
		}
}
