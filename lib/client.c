/* SPDX-License-Identifier: ISC */
/* One client of a server: its stream, its session, its memory, its one timer. What the session
 * wants of it: client_session.c. */
#include "client_private.h"

#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LAST_WORDS_SECONDS = 5, /* how long a last reply may take to leave */
	/* When all places are taken, who has been silent for so long gives his to the next. */
	SILENT_US = 500000,
	DISPLACED_AT_ONCE = 8,
	LIMITS_WAIT_S = 5, /* for its verdict; then the client is let in */
};

static void client_free(struct client *c, bool at_once)
{
	struct clients *all = c->all;
	uint32_t slot = (uint32_t)c->number;

	LOG(all->d->log, disconnect, 0, session_client(c->session), text_of(""));
	policy_cancel(&c->question);
	caller_free(&c->caller);
	intake_drop(&c->message);
	budget_hold(&all->budget, &c->held, 0);
	if (at_once)
		stream_free(&c->stream);
	else
		stream_finish(&c->stream, SECONDS(LAST_WORDS_SECONDS),
			      session_has_quit(c->session));
	session_free(&c->session);
	timer_clear(&c->timer);
	if (c->counted && all->limits)
		channel_send_client_close(all->limits, &(struct msg_client_close){c->number});
	all->at[slot] = NULL;
	if (slot < all->free_slot)
		all->free_slot = slot;
	all->count--;
	free(c);
	if (!all->count && all->draining)
		all->emptied(all);
}

/* -- memory -------------------------------------------------------------------------- */

static void client_weigh(struct client *c)
{
	size_t message = c->message ? intake_held(c->message) : 0;

	budget_hold(&c->all->budget, &c->held,
		    session_held(c->session) + message + c->unread + stream_out(c->stream)->size);
}

/* Says how much memory the client takes. Where none is left, who has just taken more gives up. */
static void client_fits(struct client *c)
{
	size_t before = c->held;

	client_weigh(c);
	if (c->held <= before || !budget_is_spent(&c->all->budget))
		return;
	if (session_shed(c->session))
		intake_shed(c->message);
	else if (c->unread > SESSION_COMMAND_MAX && !session_has_all(c->session))
		session_overdrawn(c->session);
	client_weigh(c);
}

/* -- TLS ---------------------------------------------------------------------------- */

static void say_tls_failed(struct client *c, const char *why)
{
	LOG(c->all->d->log, tls_failed, 0, session_client(c->session), text_of(why));
}

void client_start_tls(struct client *c)
{
	c->paused = false;
	c->shaking = loop_now(c->all->d->loop);
	if (stream_start_tls(c->stream, c->all->tls, session_config(c->session)->timeout_handshake))
		return;
	say_tls_failed(c, "there is no certificate, or the keeper is away");
	session_abort(c->session);
}

static void client_secured(void *owner)
{
	struct client *c = owner;
	const struct tls_facts *tls = stream_tls(c->stream);
	struct text subject = tls->subject.len ? tls->subject : text_of("none");

	c->shaking.us = INT64_MAX;
	LOG(c->all->d->log, tls, 0, session_client(c->session), tls->version, tls->cipher,
	    tls->name.len ? tls->name : text_of("none"), subject);
	session_secured(c->session, moment_of(c), tls);
	if (session_asks(c->session) == POINT_CLIENT)
		session_answer(c->session, moment_of(c), NULL);
	client_after(c);
}

/* -- the stream's face --------------------------------------------------------------- */

void client_after(struct client *c)
{
	client_fits(c);
	if (stream_backlog(c->stream))
		stream_wrote(c->stream);
	if (session_wants_tls(c->session) && c->shaking.us == INT64_MAX)
		client_start_tls(c);
	if (session_is_over(c->session)) {
		client_free(c, false);
		return;
	}
	if (c->ended && !session_has_all(c->session)) {
		session_lost(c->session);
		client_free(c, true);
		return;
	}
	if (c->paused && !session_blocked(c->session)) {
		c->paused = false;
		stream_resume(c->stream);
	}
	struct monotime deadline = session_deadline(c->session);

	/* The timer is set anew only when it would fire too late; too early costs one look. */
	if (deadline.us < c->armed.us) {
		c->armed = deadline;
		timer_set(&c->timer, monotime_since(deadline, loop_now(c->all->d->loop)));
	}
}

static size_t client_input(void *owner, const uint8_t *data, size_t len)
{
	struct client *c = owner;

	c->in_session = true;
	size_t used = session_input(c->session, moment_of(c), data, len);

	c->in_session = false;
	c->unread = len - used;
	/* Only who sends more than we take is paused: a waiting client costs no system call. */
	if (used < len && !c->paused && session_blocked(c->session)) {
		c->paused = true;
		stream_pause(c->stream);
	}
	client_after(c);
	return used;
}

static void client_ended(void *owner, int error)
{
	struct client *c = owner;

	/* Who sends all and closes half may still read: without its 250 it would send again. */
	if (!error && session_has_all(c->session)) {
		c->ended = true;
		return;
	}
	if (stream_tls_why(c->stream))
		say_tls_failed(c, stream_tls_why(c->stream));
	session_lost(c->session);
	client_free(c, true);
}

static void client_flushed(void *owner)
{
	struct client *c = owner;

	if (c->paused)
		client_after(c);
}

static const struct stream_face stream_face = {
    .input = client_input,
    .ended = client_ended,
    .flushed = client_flushed,
    .secured = client_secured,
};

static void client_let_in(struct client *c, const struct reply *refusal)
{
	if (!c->awaiting_limits)
		return;
	c->awaiting_limits = false;
	if (session_asks(c->session) != POINT_CLIENT)
		return;
	if (!c->implicit)
		session_answer(c->session, moment_of(c), refusal);
	else if (refusal) /* who expects TLS would not understand it */
		session_abort(c->session);
	else
		client_start_tls(c);
	client_after(c);
}

static void client_fired(void *arg)
{
	struct client *c = arg;

	c->armed = (struct monotime){INT64_MAX};
	/* No client waits for a limits daemon that stands still. */
	if (c->awaiting_limits && session_asks(c->session) == POINT_CLIENT) {
		client_let_in(c, NULL);
		return;
	}
	c->in_session = true; /* what is asked again may be answered at once */
	session_expire(c->session, moment_of(c));
	c->in_session = false;
	client_after(c);
}

/* -- coming and going ------------------------------------------------------------------ */

static uint32_t slot_take(struct clients *all)
{
	uint32_t i = all->free_slot;

	while (i < all->slots && all->at[i])
		i++;
	if (i == all->slots) {
		uint32_t slots = all->slots ? all->slots * 2 : 64;

		all->at = mem_resize(all->at, slots, sizeof(struct client *));
		memset(all->at + all->slots, 0, (slots - all->slots) * sizeof(struct client *));
		all->slots = slots;
	}
	all->free_slot = i + 1;
	all->count++;
	return i;
}

/* Before there is a session: one line and goodbye; SILENT where the line would have to be in TLS.
 */
static void refuse_fd(struct clients *all, int fd, const uint8_t *address, const struct reply *r,
		      bool silent)
{
	struct bytes out = {0};
	char text[46], client[64], line[REPLY_LINE_MAX];

	reply_write(&out, r, false);
	if (!silent)
		(void)!write(fd, bytes_at(&out), bytes_len(&out));
	bytes_free(&out);
	close(fd);
	snprintf(client, sizeof client, "unknown[%s]", host_address_print(address, text));
	LOG(all->d->log, refused_connection, 0, text_of(client), reply_line(r, line));
}

/* Since when nothing has come that counts; INT64_MAX: it is we who are waited for. */
static int64_t silent_since(const struct client *c)
{
	struct monotime deadline = session_deadline(c->session);

	if (deadline.us == INT64_MAX || session_asks_again(c->session))
		return c->shaking.us;
	return deadline.us - session_config(c->session)->timeout_command.us;
}

/* Under pressure patience is shorter: the client that has been silent for longest is told that its
 * time is over. */
static bool displace_one(struct clients *all)
{
	int64_t oldest = loop_now(all->d->loop).us - SILENT_US;
	struct client *found = NULL;

	for (uint32_t i = 0; i < all->slots; i++) {
		struct client *c = all->at[i];
		int64_t since = c ? silent_since(c) : INT64_MAX;

		if (since < oldest) {
			oldest = since;
			found = c;
		}
	}
	if (!found)
		return false;
	if (found->shaking.us == INT64_MAX)
		session_expire(found->session, (struct moment){session_deadline(found->session),
							       loop_wall(all->d->loop)});
	else
		say_tls_failed(found, "it took too long while others wait");
	client_free(found, true);
	return true;
}

/* Idle clients keep nobody out. False when all places are taken by clients that are at work. */
static bool make_room(struct clients *all)
{
	uint64_t most = all->d->config->limit_connections;

	if (most > all->files_most)
		most = all->files_most;
	if (all->count < most)
		return true;
	for (int i = 0; i < DISPLACED_AT_ONCE && displace_one(all); i++)
		;
	return all->count < most;
}

/* Who may relay may have any number of connections: nobody need count them. */
static bool is_counted(const struct client *c)
{
	return c->all->limits && !config_relays_from(session_config(c->session), c->address);
}

static void ask_limits(struct client *c)
{
	struct clients *all = c->all;

	if (!is_counted(c))
		return;
	c->counted = true;
	channel_send_client_open(all->limits, &(struct msg_client_open){
						  .session = c->number,
						  .address = {(const char *)c->address, 16},
					      });
}

/* Who has spoken before the greeting is heard first. */
static bool has_spoken(int fd)
{
	uint8_t octet;

	return recv(fd, &octet, 1, MSG_PEEK) > 0;
}

void client_new(struct clients *all, int fd, const uint8_t *address, enum handle_role role)
{
	static const struct reply full =
	    REPLY(421, "4.3.2", "Error: too many connections, try again later");
	char submitter[64];

	if (!make_room(all)) {
		refuse_fd(all, fd, address, &full, role == HANDLE_LISTEN_SUBMISSIONS);
		return;
	}
	struct client *c = mem_new(1, sizeof *c);

	c->all = all;
	c->number = (uint64_t)++all->serial << 32 | slot_take(all);
	all->at[(uint32_t)c->number] = c;
	memcpy(c->address, address, 16);
	c->stream = stream_new(all->d->loop, fd, &stream_face, c);
	c->implicit = role == HANDLE_LISTEN_SUBMISSIONS;
	if (c->implicit)
		stream_pause(c->stream);
	c->armed = c->shaking = (struct monotime){INT64_MAX};
	timer_init(&c->timer, all->d->loop, client_fired, c);
	struct session_setup setup = {
	    .face = &client_session_face,
	    .owner = c,
	    .config = all->d->config,
	    .out = stream_out(c->stream),
	    .submitter = caller_submitter(address, submitter, sizeof submitter),
	    .seed = all->seed,
	    .auth = config_has_logins(all->d->config) &&
		    (role != HANDLE_LISTEN_SMTP || all->d->config->auth_smtp),
	    .role = (uint8_t)role,
	    .needs_login = role != HANDLE_LISTEN_SMTP,
	    .offers_tls = !c->implicit && all->tls && all->d->config->tls_count,
	};

	memcpy(setup.address, address, sizeof setup.address);
	c->session = session_new(&setup, moment_of(c));
	caller_ask(&c->caller, policy_names(all->policy), c->session);
	LOG(all->d->log, connect, 0, session_client(c->session));
	bool counted = is_counted(c);

	c->awaiting_limits = counted || (!c->implicit && has_spoken(fd));
	if (counted)
		ask_limits(c);
	if (c->awaiting_limits) {
		struct duration patience = SECONDS(counted ? LIMITS_WAIT_S : 0);

		c->armed = monotime_add(loop_now(all->d->loop), patience);
		timer_set(&c->timer, patience);
	}
	session_begin(c->session);
	client_after(c);
}

void client_verdict(struct clients *all, uint64_t session, bool allowed)
{
	static const struct reply refusal =
	    REPLY(421, "4.7.0", "Error: too many connections from you");
	uint32_t slot = (uint32_t)session;
	struct client *c = slot < all->slots ? all->at[slot] : NULL;
	char line[REPLY_LINE_MAX];

	if (!c || c->number != session || !c->awaiting_limits)
		return;
	if (!allowed) {
		c->counted = false;
		LOG(all->d->log, refused_connection, 0, session_client(c->session),
		    reply_line(&refusal, line));
	}
	client_let_in(c, allowed ? NULL : &refusal);
}

static void clients_each(struct clients *all, void (*visit)(struct client *c))
{
	for (uint32_t i = 0; i < all->slots; i++)
		if (all->at[i])
			visit(all->at[i]);
}

void clients_revoke(struct clients *all)
{
	const struct frozen *frozen = policy_frozen(all->policy);

	for (uint32_t i = 0; i < all->slots && frozen_count(frozen); i++)
		if (all->at[i] && frozen_has(frozen, session_login(all->at[i]->session)))
			session_revoke(all->at[i]->session);
}

static void limits_is_gone(struct client *c)
{
	c->counted = false;
	client_let_in(c, NULL);
}

void clients_limits_gone(struct clients *all)
{
	clients_each(all, limits_is_gone);
}

void clients_limits_open(struct clients *all)
{
	clients_each(all, ask_limits);
}

static void drain_one(struct client *c)
{
	session_drain(c->session, moment_of(c));
	client_after(c);
}

void clients_drain(struct clients *all)
{
	clients_each(all, drain_one);
}

static void cut_one(struct client *c)
{
	client_free(c, true);
}

uint32_t clients_cut(struct clients *all)
{
	uint32_t left = all->count;

	clients_each(all, cut_one);
	return left;
}
