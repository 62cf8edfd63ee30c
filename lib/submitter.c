/* SPDX-License-Identifier: ISC */
/* Names of submitters. */
#include "submitter.h"

#include <string.h>

struct text submitter_login(struct text submitter)
{
	size_t before = sizeof SUBMITTER_LOGIN - 1;

	if (submitter.len < before || memcmp(submitter.data, SUBMITTER_LOGIN, before) != 0)
		return (struct text){NULL, 0};
	return (struct text){submitter.data + before, submitter.len - before};
}
