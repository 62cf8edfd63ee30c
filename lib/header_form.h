/* SPDX-License-Identifier: ISC */
/* Is a header field's value what RFC 5322 says it is? Nothing is changed or kept. */
#ifndef LIB_HEADER_FORM_H
#define LIB_HEADER_FORM_H

#include "text.h"

#include <stdbool.h>

/* date-time (section 3.3), with the names of zones and the years of two digits of section 4.3. */
bool header_is_date(struct text value);

/* msg-id (section 3.6.4): one "<left@right>" and comments around it. */
bool header_is_message_id(struct text value);

#endif
