/* SPDX-License-Identifier: ISC */
/*
 * The control socket: who connects is known by SO_PEERCRED; root and the
 * queue's own user may do everything. Actions come as lists of ids, so that
 * searching millions is the veredus command's work and not this loop's.
 */
#include "qmgr.h"

#include "idna.h"
#include "mem.h"
#include "must.h"
#include "way.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CONTROLS_MAX = 16,
	RELEASE_AGAIN_S = 1, /* after there was no descriptor or memory to read with */
};

struct control_listener {
	struct watch watch;
	struct qmgr *q;
	int fd;
};

static void control_accept(void *arg, bool readable, bool writable)
{
	struct control_listener *l = arg;
	struct ucred cred = {0};
	socklen_t len = sizeof cred;
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)readable;
	(void)writable;
	if (fd < 0)
		return;
	bool known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
		     (cred.uid == 0 || cred.uid == geteuid());

	if (!known || l->q->controls >= CONTROLS_MAX) {
		close(fd);
		return;
	}
	struct channel *c = daemon_adopt(l->q->d, fd, PEER_CONTROL);

	if (!c)
		return;
	struct control *control = mem_new(1, sizeof *control);

	control->uid = cred.uid;
	control->engine.kind = PEER_CONTROL;
	control->engine.channel = c;
	daemon_set_peer_state(c, control);
	l->q->controls++;
}

void control_listen(struct qmgr *q, int fd)
{
	struct control_listener *l = q->listener;

	if (l) {
		watch_remove(&l->watch);
		close(l->fd);
	} else {
		l = q->listener = mem_new(1, sizeof *l);
	}
	l->q = q;
	l->fd = fd;
	watch_add(&l->watch, q->loop, fd, control_accept, l);
	watch_want(&l->watch, true, false);
}

void control_gone(struct qmgr *q, struct channel *c)
{
	struct control *control = daemon_peer_state(c);

	q->controls--;
	route_control_gone(q, c);
	if (control) {
		free(control->told);
		control->told = NULL;
	}
	if (control)
		import_gone(q, control);
}

/* -- actions --------------------------------------------------------------------------- */

static bool in_structure(const struct recipient *r)
{
	return r->state == RECIPIENT_READY || r->state == RECIPIENT_WAITING;
}

static bool act_hold(struct qmgr *q, struct recipient *r)
{
	if (r->state == RECIPIENT_FLYING)
		r->wish = ACTION_HOLD;
	if (!in_structure(r))
		return r->state == RECIPIENT_FLYING;
	scheduler_remove(q->scheduler, r, RECIPIENT_HELD);
	recipient_finish(q, r, QUEUE_HELD, 0, 0, text_of("4.7.0"), text_of("held by a person"));
	return true;
}

static bool act_end(struct qmgr *q, struct recipient *r, bool bounce)
{
	uint8_t owed = bounce && !(r->flags & FLAG_NO_FAILURE) ? QUEUE_OWED_FAILURE : 0;

	if (r->state == RECIPIENT_FLYING) {
		r->wish = bounce ? ACTION_BOUNCE : ACTION_DELETE;
		return true;
	}
	if (in_structure(r))
		scheduler_remove(q->scheduler, r, RECIPIENT_ENDING);
	else if (r->state != RECIPIENT_HELD && (bounce || r->state != RECIPIENT_OWED))
		return false;
	r->flags &= (uint8_t) ~(QUEUE_OWED_FAILURE | QUEUE_OWED_SUCCESS | QUEUE_OWED_DELAY);
	recipient_finish(
	    q, r, bounce ? QUEUE_FAILED : QUEUE_REMOVED, owed, 0,
	    text_of(bounce ? "5.7.0" : "2.0.0"),
	    text_of(bounce ? "returned by the administrator" : "deleted by the administrator"));
	return true;
}

static bool act_flush(struct qmgr *q, struct recipient *r)
{
	if (!in_structure(r))
		return false;
	scheduler_hurry(q->scheduler, r, now_us(q));
	scheduler_flush_of(q->scheduler, r, now_us(q));
	return true;
}

/* Held recipients have left the structure; their domain is read from the envelope on disk. */
struct release {
	struct work work;
	struct timer again;
	struct qmgr *q;
	uint64_t id;
	struct queue_location location;
	struct queue_content content;
	enum queue_result result;
	uint32_t recipient; /* RECIPIENT_ALL or one */
};

static void release_run(void *arg)
{
	struct release *r = arg;

	r->result = queue_read_message(r->q->queue, &r->location, &r->content);
}

static void release_recipients(struct release *rel, struct mail *mail)
{
	struct qmgr *q = rel->q;
	struct envelope_iter it = envelope_recipients(rel->content.envelope);
	struct envelope_recipient er;

	for (uint32_t n = 0; envelope_next(&it, &er); n++) {
		struct recipient *r = mail_recipient(mail, n);

		if (!r || r->state != RECIPIENT_HELD ||
		    (rel->recipient != RECIPIENT_ALL && rel->recipient != n))
			continue;
		r->crashes = 0;
		mail_count_held(&q->mails, r, false);
		recipient_record(q, r, QUEUE_RELEASED, 0, text_of("4.0.0"),
				 text_of("released by a person"), 0);
		/*
		 * It is tried once that record is durable (owner_outcome() in store.c hurries
		 * it), however long a disk without room makes that, and whoever flushes the queue
		 * meanwhile: a qmgr that died before would find it held, not know the job that
		 * flies, and the next release would deliver it twice.
		 */
		r->releasing = true;
		scheduler_add(q->scheduler, r, domain_of(q, er.address),
			      now_us(q) + q->d->config->retry_expire.us, now_us(q));
	}
}

static void release_again(void *arg)
{
	struct release *r = arg;

	pool_add(r->q->readers, &r->work);
}

static void release_done(void *arg)
{
	struct release *r = arg;
	struct mail *mail = mail_find(&r->q->mails, r->id);

	if (mail && r->result == QUEUE_GONE && mail_moved(mail, &r->location)) {
		r->location = mail->location;
		pool_add(r->q->readers, &r->work);
		return;
	}
	/* Who asked for it was told that it is done. */
	if (mail && r->result == QUEUE_SHORT && !r->q->draining) {
		timer_set(&r->again, SECONDS(RELEASE_AGAIN_S));
		return;
	}
	if (mail && r->result == QUEUE_OK)
		release_recipients(r, mail);
	else if (mail)
		log_error(r->q->d->log, "a held message can't be read: %s",
			  queue_result_text(r->result));
	queue_content_free(&r->content);
	free(r);
}

static void release_begin(struct qmgr *q, const struct mail *mail, uint32_t recipient)
{
	struct release *r = mem_new(1, sizeof *r);

	r->work = (struct work){.run = release_run, .done = release_done, .arg = r};
	r->q = q;
	r->id = mail->id;
	r->location = mail->location;
	r->recipient = recipient;
	timer_init(&r->again, q->loop, release_again, r);
	pool_add(q->readers, &r->work);
}

/* It was to be held when it comes back, and is not any more. */
static bool wish_undone(struct recipient *r)
{
	if (r->state != RECIPIENT_FLYING || r->wish != ACTION_HOLD)
		return false;
	r->wish = 0;
	return true;
}

static bool act_one(struct qmgr *q, struct recipient *r, enum queue_action action)
{
	switch (action) {
	case ACTION_HOLD:
		return act_hold(q, r);
	case ACTION_DELETE:
		return act_end(q, r, false);
	case ACTION_BOUNCE:
		return act_end(q, r, true);
	case ACTION_FLUSH:
		return act_flush(q, r);
	case ACTION_REQUEUE:
		r->attempts = 0;
		if (wish_undone(r))
			return true;
		return r->state == RECIPIENT_HELD || act_flush(q, r);
	case ACTION_RELEASE:
		return r->state == RECIPIENT_HELD || wish_undone(r);
	}
	return false;
}

static uint32_t act_target(struct qmgr *q, struct mail *mail, uint32_t recipient,
			   enum queue_action action, uint32_t *later)
{
	uint32_t changed = 0;
	bool held = false;

	for (uint32_t i = 0; i < mail->recipient_count; i++) {
		struct recipient *r = &mail->recipients[i];

		if (r->state == RECIPIENT_GONE ||
		    (recipient != RECIPIENT_ALL && r->number != recipient))
			continue;
		held |= r->state == RECIPIENT_HELD;
		changed += act_one(q, r, action);
		*later += r->state == RECIPIENT_FLYING && r->wish == action;
	}
	if (held && (action == ACTION_RELEASE || action == ACTION_REQUEUE))
		release_begin(q, mail, recipient);
	return changed;
}

static void log_action(struct qmgr *q, const struct control *control, const struct msg_act *m,
		       uint64_t id, uint32_t changed)
{
	static const char *const words[] = {"?",      "hold",  "release", "requeue",
					    "delete", "flush", "bounce"};
	char uid[16], count[16];

	snprintf(uid, sizeof uid, "%u", (unsigned)control->uid);
	snprintf(count, sizeof count, "%u", changed);
	LOG(q->d->log, action, id, text_of(words[m->action]), text_of(uid), text_of(count));
}

void control_act(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct wire_list list = m->act.targets;
	struct rec_target t;
	struct msg_acted answer = {.request = m->act.request};

	if (m->act.action < ACTION_HOLD || m->act.action > ACTION_BOUNCE) {
		channel_end(c, "asked for an unknown action");
		return;
	}
	if (!list.count && m->act.action == ACTION_FLUSH) {
		answer.changed = scheduler_flush(q->scheduler, now_us(q));
		log_action(q, daemon_peer_state(c), &m->act, 0, answer.changed);
	}
	while (list_next_target(&list, &t)) {
		struct mail *mail = mail_find(&q->mails, t.id);
		uint32_t changed = 0;

		if (mail && mail->committed)
			changed = act_target(q, mail, t.recipient, (enum queue_action)m->act.action,
					     &answer.later);
		else
			answer.unknown++;
		if (changed)
			log_action(q, daemon_peer_state(c), &m->act, t.id, changed);
		answer.changed += changed;
	}
	channel_send_acted(c, &answer);
}

/* -- status -------------------------------------------------------------------------------- */

enum {
	LANES_LOOKED_AT = 1000 /* of a site, for its oldest mail: status costs no more than that */
};

/* The earlier of OLDEST (0: none) and the arrival of the lane's first mail, its oldest. */
static int64_t lane_oldest(const struct lane *lane, int64_t oldest)
{
	int64_t arrival = lane->ready ? lane->ready->mail->arrival_wall : 0;

	return arrival && (!oldest || arrival < oldest) ? arrival : oldest;
}

static uint64_t site_oldest(const struct site *site)
{
	int64_t oldest = 0;
	unsigned left = LANES_LOOKED_AT;

	for (const struct share *share = site->ring; share && left; share = share->next)
		for (const struct lane *l = share->lanes; l && left; l = l->share_next, left--)
			oldest = lane_oldest(l, oldest);
	return (uint64_t)oldest;
}

static uint64_t domain_oldest(const struct domain *d)
{
	int64_t oldest = 0;
	unsigned left = LANES_LOOKED_AT;

	for (const struct lane *l = d->lanes; l && left; l = l->next, left--)
		oldest = lane_oldest(l, oldest);
	return (uint64_t)oldest;
}

static void put_site(struct bytes *to, const struct qmgr *q, const struct site *site)
{
	rec_site_status_encode(
	    to,
	    &(struct rec_site_status){
		.site = site->name,
		.ready = site->ready,
		.deferred = site->waiting,
		.in_flight = site->flying,
		.connections = site->slots,
		.relayed = site->relayed,
		.oldest_wall = site_oldest(site),
		.next_wall = site->down_until_us ? (uint64_t)wall_of(q, site->down_until_us).us : 0,
		.last_error = site->failures ? text_of(site->last_error) : (struct text){NULL, 0}});
}

/* A domain whose mail waits for a next hop, in a row like a site's. */
static void put_domain(struct bytes *to, const struct qmgr *q, const struct domain *d)
{
	char name[300 + WAY_HOP_BYTES + ROUTE_NAME_MAX], hop[WAY_HOP_BYTES];
	bool ending = d->state == DOMAIN_ENDING;
	struct way way = {d->source, d->tls, d->route};

	way_hop_key(&way, hop);
	snprintf(name, sizeof name, "domain %.*s%s%s%.*s", (int)d->name.len, d->name.data, hop,
		 d->route.len ? " route=" : "", (int)d->route.len, d->route.data);
	rec_site_status_encode(to,
			       &(struct rec_site_status){
				   .site = {name, strlen(name) < 335 ? strlen(name) : 335},
				   .ready = domain_recipients(d),
				   .oldest_wall = domain_oldest(d),
				   .next_wall = ending ? 0 : (uint64_t)wall_of(q, d->until_us).us,
				   .last_error = text_of(d->verdict->text)});
}

void control_status(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	const struct site *top[100];
	size_t want = m->status_ask.sites < 100 ? m->status_ask.sites : 100;
	size_t n = scheduler_top(q->scheduler, top, want);
	struct scheduler_figures f = scheduler_figures(q->scheduler);
	struct queue_figures disk = queue_figures(q->queue);
	struct bytes sites = {0};

	for (size_t i = 0; i < n; i++)
		put_site(&sites, q, top[i]);
	const struct domain *down[100];
	size_t domains = scheduler_down_domains(q->scheduler, down, want - n);

	for (size_t i = 0; i < domains; i++)
		put_domain(&sites, q, down[i]);
	n += domains;
	struct msg_status_is a = {.request = m->status_ask.request,
				  .intake = (uint8_t)q->intake,
				  .started_wall = (uint64_t)q->started.us,
				  .messages = q->mails.by_id.count,
				  .recipients = q->mails.recipients,
				  .ready = f.ready,
				  .in_flight = f.flying,
				  .deferred = f.waiting,
				  .held = q->mails.held,
				  .oldest_wall = (uint64_t)q->oldest_wall,
				  .accepted = q->counters.accepted,
				  .relayed = q->counters.relayed,
				  .failed = q->counters.failed,
				  .reports = q->counters.reports,
				  .live_bytes = disk.live_bytes,
				  .disk_bytes =
				      (uint64_t)disk.segment_bytes *
				      (disk.segments + disk.free_segments + disk.reserve_segments),
				  .loading = !q->loaded,
				  .sites = {(uint32_t)n, {(const char *)sites.data, sites.end}}};

	channel_send_status_is(c, &a);
	bytes_free(&sites);
}

/* -- what waits ------------------------------------------------------------------------------ */

/* Why mail for the domain waits now, apart from what its recipients were told; false: it does not.
 */
static bool domain_waits(const struct qmgr *q, const struct domain *d, struct rec_wait *to)
{
	const struct site *site = d->site;
	int64_t until = 0;

	if (d->verdict && d->state != DOMAIN_ENDING) {
		to->error = text_of(d->verdict->text);
		until = d->state == DOMAIN_DOWN ? d->until_us : 0;
	} else if (site && (site->down_until_us || (site->failures && !site->proven))) {
		to->site = site->name;
		to->error = text_of(site->last_error);
		until = site->down_until_us;
	} else {
		return false;
	}
	to->next_wall = until ? (uint64_t)wall_of(q, until).us : 0;
	return true;
}

void control_waits(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct wire_list list = m->waits_ask.domains;
	struct rec_wait_domain asked;
	struct bytes rows = {0};
	uint32_t count = 0;

	for (uint32_t i = 0; list_next_wait_domain(&list, &asked); i++) {
		char ascii[IDNA_BYTES];
		struct text made = idna_ascii(asked.domain, ascii);

		asked.domain = made.len ? made : asked.domain;
		const struct domain *d = NULL;
		struct rec_wait row = {.index = i};

		/* The first of its ways on which it does. */
		do
			d = scheduler_domain(q->scheduler, asked.domain, d);
		while (d && !domain_waits(q, d, &row));
		if (!d)
			continue;
		rec_wait_encode(&rows, &row);
		count++;
	}
	channel_send_waits_are(
	    c, &(struct msg_waits_are){m->waits_ask.request,
				       {count, {(const char *)rows.data, rows.end}}});
	bytes_free(&rows);
}
