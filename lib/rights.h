/* SPDX-License-Identifier: ISC */
/* Which addresses are a login's to send from. */
#ifndef LIB_RIGHTS_H
#define LIB_RIGHTS_H

#include "text.h"

#include <stdbool.h>

/*
 * Is ADDRESS the address OWN, or one of its plus forms (ann+list@ for ann@)?
 * Without case: whoever signs in as Ann@ does not fake ann@.
 */
bool rights_is_own(struct text own, struct text address);

/*
 * Does LIST, a table's value, name ADDRESS? Its words:
 *   ann@example.org     that address
 *   @example.org        every address of the domain; @.example.org and .example.org: of every
 *                       domain below it
 *   sales-*@example.org * for any run of characters, ? for one; * alone is every address
 */
bool rights_list_has(struct text list, struct text address);

/* What is wrong with a word of such a list; NULL: nothing. */
const char *rights_word_fault(struct text word);

#endif
