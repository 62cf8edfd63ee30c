/* SPDX-License-Identifier: ISC */
/*
 * The wheel: recipients that wait by themselves, in lists of one second.
 * What lies further ahead than one turn stays in its list for another.
 */
#include "scheduler_private.h"

static struct recipient **wheel_list(struct scheduler *s, int64_t due_us)
{
	return &s->wheel[(uint64_t)(due_us / 1000000) % WHEEL_SLOTS];
}

void wheel_add(struct scheduler *s, struct recipient *r, int64_t due_us)
{
	/* A second that the wheel has passed would be met a whole turn later only. */
	if (due_us / 1000000 <= s->wheel_at)
		due_us = (s->wheel_at + 1) * 1000000;
	struct recipient **list = wheel_list(s, due_us);

	r->state = RECIPIENT_WAITING;
	r->due_us = due_us;
	r->next = *list;
	r->prev = list;
	if (*list)
		(*list)->prev = &r->next;
	*list = r;
	s->figures.waiting++;
	domain_waits(r->lane->domain, true);
}

void wheel_take(struct scheduler *s, struct recipient *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->next = NULL;
	r->prev = NULL;
	s->figures.waiting--;
	domain_waits(r->lane->domain, false);
}

void wheel_turn(struct scheduler *s, int64_t now_us)
{
	/* The second that is not over yet may still hold some that are not due. */
	int64_t now = now_us / 1000000 - 1;

	if (now - s->wheel_at > WHEEL_SLOTS)
		s->wheel_at = now - WHEEL_SLOTS;
	while (s->wheel_at < now) {
		s->wheel_at++;
		struct recipient *r = s->wheel[(uint64_t)s->wheel_at % WHEEL_SLOTS];

		for (struct recipient *next; r; r = next) {
			next = r->next;
			if (r->due_us > now_us)
				continue;
			wheel_take(s, r);
			recipient_ready(s, r, false);
		}
	}
}

static void flush_begin(struct scheduler *s)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++) {
		s->flushed[i] = s->wheel[i];
		if (s->flushed[i])
			s->flushed[i]->prev = &s->flushed[i];
		s->wheel[i] = NULL;
	}
	s->flush_at = 0;
	s->flush_again = false;
}

void wheel_flush(struct scheduler *s)
{
	if (s->flush_at < WHEEL_SLOTS)
		s->flush_again = true;
	else
		flush_begin(s);
}

uint32_t wheel_flush_some(struct scheduler *s)
{
	uint32_t stay = 0;

	for (unsigned budget = FLUSH_MAX; budget && s->flush_at < WHEEL_SLOTS;) {
		struct recipient *r = s->flushed[s->flush_at];

		if (!r) {
			s->flush_at++;
			continue;
		}
		budget--;
		wheel_take(s, r);
		if (r->releasing) {
			wheel_add(s, r, r->due_us);
			stay++;
		} else {
			recipient_ready(s, r, false);
		}
	}
	if (s->flush_at == WHEEL_SLOTS && s->flush_again)
		flush_begin(s);
	return stay;
}
