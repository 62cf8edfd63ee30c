/* SPDX-License-Identifier: ISC */
/*
 * Tables that local reads itself, as they are now: each is read again
 * whenever its file has changed.
 */
#ifndef LOCAL_TABLE_FILES_H
#define LOCAL_TABLE_FILES_H

#include "clock.h"
#include "log.h"
#include "tables.h"

struct table_view;

struct table_files {
	struct log *log;
	struct table_view *first; /* of files that are or were in the configuration */
	struct monotime said;	  /* when the last complaint was; 0: there was none */
};

void table_files_free(struct table_files *all);

/*
 * TABLE, as the configuration names it, of at most MOST octets; NULL: it can't be had, and the log
 * says why, once. It lives until the next call.
 */
const struct table_view *table_files_open(struct table_files *all, struct text table, size_t most);

/* Appends what stands at KEY to *VALUE. */
enum table_verdict table_view_find(const struct table_view *t, struct text key,
				   struct bytes *value);

/* It was written a moment ago, and is perhaps not whole: what it does not have is not known. */
bool table_view_is_fresh(const struct table_view *t);

/*
 * Of TABLE, which the process table reads: tells the log what is WRONG with WHAT ("the quota") of
 * KEY; at most once a minute, since the key may be a stranger's.
 */
void table_files_complain(struct table_files *all, struct text table, const char *what,
			  struct text key, const char *wrong);

/* Its file, for the log. */
const char *table_view_name(const struct table_view *t);

#endif
