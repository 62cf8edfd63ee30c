/* SPDX-License-Identifier: ISC */
/* SIGHUP. */
#include "reload.h"

#include "authorities.h"
#include "certificates.h"
#include "load.h"
#include "places.h"
#include "state.h"

#include <unistd.h>

static void say(void *arg, const char *line, bool warning)
{
	struct master *master = arg;

	if (warning)
		log_warning(master->log, "%s", line);
	else
		LOG(master->log, reload_failed, 0, text_of(line));
}

static void child_retire(struct child *child)
{
	const struct config *config = child->master->config;
	int64_t limit = config->timeout_drain.us > config->timeout_drain_dot.us
			    ? config->timeout_drain.us
			    : config->timeout_drain_dot.us;

	if (child->retiring)
		return;
	child->retiring = true;
	timer_clear(&child->restart);
	if (!child->channel)
		return;
	channel_send_drain(child->channel, &(struct msg_drain){(uint32_t)(limit / 1000)});
	timer_set(&child->grave, (struct duration){limit + SECONDS(1).us});
}

void reload_workers(struct master *master)
{
	for (const struct kind_row *row = kind_rows; row->kind; row++) {
		unsigned wanted = kind_workers(row, master->config);

		for (unsigned i = 0; i < wanted; i++) {
			struct child *child = child_find(master, row->kind, i);

			if (!child)
				child = child_new(master, row, i);
			/* One that is still retiring ends first; the reaper starts it again. */
			child->retiring = child->retiring && child->pid;
			child->wanted = true;
			if (!child->pid && !timer_is_set(&child->restart))
				child_start(child);
		}
	}
	for (size_t i = 0; i < master->children.count; i++) {
		struct child *child = master->children.at[i];

		if (child->instance < kind_workers(child->row, master->config))
			continue;
		child->wanted = false;
		child_retire(child);
	}
}

/* What is to be opened before the old state is given up. */
struct next {
	struct config *config;
	struct bytes text;
	int log_fd;
};

static bool next_open(struct master *master, struct next *next, char *why)
{
	if (!text_equal(next->config->queue, master->config->queue)) {
		snprintf(why, WHY_BYTES, "queue: the folder cannot change while Veredus runs");
		return false;
	}
	next->log_fd = places_open_log(next->config, why);
	return next->log_fd >= 0 &&
	       listeners_apply(&master->listeners, next->config, why, WHY_BYTES);
}

static void next_take(struct master *master, struct next *next)
{
	next->config->generation = master->config->generation + 1;
	config_drop(&master->config);
	bytes_free(&master->config_text);
	close(master->log_fd);
	master->config = next->config;
	master->config_text = next->text;
	master->log_fd = next->log_fd;
}

void reload_begin(void *arg)
{
	struct master *master = arg;
	struct next next = {.log_fd = -1};
	char why[WHY_BYTES];

	if (master->phase == MASTER_STOPPING)
		return;
	notify_reloading(&master->notify);
	next.config = load_config(master->config_path, &next.text, say, master);
	if (!next.config)
		goto failed;
	if (!next_open(master, &next, why)) {
		say(master, why, false);
		goto failed;
	}
	next_take(master, &next);
	for (size_t i = 0; i < master->children.count; i++)
		if (!master->children.at[i]->retiring)
			child_configure(master->children.at[i]);
	reload_workers(master);
	certificates_watch(master);
	authorities_watch(master);
	return;
failed:
	config_drop(&next.config);
	bytes_free(&next.text);
	if (next.log_fd >= 0)
		close(next.log_fd);
	notify_send(&master->notify, "READY=1");
}
