/* SPDX-License-Identifier: ISC */
/*
 * What master knows: itself, its listeners, its children. One struct, made
 * in master.c and handed to every part.
 */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H

#include "child.h"
#include "listeners.h"
#include "log.h"
#include "loop.h"
#include "neighbours.h"
#include "notify.h"

#include <limits.h>

enum master_phase {
	MASTER_STARTING, /* until every daemon is ready */
	MASTER_RUNNING,
	MASTER_STOPPING,
};

struct master {
	struct loop *loop;
	struct log *log;
	struct channel *logger; /* our own channel to it, NULL while there is none */
	const char *config_path;
	struct config *config;
	struct bytes config_text; /* canonical, as daemons get it */
	uint64_t epoch;
	struct children children;
	struct listeners listeners;
	struct notify notify;
	struct certificates *certificates; /* certificates.c */
	struct authorities *authorities;   /* authorities.c */
	struct timer watchdog, logger_retry, stop_stage;
	char program_folder[PATH_MAX]; /* where the daemons are */
	uint32_t announced;	       /* the generation that people were told to be in force */
	unsigned stage;		       /* of stop.c */
	enum master_phase phase;
	int lock_fd, log_fd, history_fd;
	bool unprivileged;
};

#endif
