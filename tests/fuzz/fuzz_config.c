/* SPDX-License-Identifier: ISC */
/* The configuration's reader: any bytes end in complaints or in values that can be written and read
 * again. */
#include "config.h"

#include "bytes.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_and_read(const struct config *c)
{
	struct config_errors errors;
	struct bytes once = {0}, twice = {0};

	config_print(c, &once);
	struct config *again =
	    config_read((struct text){(const char *)bytes_at(&once), bytes_len(&once)}, &errors);

	/* Canonical text is longer than what it was read from: near 1 MB it may no longer fit. */
	must(again || bytes_len(&once) > 1048576);
	config_errors_free(&errors);
	if (again) {
		config_print(again, &twice);
		must(bytes_len(&once) == bytes_len(&twice) &&
		     memcmp(bytes_at(&once), bytes_at(&twice), bytes_len(&once)) == 0);
	}
	config_drop(&again);
	bytes_free(&once);
	bytes_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors;
	struct config *c = config_read((struct text){(const char *)data, size}, &errors);

	must(c || errors.count);
	for (size_t i = 0; i < errors.count; i++)
		must(strlen(errors.items[i].text) > 0);
	config_errors_free(&errors);
	if (!c)
		return 0;
	must(config_route(c, (struct text){(const char *)data, size > 200 ? 200 : size}));
	write_and_read(c);
	config_drop(&c);
	return 0;
}
