/* SPDX-License-Identifier: ISC */
/*
 * Access tokens of routes: kept until shortly before their end, and fetched
 * anew through the fetcher, once for all who wait. A refresh token that the
 * server gives in the place of the old one is kept (relay_state.c).
 */
#include "relay.h"

#include "mem.h"

#include <stdio.h>
#include <string.h>

static void field_put(struct bytes *to, const char *name, const char *value)
{
	rec_field_encode(to, &(struct rec_field){text_of(name), text_of(value)});
}

static void token_fetch(struct relays *all, struct relay *r)
{
	struct bytes body = {0}, fields = {0};

	token_request_put(r->route, bytes_text(&r->client_secret), bytes_text(&r->refresh), &body);
	field_put(&fields, "Accept", "application/json");
	field_put(&fields, "Content-Type", "application/x-www-form-urlencoded");
	r->fetch = ++all->last_fetch | RELAY_FETCH;
	channel_send_fetch(all->fetcher, &(struct msg_fetch){
					     .query = r->fetch,
					     .purpose = FETCH_TOKEN,
					     .method = FETCH_POST,
					     .url = r->route->token_endpoint,
					     .fields = {2, bytes_text(&fields)},
					     .body = bytes_text(&body),
					     .answer_max = 65536,
					     .limit_ms = TOKEN_SECONDS * 1000,
					 });
	bytes_free(&fields);
	relay_wipe(&body);
}

static bool lacks_secret(const struct relay *r)
{
	return (r->route->refresh_token_file.len && !bytes_len(&r->refresh)) ||
	       (r->route->client_secret_file.len && !bytes_len(&r->client_secret));
}

bool relay_token_ready(struct relays *all, struct relay *r, const char **dsn, const char **why)
{
	struct monotime now = loop_now(all->checker->d->loop);

	if (bytes_len(&r->access) && now.us < r->access_until.us)
		return true;
	if (r->fetch)
		return false;
	if (lacks_secret(r)) {
		relay_ask_files(all, r); /* for the next time */
		*why = "no access token: refresh-token-file or client-secret-file is not there";
	} else if (now.us < r->not_before.us) {
		*why = r->trouble;
	} else if (!all->fetcher) {
		*dsn = "4.3.0";
		*why = "no access token: there is no fetcher now";
	} else {
		token_fetch(all, r);
	}
	return false;
}

void relay_token_drop(struct relay *r, uint64_t serial)
{
	if (serial == r->serial)
		relay_wipe(&r->access);
}

/* -- the answer ------------------------------------------------------------------------------ */

static void token_failed(struct relays *all, struct relay *r, const char *why)
{
	snprintf(r->trouble, sizeof r->trouble, "no access token: %s", why);
	r->not_before = monotime_add(loop_now(all->checker->d->loop), SECONDS(TOKEN_PAUSE_SECONDS));
	relay_go_on(r, all, WAIT_TOKEN, "4.7.0", r->trouble);
}

static void token_given(struct relays *all, struct relay *r, struct token_answer *a)
{
	struct monotime now = loop_now(all->checker->d->loop);
	/* A minute for the way to the relay, less of what lives shorter. */
	int64_t margin = a->lifetime_s / 10 < 60 ? a->lifetime_s / 10 : 60;

	relay_wipe(&r->access);
	r->access = a->access;
	a->access = (struct bytes){0};
	r->serial++;
	r->fetched_at = now;
	r->access_until = monotime_add(now, SECONDS(a->lifetime_s - margin));
	if (bytes_len(&a->refresh) &&
	    !text_equal(bytes_text(&a->refresh), bytes_text(&r->refresh))) {
		relay_wipe(&r->refresh);
		r->refresh = a->refresh;
		a->refresh = (struct bytes){0};
		relay_state_keep(all, r);
	}
	/* Who waited for it gets it, however short it lives. */
	struct monotime until = r->access_until;

	if (until.us <= now.us)
		r->access_until.us = now.us + 1;
	relay_go_on(r, all, WAIT_TOKEN, NULL, NULL);
	r->access_until = until;
}

void relays_fetched(struct relays *all, const struct msg_fetched *m)
{
	struct relay *r = all->list;
	struct token_answer answer;
	char why[200], reason[160];

	while (r && r->fetch != m->query)
		r = r->next;
	if (!r)
		return; /* of a configuration that is gone */
	r->fetch = 0;
	if (m->outcome != FETCH_ANSWERED) {
		text_printable(reason, sizeof reason, m->reason);
		snprintf(why, sizeof why, "the token-endpoint cannot be asked: %s", reason);
		token_failed(all, r, why);
		return;
	}
	token_answer_read(m->status, m->body, &answer);
	if (answer.given == TOKEN_GIVEN) {
		token_given(all, r, &answer);
	} else {
		token_failed(all, r, answer.why);
		/* Perhaps somebody has put another one there. */
		if (answer.given == TOKEN_DENIED)
			relay_ask_files(all, r);
	}
	token_answer_free(&answer);
}

void relays_fetcher(struct relays *all, struct channel *fetcher)
{
	all->fetcher = fetcher;
	for (struct relay *r = all->list; r; r = r->next) {
		if (!r->fetch)
			continue;
		/* The next one is asked at once. */
		r->fetch = 0;
		relay_go_on(r, all, WAIT_TOKEN, "4.3.0", "no access token: the fetcher is gone");
	}
}
