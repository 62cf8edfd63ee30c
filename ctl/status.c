/* SPDX-License-Identifier: ISC */
/* veredus status: what qmgr counts, asked twice a second apart so that rates are those of now. */
#include "ctl.h"

#include "control.h"
#include "frozen_logins.h"
#include "print.h"
#include "view.h"

#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { SITES_SHOWN = 20, LOOK_MAX = 200000 };

struct rates {
	double accepted, relayed, failed;
};

static const char *intake_text(uint8_t state)
{
	static const char *const texts[] = {
	    [INTAKE_OPEN] = "open",
	    [INTAKE_FULL] = "closed: the disk is full (452)",
	    [INTAKE_LIMIT] = "closed: queue-limit is reached (452)",
	    [INTAKE_BROKEN] = "closed: the disk cannot be written (451)",
	    [INTAKE_CLOSED] = "closed: starting or stopping (451)",
	};

	return state < sizeof texts / sizeof *texts ? texts[state] : "?";
}

static struct duration age_of(uint64_t wall)
{
	return (struct duration){walltime_read().us - (int64_t)wall};
}

static void site_text(const struct rec_site_status *s)
{
	char age[SHORT_BYTES];

	printf("%8u %8u %8u %6u %10llu %7s  ", s->ready, s->deferred, s->in_flight, s->connections,
	       (unsigned long long)s->relayed,
	       s->oldest_wall ? print_age(age, age_of(s->oldest_wall)) : "-");
	print_text(s->site, stdout);
	if (s->next_wall) {
		struct duration wait = {(int64_t)s->next_wall - walltime_read().us};

		printf(" (down, next attempt in %s)", print_age(age, wait));
	}
	putchar('\n');
	if (s->last_error.len) {
		printf("%52s  ", "last error:");
		print_text(s->last_error, stdout);
		putchar('\n');
	}
}

static void logins_text(const struct frozen_rows *rows)
{
	size_t frozen = 0;

	for (size_t i = 0; i < rows->count; i++)
		frozen += rows->items[i].frozen;
	if (rows->count)
		printf("logins      %zu frozen, %zu more looked taken over: veredus user list\n",
		       frozen, rows->count - frozen);
}

static void status_text(const struct msg_status_is *m, struct rates rates,
			const struct frozen_rows *logins)
{
	char a[SHORT_BYTES], b[SHORT_BYTES];
	struct rec_site_status s;
	struct wire_list sites = m->sites;

	printf("intake      %s\n", intake_text(m->intake));
	printf("running     %s%s\n", print_age(a, age_of(m->started_wall)),
	       m->loading ? ", still loading older mail" : "");
	printf("queued      %llu messages, %llu recipients: %llu ready, %llu in flight, %llu "
	       "deferred, "
	       "%llu held\n",
	       (unsigned long long)m->messages, (unsigned long long)m->recipients,
	       (unsigned long long)m->ready, (unsigned long long)m->in_flight,
	       (unsigned long long)m->deferred, (unsigned long long)m->held);
	printf("oldest      %s\n", m->oldest_wall ? print_age(a, age_of(m->oldest_wall)) : "-");
	printf("now         %.1f accepted/s, %.1f relayed/s, %.1f failed/s\n", rates.accepted,
	       rates.relayed, rates.failed);
	printf("since start %llu accepted, %llu relayed, %llu failed, %llu reports\n",
	       (unsigned long long)m->accepted, (unsigned long long)m->relayed,
	       (unsigned long long)m->failed, (unsigned long long)m->reports);
	printf("disk        %s live, %s used\n", print_size(a, m->live_bytes),
	       print_size(b, m->disk_bytes));
	logins_text(logins);
	if (!sites.count)
		return;
	printf("\n%8s %8s %8s %6s %10s %7s  %s\n", "ready", "deferred", "flight", "conns",
	       "relayed", "oldest", "site");
	while (list_next_site_status(&sites, &s))
		site_text(&s);
}

static json_t *logins_json(const struct frozen_rows *rows)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rows->count; i++) {
		json_t *o = json_object();

		json_object_set_new(o, "name", json_text(text_of(rows->items[i].login)));
		frozen_row_json(&rows->items[i], o);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *site_json(const struct rec_site_status *s)
{
	return json_pack("{s:o s:o s:o s:o s:o s:o s:o s:o s:o}", "site", json_text(s->site),
			 "ready", json_u64(s->ready), "deferred", json_u64(s->deferred),
			 "in_flight", json_u64(s->in_flight), "connections",
			 json_u64(s->connections), "relayed", json_u64(s->relayed), "oldest",
			 json_u64(s->oldest_wall / 1000000), "next_attempt",
			 json_u64(s->next_wall / 1000000), "last_error", json_text(s->last_error));
}

static void status_json(const struct msg_status_is *m, struct rates rates,
			const struct frozen_rows *logins)
{
	static const char *const intake[] = {"open", "full", "limit", "broken", "closed"};
	json_t *sites = json_array(), *o = json_object();
	struct wire_list list = m->sites;
	struct rec_site_status s;

	while (list_next_site_status(&list, &s))
		json_array_append_new(sites, site_json(&s));
	json_object_set_new(o, "intake", json_string(m->intake < 5 ? intake[m->intake] : "?"));
	json_object_set_new(o, "loading", json_boolean(m->loading));
	json_object_set_new(o, "started", json_u64(m->started_wall / 1000000));
	json_object_set_new(o, "oldest", json_u64(m->oldest_wall / 1000000));
#define NUMBER(name) json_object_set_new(o, #name, json_u64(m->name));
	NUMBER(messages)
	NUMBER(recipients)
	NUMBER(ready)
	NUMBER(in_flight)
	NUMBER(deferred)
	NUMBER(held)
	NUMBER(accepted)
	NUMBER(relayed)
	NUMBER(failed)
	NUMBER(reports)
	NUMBER(live_bytes)
	NUMBER(disk_bytes)
#undef NUMBER
	json_object_set_new(o, "accepted_per_second", json_real(rates.accepted));
	json_object_set_new(o, "relayed_per_second", json_real(rates.relayed));
	json_object_set_new(o, "failed_per_second", json_real(rates.failed));
	json_object_set_new(o, "logins", logins_json(logins));
	json_object_set_new(o, "sites", sites);
	json_print(o, stdout);
}

/* qmgr learns the oldest mail's age on its rounds; before the first one the disk tells, if it is
 * quick. */
static uint64_t oldest_of(const struct ctl *ctl, const struct msg_status_is *m)
{
	struct view *view;
	uint64_t oldest = m->oldest_wall;
	int status;

	if (oldest || !m->messages || m->messages > LOOK_MAX)
		return oldest;
	view = view_open(ctl, &status);
	if (view)
		oldest = (uint64_t)view_oldest(view).us;
	view_close(&view);
	return oldest;
}

static double rate(uint64_t before, uint64_t after, struct duration took)
{
	return after > before && took.us > 0
		   ? (double)(after - before) * 1000000.0 / (double)took.us
		   : 0;
}

int status_verb(struct ctl *ctl)
{
	struct msg_status_ask ask = {.request = 1, .sites = 0};
	struct frozen_rows logins = {0};
	struct message m;
	int status;

	if (ctl->count) {
		ctl_say("status takes no argument \"%s\"", ctl->words[0]);
		return EX_USAGE;
	}
	if (!ctl_config_load(ctl))
		return 1;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	status = EX_UNAVAILABLE;
	struct monotime began = monotime_read();

	if (!control_ask(control, MSG_status_ask, &ask, MSG_status_is, &m))
		goto out;
	struct msg_status_is first = m.status_is;

	if (!frozen_rows_ask(control, &logins))
		goto out;

	nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	ask.request = 2;
	ask.sites = SITES_SHOWN;
	if (!control_ask(control, MSG_status_ask, &ask, MSG_status_is, &m))
		goto out;
	struct duration took = monotime_since(monotime_read(), began);
	struct rates rates = {rate(first.accepted, m.status_is.accepted, took),
			      rate(first.relayed, m.status_is.relayed, took),
			      rate(first.failed, m.status_is.failed, took)};

	m.status_is.oldest_wall = oldest_of(ctl, &m.status_is);
	(ctl->json ? status_json : status_text)(&m.status_is, rates, &logins);
	status = 0;
out:
	frozen_rows_free(&logins);
	control_close(&control);
	return status;
}
