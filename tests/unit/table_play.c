/* SPDX-License-Identifier: ISC */
/* Playing table. */
#include "table_play.h"

#include "must.h"
#include "table_text.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { VALUE_BYTES = 16384 };

static void say(struct table_play *p, uint64_t query, const char *value)
{
	bool failed = value && strcmp(value, "!") == 0;

	channel_send_looked_up(p->answers,
			       &(struct msg_looked_up){query,
						       failed  ? TABLE_FAILED
						       : value ? TABLE_FOUND
							       : TABLE_ABSENT,
						       text_of(value && !failed ? value : "")});
}

static void on_lookup(struct channel *c, const struct message *m)
{
	struct table_play *p = channel_owner(c);
	static char room[VALUE_BYTES];
	char key[TABLE_KEY_MAX + 1];
	size_t len = strlen(p->keys);

	text_copy(key, sizeof key, m->lookup.key);
	p->asked++;
	if (len + strlen(key) + 2 < sizeof p->keys)
		sprintf(p->keys + len, "%s ", key);
	if (!p->silent) {
		say(p, m->lookup.query, p->says(m->lookup.table, key, room, sizeof room));
		return;
	}
	must(p->later < PLAY_LATER_MAX);
	p->queries[p->later++] = m->lookup.query;
}

static void on_looked_up(struct channel *c, const struct message *m)
{
	struct table_play *p = channel_owner(c);

	lookups_serve(p->lookups, m->looked_up.query, m->looked_up.verdict, m->looked_up.value);
}

static void asks_gone(struct channel *c, const char *why)
{
	struct table_play *p = channel_owner(c);

	(void)why;
	p->asks = NULL;
	lookups_gone(p->lookups);
}

static void answers_gone(struct channel *c, const char *why)
{
	(void)why;
	((struct table_play *)channel_owner(c))->answers = NULL;
}

void table_play_begin(struct table_play *p, struct loop *loop)
{
	static const struct serve local[] = {{MSG_looked_up, PEER_TABLE, on_looked_up},
					     {MSG_NONE, 0, NULL}};
	static const struct serve table[] = {{MSG_lookup, PEER_LOCAL, on_lookup},
					     {MSG_NONE, 0, NULL}};
	struct channel_config config = {.loop = loop,
					.self_kind = PEER_LOCAL,
					.serves = local,
					.gone = asks_gone,
					.hello = {message_schema(), 1, 1, 1}};
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	p->loop = loop;
	p->lookups = lookups_new(loop, TABLE_FAILED, TABLE_FAILED, SECONDS(10));
	p->asks = channel_new(&config, pair[0], PEER_TABLE, 0, p);
	config.self_kind = PEER_TABLE;
	config.serves = table;
	config.gone = answers_gone;
	p->answers = channel_new(&config, pair[1], PEER_LOCAL, 0, p);
	lookups_open(p->lookups, p->asks);
}

void table_play_close(struct table_play *p)
{
	channel_free(&p->answers);
	for (int i = 0; p->asks && i < 100; i++)
		loop_turn(p->loop, MILLISECONDS(2));
	must(!p->asks);
}

void table_play_end(struct table_play *p)
{
	lookups_free(&p->lookups);
	channel_free(&p->asks);
	channel_free(&p->answers);
}

void table_play_speak(struct table_play *p, const char *value)
{
	p->silent = false;
	while (p->later)
		say(p, p->queries[--p->later], value);
}
