/* SPDX-License-Identifier: ISC */
/* What the local block allows. */
#ifndef LIB_CONFIG_LOCAL_H
#define LIB_CONFIG_LOCAL_H

#include "config.h"

/* Where a command or file stands; Postfix's words for it are the configuration's. */
enum local_source { LOCAL_ALIAS, LOCAL_FORWARD, LOCAL_INCLUDE, LOCAL_SOURCES };

/* Does LIST, local { commands } or { files }, name it? */
bool config_local_allows(const struct texts *list, enum local_source from);

/* Whole configurations. */
void config_local_finish(const struct config *config, struct config_errors *errors);

#endif
