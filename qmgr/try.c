/* SPDX-License-Identifier: ISC */
/*
 * veredus route --connect: the way of a mail tried, by an smtp-client, which
 * alone connects to anybody. Nothing is queued for it and nothing is sent.
 */
#include "qmgr.h"

#include "config_source.h"
#include "mem.h"
#include "sender_find.h"
#include "sts.h"

#include <stdlib.h>
#include <string.h>

struct try_query {
	struct try_query *next;
	struct channel *control, *worker; /* worker: NULL until it is asked */
	struct config *config;		  /* the one that it began with */
	const struct config_route *route; /* within it, or the fallback */
	struct sender_find *sender;
	struct sender_choice choice;
	struct policy_find *find;
	uint64_t query;
	uint32_t request;
	uint8_t tls; /* enum mail_tls */
	char domain[256];
};

static void try_end(struct qmgr *q, struct try_query *t)
{
	struct try_query **at = &q->tries;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	sender_find_cancel(&t->sender);
	policy_find_cancel(&t->find);
	config_drop(&t->config);
	free(t);
}

void try_remember(struct channel *c, const char *domain, struct sts_policy **sts)
{
	struct control *control = daemon_peer_state(c);

	free(control->told);
	control->told = *sts;
	*sts = NULL;
	text_copy(control->told_of, sizeof control->told_of, text_of(domain));
}

static void try_refuse(struct channel *control, uint32_t request, const char *error)
{
	channel_send_tried(control,
			   &(struct msg_tried){.request = request, .error = text_of(error)});
}

static struct channel *some_worker(const struct qmgr *q)
{
	for (size_t i = 0; i < q->worker_count; i++)
		if (q->workers[i].kind == PEER_SMTP_CLIENT && q->workers[i].channel &&
		    !q->workers[i].choked)
			return q->workers[i].channel;
	return NULL;
}

static void try_ask_worker(struct qmgr *q, struct try_query *t, struct text words)
{
	const struct config_route *r = t->route;
	const struct config_source *source =
	    config_source_of(t->config, r, t->choice.source, t->query);

	const struct control *control = daemon_peer_state(t->control);
	bool told = control->told && strcmp(control->told_of, t->domain) == 0;
	const struct sts_policy sts = told ? *control->told : (struct sts_policy){0};

	t->worker = some_worker(q);
	if (!t->worker) {
		try_refuse(t->control, t->request, "no smtp-client runs; try again in a moment");
		try_end(q, t);
		return;
	}
	channel_send_probe_ask(t->worker,
			       &(struct msg_probe_ask){
				   .query = t->query,
				   .how = (uint8_t)r->how,
				   .target = r->how == HOP_MX ? text_of(t->domain) : r->target,
				   .port = r->port,
				   .domain = text_of(t->domain),
				   .tls_row = words,
				   .sts_mode = sts.mode,
				   .sts_max_age_s = sts.max_age_s,
				   .sts_id = sts.id,
				   .sts_mx = sts.mx,
				   .source = source ? source->label : (struct text){NULL, 0},
				   .route = route_is_named(r) ? r->label : (struct text){NULL, 0},
				   .tls = t->tls,
			       });
}

static void try_table_said(void *arg, const struct policy_found *found)
{
	struct try_query *t = arg;
	struct qmgr *q = qmgr_of(t->control);

	t->find = NULL;
	if (found->verdict != TABLE_FAILED) {
		try_ask_worker(
		    q, t, found->verdict == TABLE_FOUND ? found->words : (struct text){NULL, 0});
		return;
	}
	try_refuse(t->control, t->request, found->why);
	try_end(q, t);
}

static void try_fail(struct qmgr *q, struct try_query *t, const char *error)
{
	try_refuse(t->control, t->request, error);
	try_end(q, t);
}

/* The route is known. */
static void try_go(struct qmgr *q, struct try_query *t)
{
	t->route = config_route_of(t->config, text_of(t->domain), t->choice.route);
	if (t->route->kind != ROUTE_HOP || t->route->how == HOP_LMTP_UNIX) {
		try_fail(q, t, "there is nothing to connect to");
	} else if (!policy_has_table(t->config, t->route)) {
		try_ask_worker(q, t, (struct text){NULL, 0});
	} else {
		struct policy_find *find = policy_find_start(q->lookups, t->config, t->route,
							     text_of(t->domain), try_table_said, t);

		/* Answered from within, it may be gone. */
		if (find)
			t->find = find;
	}
}

static void try_sender_said(void *arg, const struct sender_found *found)
{
	struct try_query *t = arg;
	struct qmgr *q = qmgr_of(t->control);
	char error[256];

	t->sender = NULL;
	t->choice = found->choice;
	if (found->verdict != TABLE_FAILED) {
		try_go(q, t);
		return;
	}
	sender_found_text(found, error, sizeof error);
	try_fail(q, t, error);
}

void try_ask(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	const struct msg_try_ask *ask = &m->try_ask;
	struct try_query *t = mem_new(1, sizeof *t);
	const char *error = route_domain(q, ask->address, t->domain, sizeof t->domain);

	for (const struct try_query *other = q->tries; other; other = other->next)
		if (other->control == c)
			error = "one question at a time";
	t->control = c;
	t->request = ask->request;
	t->tls = ask->tls;
	t->config = config_keep(q->d->config);
	t->query = ++q->last_route;
	t->next = q->tries;
	q->tries = t;
	if (error) {
		try_fail(q, t, error);
	} else if (!ask->has_sender) {
		try_go(q, t);
	} else {
		struct sender_find *find = sender_find_start(q->lookups, t->config, ask->sender,
							     ask->login, try_sender_said, t);

		if (find)
			t->sender = find;
	}
}

void try_probe_is(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct try_query *t = q->tries;

	while (t && (t->query != m->probe_is.query || t->worker != c))
		t = t->next;
	if (!t) /* who asked has left */
		return;
	channel_send_tried(t->control, &(struct msg_tried){.request = t->request,
							   .error = m->probe_is.error,
							   .hosts = m->probe_is.hosts});
	try_end(q, t);
}

void try_gone(struct qmgr *q, const struct channel *c)
{
	for (struct try_query *t = q->tries, *next; t; t = next) {
		next = t->next;
		if (t->worker == c)
			try_refuse(t->control, t->request,
				   "smtp-client ended meanwhile; try again");
		if (t->worker == c || t->control == c)
			try_end(q, t);
	}
}
