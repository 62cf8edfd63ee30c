/* SPDX-License-Identifier: ISC */
/* TXT lookups. */
#include "txt.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { NO_NAME_S = 3600 }; /* what cannot be a name today cannot be one in an hour */

struct txt {
	void (*done)(void *arg, const struct txt_result *result);
	void *arg;
	struct timer deadline;
	struct turn_end soon; /* of a name that is none */
	struct lookup lookup;
};

void txt_cancel(struct txt **txt)
{
	struct txt *t = *txt;

	if (!t)
		return;
	timer_clear(&t->deadline);
	turn_end_cancel(&t->soon);
	lookup_cancel(&t->lookup);
	free(t);
	*txt = NULL;
}

static void txt_finish(struct txt *t, const struct txt_result *result)
{
	t->done(t->arg, result);
	txt_cancel(&t);
}

static void out_of_time(void *arg)
{
	txt_finish(arg, &(struct txt_result){.verdict = HOP_TEMPORARY, .why = "no answer in time"});
}

static void no_name(void *arg)
{
	txt_finish(arg, &(struct txt_result){.verdict = HOP_PERMANENT, .lifetime_s = NO_NAME_S});
}

static void records_arrived(void *arg, const struct lookup_result *r)
{
	struct txt_result result = {.verdict = HOP_PERMANENT, .lifetime_s = r->ttl_s};

	if (r->status == LOOKUP_FAILED) {
		result.verdict = HOP_TEMPORARY;
		result.why = r->why;
	} else if (r->status == LOOKUP_FOUND && r->answer->count) {
		result.verdict = HOP_FOUND;
		result.answer = r->answer;
	}
	txt_finish(arg, &result);
}

struct txt *txt_start(struct loop *loop, struct lookups *lookups, struct text name,
		      struct duration timeout,
		      void (*done)(void *arg, const struct txt_result *result), void *arg)
{
	struct txt *t = mem_new(1, sizeof *t);
	char host[DNS_NAME_BYTES];

	t->done = done;
	t->arg = arg;
	timer_init(&t->deadline, loop, out_of_time, t);
	if (text_copy(host, sizeof host, name) < name.len || strlen(host) != name.len ||
	    !dns_name_is_host(host)) {
		turn_end_schedule(&t->soon, loop, no_name, t);
		return t;
	}
	timer_set(&t->deadline, timeout);
	lookup_start(lookups, &t->lookup, host, DNS_TXT, records_arrived, t);
	return t;
}

uint32_t txt_put(struct bytes *items, const struct dns_answer *answer)
{
	uint32_t count = 0;

	for (size_t i = 0;
	     i < answer->count && count < TXT_RECORDS_MAX && bytes_len(items) < TXT_LIST_BYTES;
	     i++, count++) {
		const struct dns_record *r = &answer->records[i];
		size_t len = r->len < TXT_SHOWN_BYTES ? r->len : TXT_SHOWN_BYTES;

		rec_txt_encode(items,
			       &(struct rec_txt){(uint32_t)r->len, {(const char *)r->data, len}});
	}
	return count;
}
