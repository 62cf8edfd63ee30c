/* SPDX-License-Identifier: ISC */
/*
 * qmgr's channels in the simulator. What qmgr sends goes to whoever plays the other end, who only
 * takes note of it: whatever it has to say is said in its own turn, as over a socket.
 */
#include "sim.h"

#include <unistd.h>

static struct sim_channel *mine(const struct channel *c)
{
	return (struct sim_channel *)(uintptr_t)c;
}

struct channel *sim_channel(struct sim_channel *c)
{
	return (struct channel *)(void *)c;
}

/* A body's descriptor belongs to the simulated disk. */
static void file_close(struct sim *s, int fd)
{
	const struct disk *d = simdisk_disk(s->disk);

	if (fd >= 0)
		d->close(d->self, fd);
}

void channel_send(struct channel *channel, enum message_type type, const void *m, int fd)
{
	struct sim_channel *c = mine(channel);
	struct sim *s = c->sim;

	if (type == MSG_leased)
		sim_leased(s, c->instance, m);
	else if (type == MSG_settled)
		sim_settled(s, m);
	else if (type == MSG_intake)
		s->engines[c->instance].intake = ((const struct msg_intake *)m)->state;
	else if (type == MSG_body_file)
		sim_body_file(s, m, fd);
	else if (type == MSG_report)
		sim_report(s, m);
	else if (type == MSG_site_ask)
		sim_asked(s, m);
	else if (type == MSG_job)
		sim_job(s, c->instance, m, fd);
	else if (type == MSG_recorded)
		sim_recorded(s, ((const struct msg_recorded *)m)->job);
	else if (type == MSG_slot_close)
		sim_slot_closes(s, c->instance, ((const struct msg_slot_close *)m)->slot);
	else if (type == MSG_acted)
		s->n.actions += ((const struct msg_acted *)m)->changed;
	if (type != MSG_body_file) /* whoever asked for it keeps it */
		file_close(s, fd);
}

/* Nobody here breaks a rule: who is said to has met an error of qmgr's, or of the simulator's. */
void channel_end(struct channel *c, const char *why)
{
	book_break(&mine(c)->sim->book, why, 0);
}

unsigned channel_peer(const struct channel *c)
{
	return mine(c)->kind;
}

unsigned channel_instance(const struct channel *c)
{
	return mine(c)->instance;
}

uint32_t channel_peer_pid(const struct channel *c)
{
	return mine(c)->pid;
}

void channel_pause(struct channel *c)
{
	mine(c)->paused = true;
}

void channel_resume(struct channel *c)
{
	mine(c)->paused = false;
}

/* All is read at once. */
size_t channel_backlog(const struct channel *c)
{
	(void)c;
	return 0;
}

size_t channel_descriptors(const struct channel *c)
{
	(void)c;
	return 0;
}

void channel_when_drained(struct channel *c, size_t low, void (*drained)(struct channel *c))
{
	(void)c;
	(void)low;
	(void)drained;
}

struct daemon *daemon_of(const struct channel *c)
{
	return &mine(c)->sim->daemon;
}

void *daemon_peer_state(const struct channel *c)
{
	return mine(c)->state;
}

void daemon_set_peer_state(struct channel *c, void *state)
{
	mine(c)->state = state;
}

struct channel *daemon_adopt(struct daemon *d, int fd, unsigned kind)
{
	(void)d;
	(void)fd;
	(void)kind;
	return NULL;
}

/* qmgr closes a body that nobody wants any more. */
static struct sim *closing;

void sim_descriptors_of(struct sim *s)
{
	closing = s;
}

int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_close(int fd)
{
	if (!closing)
		return __real_close(fd);
	file_close(closing, fd);
	return 0;
}
