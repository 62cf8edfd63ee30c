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

#endif
