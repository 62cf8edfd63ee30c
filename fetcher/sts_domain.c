/* SPDX-License-Identifier: ISC */
/* Names of policy domains. */
#include "sts_domain.h"

#include "sts_policy.h"

#include <idn2.h>
#include <string.h>

bool sts_domain_make(struct text t, char *to)
{
	char given[256];
	uint8_t *ascii = NULL;

	if (t.len && t.data[t.len - 1] == '.')
		t.len--;
	if (!t.len || t.len >= sizeof given || memchr(t.data, '\0', t.len) || !text_is_utf8(t))
		return false;
	text_copy(given, sizeof given, t);
	if (!text_is_ascii(t)) {
		if (idn2_lookup_u8((const uint8_t *)given, &ascii,
				   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
			return false;
		bool fits = strlen((const char *)ascii) < sizeof given;

		text_copy(given, sizeof given, text_of((const char *)ascii));
		idn2_free(ascii);
		if (!fits)
			return false;
	}
	if (strlen(given) > STS_DOMAIN_MAX || !sts_is_domain(text_of(given)))
		return false;
	for (size_t i = 0; (to[i] = ascii_lower(given[i])) != '\0'; i++)
		;
	return true;
}
