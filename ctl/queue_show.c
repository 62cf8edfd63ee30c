/* SPDX-License-Identifier: ISC */
/* veredus queue show and cat: one message, its whole state or its bytes. */
#include "queue_verbs.h"

#include "queue_id.h"
#include "words.h"

#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* A message that moves while it is looked for is looked for again. */
enum { TRIES = 5 };

struct showing {
	struct view *view;
	bool json, found, failed;
};

static void line(const char *name, struct text value)
{
	if (!value.len)
		return;
	printf("%-12s ", name);
	print_text(value, stdout);
	putchar('\n');
}

static void words_line(const char *name, enum word_set set, uint8_t bits)
{
	json_t *words = words_json(set, bits);

	for (size_t i = 0; i < json_array_size(words); i++)
		printf("%s%s", i ? ", " : name, json_string_value(json_array_get(words, i)));
	if (json_array_size(words))
		putchar('\n');
	json_decref(words);
}

static void recipient_text(const struct hit_recipient *r)
{
	char when[WALLTIME_TEXT_BYTES], next[WAIT_NEXT_BYTES];

	printf("\nrecipient    ");
	print_text(r->envelope.address, stdout);
	printf("\n  state      %s, %u attempt%s\n", filter_state_text(r->word), r->state->attempts,
	       r->state->attempts == 1 ? "" : "s");
	if (r->wait) {
		fputs("  waits      ", stdout);
		print_text(r->wait->reason, stdout);
		puts(wait_next(r->wait, next));
	} else if (r->word == STATE_DEFERRED) {
		walltime_rfc3339(r->state->next, when);
		printf("  next       %s\n", when);
	}
	if (r->at.us) {
		walltime_rfc3339(r->at, when);
		printf("  last       %s\n", when);
	}
	if (r->code)
		printf("  code       %u\n", r->code);
	line("  dsn       ", r->dsn);
	line("  reply     ", r->reply);
	line("  original  ", r->envelope.original);
	line("  orcpt     ", r->envelope.orcpt);
	line("  sender    ", r->envelope.sender);
	words_line("  notify     ", WORDS_NOTIFY, r->envelope.notify);
	if (r->state->flags & QUEUE_NOTICED)
		puts("  notice     the sender was told of the delay");
	words_line("  owed       a report to the sender: ", WORDS_OWED, r->state->flags);
}

static void show_text(const struct hit *hit)
{
	const struct envelope *e = &hit->envelope;
	char id[QUEUE_ID_BYTES], when[WALLTIME_TEXT_BYTES], size[SHORT_BYTES];

	printf("%-12s %s\n", "id", queue_id_print(hit->message->id, id));
	walltime_rfc3339(hit->message->arrival, when);
	printf("%-12s %s\n%-12s %s\n", "arrival", when, "size",
	       print_size(size, hit->message->size_bytes));
	printf("%-12s <", "sender");
	print_text(e->sender, stdout);
	puts(">");
	line("login", e->login);
	line("submitter", e->submitter);
	line("client", e->client);
	line("helo", e->helo);
	line("protocol", e->protocol);
	line("message-id", e->message_id);
	line("envid", e->envid);
	line("ret", text_of(word_of(WORD_RET, e->ret)));
	line("body", text_of(word_of(WORD_BODY, e->body_type)));
	if (e->smtputf8)
		puts("smtputf8     yes");
	line("tls", text_of(word_of(WORD_TLS, e->tls)));
	line("source", e->source);
	line("route", e->route);
	if (hit->message->damaged)
		puts("damaged      part of its state was lost; it is held");
	printf("%-12s segment %08x at %u, %u bytes%s\n", "stored",
	       hit->message->location.generation, hit->message->location.offset,
	       hit->message->location.length,
	       hit->message->body_in_file ? ", body in a file of its own" : "");
	printf("%-12s %u, of which %u are open\n", "recipients", hit->message->recipient_count,
	       hit->count);
	for (uint32_t i = 0; i < hit->count; i++)
		recipient_text(&hit->recipients[i]);
}

static json_t *recipient_json(const struct hit_recipient *r)
{
	json_t *o = json_object();

	json_object_set_new(o, "address", json_text(r->envelope.address));
	json_object_set_new(o, "number", json_u64(r->state->number));
	json_object_set_new(o, "state", json_string(filter_state_text(r->word)));
	json_object_set_new(o, "attempts", json_u64(r->state->attempts));
	json_object_set_new(o, "next_attempt", json_u64(next_attempt(r)));
	if (r->wait)
		json_object_set_new(o, "waits",
				    json_pack("{s:o s:o s:o}", "site", json_text(r->wait->site),
					      "error", json_text(r->wait->error), "reason",
					      json_text(r->wait->reason)));
	json_object_set_new(o, "last_attempt", json_u64((uint64_t)r->at.us / 1000000));
	json_object_set_new(o, "code", json_u64(r->code));
	json_object_set_new(o, "dsn", json_text(r->dsn));
	json_object_set_new(o, "reply", json_text(r->reply));
	json_object_set_new(o, "original", json_text(r->envelope.original));
	json_object_set_new(o, "orcpt", json_text(r->envelope.orcpt));
	json_object_set_new(o, "sender", json_text(r->envelope.sender));
	json_object_set_new(o, "notify", words_json(WORDS_NOTIFY, r->envelope.notify));
	json_object_set_new(o, "noticed", json_boolean(r->state->flags & QUEUE_NOTICED));
	json_object_set_new(o, "owed", words_json(WORDS_OWED, r->state->flags));
	return o;
}

static void show_json(const struct hit *hit)
{
	const struct envelope *e = &hit->envelope;
	json_t *o = json_object(), *recipients = json_array();
	char id[QUEUE_ID_BYTES];

	for (uint32_t i = 0; i < hit->count; i++)
		json_array_append_new(recipients, recipient_json(&hit->recipients[i]));
	json_object_set_new(o, "queue_id", json_string(queue_id_print(hit->message->id, id)));
	json_object_set_new(o, "queue_name", json_string(queue_name_of(hit)));
	json_object_set_new(o, "arrival_time",
			    json_u64((uint64_t)hit->message->arrival.us / 1000000));
	json_object_set_new(o, "message_size", json_u64(hit->message->size_bytes));
	json_object_set_new(o, "sender", json_text(e->sender));
	json_object_set_new(o, "login", json_text(e->login));
	json_object_set_new(o, "submitter", json_text(e->submitter));
	json_object_set_new(o, "client", json_text(e->client));
	json_object_set_new(o, "helo", json_text(e->helo));
	json_object_set_new(o, "protocol", json_text(e->protocol));
	json_object_set_new(o, "message_id", json_text(e->message_id));
	json_object_set_new(o, "envid", json_text(e->envid));
	json_object_set_new(o, "ret", json_string(word_of(WORD_RET, e->ret)));
	json_object_set_new(o, "body", json_string(word_of(WORD_BODY, e->body_type)));
	json_object_set_new(o, "smtputf8", json_boolean(e->smtputf8));
	json_object_set_new(o, "tls", json_string(word_of(WORD_TLS, e->tls)));
	json_object_set_new(o, "source", json_text(e->source));
	json_object_set_new(o, "route", json_text(e->route));
	json_object_set_new(o, "damaged", json_boolean(hit->message->damaged));
	json_object_set_new(o, "recipient_count", json_u64(hit->message->recipient_count));
	json_object_set_new(o, "recipients", recipients);
	json_print(o, stdout);
}

static bool show_one(void *arg, const struct hit *hit)
{
	struct showing *s = arg;

	s->found = true;
	(s->json ? show_json : show_text)(hit);
	return false;
}

static void put_text(struct text t)
{
	if (t.len)
		fwrite(t.data, 1, t.len, stdout);
}

static bool cat_one(void *arg, const struct hit *hit)
{
	struct showing *s = arg;
	char buffer[65536];
	ssize_t n = 0;
	int fd = -1;

	s->found = true;
	if (hit->content->body_in_file &&
	    queue_body_open(view_queue(s->view), hit->message->id, &fd) != QUEUE_OK) {
		ctl_say("the file with its body cannot be opened");
		s->failed = true;
		return false;
	}
	put_text(hit->content->prelude);
	put_text(hit->content->body);
	for (uint64_t left = hit->content->body_length; fd >= 0 && left; left -= (uint64_t)n) {
		n = read(fd, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer);
		if (n <= 0) {
			ctl_say("the file with its body cannot be read, or is too short");
			s->failed = true;
			break;
		}
		put_text((struct text){buffer, (size_t)n});
		if (ferror(stdout))
			break;
	}
	if (fd >= 0)
		close(fd);
	return false;
}

/* One message, by the ID in WORD. */
static int visit_id(struct ctl *ctl, const char *word, unsigned wants,
		    bool (*visit)(void *arg, const struct hit *hit))
{
	struct showing s = {.json = ctl->json};
	struct filter filter;
	char id[QUEUE_ID_BYTES];
	int status;

	if (!queue_filter_id(word, &filter))
		return EX_USAGE;
	for (int i = 0; i < TRIES && !s.found; i++) {
		s.view = view_open(ctl, &status);
		if (!s.view)
			return status;
		bool good = view_each(s.view, &filter, wants, visit, &s);

		view_close(&s.view);
		if (!good)
			return 1;
	}
	if (!s.found)
		ctl_say("%s is not in the queue; veredus trace %s tells whether it was",
			queue_id_print(filter.items[0].id, id), id);
	return s.found && !s.failed ? 0 : 1;
}

int queue_show_verb(struct ctl *ctl)
{
	int status = 0;

	if (!ctl->count) {
		ctl_say("usage: veredus queue show ID...");
		return EX_USAGE;
	}
	for (int i = 0; i < ctl->count; i++) {
		int one = visit_id(ctl, ctl->words[i], VIEW_ENVELOPE | VIEW_REPLIES, show_one);

		if (i + 1 < ctl->count && !ctl->json)
			putchar('\n');
		status = one ? one : status;
	}
	return status;
}

int queue_cat_verb(struct ctl *ctl)
{
	if (ctl->count != 1) {
		ctl_say("usage: veredus queue cat ID");
		return EX_USAGE;
	}
	return visit_id(ctl, ctl->words[0], VIEW_ENVELOPE, cat_one);
}
