/* SPDX-License-Identifier: ISC */
/* The last part of reading a configuration, when all of its blocks are known. */
#ifndef LIB_CONFIG_FINISH_H
#define LIB_CONFIG_FINISH_H

#include "config_row.h"

struct place {
	uint32_t line, column;
};

/*
 * Checks blocks against each other and makes the indexes for lookups. PORTS:
 * where each endpoint of the listen blocks stands, in order.
 */
void config_finish(struct config *config, const struct place *ports, struct config_errors *errors);

/* The header blocks and rewrite (config_header.c). */
void config_headers_finish(struct config *config, struct config_errors *errors);

/* What NAME, a setting of Postfix, is here; NULL: it is none that is known. */
const char *postfix_meaning(struct text name);

/* True when one is no warning. */
bool config_errors_matter(const struct config_errors *errors);

/* Room for one more item of SIZE bytes at the end of LIST in the arena; what is held doubles. */
void *config_list_grow(struct arena *arena, struct setting_list *list, size_t size);

#endif
