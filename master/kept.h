/* SPDX-License-Identifier: ISC */
/* Files that one daemon keeps and another may read. */
#ifndef MASTER_KEPT_H
#define MASTER_KEPT_H

#include "child.h"

/* fetcher's policies, as they are on disk now, or why not: HANDLE_POLICIES follows. */
void kept_send_policies(struct child *child);

#endif
