/* SPDX-License-Identifier: ISC */
/* What is wrong with a users file, for `veredus check` and the start (passwd_file.h). */
#ifndef LIB_USERS_CHECK_H
#define LIB_USERS_CHECK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Reads the file at PATH, and tells SAY each broken line and each doubled
 * name, by line and column from 1. NULL, or what is the matter with the file as a whole.
 */
const char *users_check(const char *path,
			void (*say)(void *arg, uint32_t line, size_t column, const char *why),
			void *arg);

#endif
