/* SPDX-License-Identifier: ISC */
/*
 * veredus queue hold, release, requeue, flush, delete, bounce: which
 * recipients is found out here, from the queue on disk; qmgr acts on lists of
 * IDs, a thousand at a time, and checks our right to it.
 */
#include "queue_verbs.h"

#include "control.h"
#include "mem.h"
#include "queue_id.h"
#include "submitter.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { TARGETS_AT_ONCE = 1000, DRY_SHOWN = 20 };

struct action {
	const char *name, *done; /* "delete", "deleted" */
	enum queue_action action;
	bool careful; /* more than one message needs --yes */
};

struct targets {
	struct rec_target *items;
	size_t count, size;
	uint64_t messages, recipients; /* recipients: 0 when only IDs were given */
	bool show;		       /* print what is found, for a dry run */
};

static void add_target(struct targets *t, uint64_t id, uint32_t recipient)
{
	if (t->count == t->size) {
		t->size = t->size ? t->size * 2 : 256;
		t->items = mem_resize(t->items, t->size, sizeof *t->items);
	}
	t->items[t->count++] = (struct rec_target){id, recipient};
}

static void show_target(const struct hit *hit)
{
	char id[QUEUE_ID_BYTES], age[SHORT_BYTES];
	struct duration old = {walltime_read().us - hit->message->arrival.us};

	printf("%-13s %6s old, from <", queue_id_print(hit->message->id, id), print_age(age, old));
	print_text(hit->envelope.sender, stdout);
	printf(">, %u of %u recipient%s\n", hit->matching, hit->count, hit->count == 1 ? "" : "s");
}

static bool find_one(void *arg, const struct hit *hit)
{
	struct targets *t = arg;

	t->messages++;
	t->recipients += hit->matching;
	if (t->show && t->messages <= DRY_SHOWN)
		show_target(hit);
	if (hit->matching == hit->count) {
		add_target(t, hit->message->id, RECIPIENT_ALL);
		return true;
	}
	for (uint32_t i = 0; i < hit->count; i++)
		if (hit->recipients[i].matches)
			add_target(t, hit->message->id, hit->recipients[i].state->number);
	return true;
}

/* 0, or an exit status. */
static int find_by_filter(struct ctl *ctl, struct targets *t)
{
	struct filter filter;
	int status;

	if (!queue_filter(ctl, 0, &filter))
		return EX_USAGE;
	struct view *view = view_open(ctl, &status);

	if (!view)
		return status;
	view_each(view, &filter, t->show ? VIEW_ENVELOPE : VIEW_INDEX, find_one, t);
	view_close(&view);
	return 0;
}

static int add_word(struct targets *t, struct text word)
{
	char shown[64];
	uint64_t id;

	/* mailq marks IDs with * and !: what was copied from there is meant all the same. */
	if (word.len && (word.data[word.len - 1] == '*' || word.data[word.len - 1] == '!'))
		word.len--;
	if (!queue_id_parse(word, &id)) {
		text_printable(shown, sizeof shown, word);
		ctl_say("\"%s\" is no queue ID", shown);
		return EX_USAGE;
	}
	t->messages++;
	add_target(t, id, RECIPIENT_ALL);
	return 0;
}

static int find_on_stdin(struct targets *t)
{
	char word[64];
	int status = 0;

	while (!status && scanf("%63s", word) == 1)
		status = add_word(t, text_of(word));
	return status;
}

static int find_targets(struct ctl *ctl, const struct action *a, struct targets *t)
{
	int status = 0;

	if (!ctl->count && a->action != ACTION_FLUSH) {
		ctl_say("%s what? a filter, IDs, or - to read IDs; veredus queue --help", a->name);
		return EX_USAGE;
	}
	if (!ctl->count || strchr(ctl->words[0], '='))
		return find_by_filter(ctl, t);
	for (int i = 0; i < ctl->count && !status; i++)
		status = strcmp(ctl->words[i], "-") == 0 ? find_on_stdin(t)
							 : add_word(t, text_of(ctl->words[i]));
	for (size_t i = 0; !status && t->show && t->count > 1 && i < t->count && i < DRY_SHOWN;
	     i++) {
		char id[QUEUE_ID_BYTES];

		puts(queue_id_print(t->items[i].id, id));
	}
	return status;
}

/* One list of targets to qmgr. */
static bool act_on(struct control *control, const struct action *a, const struct rec_target *items,
		   size_t count, struct msg_acted *sum)
{
	struct bytes list = {0};
	struct message m;

	for (size_t i = 0; i < count; i++)
		rec_target_encode(&list, &items[i]);
	struct msg_act act = {.request = sum->request,
			      .action = (uint8_t)a->action,
			      .targets = {(uint32_t)count, bytes_text(&list)}};
	bool good = control_ask(control, MSG_act, &act, MSG_acted, &m);

	bytes_free(&list);
	if (!good)
		return false;
	sum->changed += m.acted.changed;
	sum->later += m.acted.later;
	sum->unknown += m.acted.unknown;
	if (m.acted.error.len) {
		char shown[300];

		text_printable(shown, sizeof shown, m.acted.error);
		ctl_say("%s: %s", a->name, shown);
		return false;
	}
	return true;
}

static int act_on_all(struct ctl *ctl, const struct action *a, const struct targets *t)
{
	struct msg_acted sum = {0};
	bool good = true;
	int status;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	for (size_t i = 0; i < t->count && good; i += TARGETS_AT_ONCE) {
		size_t left = t->count - i;

		sum.request++;
		good = act_on(control, a, t->items + i,
			      left < TARGETS_AT_ONCE ? left : TARGETS_AT_ONCE, &sum);
	}
	control_close(&control);
	/* What is in flight may still arrive: it is not said to be done. */
	uint32_t done = sum.changed - (sum.later < sum.changed ? sum.later : sum.changed);

	if (ctl->json)
		json_print(json_pack("{s:s s:o s:o s:o s:o s:b}", "action", a->name, "messages",
				     json_u64(t->messages), "recipients", json_u64(done),
				     "in_flight", json_u64(sum.later), "unknown",
				     json_u64(sum.unknown), "complete", good),
			   stdout);
	else
		printf("%s: %u recipient%s of %llu message%s; %u not found\n", a->done, done,
		       done == 1 ? "" : "s", (unsigned long long)t->messages,
		       t->messages == 1 ? "" : "s", sum.unknown);
	if (sum.later && !ctl->json)
		printf(
		    "%u more in flight: %s when the attempt under way ends, unless it delivers\n",
		    sum.later, a->done);
	return good && !(sum.unknown && !sum.changed) ? 0 : 1;
}

static int act_verb(struct ctl *ctl, const struct action *a)
{
	struct targets t = {.show = a->careful && !ctl->yes && !ctl->json};
	int status = find_targets(ctl, a, &t);

	if (status)
		goto out;
	if (a->careful && !ctl->yes && t.messages > 1) {
		if (t.show && t.messages > DRY_SHOWN)
			printf("... and %llu more\n", (unsigned long long)(t.messages - DRY_SHOWN));
		fflush(stdout);
		ctl_say("nothing was done: --yes would %s %llu messages (%llu recipients)", a->name,
			(unsigned long long)t.messages,
			(unsigned long long)(t.recipients ? t.recipients : t.messages));
		status = CTL_DRY_RUN;
		goto out;
	}
	if (t.count) {
		status = act_on_all(ctl, a, &t);
	} else if (ctl->json) {
		json_print(json_pack("{s:s s:i s:i s:i s:b}", "action", a->name, "messages", 0,
				     "recipients", 0, "unknown", 0, "complete", 1),
			   stdout);
	} else {
		puts(!ctl->count		  ? "Mail queue is empty"
		     : strchr(ctl->words[0], '=') ? "nothing in the queue matches"
						  : "no IDs on standard input");
	}
out:
	free(t.items);
	return status;
}

/* -- a login's mail --------------------------------------------------------------------- */

struct login_search {
	struct targets targets;
	struct text login;
	enum queue_action action;
};

/*
 * Its submitter, since a login of another kind may look alike. What a person holds, or what is
 * held since it could not be delivered, is left alone; what is in flight may be about to be held.
 */
static bool find_of_login(void *arg, const struct hit *hit)
{
	struct login_search *s = arg;
	uint64_t before = s->targets.count;

	if (!text_equal_case(submitter_login(hit->envelope.submitter), s->login))
		return true;
	for (uint32_t i = 0; i < hit->count; i++) {
		const struct hit_recipient *r = &hit->recipients[i];

		if (s->action == ACTION_RELEASE && r->word == STATE_HELD &&
		    !text_equals(r->dsn, "4.7.1"))
			continue;
		add_target(&s->targets, hit->message->id, r->state->number);
	}
	s->targets.messages += s->targets.count > before;
	return true;
}

int queue_act_on_login(struct ctl *ctl, const char *login, enum queue_action action)
{
	const struct action row = {action == ACTION_RELEASE ? "release" : "delete",
				   action == ACTION_RELEASE ? "released" : "deleted", action,
				   false};
	struct login_search s = {.login = text_of(login), .action = action};
	struct filter filter = {.count = 0};
	char word[300], error[200];
	int status;

	/* It narrows: in a filter a * of the name stands for more than itself. */
	snprintf(word, sizeof word, "login=%s", login);
	if (!filter_add(&filter, word, error, sizeof error)) {
		ctl_say("%s", error);
		return EX_USAGE;
	}
	struct view *view = view_open(ctl, &status);

	if (!view)
		return status;
	view_each(view, &filter, VIEW_ENVELOPE | VIEW_REPLIES, find_of_login, &s);
	view_close(&view);
	status = 0;
	if (s.targets.count || ctl->json)
		status = act_on_all(ctl, &row, &s.targets);
	else
		puts("none of its mail is queued");
	free(s.targets.items);
	return status;
}

/* -- verbs --------------------------------------------------------------------------------- */

int queue_hold_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"hold", "held", ACTION_HOLD, false});
}

int queue_release_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"release", "released", ACTION_RELEASE, false});
}

int queue_requeue_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"requeue", "requeued", ACTION_REQUEUE, false});
}

int queue_flush_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"flush", "flushed", ACTION_FLUSH, false});
}

int queue_delete_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"delete", "deleted", ACTION_DELETE, true});
}

int queue_bounce_verb(struct ctl *ctl)
{
	return act_verb(ctl, &(struct action){"bounce", "bounced", ACTION_BOUNCE, true});
}
