/* SPDX-License-Identifier: ISC */
/* The aliases as they are now: the file, read again whenever it has changed, or what table says. */
#ifndef LOCAL_ALIAS_FILE_H
#define LOCAL_ALIAS_FILE_H

#include "aliases.h"
#include "answers.h"
#include "config.h"
#include "log.h"
#include "result.h"
#include "table_files.h"

#include <sys/stat.h>

struct alias_file {
	struct log *log;
	struct aliases *aliases;    /* NULL: there is no file, or it can't be read */
	struct stat seen;	    /* of the file as it was read; zeros: of none */
	bool missing, broken;	    /* there was no file; it was nothing to read */
	struct monotime gone;	    /* when what is known was first found missing; 0: it is there */
	struct table_files *tables; /* for what it says of patterns */
	char table[512];	    /* as the configuration has it */
};

void alias_file_free(struct alias_file *f);

/*
 * What NAME stands for; of ann+lists without an alias of its own, ann. ALIASES_BROKEN also when the
 * file can't be read: mail waits for it, and nobody is called unknown. Where the aliases are
 * patterns, ANSWERS have what is known of them: ALIASES_BROKEN, too, if that is nothing yet.
 */
enum aliases_found alias_file_find(struct alias_file *f, const struct config *config,
				   struct answers *answers, struct text name, struct text *list);

/*
 * All that ADDRESS stands for by its aliases, to R as additions: kind is expanded; deferred when an
 * alias is broken, failed when they are too many or too deep. False: it has no alias. Members of an
 * alias NAME that has an owner-NAME beside it have that for their sender, unless SENDER is null.
 */
bool alias_expand(struct alias_file *f, const struct config *config, struct answers *answers,
		  struct text address, struct text sender, struct result *r);

/* Does ADDRESS still stand for TARGET (a command, a file, a list)? */
bool alias_has(struct alias_file *f, const struct config *config, struct answers *answers,
	       struct text address, struct text target);

#endif
