/* SPDX-License-Identifier: ISC */
/* Where this very program lies, without trusting PATH or argv[0]. */
#ifndef CTL_PROGRAM_H
#define CTL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Its folder, without a slash at the end; false with errno. */
bool program_folder(char *to, size_t size);

/* FOLDER/NAME; false with errno. */
bool program_beside(const char *name, char *to, size_t size);

#endif
