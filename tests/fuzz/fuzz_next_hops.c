/* SPDX-License-Identifier: ISC */
/* Lists of next hops: what is read is written back and read as the same, in an order that only
 * grows. */
#include "bytes.h"
#include "config.h"
#include "must.h"
#include "next_hops.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct bytes *to, const struct next_hop *hop)
{
	char behind[40];

	bytes_add(to, ",[", bytes_len(to) ? 1 : 0);
	bytes_add(to, "[", hop->literal);
	bytes_add(to, hop->host.data, hop->host.len);
	bytes_add(to, "]", hop->literal);
	snprintf(behind, sizeof behind, hop->weight ? ":%u*%u" : ":%u", hop->port, hop->weight);
	bytes_add(to, behind, strlen(behind));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct next_hops hops = next_hops_of((struct text){(const char *)data, size}), again;
	struct next_hop all[NEXT_HOPS_MAX], hop;
	struct bytes printed = {0};
	unsigned count = 0;

	while (next_hops_next(&hops, &hop)) {
		uint8_t address[16];

		must(count < NEXT_HOPS_MAX && hop.host.len && hop.port);
		must(host_address_parse(hop.host, address) == hop.literal);
		must(!count || hop.order - all[count - 1].order <= 1);
		put(&printed, &hop);
		all[count++] = hop;
	}
	again = next_hops_of(bytes_text(&printed));
	for (unsigned i = 0; i < count; i++) {
		must(next_hops_next(&again, &hop));
		must(text_equal(hop.host, all[i].host) && hop.port == all[i].port &&
		     hop.weight == all[i].weight && hop.order == all[i].order);
	}
	must(!again.rest.len);
	bytes_free(&printed);
	return 0;
}
