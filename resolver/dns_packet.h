/* SPDX-License-Identifier: ISC */
/*
 * The strict reader of DNS answers (RFC 1035 section 4), as libunbound hands
 * them over: untrusted bytes in, a bounded struct out. It follows the CNAME
 * chain within the answer section and takes the records of one type at its end.
 */
#ifndef RESOLVER_DNS_PACKET_H
#define RESOLVER_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DNS_A = 1,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_TLSA = 52,
};
enum { DNS_NOERROR = 0, DNS_NXDOMAIN = 3 };

enum {
	DNS_NAME_BYTES = 256,  /* as text with a NUL: at most 253 characters (RFC 1035 2.3.4) */
	DNS_RECORDS_MAX = 100, /* of one answer; what is above is not read */
	DNS_CNAMES_MAX = 10,   /* links of a chain; a longer one is malformed */
};

struct dns_record {
	uint16_t preference; /* MX */
	uint8_t address[16]; /* A as ::ffff:a.b.c.d, AAAA */
	const char
	    *name; /* MX, PTR, CNAME: lower case, no dot at its end; "" is the root. Else NULL */
	uint8_t usage, selector, matching; /* TLSA, RFC 6698 2.1 */
	/* TLSA: the certificate association data; TXT: its character-strings one behind the
	 * other; LEN octets */
	const uint8_t *data;
	size_t len;
};

struct dns_answer {
	uint8_t rcode;
	uint32_t
	    ttl_s; /* least of all records used; of a negative answer RFC 2308's, 0 without a SOA */
	size_t unusable;       /* records whose name is no host name, left out */
	size_t bytes;	       /* of this allocation */
	bool aliased;	       /* the question's name is a CNAME */
	const char *canonical; /* where the chain ends, as records' names; "" without one, or if no
				  host name */
	size_t count;
	const struct dns_record *records;
};

/*
 * Reads the answer about TYPE (DNS_A, DNS_AAAA, DNS_MX, DNS_PTR, DNS_TLSA,
 * DNS_TXT or DNS_CNAME, which is not followed then) to the packet's one question. NULL:
 * malformed. The caller frees it with free(); names and data lie within the
 * same allocation.
 */
struct dns_answer *dns_packet_read(const void *packet, size_t len, uint16_t type);

/* Is NAME a host name that can be asked for: letters, digits, "-" and "_", labels of 1 to 63? */
bool dns_name_is_host(const char *name);

#endif
