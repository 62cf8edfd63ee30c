/* SPDX-License-Identifier: ISC */
/* The file of known policies. */
#ifndef FETCHER_STS_DISK_H
#define FETCHER_STS_DISK_H

#include "log.h"
#include "sts_store.h"

/* The file FOLDER/sts. What is broken or too old is left out. */
void sts_disk_load(struct sts_store *store, const char *folder, int64_t now_s);

/* Durable: who makes the machine fall down must not get mail in the clear by it. */
bool sts_disk_save(struct sts_store *store, const char *folder, struct log *log);

#endif
