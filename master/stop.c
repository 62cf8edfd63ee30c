/* SPDX-License-Identifier: ISC */
/* The stages of stopping. */
#include "stop.h"

#include "links.h"
#include "peer.h"
#include "state.h"

#include <signal.h>
#include <sys/wait.h>

enum {
	MARGIN_MS = 1000, /* a stage's own clean-up, beside the configured limit */
	QUEUE_MS = 5000,  /* outcomes and segments to disk */
	LOG_MS = 2000,
	END_MS = 5000, /* from closed channels to SIGKILL; children's graves are sooner */
};

enum limit_kind { LIMIT_DRAIN, LIMIT_DRAIN_DOT, LIMIT_QUEUE, LIMIT_LOG };

static const struct stage {
	unsigned kinds;
	enum limit_kind limit;
} stages[] = {
    {PEER_SMTPD | PEER_SUBMISSION | PEER_PICKUP, LIMIT_DRAIN}, /* nothing new comes in */
    {PEER_SMTP_CLIENT | PEER_LOCAL, LIMIT_DRAIN_DOT},	       /* nothing more goes out */
    {PEER_QMGR | PEER_BOUNCE, LIMIT_QUEUE},		       /* what became of it is on disk */
    {PEER_RESOLVER | PEER_LIMITS | PEER_CHECKER | PEER_KEEPER | PEER_TABLE | PEER_FETCHER,
     LIMIT_LOG},
    {PEER_LOGGER, LIMIT_LOG},
};
enum { STAGE_COUNT = sizeof stages / sizeof *stages };

static struct duration stage_limit(const struct master *master, const struct stage *stage)
{
	int64_t drain = master->config->timeout_drain.us,
		dot = master->config->timeout_drain_dot.us;

	switch (stage->limit) {
	case LIMIT_DRAIN:
		return (struct duration){drain};
	case LIMIT_DRAIN_DOT:
		return (struct duration){dot > drain ? dot : drain};
	case LIMIT_QUEUE:
		return MILLISECONDS(QUEUE_MS);
	case LIMIT_LOG:
		break;
	}
	return MILLISECONDS(LOG_MS);
}

static void stage_begin(struct master *master);

static void stage_end(struct master *master)
{
	const struct stage *stage = &stages[master->stage];

	timer_clear(&master->stop_stage);
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if (!(child->row->kind & stage->kinds))
			continue;
		if (child->row->kind == PEER_LOGGER)
			links_drop_ours(master);
		child_end(child);
	}
	master->stage++;
	stage_begin(master);
}

static bool all_gone(const struct master *master)
{
	for (size_t i = 0; i < master->children.count; i++)
		if (master->children.at[i]->pid)
			return false;
	return true;
}

/* True when nobody of this stage is still at work. Its members may end their processes later. */
static bool stage_done(const struct master *master)
{
	for (size_t i = 0; i < master->children.count; i++) {
		const struct child *child = master->children.at[i];

		if ((child->row->kind & stages[master->stage].kinds) && child->channel &&
		    !child->drained)
			return false;
	}
	return true;
}

static void stage_look(struct master *master)
{
	if (master->stage >= STAGE_COUNT) {
		if (all_gone(master))
			loop_stop(master->loop);
	} else if (stage_done(master)) {
		stage_end(master);
	}
}

static void stage_late(void *arg)
{
	struct master *master = arg;

	if (master->stage < STAGE_COUNT) {
		stage_end(master);
		return;
	}
	for (size_t i = 0; i < master->children.count; i++)
		if (master->children.at[i]->pid)
			kill(master->children.at[i]->pid, SIGKILL);
	timer_set(&master->stop_stage, MILLISECONDS(END_MS));
}

static void stage_begin(struct master *master)
{
	if (master->stage >= STAGE_COUNT) {
		timer_set(&master->stop_stage, MILLISECONDS(END_MS));
		stage_look(master);
		return;
	}
	const struct stage *stage = &stages[master->stage];
	struct duration limit = stage_limit(master, stage);

	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if ((child->row->kind & stage->kinds) && child->channel) {
			child->drained = false;
			channel_send_drain(child->channel,
					   &(struct msg_drain){(uint32_t)(limit.us / 1000)});
		}
	}
	if (stage->kinds &
	    PEER_RESOLVER) /* one stage before the logger's own, which reads it first */
		LOG(master->log, stopped, 0, text_of("drained"));
	timer_set(&master->stop_stage, (struct duration){limit.us + MARGIN_MS * 1000});
	stage_look(master);
}

static void stop_hurry(struct master *master)
{
	/* What is not done is done at the next start: the queue stands any end. */
	while (master->stage < STAGE_COUNT)
		stage_end(master);
}

void stop_begin(void *arg)
{
	struct master *master = arg;

	if (master->phase == MASTER_STOPPING) {
		stop_hurry(master);
		return;
	}
	master->phase = MASTER_STOPPING;
	notify_send(&master->notify, "STOPPING=1");
	timer_clear(&master->watchdog);
	timer_clear(&master->logger_retry);
	for (size_t i = 0; i < master->children.count; i++)
		timer_clear(&master->children.at[i]->restart);
	/* A client that comes now is refused at once and goes elsewhere. */
	listeners_close(&master->listeners);
	timer_init(&master->stop_stage, master->loop, stage_late, master);
	master->stage = 0;
	stage_begin(master);
}

void stop_child_drained(struct child *child)
{
	struct master *master = child->master;

	if (master->phase == MASTER_STOPPING)
		stage_look(master);
	else if (child->retiring)
		child_end(child);
}

void stop_child_gone(struct child *child, int status)
{
	char name[CHILD_NAME_BYTES];

	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		log_error(child->master->log, "%s was killed by signal %d while stopping",
			  child_name(child, name), WTERMSIG(status));
	stage_look(child->master);
}
