/* SPDX-License-Identifier: ISC */
/* What was probably meant: the name that differs least from a mistyped word. */
#ifndef LIB_NEAREST_H
#define LIB_NEAREST_H

#include "text.h"

/* The nearest of COUNT NAMES by edit distance, or NULL when none is near. */
const char *nearest_name(struct text word, const char *const *names, size_t count);

#endif
