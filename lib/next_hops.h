/* SPDX-License-Identifier: ISC */
/*
 * A route's target that is several next hops, as one text:
 * "a.example:587*3,b.example:587*1,[192.0.2.1]:25". They are tried in that
 * order; neighbours that bear a weight are one step of it, and share by weight.
 */
#ifndef LIB_NEXT_HOPS_H
#define LIB_NEXT_HOPS_H

#include "text.h"

enum { NEXT_HOPS_MAX = 16, NEXT_HOPS_BYTES = 2048, NEXT_HOP_WEIGHT_MAX = 1000 };

struct next_hop {
	struct text host; /* a name, or an address without its brackets */
	bool literal;	  /* it is an address */
	uint16_t port;
	uint16_t weight; /* 0: none was said */
	uint16_t order;	 /* from 0; equal for those that share */
};

struct next_hops {
	struct text rest; /* what is not read yet; not empty at the end: it is broken there */
	unsigned count;
	uint16_t order;
	bool weighted; /* the last one was */
};

/* Are there several? A single host's target has no comma. */
bool target_is_list(struct text target);

struct next_hops next_hops_of(struct text target);

/* The next one; false at the end, and where what follows is none. */
bool next_hops_next(struct next_hops *hops, struct next_hop *hop);

#endif
