/* SPDX-License-Identifier: ISC */
/* Our own name and addresses. */
#include "own.h"

#include <ifaddrs.h>
#include <string.h>

void own_read(struct own *own)
{
	struct ifaddrs *all = NULL;

	own->count = 0;
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i && own->count < OWN_ADDRESSES_MAX; i = i->ifa_next)
		if (host_address_of(i->ifa_addr, own->addresses[own->count]))
			own->count++;
	freeifaddrs(all);
}

bool own_is_name(const struct config *config, const char *name)
{
	return config->hostname.len && text_equal_case(config->hostname, text_of(name));
}

/* An address that leads to this machine whatever its interfaces are called. */
static bool is_here(const struct own *own, const uint8_t *address)
{
	static const uint8_t any6[16] = {0};

	if (host_address_is_loopback(address) || memcmp(address, any6, 16) == 0 ||
	    (host_address_is_ipv4(address) && address[12] == 0))
		return true;
	for (size_t i = 0; i < own->count; i++)
		if (memcmp(address, own->addresses[i], 16) == 0)
			return true;
	return false;
}

bool own_is_address(const struct own *own, const struct config *config, const uint8_t *address,
		    uint16_t port)
{
	for (size_t i = 0; i < config->listen_count; i++) {
		const struct config_listen *listen = &config->listens[i];

		for (size_t j = 0; j < listen->address.count; j++) {
			const struct endpoint *e = &listen->address.items[j];

			if (e->port == port &&
			    (e->any ? is_here(own, address) : memcmp(e->address, address, 16) == 0))
				return true;
		}
	}
	return false;
}
