/* SPDX-License-Identifier: ISC */
/*
 * The users file as a file: read and replaced whole, under a lock on its
 * folder, so that no reader ever sees half of it and no two writers lose
 * each other's change.
 */
#ifndef CTL_USERS_FILE_H
#define CTL_USERS_FILE_H

#include "ctl.h"

#include "bytes.h"

struct users_file {
	char path[4096], folder[4096]; /* symbolic links followed */
	int folder_fd;		       /* locked; -1 */
	struct bytes content;
	bool exists;
};

/* Reads auth { users } of the configuration; LOCK when it is to be changed. False after saying why.
 */
bool users_file_open(struct users_file *file, const struct ctl *ctl, bool lock);

/*
 * Puts CONTENT in its place by rename, when it is on stable storage. The
 * owner stays; a new file made by root is the checker's. Mode 0600. False after saying why.
 */
bool users_file_replace(struct users_file *file, const struct bytes *content);

void users_file_close(struct users_file *file);

#endif
