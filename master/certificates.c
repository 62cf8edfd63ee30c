/* SPDX-License-Identifier: ISC */
/* Certificates and keys, from the disk to the keeper. */
#include "certificates.h"

#include "file.h"
#include "mem.h"
#include "state.h"
#include "tls_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_SECONDS = 60, FILES = 3 };

struct certificates {
	struct master *master;
	struct timer look;
	struct stat (*seen)[FILES]; /* by block; zeros: there is none */
	size_t count;
};

static const enum handle_role roles[FILES] = {HANDLE_TLS_CERTIFICATE, HANDLE_TLS_CLIENT_CA,
					      HANDLE_TLS_KEY};

static struct text path_of(const struct config_tls *block, size_t file)
{
	return roles[file] == HANDLE_TLS_CERTIFICATE ? block->certificate
	       : roles[file] == HANDLE_TLS_CLIENT_CA ? block->client_ca
						     : block->key;
}

/* -- handing over -------------------------------------------------------------------------- */

/* Non-blocking, so that a FIFO in a file's place holds nobody up. */
static int file_open(struct text path)
{
	char name[PATH_MAX];
	struct stat st;
	int fd;

	if (text_copy(name, sizeof name, path) < path.len)
		return -1;
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void block_post(struct child *keeper, size_t index)
{
	const struct config_tls *block = config_certificate(keeper->master->config, index);
	char name[128];

	text_copy(name, sizeof name, block->label);
	for (size_t i = 0; i < FILES; i++) {
		struct text path = path_of(block, i);
		int fd = path.len ? file_open(path) : -1;

		if (fd >= 0)
			child_post(
			    keeper, MSG_handle,
			    &(struct msg_handle){(uint8_t)roles[i], (uint16_t)index, text_of(name)},
			    fd);
		else if (path.len)
			log_error(keeper->master->log, "tls %s: %.*s cannot be opened: %s", name,
				  (int)path.len, path.data, strerror(errno));
	}
}

void certificates_post(struct child *keeper)
{
	for (size_t i = 0; i < config_certificates(keeper->master->config); i++)
		block_post(keeper, i);
}

/* -- looking --------------------------------------------------------------------------------- */

/* True when another file is at PATH than was SEEN: also when a link was swapped. */
static bool changed(struct stat *seen, struct text path)
{
	char name[PATH_MAX];
	struct stat now = {0};

	if (!path.len || text_copy(name, sizeof name, path) < path.len || stat(name, &now) != 0)
		memset(&now, 0, sizeof now);
	bool other = !file_is_same(&now, seen);

	*seen = now;
	return other;
}

/* True when a file of the block is another than at the last look. */
static bool block_changed(struct certificates *all, size_t index)
{
	bool other = false;

	for (size_t i = 0; i < FILES; i++)
		if (changed(&all->seen[index][i],
			    path_of(config_certificate(all->master->config, index), i)))
			other = true;
	return other;
}

/* A renewal may write one file after the other: what does not fit yet is looked at again when the
 * next one changes. */
static void block_renew(struct certificates *all, size_t index)
{
	struct master *master = all->master;
	const struct config_tls *block = config_certificate(master->config, index);
	struct child *keeper = child_find(master, PEER_KEEPER, 0);
	struct config_errors errors = {0};
	const char *why = NULL;
	bool good = tls_check(master->config, index, true, &errors);

	for (size_t i = 0; i < errors.count && !why; i++)
		if (!errors.items[i].warning)
			why = errors.items[i].text;
	if (!good) {
		log_error(master->log, "tls %.*s: new files are not taken, the old ones stay: %s",
			  (int)block->label.len, block->label.data, why ? why : "no answer");
	} else if (keeper && keeper->channel) {
		block_post(keeper, index);
		log_notice(master->log, "tls %.*s: new files are taken", (int)block->label.len,
			   block->label.data);
	}
	config_errors_free(&errors);
}

static void look(void *arg)
{
	struct certificates *all = arg;

	timer_set(&all->look, SECONDS(LOOK_SECONDS));
	if (all->master->phase == MASTER_STOPPING)
		return;
	for (size_t i = 0; i < all->count; i++)
		if (block_changed(all, i))
			block_renew(all, i);
}

void certificates_watch(struct master *master)
{
	struct certificates *all = master->certificates;

	if (!all) {
		all = mem_new(1, sizeof *all);
		all->master = master;
		timer_init(&all->look, master->loop, look, all);
		master->certificates = all;
	}
	all->count = config_certificates(master->config);
	free(all->seen);
	all->seen = mem_new(all->count + 1, sizeof *all->seen);
	for (size_t i = 0; i < all->count; i++)
		block_changed(all, i);
	timer_set(&all->look, SECONDS(LOOK_SECONDS));
}
