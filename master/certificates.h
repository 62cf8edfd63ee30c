/* SPDX-License-Identifier: ISC */
/*
 * The files of the tls blocks: opened here, since only root may, and handed
 * to the keeper unread. Once a minute each is looked at; what has changed is
 * checked in a process of its own (lib/tls_check.h) and handed over anew.
 */
#ifndef MASTER_CERTIFICATES_H
#define MASTER_CERTIFICATES_H

#include "child.h"

/* All files of all blocks to the keeper, in front of its begin. */
void certificates_post(struct child *keeper);

/* Begins to look, and, after a reload, begins anew from what is there now. */
void certificates_watch(struct master *master);

#endif
