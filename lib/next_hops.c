/* SPDX-License-Identifier: ISC */
/* Reading lists of next hops. */
#include "next_hops.h"

#include "config.h"

bool target_is_list(struct text target)
{
	return text_find(target, ',') >= 0;
}

struct next_hops next_hops_of(struct text target)
{
	return (struct next_hops){.rest = target};
}

static struct text from(struct text t, size_t at)
{
	return (struct text){t.data + at, t.len - at};
}

/* "HOST:" or "[ADDRESS]:" off T. */
static bool host_take(struct text *t, struct next_hop *hop)
{
	hop->literal = t->len && t->data[0] == '[';
	struct text inside = hop->literal ? from(*t, 1) : *t;
	ptrdiff_t end = text_find(inside, hop->literal ? ']' : ':');

	if (end <= 0)
		return false;
	hop->host = (struct text){inside.data, (size_t)end};
	*t = from(inside, (size_t)end + hop->literal);
	if (!t->len || t->data[0] != ':')
		return false;
	*t = from(*t, 1);

	uint8_t address[16];

	return host_address_parse(hop->host, address) == hop->literal;
}

static bool hop_read(struct text t, struct next_hop *hop)
{
	uint64_t port, weight = 0;

	if (!host_take(&t, hop))
		return false;
	ptrdiff_t star = text_find(t, '*');
	struct text digits = {t.data, star < 0 ? t.len : (size_t)star};

	if (!text_number(digits, UINT16_MAX, &port) || !port)
		return false;
	if (star >= 0 &&
	    (!text_number(from(t, (size_t)star + 1), NEXT_HOP_WEIGHT_MAX, &weight) || !weight))
		return false;
	hop->port = (uint16_t)port;
	hop->weight = (uint16_t)weight;
	return true;
}

bool next_hops_next(struct next_hops *hops, struct next_hop *hop)
{
	ptrdiff_t comma = text_find(hops->rest, ',');
	struct text t = {hops->rest.data, comma < 0 ? hops->rest.len : (size_t)comma};

	*hop = (struct next_hop){.order = hops->order};
	if (hops->count == NEXT_HOPS_MAX || !hop_read(t, hop))
		return false;
	if (comma >= 0 && (size_t)comma + 1 == hops->rest.len)
		return false;
	hops->rest = from(hops->rest, comma < 0 ? hops->rest.len : (size_t)comma + 1);
	if (hops->count++ && !(hops->weighted && hop->weight))
		hop->order = ++hops->order;
	hops->weighted = hop->weight > 0;
	return true;
}
