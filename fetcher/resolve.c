/* SPDX-License-Identifier: ISC */
/* A server's addresses. */
#include "resolve.h"

#include "config.h"
#include "permission.h"
#include "url.h"

enum { ADDRESSES_MAX = 8 };

bool resolve_make(struct text url, struct wire_list hosts, bool inside, char *to)
{
	struct rec_host host;
	struct url parts;
	uint8_t literal[16];
	char address[46];
	size_t n = 0, count = 0;

	if (url_read(url, &parts))
		return false;
	*to = '\0';
	/* There is nothing to tell libcurl, and an IPv6 one it would not understand. */
	if (host_address_parse(parts.host, literal))
		return inside || !fetch_is_internal(literal);
	int head = snprintf(to, RESOLVE_BYTES, "%.*s:%u:", (int)parts.host.len, parts.host.data,
			    parts.port);

	while (list_next_host(&hosts, &host) && count < ADDRESSES_MAX) {
		if (host.address.len != 16)
			continue;
		const uint8_t *octets = (const uint8_t *)host.address.data;

		if (!inside && fetch_is_internal(octets))
			continue;
		const char *brackets = host_address_is_ipv4(octets) ? "" : "[]";

		n += (size_t)snprintf(
		    to + head + n, RESOLVE_BYTES - (size_t)head - n, "%s%.1s%s%s", count ? "," : "",
		    brackets, host_address_print(octets, address), *brackets ? brackets + 1 : "");
		count++;
	}
	return count > 0;
}
