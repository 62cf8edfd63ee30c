/* SPDX-License-Identifier: ISC */
/*
 * What a worker asks the keeper to sign: whatever is taken can be written
 * anew, octet for octet, from the few things that are free in it.
 */
#include "demand.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char verify[] = "                                "
			     "                                "
			     "TLS 1.3, server CertificateVerify";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t again[512];
	uint16_t scheme;

	if (size < sizeof scheme || size > sizeof again)
		return 0;
	scheme = (uint16_t)(data[0] << 8 | data[1]);
	const struct text t = {(const char *)data + 2, size - 2};
	enum demand demand = demand_read(scheme, t);

	if (demand == DEMAND_CERTIFICATE_VERIFY) {
		must(t.len == sizeof verify + 32 || t.len == sizeof verify + 48);
		must(memcmp(t.data, verify, sizeof verify) == 0);
		must((scheme & 0xff) >= 3 && scheme <= 0x0807);
	} else if (demand == DEMAND_KEY_EXCHANGE) {
		memcpy(again, t.data, 64);
		again[64] = 3;
		again[65] = 0;
		again[66] = (uint8_t)t.data[66];
		again[67] = (uint8_t)(t.len - 68);
		memcpy(again + 68, t.data + 68, t.len - 68);
		must(memcmp(again, t.data, t.len) == 0);
		must(t.len - 68 >= 32 && t.len - 68 <= 133);
	} else if (demand == DEMAND_CLIENT && t.data[0] == ' ') {
		must(memcmp(t.data, verify, 64 + 9) == 0);
		must(memcmp(t.data + 64 + 9, "client CertificateVerify", 25) == 0);
		must(t.len == sizeof verify + 32 || t.len == sizeof verify + 48);
	} else if (demand == DEMAND_CLIENT) {
		must(t.len >= 8 && t.data[0] == 1);
	}
	return 0;
}
