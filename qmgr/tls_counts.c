/* SPDX-License-Identifier: ISC */
/*
 * veredus tls-report: what limits has counted of TLS with receivers. The
 * command has no way to limits, and we no interest: questions and answers are
 * passed on.
 */
#include "qmgr.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

enum { PENDING_MOST = 16 }; /* as many as there can be connections of the command */

struct tls_counts {
	struct channel *limits; /* NULL while there is none */
	uint64_t last_query;
	struct pending {
		struct channel *control; /* NULL: free */
		uint32_t request;
		uint64_t query;
	} pending[PENDING_MOST];
};

static void say_away(struct channel *c, uint32_t request)
{
	channel_send_tls_counts_are(
	    c, &(struct msg_tls_counts_are){.request = request, .state = TLS_COUNTS_AWAY});
}

void tls_counts_ask(struct channel *c, const struct message *m)
{
	struct tls_counts *t = qmgr_of(c)->tls_counts;
	struct pending *p = NULL;

	for (size_t i = 0; t && i < PENDING_MOST; i++) {
		if (t->pending[i].control == c) {
			channel_end(c, "asked before it was answered");
			return;
		}
		if (!t->pending[i].control)
			p = &t->pending[i];
	}
	if (!t || !t->limits || !p) {
		say_away(c, m->tls_counts_ask.request);
		return;
	}
	*p = (struct pending){c, m->tls_counts_ask.request, ++t->last_query};
	channel_send_tls_counts_look(
	    t->limits, &(struct msg_tls_counts_look){p->query, m->tls_counts_ask.domain});
}

void tls_counts_seen(struct channel *c, const struct message *m)
{
	struct tls_counts *t = qmgr_of(c)->tls_counts;
	const struct msg_tls_counts_seen *seen = &m->tls_counts_seen;

	for (size_t i = 0; t && i < PENDING_MOST; i++) {
		struct pending *p = &t->pending[i];

		if (!p->control || p->query != seen->query)
			continue;
		channel_send_tls_counts_are(p->control, &(struct msg_tls_counts_are){
							    .request = p->request,
							    .state = seen->state,
							    .total = seen->total,
							    .domains = seen->domains,
							    .report = seen->report,
							});
		p->control = NULL;
	}
}

void tls_counts_peer(struct qmgr *q, struct channel *limits)
{
	if (!q->tls_counts)
		q->tls_counts = mem_new(1, sizeof *q->tls_counts);
	q->tls_counts->limits = limits;
}

void tls_counts_gone(struct qmgr *q, struct channel *c)
{
	struct tls_counts *t = q->tls_counts;
	bool limits = t && c == t->limits;

	if (limits)
		t->limits = NULL;
	for (size_t i = 0; t && i < PENDING_MOST; i++) {
		struct pending *p = &t->pending[i];

		if (limits && p->control)
			say_away(p->control, p->request);
		if (limits || p->control == c)
			p->control = NULL;
	}
}
