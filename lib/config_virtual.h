/* SPDX-License-Identifier: ISC */
/*
 * Domains whose mailboxes are no users of this machine: a table says where
 * below one folder each lies, one user owns them all.
 */
#ifndef LIB_CONFIG_VIRTUAL_H
#define LIB_CONFIG_VIRTUAL_H

#include "config.h"
#include "quota.h"

enum { VIRTUAL_PATH_MAX = 1000 };

/* The virtual block of a domain, with its mailboxes; NULL: it has none. */
const struct config_virtual *config_mailboxes_of(const struct config *config, struct text domain);

/*
 * What is wrong with PATH as a path below root; NULL: nothing. Every component
 * is a name that does not begin with a dot, so that none leads out of root.
 */
const char *virtual_path_fault(struct text path);

/*
 * A table's value: a path below root, and perhaps a quota of its own (quota.h) in place of what
 * *QUOTA has. NULL, and *PATH points into VALUE; or what is wrong.
 */
const char *virtual_value_read(struct text value, struct text *path, struct quota *quota);

/* Whole configurations: labels, and routes that fit. Sorts the blocks. */
void config_virtual_finish(struct config *config, struct config_errors *errors);

/* What needs the machine: tables, folders, users (config_virtual_check.c). */
void config_virtual_check(const struct config *config, struct config_errors *errors);

#endif
