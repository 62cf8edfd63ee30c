/* SPDX-License-Identifier: ISC */
/* A user's maildirsize: whatever it says, what is believed is in bounds. */
#include "maildirsize.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct maildirsize m;

	maildirsize_read((struct text){(const char *)data, size}, &m);
	must(m.quota.bytes <= INT64_MAX / 4 && m.quota.messages <= INT64_MAX / 4);
	must(m.bytes <= INT64_MAX / 4 && m.bytes >= -(INT64_MAX / 4));
	must(!m.fine || (m.bytes >= 0 && m.messages >= 0 && m.lines && size <= 5120));
	return 0;
}
