/* SPDX-License-Identifier: ISC */
/* Addresses of hosts, read and written. */
#include "host_address.h"

#include <arpa/inet.h>
#include <string.h>

static const uint8_t ipv4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool host_address_is_loopback(const uint8_t *address)
{
	static const uint8_t one[16] = {[15] = 1};

	return host_address_is_ipv4(address) ? address[12] == 127 : memcmp(address, one, 16) == 0;
}

bool host_address_is_ipv4(const uint8_t *address)
{
	return memcmp(address, ipv4_prefix, sizeof ipv4_prefix) == 0;
}

bool host_address_parse(struct text t, uint8_t *address)
{
	char copy[INET6_ADDRSTRLEN];

	if (!t.len || t.len >= sizeof copy || memchr(t.data, 0, t.len))
		return false;
	text_copy(copy, sizeof copy, t);
	if (text_find(t, ':') >= 0)
		return inet_pton(AF_INET6, copy, address) == 1;
	memcpy(address, ipv4_prefix, sizeof ipv4_prefix);
	return inet_pton(AF_INET, copy, address + 12) == 1;
}

char *host_address_print(const uint8_t *address, char *to)
{
	if (host_address_is_ipv4(address))
		inet_ntop(AF_INET, address + 12, to, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, address, to, INET6_ADDRSTRLEN);
	return to;
}

bool host_address_of(const struct sockaddr *from, uint8_t *address)
{
	memset(address, 0, 16);
	if (from && from->sa_family == AF_INET6) {
		memcpy(address, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
		return true;
	}
	if (!from || from->sa_family != AF_INET)
		return false;
	memcpy(address, ipv4_prefix, sizeof ipv4_prefix);
	memcpy(address + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	return true;
}

socklen_t host_address_put(const uint8_t *address, uint16_t port, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof *to);
	if (host_address_is_ipv4(address)) {
		struct sockaddr_in *in = (struct sockaddr_in *)to;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, address + 12, 4);
		return sizeof *in;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, address, 16);
	return sizeof *in6;
}
