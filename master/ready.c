/* SPDX-License-Identifier: ISC */
/* Saying that all daemons serve. */
#include "ready.h"

#include "state.h"

#include <unistd.h>

static bool all_ready(const struct master *master)
{
	for (size_t i = 0; i < master->children.count; i++) {
		const struct child *child = master->children.at[i];

		if (child->wanted && child->generation != master->config->generation)
			return false;
	}
	return true;
}

void ready_look(struct master *master)
{
	char line[1024];

	if (master->phase == MASTER_STOPPING || !all_ready(master) ||
	    master->announced == master->config->generation)
		return;
	if (master->phase == MASTER_STARTING) {
		listeners_print(&master->listeners, line, sizeof line);
		LOG(master->log, started, 0, text_of(VEREDUS_VERSION), text_of(line));
		if (master->unprivileged)
			log_notice(master->log,
				   "started by uid %u, not by root: all daemons run as that user, "
				   "without chroot",
				   (unsigned)geteuid());
		master->phase = MASTER_RUNNING;
	}
	/* Also when that was asked for while the first one was being started. */
	if (master->config->generation > 1) {
		snprintf(line, sizeof line, "%u", master->config->generation);
		LOG(master->log, reloaded, 0, text_of(line));
	}
	master->announced = master->config->generation;
	notify_send(&master->notify, "READY=1\nSTATUS=takes mail");
}
