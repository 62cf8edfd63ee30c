/* SPDX-License-Identifier: ISC */
/* The resolver's parts over the real libunbound, against a name server of the tests' own on a
 * loopback port. */
#ifndef TESTS_UNIT_RESOLVER_BENCH_H
#define TESTS_UNIT_RESOLVER_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "mx.h"
#include "siphash.h"
#include "site.h"

#include <stdlib.h>
#include <string.h>

struct server {
	struct watch watch;
	int fd;
	uint16_t port;
	unsigned asked;		  /* in all */
	unsigned asked_for_plain; /* MX of plain.test */
};

struct bench {
	struct loop *loop;
	struct server server;
	struct config *config;
	struct lookups *lookups;
	struct own own;
	uint8_t key[SIPHASH_KEY_BYTES];
	unsigned done;
	/* of the last result */
	enum hop_verdict verdict;
	unsigned code;
	char dsn[12], reason[257], site[SITE_BYTES], hop[HOP_BYTES];
	char told[1024]; /* "name address, ..." */
	uint32_t lifetime_s;
};

/* Makes a bench, to *STATE; EXTRA: more settings of the resolver block. */
void bench_open(void **state, const char *extra);
int bench_setup(void **state);
int bench_teardown(void **state);

#endif
