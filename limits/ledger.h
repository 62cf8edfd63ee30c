/* SPDX-License-Identifier: ISC */
/*
 * The tallies on disk, so that a restart forgives nobody: a file of states, the
 * last one of a sender counts. What was counted is appended once a second; when
 * the file has grown well beyond what lives it is written anew and renamed. It
 * is not synced: after a crash of the whole machine the last half minute may be
 * missing, after one of the process the last second. A tail that is torn or
 * broken is left out. All in the folder that is the process's root.
 */
#ifndef LIMITS_LEDGER_H
#define LIMITS_LEDGER_H

#include "log.h"
#include "tally.h"

struct ledger;

/* Reads FOLDER's file, or begins one. Never NULL: without a disk all is counted in memory alone. */
struct ledger *ledger_open(const char *folder, int64_t now, struct log *log);

struct tallies *ledger_tallies(struct ledger *l);

/* Appends what was counted since the last call. */
void ledger_write(struct ledger *l);

void ledger_close(struct ledger **l);

#endif
