/* SPDX-License-Identifier: ISC */
/* From what is heard to who is frozen. */
#include "takeover.h"

#include "freezer.h"
#include "habits.h"
#include "mem.h"
#include "snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PEERS_MOST = 512,
	HABITS_EVERY_S = 30, /* they are written, if there is news */
	TICK_S = 5,
	NOTICE_WAIT_S = 60, /* for submission's answer, and between two tries */
	HASTE_SAID_S = 3600,
	NEWS_ENTRY_MS = 1, /* of an entry: the list is told and written once in so long */
};

static const char frozen_name[] = "frozen", habits_name[] = "habits";

struct takeover {
	struct daemon *d;
	const char *folder;
	struct habits *habits;
	struct freezer *freezer;
	struct channel *peers[PEERS_MOST]; /* who is told of the frozen ones */
	size_t peer_count;
	struct channel *submission; /* NULL while there is none */
	struct timer tick;
	unsigned ticks;
	bool fresh;		 /* habits that are not on disk */
	struct timer news;	 /* of the list: it is told and written then */
	struct monotime news_at; /* when it was last */
	bool untold;		 /* neighbours do not have it as it is */

	/* The notice under way. */
	uint64_t token;
	char noticed[FREEZER_LOGIN_BYTES]; /* empty: none */
	struct monotime notice_until;	   /* no other one before */
	struct monotime haste_said;
};

static int64_t now_s(const struct takeover *t)
{
	return loop_wall(t->d->loop).us / 1000000;
}

/* -- neighbours ----------------------------------------------------------------------- */

static void tell(const struct takeover *t, struct channel *c)
{
	struct bytes list = {0};

	channel_send_frozen(c, &(struct msg_frozen){freezer_list(t->freezer, &list)});
	bytes_free(&list);
}

void takeover_gone(struct takeover *t, struct channel *c)
{
	if (c == t->submission)
		t->submission = NULL;
	for (size_t i = 0; i < t->peer_count; i++)
		if (t->peers[i] == c) {
			t->peers[i] = t->peers[--t->peer_count];
			return;
		}
}

/* -- the postmaster ---------------------------------------------------------------------- */

/* Of nothing that is not on disk. */
static void notice_next(struct takeover *t)
{
	const struct frozen_entry *e = freezer_untold(t->freezer);
	struct monotime now = loop_now(t->d->loop);

	if (!e || !t->submission || timer_is_set(&t->news) ||
	    (t->notice_until.us && now.us < t->notice_until.us))
		return;
	text_copy(t->noticed, sizeof t->noticed, text_of(e->login));
	t->notice_until = monotime_add(now, SECONDS(NOTICE_WAIT_S));
	channel_send_notice(t->submission, &(struct msg_notice){
					       .token = ++t->token,
					       .login = text_of(e->login),
					       .why = text_of(e->why),
					       .since_wall = (uint64_t)e->since_us,
					       .frozen = e->frozen,
					   });
}

/* -- news -------------------------------------------------------------------------------- */

/* On disk before anybody hears of it: what is said stays true after a restart. */
static void news_tell(struct takeover *t)
{
	struct bytes content = {0};

	timer_clear(&t->news);
	t->news_at = loop_now(t->d->loop);
	freezer_encode(t->freezer, &content);
	snapshot_write(t->folder, frozen_name, &content, true, t->d->log);
	bytes_free(&content);
	for (size_t i = 0; t->untold && i < t->peer_count; i++)
		tell(t, t->peers[i]);
	t->untold = false;
	notice_next(t);
}

static void news_fired(void *arg)
{
	news_tell(arg);
}

/*
 * The list has changed; UNTOLD: in what neighbours know of it. It goes to them
 * whole, and they look through all they have for it: so the first change goes
 * out at once, and the longer the list, the more change with it.
 */
static void changed(struct takeover *t, bool untold)
{
	int64_t pause_ms = (int64_t)freezer_count(t->freezer) * NEWS_ENTRY_MS;
	struct monotime next = monotime_add(t->news_at, MILLISECONDS(pause_ms)),
			now = loop_now(t->d->loop);

	t->untold = t->untold || untold;
	if (timer_is_set(&t->news))
		return;
	if (!t->news_at.us || now.us >= next.us)
		news_tell(t);
	else
		timer_set(&t->news, monotime_since(next, now));
}

void takeover_peer(struct takeover *t, struct channel *c)
{
	if (channel_peer(c) == PEER_SUBMISSION)
		t->submission = c;
	if (t->peer_count == PEERS_MOST) {
		channel_end(c, "is one neighbour too many");
		return;
	}
	if (timer_is_set(&t->news))
		news_tell(t);
	t->peers[t->peer_count++] = c;
	tell(t, c);
}

void takeover_handed(struct takeover *t, const struct msg_handed *m)
{
	struct frozen_entry *e = freezer_find(t->freezer, text_of(t->noticed));

	if (m->token != t->token || !t->noticed[0])
		return;
	t->noticed[0] = '\0';
	if (!m->taken && m->code < 500)
		return; /* again, when its time has come */
	if (!m->taken)
		log_warning(t->d->log, "the postmaster can't be told: %u %.*s", m->code,
			    (int)m->reply.len, m->reply.data);
	t->notice_until.us = 0;
	if (e) {
		e->told = true;
		changed(t, false);
	}
	notice_next(t);
}

/* -- signs ---------------------------------------------------------------------------------- */

static bool is_exempt(const struct config *config, struct text login)
{
	for (size_t i = 0; i < config->takeover_exempt.count; i++) {
		struct text rule = config->takeover_exempt.items[i];

		if (rule.data[0] == '*'
			? text_ends_case(login, (struct text){rule.data + 1, rule.len - 1})
			: text_equal_case(login, rule))
			return true;
	}
	return false;
}

/* Is what LOGIN does from there looked at? */
static bool is_watched(const struct takeover *t, struct text login, struct text address)
{
	const struct config *config = t->d->config;

	return config->takeover_then != TAKEOVER_OFF && login.len && !is_exempt(config, login) &&
	       !(address.len == 16 &&
		 networks_contain(&config->takeover_exempt_from, (const uint8_t *)address.data));
}

static void say_hasty(struct takeover *t, struct text login, const char *why, bool full)
{
	struct monotime now = loop_now(t->d->loop);

	if (t->haste_said.us && monotime_since(now, t->haste_said).us < SECONDS(HASTE_SAID_S).us)
		return;
	t->haste_said = now;
	log_warning(t->d->log, "login %.*s looks taken over (%s), but %s; so may others",
		    (int)login.len, login.data, why,
		    full ? "there is no room for more frozen ones"
			 : "there were takeover { most } in the last hour already");
}

/* Looks for signs, once something of LOGIN was counted. */
static void judge(struct takeover *t, struct text login)
{
	const struct config *config = t->d->config;
	bool frozen = config->takeover_then == TAKEOVER_FREEZE;
	char why[HABIT_WHY_BYTES];

	t->fresh = true;
	if (!habit_looks_taken(t->habits, login, config, now_s(t), why))
		return;
	enum freezer_result r = freezer_add(t->freezer, login, text_of(why), frozen,
					    config->takeover_most, loop_wall(t->d->loop).us);

	if (r == FREEZER_HASTY || r == FREEZER_FULL)
		say_hasty(t, login, why, r == FREEZER_FULL);
	if (r != FREEZER_ADDED)
		return;
	if (frozen)
		LOG(t->d->log, login_frozen, 0, login, text_of(why));
	else
		LOG(t->d->log, login_suspect, 0, login, text_of(why));
	changed(t, true);
}

void takeover_note(struct takeover *t, const struct msg_login_note *m)
{
	int64_t now = now_s(t);

	if (!is_watched(t, m->login, m->address))
		return;
	uint32_t all =
	    m->refused > UINT32_MAX - m->recipients ? UINT32_MAX : m->recipients + m->refused;

	habit_count(t->habits, m->login, HABIT_RECIPIENTS, all, now);
	habit_count(t->habits, m->login, HABIT_REFUSED, m->refused, now);
	if (m->address.len == 16)
		habit_network(t->habits, m->login, (const uint8_t *)m->address.data, now);
	judge(t, m->login);
}

void takeover_limited(struct takeover *t, struct text login, struct text address)
{
	/* Handed in on this machine: nobody has signed in. */
	if (address.len != 16 || !is_watched(t, login, address))
		return;
	habit_count(t->habits, login, HABIT_LIMITED, 1, now_s(t));
	judge(t, login);
}

void takeover_failures(struct takeover *t, const struct msg_failures *m)
{
	struct wire_list list = m->logins;
	struct rec_login_failures f;

	while (list_next_login_failures(&list, &f)) {
		if (!is_watched(t, f.login, (struct text){NULL, 0}))
			continue;
		habit_count(t->habits, f.login, HABIT_REFUSED, f.count, now_s(t));
		judge(t, f.login);
	}
}

/* -- a person -------------------------------------------------------------------------------- */

static enum login_result settle(struct takeover *t, const struct msg_login_settle *m)
{
	char why[64];

	if (m->action == LOGIN_RELEASE) {
		if (!freezer_remove(t->freezer, m->login))
			return LOGIN_SAME;
		habit_pardon(t->habits, m->login, now_s(t));
		t->fresh = true;
		return LOGIN_CHANGED;
	}
	snprintf(why, sizeof why, "frozen by uid %u", (unsigned)m->uid);
	switch (
	    freezer_add(t->freezer, m->login, text_of(why), true, 0, loop_wall(t->d->loop).us)) {
	case FREEZER_ADDED:
		return LOGIN_CHANGED;
	case FREEZER_KNOWN:
		return LOGIN_SAME;
	case FREEZER_HASTY:
	case FREEZER_FULL:
		break;
	}
	return LOGIN_FULL;
}

void takeover_settle(struct takeover *t, struct channel *c, const struct msg_login_settle *m)
{
	char uid[16];

	if ((m->action != LOGIN_FREEZE && m->action != LOGIN_RELEASE) || !m->login.len ||
	    memchr(m->login.data, '\0', m->login.len)) {
		channel_end(c, "settled a login against the rules");
		return;
	}
	enum login_result result = settle(t, m);

	if (result == LOGIN_CHANGED) {
		snprintf(uid, sizeof uid, "%u", (unsigned)m->uid);
		LOG(t->d->log, login_settled, 0, m->login,
		    text_of(m->action == LOGIN_FREEZE ? "frozen" : "released"), text_of(uid));
		t->untold = true;
		news_tell(t);
	}
	/* Behind the news itself: who hears of the answer acts on it. */
	channel_send_login_settled(c, &(struct msg_login_settled){m->query, (uint8_t)result});
}

/* -- life ------------------------------------------------------------------------------------- */

void takeover_write(struct takeover *t)
{
	struct bytes content = {0};

	if (timer_is_set(&t->news))
		news_tell(t);
	if (!t->fresh)
		return;
	t->fresh = false;
	habits_encode(t->habits, &content);
	snapshot_write(t->folder, habits_name, &content, false, t->d->log);
	bytes_free(&content);
}

static void tick(void *arg)
{
	struct takeover *t = arg;

	timer_set(&t->tick, SECONDS(TICK_S));
	if (freezer_expire(t->freezer, loop_wall(t->d->loop).us))
		changed(t, true);
	notice_next(t);
	if (++t->ticks % (HABITS_EVERY_S / TICK_S) == 0)
		takeover_write(t);
}

struct takeover *takeover_open(struct daemon *d, const char *folder)
{
	struct takeover *t = mem_new(1, sizeof *t);
	struct bytes content = {0};
	uint8_t key[SIPHASH_KEY_BYTES];

	siphash_key_make(key);
	t->d = d;
	t->folder = folder;
	t->habits = habits_new(key, HABITS_MOST);
	t->freezer = freezer_new();
	if (snapshot_read(folder, frozen_name, FREEZER_BYTES_MOST, &content) &&
	    !freezer_decode(t->freezer, bytes_at(&content), bytes_len(&content)))
		log_error(d->log, "the list of frozen logins can't be read; none is frozen");
	content.start = content.end = 0;
	if (snapshot_read(folder, habits_name, habits_size_most(HABITS_MOST) + 64, &content))
		(void)habits_decode(t->habits, bytes_at(&content), bytes_len(&content), now_s(t));
	bytes_free(&content);
	timer_init(&t->tick, d->loop, tick, t);
	timer_init(&t->news, d->loop, news_fired, t);
	timer_set(&t->tick, SECONDS(TICK_S));
	return t;
}
