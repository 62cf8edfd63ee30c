/* SPDX-License-Identifier: ISC */
/* A table of domains, each once, and qmgr's answers to them. */
#include "waits.h"

#include "control.h"
#include "mem.h"
#include "print.h"
#include "queue.h"

#include <stdlib.h>
#include <string.h>

enum { ASK_AT_ONCE = 1000, ANSWER_SECONDS = 5, FIRST_SLOTS = 64 };

struct waits {
	struct arena *arena;
	struct domain_wait {
		struct text domain;
		const struct wait *wait; /* NULL: none */
	} * items;
	size_t count, size;
	uint32_t *slots; /* index of an item + 1; 0: free */
	size_t slot_count;
};

struct waits *waits_new(void)
{
	struct waits *w = mem_new(1, sizeof *w);

	w->arena = arena_new(SIZE_MAX / 2);
	w->slot_count = FIRST_SLOTS;
	w->slots = mem_new(w->slot_count, sizeof *w->slots);
	return w;
}

void waits_free(struct waits **waits)
{
	struct waits *w = *waits;

	*waits = NULL;
	if (!w)
		return;
	arena_free(&w->arena);
	free(w->items);
	free(w->slots);
	free(w);
}

/* The slot of a domain, or the free one where it belongs. */
static uint32_t *slot_of(const struct waits *w, struct text domain)
{
	size_t at = queue_crc32c(0, domain.data, domain.len) & (w->slot_count - 1);

	while (w->slots[at] && !text_equal(w->items[w->slots[at] - 1].domain, domain))
		at = (at + 1) & (w->slot_count - 1);
	return &w->slots[at];
}

static void grow(struct waits *w)
{
	w->slot_count *= 2;
	free(w->slots);
	w->slots = mem_new(w->slot_count, sizeof *w->slots);
	for (size_t i = 0; i < w->count; i++)
		*slot_of(w, w->items[i].domain) = (uint32_t)i + 1;
}

void waits_want(struct waits *w, struct text domain)
{
	if (!domain.len || domain.len > QUEUE_DOMAIN_MAX || *slot_of(w, domain) ||
	    w->count == UINT32_MAX - 1)
		return;
	if (w->count == w->size) {
		w->size = w->size ? w->size * 2 : FIRST_SLOTS;
		w->items = mem_resize(w->items, w->size, sizeof *w->items);
	}
	w->items[w->count++] = (struct domain_wait){domain, NULL};
	*slot_of(w, domain) = (uint32_t)w->count;
	if (w->count * 2 > w->slot_count)
		grow(w);
}

static struct text keep(struct waits *w, struct text t)
{
	char *copy = arena_copy(w->arena, t.data, t.len);

	return (struct text){copy, copy ? t.len : 0};
}

static void take(struct waits *w, size_t first, size_t count, const struct rec_wait *row)
{
	struct wait *wait = arena_alloc(w->arena, sizeof *wait);
	char reason[900];

	if (!wait || row->index >= count)
		return;
	struct domain_wait *item = &w->items[first + row->index];
	bool site = row->site.len > 0;
	struct text name = site ? row->site : item->domain;

	snprintf(reason, sizeof reason, "%s %.*s%s%s%.*s", site ? "site" : "no next hop for",
		 (int)name.len, name.data, site ? " is down" : "", row->error.len ? ": " : "",
		 (int)row->error.len, row->error.len ? row->error.data : "");
	wait->site = keep(w, row->site);
	wait->reason = keep(w, text_of(reason));
	wait->error = keep(w, row->error);
	wait->next = (struct walltime){(int64_t)(row->next_wall & INT64_MAX)};
	item->wait = wait;
}

/* One question; false when there is no answer. */
static bool ask(struct waits *w, struct control *control, size_t first, size_t count)
{
	struct bytes list = {0};
	struct message m;
	struct rec_wait row;

	for (size_t i = first; i < first + count; i++)
		rec_wait_domain_encode(&list, &(struct rec_wait_domain){w->items[i].domain});
	struct msg_waits_ask q = {.request = (uint32_t)(first + 1),
				  .domains = {(uint32_t)count, bytes_text(&list)}};
	bool good = control_ask(control, MSG_waits_ask, &q, MSG_waits_are, &m);

	bytes_free(&list);
	if (!good)
		return false;
	while (list_next_wait(&m.waits_are.waits, &row))
		take(w, first, count, &row);
	return true;
}

void waits_ask(struct waits *w, const struct ctl *ctl)
{
	struct control *control = w->count ? control_try(ctl, ANSWER_SECONDS) : NULL;
	bool good = control != NULL;

	for (size_t at = 0; good && at < w->count; at += ASK_AT_ONCE)
		good =
		    ask(w, control, at, w->count - at < ASK_AT_ONCE ? w->count - at : ASK_AT_ONCE);
	if (control && !good)
		ctl_say("qmgr does not answer: which mail waits for its site is not known");
	control_close(&control);
}

const struct wait *waits_of(const struct waits *w, struct text domain)
{
	uint32_t at = *slot_of(w, domain);

	return at ? w->items[at - 1].wait : NULL;
}

char *wait_next(const struct wait *wait, char *to)
{
	struct duration left = {wait->next.us - walltime_read().us};
	char age[SHORT_BYTES];

	if (wait->next.us)
		snprintf(to, WAIT_NEXT_BYTES, "; next attempt in %s", print_age(age, left));
	else
		snprintf(to, WAIT_NEXT_BYTES, "; being tried now");
	return to;
}
