/* SPDX-License-Identifier: ISC */
/* Talks: one for each login at a relay, from smtp-client's question to the relay's verdict. */
#include "relay.h"

#include "mem.h"
#include "route_login.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void relay_wipe(struct bytes *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->size);
	bytes_free(b);
}

/* -- talks --------------------------------------------------------------------------------- */

static size_t bucket_of(const struct channel *c, uint64_t query)
{
	return (size_t)((query ^ (uint64_t)(uintptr_t)c >> 6) % RELAY_BUCKETS);
}

static struct relay_talk *talk_find(const struct relays *all, const struct channel *c,
				    uint64_t query)
{
	struct relay_talk *t = all->talks[bucket_of(c, query)];

	while (t && (t->query != query || t->peer != c))
		t = t->next;
	return t;
}

static void talk_free(struct relay_talk *t)
{
	struct relays *all = t->all;
	struct relay_talk **at = &all->talks[bucket_of(t->peer, t->query)];

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	all->talk_count--;
	timer_clear(&t->limit);
	talk_end(&t->talk);
	bytes_free(&t->binding);
	free(t->label);
	free(t);
}

/* DSN empty: the relay's own words say it. */
static void talk_done(struct relay_talk *t, bool again, const char *dsn, const char *why)
{
	struct text reason = text_of(why);

	if (reason.len > 256)
		reason.len = 256;
	channel_send_relay_done(
	    t->peer, &(struct msg_relay_done){
			 .query = t->query, .again = again, .dsn = text_of(dsn), .reason = reason});
	talk_free(t);
}

static struct talk_secret secret_of(const struct relay_talk *t)
{
	struct relay *r = t->relay;

	return (struct talk_secret){
	    .login = r->route->login,
	    .secret = bytes_text(r->route->token_endpoint.len ? &r->access : &r->password),
	    .binding = bytes_text(&t->binding),
	    .kept = &r->salted,
	};
}

static void talk_say(struct relay_talk *t)
{
	t->relay_turn = true;
	channel_send_relay_say(t->peer,
			       &(struct msg_relay_say){
				   .query = t->query,
				   .mechanism = (uint16_t)t->talk.mechanism,
				   .has_response = t->talk.has_response,
				   .final = t->talk.final && t->talk.has_response,
				   .response = t->talk.has_response ? bytes_text(&t->talk.response)
								    : (struct text){NULL, 0},
			       });
}

/* -- a talk's beginning ---------------------------------------------------------------------- */

/* smtp-client says how safe its connection is; what the route asks for we know ourselves. */
static bool is_safe(const struct relay_talk *t)
{
	const struct config_route *r = t->relay->route;
	uint8_t address[16];

	if (t->safety == RELAY_PROVED)
		return true;
	if (t->safety == RELAY_ENCRYPTED)
		return r->tls == POLICY_ENCRYPT || r->tls == POLICY_MAY;
	return r->tls == POLICY_MAY && host_address_parse(r->target, address) &&
	       host_address_is_loopback(address);
}

/* The secret is there: the first words. */
static void talk_go(struct relay_talk *t)
{
	struct relay *r = t->relay;
	unsigned allowed = route_login_mechanisms(r->route) & t->mechanisms;
	unsigned mechanism = talk_choose(allowed, bytes_len(&t->binding) > 0);
	struct talk_secret secret = secret_of(t);

	t->wait = WAIT_NOTHING;
	t->serial = r->serial;
	if (!mechanism)
		talk_done(t, false, "4.7.4",
			  "the relay offers no mechanism that the route may log in with");
	else if (!talk_begin(&t->talk, t->all->checker->sasl, mechanism, &secret))
		talk_done(t, false, "4.7.0", t->talk.why);
	else
		talk_say(t);
}

/* Is there something to log in with? If not it waits, or has ended. */
static void talk_look(struct relay_talk *t)
{
	struct relays *all = t->all;
	struct relay *r = t->relay;
	const char *why = NULL, *dsn = "4.7.0";

	if (!is_safe(t)) {
		talk_done(t, false, "4.7.5", "the route wants the relay to prove who it is");
	} else if (r->route->token_endpoint.len) {
		t->wait = WAIT_TOKEN;
		if (relay_token_ready(all, r, &dsn, &why))
			talk_go(t);
		else if (why)
			talk_done(t, false, dsn, why);
	} else if (bytes_len(&r->password)) {
		talk_go(t);
	} else {
		t->wait = WAIT_SECRET;
		relay_ask_files(all, r);
	}
}

static struct relay *relay_of(const struct relays *all, const struct relay_talk *t)
{
	struct relay *r = all->list;

	while (r && (r->fingerprint != t->fingerprint || strcmp(r->label, t->label) != 0))
		r = r->next;
	return r;
}

static void config_late(void *arg)
{
	talk_done(arg, false, "4.3.0", "the configuration has changed meanwhile");
}

static bool begin_is_fine(const struct relays *all, const struct channel *c,
			  const struct msg_relay_begin *m)
{
	return m->safety < RELAY_SAFETIES &&
	       !memchr(m->route.data ? m->route.data : "", '\0', m->route.len) &&
	       !talk_find(all, c, m->query);
}

void relay_begin(struct relays *all, struct channel *c, const struct msg_relay_begin *m)
{
	if (!begin_is_fine(all, c, m)) {
		channel_end(c, "began a login against the rules");
		return;
	}
	struct relay_talk *t = mem_new(1, sizeof *t), **at = &all->talks[bucket_of(c, m->query)];

	t->all = all;
	t->peer = c;
	t->query = m->query;
	t->label = mem_copy(m->route.data, m->route.len);
	t->fingerprint = m->fingerprint;
	t->mechanisms = m->mechanisms;
	t->safety = m->safety;
	t->begun = loop_now(all->checker->d->loop);
	bytes_add(&t->binding, m->binding.data, m->binding.len);
	timer_init(&t->limit, all->checker->d->loop, config_late, t);
	t->next = *at;
	*at = t;
	all->talk_count++;
	t->relay = relay_of(all, t);
	if (all->talk_count > RELAY_TALKS_MAX) {
		talk_done(t, false, "4.3.0", "too many logins at once");
	} else if (t->relay) {
		talk_look(t);
	} else {
		t->wait = WAIT_CONFIG;
		timer_set(&t->limit, SECONDS(CONFIG_SECONDS));
	}
}

/* -- and how it goes on ------------------------------------------------------------------------ */

void relay_step(struct relays *all, struct channel *c, const struct msg_relay_step *m)
{
	struct relay_talk *t = talk_find(all, c, m->query);

	if (!t)
		return; /* it crossed our end */
	if (!t->relay_turn) {
		channel_end(c, "continued a login that does not wait for it");
		return;
	}
	t->relay_turn = false;
	struct talk_secret secret = secret_of(t);

	/* It began with another secret than there is now. */
	if (t->serial != t->relay->serial && !t->talk.final)
		talk_done(t, false, "4.3.0", "the password has changed meanwhile");
	else if (!talk_step(&t->talk, &secret, m->challenge))
		talk_done(t, false, "4.7.0", t->talk.why);
	else
		talk_say(t);
}

static void talk_refused(struct relay_talk *t)
{
	struct relay *r = t->relay;

	if (!r->route->token_endpoint.len) {
		t->wait = WAIT_ANOTHER;
		relay_ask_files(t->all, r);
		return;
	}
	/* One that was fetched for this very login would be refused again. */
	bool fresh = t->serial == r->serial && r->fetched_at.us >= t->begun.us;

	relay_token_drop(r, t->serial);
	talk_done(t, !fresh, "", "");
}

void relay_heard(struct relays *all, struct channel *c, const struct msg_relay_heard *m)
{
	struct relay_talk *t = talk_find(all, c, m->query);

	if (!t)
		return;
	t->relay_turn = false;
	if (m->outcome == RELAY_REFUSED && t->relay && t->wait == WAIT_NOTHING)
		talk_refused(t);
	else
		talk_free(t);
}

void relays_forget(struct relays *all, const struct channel *c)
{
	for (size_t i = 0; i < RELAY_BUCKETS; i++)
		for (struct relay_talk *t = all->talks[i], *next; t; t = next) {
			next = t->next;
			if (t->peer == c)
				talk_free(t);
		}
}

void relay_go_on(struct relay *r, struct relays *all, enum relay_wait wait, const char *dsn,
		 const char *why)
{
	for (size_t i = 0; i < RELAY_BUCKETS; i++)
		for (struct relay_talk *t = all->talks[i], *next; t; t = next) {
			next = t->next;
			if (t->relay != r || t->wait != wait)
				continue;
			if (wait == WAIT_ANOTHER)
				talk_done(t, t->serial != r->serial, "", "");
			else if (dsn)
				talk_done(t, false, dsn, why);
			else
				talk_look(t);
		}
}

/* -- the configuration ---------------------------------------------------------------------------
 */

static struct relay *relay_new(const struct config_route *route)
{
	struct relay *r = mem_new(1, sizeof *r);

	r->fingerprint = route->fingerprint;
	r->label = mem_copy(route->label.data, route->label.len);
	r->state = -1;
	snprintf(r->fault, sizeof r->fault, "its file has not been read");
	return r;
}

static void relay_free(struct relays *all, struct relay *r)
{
	for (size_t i = 0; i < RELAY_BUCKETS; i++)
		for (struct relay_talk *t = all->talks[i], *next; t; t = next) {
			next = t->next;
			if (t->relay == r)
				talk_done(t, false, "4.3.0",
					  "the configuration has changed meanwhile");
		}
	relay_wipe(&r->password);
	relay_wipe(&r->client_secret);
	relay_wipe(&r->refresh_file);
	relay_wipe(&r->refresh);
	relay_wipe(&r->access);
	OPENSSL_cleanse(&r->salted, sizeof r->salted);
	if (r->state >= 0)
		close(r->state);
	free(r->label);
	free(r);
}

/* The relay of that route, taken off FROM, or a new one. */
static struct relay *relay_take(struct relay **from, const struct config_route *route)
{
	for (; *from; from = &(*from)->next) {
		struct relay *r = *from;

		if (r->fingerprint != route->fingerprint ||
		    !text_equal(text_of(r->label), route->label))
			continue;
		*from = r->next;
		return r;
	}
	return relay_new(route);
}

/* What stays as it was keeps its token, and its talks. */
void relays_follow(struct relays *all)
{
	struct config *config = all->checker->d->config;
	struct relay *old = all->list, **last = &all->list;
	unsigned index = 0;

	if (all->config == config)
		return;
	all->list = NULL;
	for (size_t i = 0; i < config->route_count; i++) {
		if (!config->routes[i].login.len)
			continue;
		struct relay *r = relay_take(&old, &config->routes[i]);

		r->route = &config->routes[i];
		r->index = index++;
		r->asked = false;
		r->next = NULL;
		*last = r;
		last = &r->next;
	}
	for (struct relay *next; old; old = next) {
		next = old->next;
		relay_free(all, old);
	}
	config_drop(&all->config);
	all->config = config_keep(config);
}

void relays_start(struct relays *all)
{
	relays_follow(all);
	for (size_t i = 0; i < RELAY_BUCKETS; i++)
		for (struct relay_talk *t = all->talks[i], *next; t; t = next) {
			next = t->next;
			if (t->wait != WAIT_CONFIG || !(t->relay = relay_of(all, t)))
				continue;
			timer_clear(&t->limit);
			talk_look(t);
		}
}

struct relays *relays_new(struct checker *checker)
{
	struct relays *all = mem_new(1, sizeof *all);

	all->checker = checker;
	return all;
}
