/* SPDX-License-Identifier: ISC */
/* A person at the control socket: any action on any message, at any time. control.c carries them
 * out; delivery.c does for what was in flight, when it comes back. */
#include "sim.h"

#include "message.h"

enum { TARGETS = 40 };

static void act(struct sim *s, enum queue_action action, const uint64_t *ids, uint32_t count)
{
	struct bytes targets = {0};
	struct message m = {.type = MSG_act, .act = {.request = 1, .action = (uint8_t)action}};

	for (uint32_t i = 0; i < count; i++) {
		struct mail *mail = mail_find(&s->q.mails, ids[i]);

		rec_target_encode(&targets, &(struct rec_target){ids[i], RECIPIENT_ALL});
		/* Whoever deletes it wants it lost. */
		for (uint32_t n = 0; mail && action == ACTION_DELETE && n < mail->recipient_count;
		     n++)
			book_dropped(&s->book, mail->id, mail->recipients[n].number);
	}
	m.act.targets = (struct wire_list){count, bytes_text(&targets)};
	if (count)
		control_act(sim_channel(&s->control), &m);
	bytes_free(&targets);
}

struct held {
	uint64_t ids[1000];
	uint32_t count;
};

static void held_find(void *arg, struct table_link *link)
{
	struct mail *mail = ITEM_OF(link, struct mail, link);
	struct held *held = arg;

	for (uint32_t i = 0; i < mail->recipient_count; i++)
		if (mail->recipients[i].state == RECIPIENT_HELD && held->count < 1000) {
			held->ids[held->count++] = mail->id;
			return;
		}
}

static void release_all(struct sim *s)
{
	struct held held = {.count = 0};

	for (size_t at = 0;
	     s->q.mails.held && table_slice(&s->q.mails.by_id, &at, held_find, &held);)
		;
	act(s, ACTION_RELEASE, held.ids, held.count);
}

void sim_person(struct sim *s)
{
	uint64_t *random = &s->world_random;
	uint64_t dice = fault_chance(random, 40), ids[TARGETS];
	uint64_t span = s->book.count - s->book.lowest;

	/* Once a second at most, so that most mail is let alone. */
	if (s->step % 100 || s->recipe->calm)
		return;
	if (s->ending || dice == 0)
		release_all(s);
	if (s->ending || dice > 12)
		return;
	for (int i = 0; i < TARGETS; i++)
		ids[i] = s->book.lowest + fault_chance(random, span < 60000 ? span : 60000);
	act(s, (enum queue_action)(ACTION_HOLD + dice % 6), ids, TARGETS);
}
