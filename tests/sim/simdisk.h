/* SPDX-License-Identifier: ISC */
/*
 * A disk in memory that behaves as badly as a real one may. What was written
 * and not synced can be lost, kept or torn sector by sector; changes of
 * folders are a journal, of which a crash keeps some prefix; a sync that
 * failed leaves its pages clean, so that they never reach the disk. All
 * chance comes from one seed. One thread.
 */
#ifndef TESTS_SIM_SIMDISK_H
#define TESTS_SIM_SIMDISK_H

#include "disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct simdisk;

enum simdisk_call {
	SIMDISK_WRITE,
	SIMDISK_SYNC,
	SIMDISK_SYNC_FOLDER,
	SIMDISK_RENAME,
	SIMDISK_ALLOCATE,
	SIMDISK_CREATE, /* a file or a folder */
	SIMDISK_TRUNCATE,
	SIMDISK_UNLINK,
	SIMDISK_READ,
	SIMDISK_OPEN,
	SIMDISK_CALLS,
};

/* CAPACITY_BYTES of file content in all; then ENOSPC. */
struct simdisk *simdisk_new(uint64_t seed, uint64_t capacity_bytes);
void simdisk_free(struct simdisk **sim); /* takes NULL, leaves NULL */
const struct disk *simdisk_disk(struct simdisk *sim);
int simdisk_root(struct simdisk *sim); /* a folder's descriptor that lasts over crashes */
void simdisk_capacity(struct simdisk *sim, uint64_t capacity_bytes);
uint64_t simdisk_used(const struct simdisk *sim);   /* bytes of all files that have a name */
uint64_t simdisk_memory(const struct simdisk *sim); /* what its files take of the process */

/* After N more changing calls (writes, syncs, folder changes) each call answers -EIO: the
 * machine stands still until simdisk_crash(). */
void simdisk_stop_after(struct simdisk *sim, uint64_t n);
bool simdisk_stopped(const struct simdisk *sim);
uint64_t simdisk_changes(const struct simdisk *sim); /* changing calls so far */

/* The Nth call from now (1: the next) of this kind answers -ERROR; 0 takes it back. */
void simdisk_fail(struct simdisk *sim, enum simdisk_call call, uint64_t n, int error);

/* The Nth sync of a file from now says yes, and what it should have kept is clean and lost all the
 * same: a disk that lies. For tests of the simulator. */
void simdisk_lie(struct simdisk *sim, uint64_t n);

/* How often a file was synced again, in one life, after its sync had failed and before it got
 * another name: what the kernel says then is worth nothing. */
uint64_t simdisk_resynced(const struct simdisk *sim);

/* While it is so each changing call answers -EROFS. */
void simdisk_readonly(struct simdisk *sim, bool readonly);

/* Chance begins anew, so that what a crash leaves follows from SEED and the files alone. */
void simdisk_seed(struct simdisk *sim, uint64_t seed);

/* All descriptors but the root are gone. POWER: unsynced changes suffer; else only the process
 * died. */
void simdisk_crash(struct simdisk *sim, bool power);

/* What of the unsynced changes is lost with the power. */
enum simdisk_loss {
	SIMDISK_PROCESS,      /* nothing: only the process died */
	SIMDISK_CHANCE,	      /* sector by sector; of folders all after some point */
	SIMDISK_ALL,	      /* all of it */
	SIMDISK_DATA,	      /* files keep what was synced, folders keep everything */
	SIMDISK_NAMES,	      /* the other way round */
	SIMDISK_OUT_OF_ORDER, /* as by chance, but each file's names for themselves: of two files
				 the later change may have been kept alone */
	SIMDISK_LOSSES,
};
void simdisk_crash_as(struct simdisk *sim, enum simdisk_loss loss);

/* The content of FOLDER/NAME to be spoilt, both in the cache and on the disk; NULL: not there. */
void simdisk_spoil(struct simdisk *sim, const char *folder, const char *name, uint64_t offset,
		   size_t len);
/* Calls VISIT with each name in FOLDER of the root. */
void simdisk_names(struct simdisk *sim, const char *folder,
		   void (*visit)(void *arg, const char *name), void *arg);

/* The simulator's own chance: below LIMIT (above 0). */
uint64_t simdisk_random(struct simdisk *sim, uint64_t limit);

#endif
