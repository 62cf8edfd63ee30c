/* SPDX-License-Identifier: ISC */
/* Deaths, back-off, watchdog, and the few words a daemon has for master. */
#include "supervise.h"

#include "kept.h"
#include "links.h"
#include "ready.h"
#include "sockets.h"
#include "state.h"
#include "stop.h"
#include "tables_open.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PING_SECONDS = 10,
	UNANSWERED_MAX = 6, /* a minute without an answer */
	QUIET_SECONDS = 60, /* a daemon that lived so long has no past */
	BACK_OFF_MAX = 30,  /* seconds */
};

/* -- back-off ---------------------------------------------------------------------- */

static unsigned back_off_next(struct child *child)
{
	unsigned strikes = child->strikes, seconds = BACK_OFF_MAX;

	if (strikes < 6)
		seconds = strikes ? 1u << (strikes - 1) : 0;
	child->strikes++;
	return seconds < BACK_OFF_MAX ? seconds : BACK_OFF_MAX;
}

static void restart_fired(void *arg)
{
	struct child *child = arg;

	if (child->master->phase != MASTER_STOPPING && child->wanted && !child->pid)
		child_start(child);
}

void supervise_retry(struct child *child)
{
	unsigned seconds = back_off_next(child);

	timer_set(&child->restart, SECONDS(seconds ? seconds : 1));
}

static void grave_fired(void *arg)
{
	struct child *child = arg;

	if (child->pid)
		kill(child->pid, SIGKILL);
}

void supervise_child(struct child *child)
{
	timer_init(&child->restart, child->master->loop, restart_fired, child);
	timer_init(&child->grave, child->master->loop, grave_fired, child);
}

/* -- deaths --------------------------------------------------------------------------- */

static const char *death_how(int status, char *to, size_t size)
{
	if (WIFEXITED(status))
		snprintf(to, size, "ended with status %d", WEXITSTATUS(status));
	else if (WTERMSIG(status) == SIGSYS)
		snprintf(to, size, "was killed by SIGSYS: a system call that its jail forbids");
	else
		snprintf(to, size, "was killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	return to;
}

static struct child *child_of_pid(struct master *master, pid_t pid)
{
	for (size_t i = 0; i < master->children.count; i++)
		if (master->children.at[i]->pid == pid)
			return master->children.at[i];
	return NULL;
}

static void child_died(struct child *child, int status)
{
	struct master *master = child->master;
	char name[CHILD_NAME_BYTES], how[80], pid[16], wait[16];
	unsigned seconds;

	snprintf(pid, sizeof pid, "%d", (int)child->pid);
	if (child->row->kind == PEER_LOGGER)
		links_drop_ours(master);
	child_buried(child);
	child->drained = true;
	if (master->phase == MASTER_STOPPING) {
		stop_child_gone(child, status);
		return;
	}
	if (child->retiring) {
		child->retiring = false;
		if (child->wanted)
			child_start(child);
		return;
	}
	if (seconds_of(monotime_since(monotime_read(), child->started)) >= QUIET_SECONDS)
		child->strikes = 0;
	seconds = back_off_next(child);
	child_begin_held(master);
	snprintf(wait, sizeof wait, "%u", seconds);
	LOG(master->log, daemon_died, 0, text_of(child_name(child, name)), text_of(pid),
	    text_of(death_how(status, how, sizeof how)), text_of(wait));
	if (seconds)
		timer_set(&child->restart, SECONDS(seconds));
	else
		child_start(child);
}

void supervise_reap(void *arg)
{
	struct master *master = arg;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *child = child_of_pid(master, pid);

		if (child)
			child_died(child, status);
	}
}

/* -- what a daemon says ------------------------------------------------------------------ */

static void on_ready(struct channel *c, const struct message *m)
{
	struct child *child = channel_owner(c);
	struct master *master = child->master;
	char name[CHILD_NAME_BYTES], pid[16];

	if (child->generation == 0) {
		snprintf(pid, sizeof pid, "%d", (int)child->pid);
		LOG(master->log, daemon_started, 0, text_of(child_name(child, name)), text_of(pid));
	}
	child->generation = m->ready.generation;
	child_begin_held(master);
	ready_look(master);
}

static void on_drained(struct channel *c, const struct message *m)
{
	struct child *child = channel_owner(c);
	char name[CHILD_NAME_BYTES];

	child->drained = true;
	if (m->drained.left)
		log_notice(child->master->log, "%s cut off %u that did not finish in time",
			   child_name(child, name), m->drained.left);
	stop_child_drained(child);
}

static void on_want_peer(struct channel *c, const struct message *m)
{
	struct child *child = channel_owner(c);

	if (child->master->phase == MASTER_STOPPING)
		return;
	if (!links_make_one(child, m->want_peer.kind, m->want_peer.instance))
		channel_end(c, "asks for a peer that is no neighbour");
}

static void on_handle_ask(struct channel *c, const struct message *m)
{
	struct child *child = channel_owner(c);

	if (m->handle_ask.role >= 32 || !(child->row->handles & 1u << m->handle_ask.role))
		channel_end(c, "asks for a descriptor that is not its");
	else if (m->handle_ask.role == HANDLE_POLICIES)
		kept_send_policies(child);
	else
		child_handle_again(child, m->handle_ask.role, m->handle_ask.index);
}

static void on_pong(struct channel *c, const struct message *m)
{
	struct child *child = channel_owner(c);

	(void)m;
	child->unanswered = 0;
}

static void on_table_look(struct channel *c, const struct message *m)
{
	if (!tables_open(channel_owner(c), m->table_look.table))
		channel_end(c, "asks for a file that is no table");
}

static void on_socket_ask(struct channel *c, const struct message *m)
{
	sockets_connect(channel_owner(c), m->socket_ask.path);
}

static const struct serve serves[] = {
    {MSG_ready, PEER_ALL, on_ready},
    {MSG_drained, PEER_ALL, on_drained},
    {MSG_want_peer, PEER_ALL, on_want_peer},
    {MSG_handle_ask, PEER_CHECKER | PEER_QMGR, on_handle_ask},
    {MSG_table_look, PEER_TABLE, on_table_look},
    {MSG_socket_ask, PEER_SMTP_CLIENT, on_socket_ask},
    {MSG_pong, PEER_ALL, on_pong},
    {MSG_NONE, 0, NULL},
};

static void channel_gone(struct channel *c, const char *why)
{
	struct child *child = channel_owner(c);
	struct master *master = child->master;
	char name[CHILD_NAME_BYTES];

	if (master->phase != MASTER_STOPPING && strcmp(why, "closed") != 0 &&
	    strcmp(why, "Connection reset by peer") != 0)
		LOG(master->log, peer_ended, 0, text_of(child_name(child, name)), text_of(why));
	child_lost_channel(child);
}

void supervise_open(struct child *child, int fd)
{
	struct master *master = child->master;
	struct channel_config config = {
	    .loop = master->loop,
	    .self_kind = PEER_MASTER,
	    .serves = serves,
	    .gone = channel_gone,
	    .hello = {message_schema(), master->epoch, master->config->generation,
		      (uint32_t)getpid()},
	};

	child->channel = channel_new(&config, fd, child->row->kind, child->instance, child);
}

/* -- watchdog ------------------------------------------------------------------------------- */

/*
 * Counted in pings, not in time: after a pause of the whole machine nobody
 * is behind. A loop that stands still leaves a core's worth of a message by
 * SIGABRT, or is killed.
 */
static void watchdog_fired(void *arg)
{
	struct master *master = arg;
	char name[CHILD_NAME_BYTES];

	timer_set(&master->watchdog, SECONDS(PING_SECONDS));
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if (!child->channel || timer_is_set(&child->grave))
			continue;
		if (child->unanswered++ < UNANSWERED_MAX) {
			channel_send_ping(child->channel, &(struct msg_ping){child->unanswered});
			continue;
		}
		log_error(master->log, "%s (pid %d) has not answered for a minute; it is ended",
			  child_name(child, name), (int)child->pid);
		kill(child->pid, SIGABRT);
		timer_set(&child->grave, SECONDS(1));
	}
}

void supervise_watch(struct master *master)
{
	timer_init(&master->watchdog, master->loop, watchdog_fired, master);
	timer_set(&master->watchdog, SECONDS(PING_SECONDS));
}
