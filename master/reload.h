/* SPDX-License-Identifier: ISC */
/* Configuration anew, while everything runs. */
#ifndef MASTER_RELOAD_H
#define MASTER_RELOAD_H

struct master;

/* SIGHUP. What fails leaves everything as it was, and says so. */
void reload_begin(void *master);

/* Places for as many workers as the configuration says; starts new ones, drains those too many. */
void reload_workers(struct master *master);

#endif
