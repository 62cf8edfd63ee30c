/* SPDX-License-Identifier: ISC */
/* U-labels to A-labels. */
#include "idna.h"

#include <idn2.h>
#include <string.h>

enum { NAME_BYTES_MAX = 1024 }; /* of UTF-8, whose ASCII could still be a domain's name */

struct text idna_ascii(struct text name, char *to)
{
	char given[NAME_BYTES_MAX];
	uint8_t *ascii = NULL;
	struct text none = {NULL, 0};

	if (text_is_ascii(name))
		return name;
	if (name.len >= sizeof given || !text_is_utf8(name))
		return none;
	text_copy(given, sizeof given, name);
	if (idn2_lookup_u8((const uint8_t *)given, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
	    IDN2_OK)
		return none;
	struct text made = text_of((const char *)ascii);

	if (made.len < IDNA_BYTES)
		memcpy(to, made.data, made.len + 1);
	else
		made.len = 0;
	idn2_free(ascii);
	return (struct text){to, made.len};
}
