/* SPDX-License-Identifier: ISC */
/* Starting a daemon and talking to it. */
#include "child.h"

#include "authorities.h"
#include "certificates.h"
#include "links.h"
#include "logins.h"
#include "places.h"
#include "mem.h"
#include "must.h"
#include "route_login.h"
#include "state.h"
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	DAEMON_FD = 3,	    /* a daemon's channel to us */
	UNDER_WAY_MAX = 32, /* descriptors in one direction; a channel bears 64 */
	POSTS_MAX = 4096,
	GRAVE_SECONDS = 3,
	ENVIRONMENT_MAX = 16,
};

/* A message with a descriptor that waits. Only handle and peer carry one to a daemon. */
struct post {
	struct post *next;
	enum message_type type;
	struct msg_handle handle;
	struct msg_peer peer;
	char *name;
	int fd;
};

struct child *child_new(struct master *master, const struct kind_row *row, unsigned instance)
{
	struct child *child = mem_new(1, sizeof *child);

	must(master->children.count < CHILDREN_MAX);
	child->master = master;
	child->row = row;
	child->instance = instance;
	child->post_last = &child->post_first;
	child->linked = mem_new(CHILDREN_MAX, sizeof *child->linked);
	supervise_child(child);
	master->children.at[master->children.count++] = child;
	return child;
}

struct child *child_find(struct master *master, unsigned kind, unsigned instance)
{
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if (child->row->kind == kind && child->instance == instance)
			return child;
	}
	return NULL;
}

const char *child_name(const struct child *child, char *to)
{
	const char *name = peer_name(child->row->kind);

	if (child->row->workers == 1 ||
	    (child->row->kind & (PEER_CHECKER | PEER_KEEPER | PEER_FETCHER | PEER_LOCAL)))
		snprintf(to, CHILD_NAME_BYTES, "%s", name);
	else
		snprintf(to, CHILD_NAME_BYTES, "%s-%u", name, child->instance);
	return to;
}

/* -- posts ----------------------------------------------------------------------- */

static void posts_sent(struct channel *c);

static void post_send(struct child *child, struct post *post)
{
	if (child->posts_under_way++ == 0)
		channel_when_drained(child->channel, 0, posts_sent);
	if (post->type == MSG_handle)
		channel_send(child->channel, MSG_handle, &post->handle, post->fd);
	else
		channel_send(child->channel, MSG_peer, &post->peer, post->fd);
}

static void post_free(struct post *post)
{
	free(post->name);
	free(post);
}

/*
 * When all start together, those who take mail in wait for the queue: the
 * first clients wait in the port's backlog, instead of being told 451. A
 * queue that fails to start is waited for no longer.
 */
static bool begin_is_held(const struct child *child)
{
	const struct child *qmgr = child_find(child->master, PEER_QMGR, 0);

	return (child->row->kind & (PEER_SMTPD | PEER_SUBMISSION)) &&
	       child->master->phase == MASTER_STARTING && qmgr && !qmgr->generation &&
	       !qmgr->strikes;
}

static void begin_when_posted(struct child *child)
{
	if (!child->begin_due || child->post_first || begin_is_held(child))
		return;
	child->begin_due = false;
	channel_send_begin(child->channel, &(struct msg_begin){child->master->config->generation});
}

void child_begin_held(struct master *master)
{
	for (size_t i = 0; i < master->children.count; i++)
		if (master->children.at[i]->channel)
			begin_when_posted(master->children.at[i]);
}

static void posts_go_on(struct child *child)
{
	while (child->post_first && child->posts_under_way < UNDER_WAY_MAX) {
		struct post *post = child->post_first;

		child->post_first = post->next;
		if (!child->post_first)
			child->post_last = &child->post_first;
		child->post_count--;
		post_send(child, post);
		post_free(post);
	}
	begin_when_posted(child);
}

static void posts_sent(struct channel *c)
{
	struct child *child = channel_owner(c);

	child->posts_under_way = 0;
	posts_go_on(child);
}

static void posts_drop(struct child *child)
{
	while (child->post_first) {
		struct post *post = child->post_first;

		child->post_first = post->next;
		close(post->fd);
		post_free(post);
	}
	child->post_last = &child->post_first;
	child->post_count = child->posts_under_way = 0;
	child->begin_due = false;
}

void child_post(struct child *child, enum message_type type, const void *m, int fd)
{
	if (!child->channel || child->post_count == POSTS_MAX) {
		close(fd);
		if (child->channel)
			channel_end(child->channel, "takes no descriptors");
		return;
	}
	struct post *post = mem_new(1, sizeof *post);

	post->type = type;
	post->fd = fd;
	if (type == MSG_handle) {
		post->handle = *(const struct msg_handle *)m;
		post->name = mem_copy(post->handle.name.data, post->handle.name.len);
		post->handle.name.data = post->name;
	} else {
		post->peer = *(const struct msg_peer *)m;
	}
	*child->post_last = post;
	child->post_last = &post->next;
	child->post_count++;
	posts_go_on(child);
}

/* -- configuration and descriptors -------------------------------------------------- */

static void post_handle(struct child *child, enum handle_role role, unsigned index,
			const char *name, int fd)
{
	int copy;

	if (fd < 0 || !(child->row->handles & (1u << role)))
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, DAEMON_FD + 1);
	if (copy < 0) {
		log_error(child->master->log, "cannot copy a descriptor of %s: %s", name,
			  strerror(errno));
		return;
	}
	child_post(child, MSG_handle,
		   &(struct msg_handle){(uint8_t)role, (uint16_t)index, text_of(name)}, copy);
}

static const char *log_name(const struct config *config, char *to, size_t size)
{
	text_copy(to, size, config->log);
	return to;
}

/* Ours to give away whole: nobody else gets a copy. */
static bool login_handle_post(struct child *child, unsigned role, unsigned index, char *why)
{
	const struct config *config = child->master->config;
	int fd = logins_open(config, role, index, why);
	struct text name = logins_name(config, role, index);

	if (fd < 0)
		return false;
	if (name.len > HANDLE_NAME_MAX)
		name.len = HANDLE_NAME_MAX;
	child_post(child, MSG_handle, &(struct msg_handle){(uint8_t)role, (uint16_t)index, name},
		   fd);
	return true;
}

void child_handle_again(struct child *child, unsigned role, unsigned index)
{
	char why[WHY_BYTES] = "no such logins are configured";

	if (logins_need(child->master->config, role, index) &&
	    login_handle_post(child, role, index, why))
		return;
	channel_send_handle_none(
	    child->channel,
	    &(struct msg_handle_none){(uint8_t)role, {why, strnlen(why, 1024)}, (uint16_t)index});
}

/* What routes log in with. */
static void relay_handles_post(struct child *child)
{
	const struct config *config = child->master->config;
	char why[WHY_BYTES];

	/* All of very many would be more descriptors under way than we may have. */
	for (unsigned i = 0, count = route_logins(config); i < count; i++)
		for (unsigned role = HANDLE_RELAY_PASSWORD; role <= HANDLE_RELAY_STATE; role++)
			if ((role != HANDLE_RELAY_PASSWORD || i < ROUTE_PASSWORDS_AT_ONCE) &&
			    logins_need(config, role, i) && !login_handle_post(child, role, i, why))
				log_warning(child->master->log, "%s", why);
}

/* One that cannot be had now is asked for, and then said; those that are not, are said here. */
static void login_handles_post(struct child *child)
{
	static const unsigned roles[] = {HANDLE_CHECKER_KEY, HANDLE_TOKEN_SECRET, HANDLE_USERS,
					 HANDLE_DOVECOT};
	char why[WHY_BYTES];

	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (logins_need(child->master->config, roles[i], 0) &&
		    !login_handle_post(child, roles[i], 0, why) && roles[i] >= HANDLE_TOKEN_SECRET)
			log_warning(child->master->log, "%s", why);
	relay_handles_post(child);
}

void child_configure(struct child *child)
{
	struct master *master = child->master;
	const struct bytes *text = &master->config_text;
	char name[512];

	if (!child->channel)
		return;
	channel_send_config(child->channel,
			    &(struct msg_config){master->config->generation, bytes_text(text)});
	post_handle(child, HANDLE_LOG, 0, log_name(master->config, name, sizeof name),
		    master->log_fd);
	post_handle(child, HANDLE_HISTORY, 0, "history", master->history_fd);
	for (size_t i = 0; i < master->listeners.count; i++) {
		const struct listener *l = &master->listeners.at[i];

		post_handle(child, l->role, l->index, l->name, l->fd);
	}
	if (child->row->kind == PEER_CHECKER)
		login_handles_post(child);
	if (child->row->kind == PEER_KEEPER)
		certificates_post(child);
	if (child->row->handles & 1u << HANDLE_TLS_AUTHORITIES)
		authorities_post(child);
	child->begin_due = true;
	begin_when_posted(child);
}

/* -- the process ------------------------------------------------------------------- */

/* Nothing of the environment reaches a daemon but these. */
static bool environment_passes(const char *entry)
{
	static const char *const names[] = {
	    "PATH=",	      "TZ=",	       "LD_PRELOAD=", "ASAN_OPTIONS=",
	    "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "SLOWSYNC_MS="};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strncmp(entry, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void environment_pick(char **to)
{
	size_t n = 0;

	for (char **e = environ; *e && n < ENVIRONMENT_MAX - 1; e++)
		if (environment_passes(*e))
			to[n++] = *e;
	to[n] = NULL;
}

/* In the new process, until execve(). */
static _Noreturn void child_become(const struct child *child, int fd)
{
	char path[PATH_MAX + 32], title[64], instance[16];
	char *arguments[] = {title, instance, NULL};
	char *environment[ENVIRONMENT_MAX];
	sigset_t none;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	snprintf(path, sizeof path, "%s/%s", child->master->program_folder,
		 peer_name(child->row->kind));
	snprintf(title, sizeof title, "veredus-%s", peer_name(child->row->kind));
	snprintf(instance, sizeof instance, "%u", child->instance);
	environment_pick(environment);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* dup2() onto itself would leave it close-on-exec; master's descriptors are all above, or
	 * stay behind. */
	if (fd == DAEMON_FD)
		fcntl(fd, F_SETFD, 0);
	else if (dup2(fd, DAEMON_FD) < 0)
		_exit(EX_OSERR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	execve(path, arguments, environment);
	fprintf(stderr, "veredus/master: cannot run %s: %s\n", path, strerror(errno));
	_exit(EX_UNAVAILABLE);
}

void child_start(struct child *child)
{
	struct master *master = child->master;
	char name[CHILD_NAME_BYTES];
	int pair[2];

	if (!links_pair(pair)) {
		log_error(master->log, "no channel for %s: %s", child_name(child, name),
			  strerror(errno));
		supervise_retry(child);
		return;
	}
	pid_t pid = fork();

	if (pid == 0)
		child_become(child, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		log_error(master->log, "cannot start %s: %s", child_name(child, name),
			  strerror(errno));
		close(pair[0]);
		supervise_retry(child);
		return;
	}
	child->pid = pid;
	child->started = monotime_read();
	child->unanswered = 0;
	child->generation = 0;
	child->drained = false;
	supervise_open(child, pair[0]);
	links_make_all(child);
	child_configure(child);
}

void child_end(struct child *child)
{
	posts_drop(child);
	if (child->channel) /* perhaps in the middle of its handler: gone at the end of the turn */
		channel_end(child->channel, "closed");
	if (child->pid)
		timer_set(&child->grave, SECONDS(GRAVE_SECONDS));
}

void child_lost_channel(struct child *child)
{
	posts_drop(child);
	child->channel = NULL;
	if (child->pid && !timer_is_set(&child->grave))
		timer_set(&child->grave, SECONDS(GRAVE_SECONDS));
}

void child_buried(struct child *child)
{
	posts_drop(child);
	channel_free(&child->channel);
	timer_clear(&child->grave);
	child->pid = 0;
}
