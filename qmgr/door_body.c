/* SPDX-License-Identifier: ISC */
/* Large bodies: their files are made for engines, and removed, in a thread. */
#include "qmgr.h"

#include "mem.h"

#include <stdlib.h>
#include <unistd.h>

enum { FILES_MAX = 600 /* on their way to one engine */ };

struct body_open {
	struct work work;
	struct qmgr *q;
	struct engine *e;
	uint64_t id;
	uint32_t life; /* of the engine's channel */
	int fd;
	enum queue_result result;
};

static void body_open_run(void *arg)
{
	struct body_open *b = arg;

	b->result = queue_body_create(b->q->queue, b->id, &b->fd);
}

static void body_open_done(void *arg)
{
	struct body_open *b = arg;
	struct channel *c = b->e->channel;

	/* One that does not take its files gets no more; one that is new did not ask for this one.
	 */
	bool fits = c && b->life == b->e->life && channel_descriptors(c) < FILES_MAX;

	if (b->result == QUEUE_OK && !fits) {
		close(b->fd);
		door_body_remove(b->q, b->e, b->id);
	}
	if (c && b->life == b->e->life)
		channel_send(c, MSG_body_file,
			     &(struct msg_body_file){b->id, b->result == QUEUE_FULL},
			     b->result == QUEUE_OK && fits ? b->fd : -1);
	free(b);
}

static void body_drop_run(void *arg)
{
	struct body_open *b = arg;

	queue_body_remove(b->q->queue, b->id);
}

static void body_drop_done(void *arg)
{
	free(arg);
}

static void body_work(struct qmgr *q, struct engine *e, uint64_t id, void (*run)(void *),
		      void (*done)(void *))
{
	struct body_open *b = mem_new(1, sizeof *b);

	b->work = (struct work){.run = run, .done = done, .arg = b};
	b->q = q;
	b->e = e;
	b->id = id;
	b->life = e ? e->life : 0;
	b->fd = -1;
	pool_add(q->bodies, &b->work);
}

void door_body_remove(struct qmgr *q, struct engine *e, uint64_t id)
{
	body_work(q, e, id, body_drop_run, body_drop_done);
}

void door_body_refused(struct qmgr *q, uint64_t id)
{
	door_body_remove(q, NULL, id);
}

void door_body_open(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct engine *e = daemon_peer_state(c);

	bool own = lease_holds(e, m->body_open.id);

	if ((!own && m->body_open.id >= e->forgotten) || mail_find(&q->mails, m->body_open.id))
		channel_end(c, "opened a body that is not its own");
	else if (q->intake != INTAKE_OPEN || !own)
		channel_send_body_file(c, &(struct msg_body_file){.id = m->body_open.id});
	else
		body_work(q, e, m->body_open.id, body_open_run, body_open_done);
}

void door_body_drop(struct channel *c, const struct message *m)
{
	struct qmgr *q = qmgr_of(c);
	struct engine *e = daemon_peer_state(c);

	bool own = lease_holds(e, m->body_drop.id);

	if ((!own && m->body_drop.id >= e->forgotten) || mail_find(&q->mails, m->body_drop.id))
		channel_end(c, "dropped a body that is not its own");
	else if (own)
		door_body_remove(q, e, m->body_drop.id);
}
