/* SPDX-License-Identifier: ISC */
/* Whose signatures count, from the disk to smtp-client and fetcher. */
#include "authorities.h"

#include "file.h"
#include "mem.h"
#include "route_tls.h"
#include "state.h"
#include "sts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_SECONDS = 60 };

struct authorities {
	struct master *master;
	struct timer look;
	struct stat seen; /* zeros: it was not there */
};

static bool authorities_count(const struct config *config)
{
	/* With the latter REQUIRETLS is offered. */
	if (config_asks_sts(config) || config->tls_count)
		return true;
	for (size_t i = 0; i < config->route_count; i++)
		if (route_policy(&config->routes[i]) == POLICY_VERIFY)
			return true;
	return config->tls_policies.len > 0; /* where verify may stand at any time */
}

static bool path_make(const struct config *config, char *to, size_t size)
{
	return text_copy(to, size, config->tls_authorities) == config->tls_authorities.len;
}

void authorities_post(struct child *child)
{
	struct master *master = child->master;
	char path[PATH_MAX], name[512];
	struct stat st;

	if (!authorities_count(master->config) || !path_make(master->config, path, sizeof path))
		return;
	/* Non-blocking, so that a FIFO in its place holds nobody up. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		text_copy(name, sizeof name, master->config->tls_authorities);
		child_post(child, MSG_handle,
			   &(struct msg_handle){HANDLE_TLS_AUTHORITIES, 0, text_of(name)}, fd);
		return;
	}
	log_error(master->log, "tls-authorities: %s: %s; until it is there %s", path,
		  fd < 0 ? strerror(errno) : "no file",
		  child->row->kind == PEER_FETCHER
		      ? "no MTA-STS policy can be fetched, and mail to domains whose policy is "
			"not known goes without"
		      : "no receiver's certificate is trusted: mail that needs one waits");
	if (fd >= 0)
		close(fd);
}

/* True when it is another file than at the last look. */
static bool changed(struct authorities *all)
{
	char path[PATH_MAX];
	struct stat now = {0};

	if (!path_make(all->master->config, path, sizeof path) || stat(path, &now) != 0)
		memset(&now, 0, sizeof now);
	bool other = !file_is_same(&now, &all->seen);

	all->seen = now;
	return other;
}

static void look(void *arg)
{
	struct authorities *all = arg;
	struct master *master = all->master;

	timer_set(&all->look, SECONDS(LOOK_SECONDS));
	if (master->phase == MASTER_STOPPING || !changed(all) || !all->seen.st_ino)
		return;
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if ((child->row->handles & 1u << HANDLE_TLS_AUTHORITIES) && child->channel)
			authorities_post(child);
	}
}

void authorities_watch(struct master *master)
{
	struct authorities *all = master->authorities;

	if (!all) {
		all = mem_new(1, sizeof *all);
		all->master = master;
		timer_init(&all->look, master->loop, look, all);
		master->authorities = all;
	}
	changed(all);
	timer_set(&all->look, SECONDS(LOOK_SECONDS));
}
