/* SPDX-License-Identifier: ISC */
/* Whose mailbox it is, and where. */
#include "plan.h"

#include "envelope.h"
#include "mem.h"
#include "target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART_BYTES = 330 };
enum { FIND_EXACT = '=', FIND_TAGGED = '+' }; /* how users are remembered */

static enum user_found find_name(struct planner *p, const struct config *config, struct text part,
				 struct user *u)
{
	if (users_recall(&p->users, FIND_TAGGED, part, u))
		return USER_FOUND;
	enum user_found found = user_find(u, part, config);

	if (found == USER_FOUND && p->unprivileged && u->uid != geteuid())
		return USER_ABSENT;
	if (found == USER_FOUND)
		users_keep(&p->users, FIND_TAGGED, part, u);
	return found;
}

/* The owner of virtual mailboxes. False: nobody whom we can be here. */
static bool find_owner(struct planner *p, struct text name, struct user *u)
{
	if (users_recall(&p->users, FIND_EXACT, name, u))
		return true;
	if (user_find(u, name, NULL) != USER_FOUND || u->uid == 0 ||
	    (p->unprivileged && u->uid != geteuid()))
		return false;
	users_keep(&p->users, FIND_EXACT, name, u);
	return true;
}

static enum user_found find(struct planner *p, const struct config *config, struct text address,
			    struct user *u)
{
	char part[PART_BYTES];

	if (!user_part(address, part, sizeof part))
		return USER_ABSENT;
	return find_name(p, config, text_of(part), u);
}

/* RFC 5321 section 4.5.1: every domain has a postmaster. */
static bool is_postmaster(struct text address)
{
	char part[PART_BYTES];

	return user_part(address, part, sizeof part) && strcmp(part, "postmaster") == 0;
}

/* Postmaster's mail for a virtual domain goes to the configuration's, unless that is himself. */
static bool virtual_postmaster(const struct config *config, struct text address, char *to,
			       size_t size)
{
	config_postmaster(config, to, size);
	return is_postmaster(address) && !text_equal_case(text_of(to), address);
}

static unsigned virtual_knows(struct planner *p, const struct config *config,
			      const struct config_virtual *v, struct answers *answers,
			      struct text address)
{
	struct virtual_found found;
	char to[ADDRESS_MAX + 1];
	enum table_verdict verdict = virtual_find(&p->tables, config, v, answers, address, &found);

	if (verdict == TABLE_ABSENT && virtual_postmaster(config, address, to, sizeof to))
		return TABLE_FOUND;
	return verdict;
}

static unsigned knows(struct planner *p, const struct config *config, struct answers *answers,
		      struct text address)
{
	static struct user u; /* large */
	const struct config_virtual *v = config_mailboxes_of(config, address_domain(address));
	char part[PART_BYTES];
	struct text list;

	if (v)
		return virtual_knows(p, config, v, answers, address);
	if (!user_part(address, part, sizeof part))
		return TABLE_ABSENT;
	enum aliases_found alias =
	    alias_file_find(&p->aliases, config, answers, text_of(part), &list);

	if (alias == ALIASES_FOUND || is_postmaster(address))
		return TABLE_FOUND;
	if (alias == ALIASES_BROKEN)
		return TABLE_FAILED;
	switch (find(p, config, address, &u)) {
	case USER_FOUND:
		return TABLE_FOUND;
	case USER_ABSENT:
		return TABLE_ABSENT;
	case USER_FAILED:
		break;
	}
	return TABLE_FAILED;
}

bool plan_asks(const struct config *config, struct text address)
{
	const struct config_virtual *v = config_mailboxes_of(config, address_domain(address));

	return v ? table_is_asked(v->mailboxes)
		 : table_is_asked(config->local_aliases) || table_is_asked(config->local_quotas);
}

bool plan_knows(struct planner *p, const struct config *config, struct answers *answers,
		struct text address, unsigned *verdict)
{
	do {
		*verdict = knows(p, config, answers, address);
		if (!answers_lack(answers))
			return true;
	} while (answers_ask(answers));
	return false;
}

/*
 * Mailboxes in a folder of the system's that a group may write (/var/mail, group mail): the child
 * gets that group as well, for files that are made there, and for their locks.
 */
static gid_t folder_group(const char *path)
{
	char folder[PATH_MAX];
	size_t len = strlen(path);
	struct stat st;

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 1 && path[len - 1] != '/')
		len--;
	text_copy(folder, sizeof folder, (struct text){path, len});
	if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 ||
	    !(st.st_mode & S_IWGRP))
		return 0;
	return st.st_gid;
}

#define SHOWN(address) (int)((address).len < 320 ? (address).len : 320), (address).data

static bool settle_user(struct result *result, struct text address, enum user_found found)
{
	if (found == USER_ABSENT)
		result_set(result, OUTCOME_FAILED, 550, "5.1.1", "there is no user %.*s here",
			   SHOWN(address));
	else if (found == USER_FAILED)
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.0",
			   "the users of this machine can't be looked up now");
	return found != USER_FOUND;
}

/* What the table of quotas has for the user NAME, to *Q; false: that is not known now. */
static bool find_quota(struct planner *by, const struct config *config, const char *name,
		       struct quota *q)
{
	struct bytes value = {0};
	const char *wrong = NULL;
	const struct table_view *t =
	    table_files_open(&by->tables, config->local_quotas, config->tables_size);
	enum table_verdict found = t ? table_view_find(t, text_of(name), &value) : TABLE_FAILED;

	if (found == TABLE_FOUND)
		wrong = quota_read(bytes_text(&value), q);
	bytes_free(&value);
	if (wrong)
		log_warning(by->tables.log, "%s: the quota of %s: %s", table_view_name(t), name,
			    wrong);
	return !wrong && found != TABLE_FAILED;
}

/* The same of a table that table is asked about. */
static bool ask_quota(struct planner *by, const struct config *config, struct answers *answers,
		      const char *name, struct quota *q)
{
	struct text value = {NULL, 0};
	enum table_verdict found =
	    answers_find(answers, config->local_quotas, text_of(name), &value);
	const char *wrong = found == TABLE_FOUND ? quota_read(value, q) : NULL;

	if (wrong)
		table_files_complain(&by->tables, config->local_quotas, "the quota", text_of(name),
				     wrong);
	return !wrong && found != TABLE_FAILED;
}

/* The quota of P's user: what local has, or his line in the table. */
static bool plan_quota(struct planner *by, const struct config *config, struct answers *answers,
		       struct plan *p, struct result *result)
{
	struct quota *q = &p->order.room.quota;
	bool known = true;

	*q = (struct quota){.bytes = config->local_quota, .messages = config->local_quota_messages};
	p->order.room.waits = config->local_quota_waits;
	if (table_is_asked(config->local_quotas))
		known = ask_quota(by, config, answers, p->user.name, q);
	else if (config->local_quotas.len)
		known = find_quota(by, config, p->user.name, q);
	if (!known)
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "the table of quotas can't be used now: see the log");
	return known;
}

static void plan_folder(const struct config *config, struct text address, struct order *o)
{
	size_t len = strlen(o->path);

	if (!config->local_folders || !len || o->path[len - 1] != '/' ||
	    !user_folder(config, address, o->folder, sizeof o->folder))
		o->folder[0] = '\0';
}

/* Is he called so with what looks like a tag? */
static bool is_whole_name(const struct user *u, struct text address)
{
	char part[PART_BYTES];

	return user_part(address, part, sizeof part) &&
	       text_equal_case(text_of(part), text_of(u->name));
}

/* Into P's user's mailbox, by way of his .forward or not. */
static bool plan_mailbox(struct planner *by, const struct job *job, struct answers *answers,
			 struct plan *p, bool forward, struct result *result)
{
	struct order *o = &p->order;

	if (!plan_quota(by, job->config, answers, p, result))
		return false;
	if (letter_loops(&o->letter)) {
		result_set(result, OUTCOME_FAILED, 554, "5.4.6", "mail forwarding loop for %.*s",
			   SHOWN(o->letter.address));
		return false;
	}
	if (!user_mailbox(&p->user, job->config->local_mailbox, job->domain, o->path,
			  sizeof o->path)) {
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "the mailbox's path can't be made up from local { mailbox }");
		return false;
	}
	if (!is_whole_name(&p->user, o->letter.address))
		plan_folder(job->config, o->letter.address, o);
	o->kind = forward && job->config->local_forward ? ORDER_USER : ORDER_MAILBOX;
	o->folder_group = by->unprivileged ? 0 : folder_group(o->path);
	return true;
}

static bool is_allowed(const struct config *config, const struct target *t)
{
	return t->kind == ALIAS_INCLUDE ||
	       config_local_allows(t->kind == ALIAS_COMMAND ? &config->local_commands
							    : &config->local_files,
				   t->from);
}

/* A command, file or list: p->target, which is R's. */
static bool plan_target(const struct job *job, const struct recipient *r, struct plan *p,
			struct result *result)
{
	const struct target *t = &p->target;
	struct order *o = &p->order;

	if (!is_allowed(job->config, t)) {
		result_set(result, OUTCOME_FAILED, 550, "5.7.1",
			   "mail to a %s of %s is not allowed",
			   t->kind == ALIAS_COMMAND ? "command" : "file",
			   t->from == LOCAL_ALIAS     ? "an alias"
			   : t->from == LOCAL_FORWARD ? "a .forward"
						      : "a list");
		return false;
	}
	o->kind = t->kind == ALIAS_COMMAND ? ORDER_COMMAND
		  : t->kind == ALIAS_FILE  ? ORDER_FILE
					   : ORDER_INCLUDE;
	o->of_forward = t->forward;
	text_copy(o->path, sizeof o->path, t->value);
	text_copy(o->list, sizeof o->list, t->list);
	if (t->list.len)
		o->listed = r->target;
	return true;
}

/* What an alias names is done by the user whom the configuration has for it. */
static bool plan_alias_target(struct planner *by, const struct job *job, const struct recipient *r,
			      struct plan *p, struct result *result)
{
	struct text source = target_source(&p->target, p->source);

	if (!alias_has(&by->aliases, job->config, r->answers, r->address, source)) {
		/* They were changed: what they say now counts; who has the mail already is left
		 * out by qmgr. */
		if (!alias_expand(&by->aliases, job->config, r->answers, r->address, job->sender,
				  result)) {
			result_add(result,
				   &(struct addition){.address = r->address, .target = TEXT("~")});
			result_set(result, OUTCOME_EXPANDED, 250, "2.1.5", "its alias is gone");
		}
		return false;
	}
	if (find_name(by, job->config, job->config->local_user, &p->user) != USER_FOUND ||
	    p->user.uid == 0) {
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "local { user } is nobody whom we can be here");
		return false;
	}
	if (!plan_target(job, r, p, result))
		return false;
	if (p->order.kind == ORDER_FILE && !by->unprivileged)
		p->order.folder_group = folder_group(p->order.path);
	return true;
}

/* Where nobody has said otherwise, postmaster's mail is root's, or goes where double bounces go. */
static bool plan_postmaster(struct planner *by, const struct job *job, const struct recipient *r,
			    struct result *result)
{
	char to[ADDRESS_MAX + 1];
	struct text domain = address_domain(r->address), root;

	config_postmaster(job->config, to, sizeof to);
	if (text_equal_case(text_of(to), r->address)) {
		snprintf(to, sizeof to, "root@%.*s", SHOWN(domain));
		if (alias_file_find(&by->aliases, job->config, r->answers,
				    (struct text)TEXT("root"), &root) == ALIASES_ABSENT)
			return false;
	}
	result_add(result, &(struct addition){.address = text_of(to)});
	result_set(result, OUTCOME_EXPANDED, 250, "2.1.5", "the postmaster is %s", to);
	return true;
}

/* Root's files are worth more than a mailbox: nothing here ever becomes root. */
static void settle_root(struct result *result)
{
	result_set(result, OUTCOME_DEFERRED, 0, "4.2.1",
		   "root has no mailbox: name who reads its mail in the aliases file (root: ann)");
}

static bool plan_user(struct planner *by, const struct job *job, const struct recipient *r,
		      struct plan *p, struct result *result)
{
	struct text target = r->target;
	enum user_found found = find(by, job->config, r->address, &p->user);

	if (found == USER_ABSENT && !target.len && is_postmaster(r->address) &&
	    plan_postmaster(by, job, r, result))
		return false;
	if (settle_user(result, r->address, found))
		return false;
	if (p->user.uid == 0) {
		settle_root(result);
		return false;
	}
	if (target.len < 2)
		return plan_mailbox(by, job, r->answers, p, !text_equals(target, "\\"), result);
	p->order.forward = target_source(&p->target, p->source);
	return plan_target(job, r, p, result);
}

/* No line in the table. */
static void settle_unlisted(const struct job *job, const struct recipient *r,
			    enum table_verdict verdict, struct result *result)
{
	char to[ADDRESS_MAX + 1];

	if (verdict != TABLE_ABSENT) {
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "the table of mailboxes can't be used now: see the log");
	} else if (virtual_postmaster(job->config, r->address, to, sizeof to)) {
		result_add(result, &(struct addition){.address = text_of(to)});
		result_set(result, OUTCOME_EXPANDED, 250, "2.1.5", "the postmaster is %s", to);
	} else {
		settle_user(result, r->address, USER_ABSENT);
	}
}

static bool virtual_path(const struct config_virtual *v, const char *below, struct order *o)
{
	if (v->root.len + 1 + strlen(below) >= sizeof o->path)
		return false;
	text_copy(o->path, sizeof o->path, v->root);
	o->root = v->root.len;
	o->path[o->root] = '/';
	strcpy(o->path + o->root + 1, below);
	return true;
}

/* No aliases, no .forward: the table says all. Nothing of the address stands in the path. */
static bool plan_virtual(struct planner *by, const struct job *job, const struct config_virtual *v,
			 const struct recipient *r, struct plan *p, struct result *result)
{
	struct virtual_found *found = &p->found;
	enum table_verdict verdict =
	    virtual_find(&by->tables, job->config, v, r->answers, r->address, found);

	if (verdict != TABLE_FOUND) {
		settle_unlisted(job, r, verdict, result);
		return false;
	}
	/* It was a domain of users when its alias or .forward was read. */
	if (r->target.len > 1) {
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "no command, file or list belongs to a virtual domain");
		return false;
	}
	if (letter_loops(&p->order.letter)) {
		result_set(result, OUTCOME_FAILED, 554, "5.4.6", "mail forwarding loop for %.*s",
			   SHOWN(r->address));
		return false;
	}
	if (!find_owner(by, v->user, &p->user) || !virtual_path(v, found->path, &p->order)) {
		result_set(result, OUTCOME_DEFERRED, 0, "4.3.5",
			   "virtual { user } is nobody whom we can be here, or a path is too long");
		return false;
	}
	p->order.kind = ORDER_MAILBOX;
	p->order.room.quota = found->quota;
	p->order.room.waits = job->config->local_quota_waits;
	if (found->untagged)
		plan_folder(job->config, r->address, &p->order);
	return true;
}

/* FNV-1a. */
static uint64_t mix(uint64_t hash, struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		hash = (hash ^ (unsigned char)t.data[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t plan_whom(const struct job *job, const struct recipient *r, bool *common)
{
	const uint64_t start = UINT64_C(0xcbf29ce484222325);
	const struct config_virtual *v =
	    config_mailboxes_of(job->config, address_domain(r->address));
	struct text separators = job->config->local_separators;
	char part[PART_BYTES];
	size_t len = 0;

	*common = v != NULL;
	if (v)
		return mix(start, v->user);
	if (!user_part(r->address, part, sizeof part))
		return 0;
	while (part[len] &&
	       (text_equals(separators, "none") || text_find(separators, part[len]) < 0))
		len++;
	return mix(start, (struct text){part, len});
}

static bool plan(struct planner *by, const struct job *job, const struct recipient *r,
		 struct plan *p, struct result *result)
{
	bool special = r->target.len > 1;
	const struct config_virtual *v =
	    config_mailboxes_of(job->config, address_domain(r->address));

	if (v)
		return plan_virtual(by, job, v, r, p, result);
	if (special && !target_read(r->target, &p->target)) {
		result_set(result, OUTCOME_FAILED, 554, "5.3.5", "an unknown kind of target");
		return false;
	}
	if (special && !p->target.forward)
		return plan_alias_target(by, job, r, p, result);
	if (!r->target.len &&
	    alias_expand(&by->aliases, job->config, r->answers, r->address, job->sender, result))
		return false;
	return plan_user(by, job, r, p, result);
}

static void plan_begin(struct planner *by, const struct job *job, const struct recipient *r,
		       struct plan *p)
{
	struct order *o = &p->order;

	/* Field by field: the path alone is a page, and each page costs a fault after each fork. */
	o->kind = ORDER_MAILBOX;
	o->forward = (struct text){NULL, 0};
	o->letter = (struct letter){.sender = job->sender,
				    .original = r->original,
				    .address = r->address,
				    .prelude = job->prelude,
				    .body = job->body,
				    .fd = job->fd,
				    .body_length = job->body_length,
				    .arrival = job->arrival,
				    .id = job->id,
				    .number = r->number};
	o->user = &p->user;
	o->host = by->host;
	o->stays = by->unprivileged;
	o->limit = job->config->local_command_time;
	o->folder_group = 0;
	o->path[0] = '\0';
	o->root = 0;
	o->listed = (struct text){NULL, 0};
	o->of_forward = false;
	o->list[0] = '\0';
	o->folder[0] = '\0';
	o->room = (struct room){0};
	p->target = (struct target){0};
}

enum plan_verdict plan_recipient(struct planner *by, const struct job *job,
				 const struct recipient *r, struct plan *p, struct result *result)
{
	do {
		result_free(result);
		*result = (struct result){0};
		plan_begin(by, job, r, p);
		bool order = plan(by, job, r, p, result);

		if (!answers_lack(r->answers))
			return order ? PLAN_ORDER : PLAN_SETTLED;
	} while (answers_ask(r->answers));
	result_free(result);
	*result = (struct result){0};
	return PLAN_WAITS;
}
