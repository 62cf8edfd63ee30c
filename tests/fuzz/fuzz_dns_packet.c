/* SPDX-License-Identifier: ISC */
/* DNS answers: whatever a name server sends, reading stays within it and what comes out is bounded.
 */
#include "dns_packet.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dns_answer *a, uint16_t type)
{
	must(a->count <= DNS_RECORDS_MAX && a->rcode < 16 && a->ttl_s <= INT32_MAX);
	for (size_t i = 0; i < a->count; i++) {
		const char *name = a->records[i].name;

		must((name != NULL) == (type == DNS_MX || type == DNS_PTR));
		must(!name || !*name || dns_name_is_host(name));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = {DNS_A, DNS_AAAA, DNS_MX, DNS_PTR};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct dns_answer *a = dns_packet_read(data, size, types[i]);

		if (a)
			check(a, types[i]);
		free(a);
	}
	return 0;
}
