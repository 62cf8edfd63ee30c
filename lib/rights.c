/* SPDX-License-Identifier: ISC */
/* Sender rights. */
#include "rights.h"

/* Index of the "@" before the domain, or -1. */
static ptrdiff_t last_at(struct text t)
{
	ptrdiff_t at = (ptrdiff_t)t.len - 1;

	while (at >= 0 && t.data[at] != '@')
		at--;
	return at;
}

bool rights_is_own(struct text own, struct text address)
{
	ptrdiff_t mine = last_at(own), at = last_at(address);

	if (mine <= 0 || at <= 0)
		return false;
	struct text local = {own.data, (size_t)mine};
	struct text host = {own.data + mine, own.len - (size_t)mine};

	if (!text_equal_case(host, (struct text){address.data + at, address.len - (size_t)at}))
		return false;
	if (at > mine && address.data[mine] == '+')
		at = mine;
	return text_equal_case(local, (struct text){address.data, (size_t)at});
}
