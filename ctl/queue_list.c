/* SPDX-License-Identifier: ISC */
/*
 * veredus queue list and mailq: laid out as mailq has been for decades, and
 * as JSON lines with the keys of postqueue -j and a few of our own.
 */
#include "queue_verbs.h"

#include "queue_id.h"

#include <string.h>

struct listing {
	uint64_t messages, recipients, bytes;
	bool json;
};

const char *queue_name_of(const struct hit *hit)
{
	bool ready = false, deferred = false;

	for (uint32_t i = 0; i < hit->count; i++) {
		ready = ready || hit->recipients[i].word == STATE_READY;
		deferred = deferred || hit->recipients[i].word != STATE_HELD;
	}
	return ready ? "active" : deferred ? "deferred" : "hold";
}

/* Why it is still here: what holds its site or domain up counts before what it was told once. */
static void list_reason(const struct hit_recipient *r)
{
	char next[WAIT_NEXT_BYTES];
	struct text reason = r->wait ? r->wait->reason : r->reply;

	if (!reason.len)
		return;
	fputs("        (", stdout);
	print_text(reason, stdout);
	printf("%s)\n", r->wait ? wait_next(r->wait, next) : "");
}

static void list_text(const struct hit *hit)
{
	const char *queue = queue_name_of(hit);
	char id[QUEUE_ID_BYTES + 1], when[SHORT_BYTES];

	queue_id_print(hit->message->id, id);
	/* As in Postfix: * being delivered or ready, ! held. */
	strcat(id, *queue == 'a' ? "*" : *queue == 'h' ? "!" : "");
	printf("%-15s %8llu %-20s ", id, (unsigned long long)hit->message->size_bytes,
	       print_local(when, hit->message->arrival));
	if (hit->envelope.sender.len)
		print_text(hit->envelope.sender, stdout);
	else
		fputs("MAILER-DAEMON", stdout);
	putchar('\n');
	for (uint32_t i = 0; i < hit->count; i++) {
		const struct hit_recipient *r = &hit->recipients[i];

		if (!r->matches)
			continue;
		list_reason(r);
		printf("%45s ", "");
		print_text(r->envelope.address, stdout);
		putchar('\n');
	}
	putchar('\n');
}

uint64_t next_attempt(const struct hit_recipient *r)
{
	return (uint64_t)(r->wait ? r->wait->next.us : r->state->next.us) / 1000000;
}

static void list_json(const struct hit *hit)
{
	json_t *o = json_object(), *recipients = json_array();
	char id[QUEUE_ID_BYTES];

	for (uint32_t i = 0; i < hit->count; i++) {
		const struct hit_recipient *r = &hit->recipients[i];

		if (!r->matches)
			continue;
		json_t *item = json_object();

		json_object_set_new(item, "address", json_text(r->envelope.address));
		if (r->wait || r->reply.len)
			json_object_set_new(item, "delay_reason",
					    json_text(r->wait ? r->wait->reason : r->reply));
		json_object_set_new(item, "state", json_string(filter_state_text(r->word)));
		json_object_set_new(item, "attempts", json_u64(r->state->attempts));
		if (r->word == STATE_DEFERRED)
			json_object_set_new(item, "next_attempt", json_u64(next_attempt(r)));
		if (r->wait)
			json_object_set_new(item, "waits_for_site", json_text(r->wait->site));
		json_array_append_new(recipients, item);
	}
	json_object_set_new(o, "queue_name", json_string(queue_name_of(hit)));
	json_object_set_new(o, "queue_id", json_string(queue_id_print(hit->message->id, id)));
	json_object_set_new(o, "arrival_time",
			    json_u64((uint64_t)hit->message->arrival.us / 1000000));
	json_object_set_new(o, "message_size", json_u64(hit->message->size_bytes));
	json_object_set_new(o, "forced_expire", json_false());
	json_object_set_new(o, "sender",
			    hit->envelope.sender.len ? json_text(hit->envelope.sender)
						     : json_string("MAILER-DAEMON"));
	if (hit->envelope.login.len)
		json_object_set_new(o, "login", json_text(hit->envelope.login));
	if (hit->message->damaged)
		json_object_set_new(o, "damaged", json_true());
	json_object_set_new(o, "recipients", recipients);
	json_print(o, stdout);
}

static bool list_one(void *arg, const struct hit *hit)
{
	struct listing *l = arg;

	if (!l->messages++ && !l->json)
		puts("----Queue ID--- --Size-- ---Arrival Time---- --Sender/Recipient------");
	l->recipients += hit->matching;
	l->bytes += hit->message->size_bytes;
	(l->json ? list_json : list_text)(hit);
	return !ferror(stdout);
}

int queue_list_verb(struct ctl *ctl)
{
	struct listing l = {.json = ctl->json};
	struct filter filter;
	int status;

	if (!queue_filter(ctl, 0, &filter))
		return 64;
	struct view *view = view_open(ctl, &status);

	if (!view)
		return status;
	bool good = view_each(view, &filter, VIEW_ENVELOPE | VIEW_REPLIES, list_one, &l);

	if (!l.json && l.messages)
		printf("-- %llu Kbytes in %llu Request%s, %llu recipient%s.\n",
		       (unsigned long long)(l.bytes + 1023) / 1024, (unsigned long long)l.messages,
		       l.messages == 1 ? "" : "s", (unsigned long long)l.recipients,
		       l.recipients == 1 ? "" : "s");
	else if (!l.json)
		puts(filter.count ? "nothing in the queue matches" : "Mail queue is empty");
	view_close(&view);
	return good ? 0 : 1;
}
