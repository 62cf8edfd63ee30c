/* SPDX-License-Identifier: ISC */
/* When every daemon serves the configuration, people and the service manager hear of it. */
#ifndef MASTER_READY_H
#define MASTER_READY_H

struct master;

/* A daemon said ready, or one is no longer waited for. */
void ready_look(struct master *master);

#endif
