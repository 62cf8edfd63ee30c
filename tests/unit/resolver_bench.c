/* SPDX-License-Identifier: ISC */
#include "resolver_bench.h"

#include <arpa/inet.h>
#include <unistd.h>

/* -- the name server --------------------------------------------------------------- */

enum { SILENT = 0xfffe, SERVFAIL = 0xffff };

struct zone_row {
	const char *name;
	unsigned type; /* or SILENT, SERVFAIL */
	unsigned preference;
	const char *data; /* address or name */
};

static const struct zone_row zone[] = {
    {"plain.test", DNS_MX, 10, "mx2.prov.test"},
    {"plain.test", DNS_MX, 10, "mx1.prov.test"},
    {"plain.test", DNS_MX, 30, "mx3.prov.test"},
    {"other.test", DNS_MX, 5, "mx1.prov.test"},
    {"other.test", DNS_MX, 5, "mx2.prov.test"},
    {"other.test", DNS_MX, 50, "MX3.prov.test"},
    {"null.test", DNS_MX, 0, ""},
    {"implicit.test", DNS_A, 0, "192.0.2.14"},
    {"loop.test", DNS_MX, 10, "mx1.prov.test"},
    {"loop.test", DNS_MX, 20, "own.example"},
    {"loop.test", DNS_MX, 20, "mx2.prov.test"},
    {"loop.test", DNS_MX, 30, "mx3.prov.test"},
    {"ours.test", DNS_MX, 10, "own.example"},
    {"byaddress.test", DNS_MX, 10, "here.test"},
    {"byaddress.test", DNS_MX, 5, "mx1.prov.test"},
    {"here.test", DNS_A, 0, "127.0.0.7"},
    {"dead.test", DNS_MX, 10, "nowhere.test"},
    {"half.test", DNS_MX, 10, "broken.test"},
    {"half.test", DNS_MX, 20, "nowhere.test"},
    {"broken.test", SERVFAIL, 0, ""},
    {"silent.test", SILENT, 0, ""},
    {"big.test", DNS_MX, 1, "tenant-77.mail.protection.outlook.com"},
    {"mx1.prov.test", DNS_A, 0, "192.0.2.1"},
    {"mx1.prov.test", DNS_AAAA, 0, "2001:db8::1"},
    {"mx2.prov.test", DNS_A, 0, "192.0.2.2"},
    {"mx3.prov.test", DNS_A, 0, "192.0.2.3"},
    {"14.2.0.192.in-addr.arpa", DNS_PTR, 0, "implicit.test"},
    {"1.2.0.192.in-addr.arpa", DNS_PTR, 0, "implicit.test"}, /* a lie */
    /* "|" parts the character-strings of a record. */
    {"_sts.text.test", DNS_TXT, 0, "v=STSv1; i|d=1;"},
    {"_sts.text.test", DNS_TXT, 0, "|"},
    {"_sts.silent.test", SILENT, 0, ""},
    {"_sts.broken.test", SERVFAIL, 0, ""},
};

struct packet {
	uint8_t data[4096];
	size_t len;
};

static void put(struct packet *p, const void *data, size_t len)
{
	memcpy(p->data + p->len, data, len);
	p->len += len;
}

static void put_u16(struct packet *p, unsigned v)
{
	put(p, (uint8_t[2]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put_name(struct packet *p, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		put(p, (uint8_t[1]){(uint8_t)label}, 1);
		put(p, name, label);
		name += label + (name[label] == '.');
	}
	put(p, "", 1);
}

static void put_rdata(struct packet *p, const struct zone_row *row)
{
	struct packet rdata = {.len = 0};
	uint8_t address[16];

	if (row->type == DNS_A || row->type == DNS_AAAA) {
		inet_pton(row->type == DNS_A ? AF_INET : AF_INET6, row->data, address);
		put(&rdata, address, row->type == DNS_A ? 4 : 16);
	} else if (row->type == DNS_TXT) {
		for (const char *at = row->data; at;) {
			size_t len = strcspn(at, "|");

			put(&rdata, (uint8_t[1]){(uint8_t)len}, 1);
			put(&rdata, at, len);
			at = at[len] ? at + len + 1 : NULL;
		}
	} else {
		if (row->type == DNS_MX)
			put_u16(&rdata, row->preference);
		put_name(&rdata, row->data);
	}
	put_u16(p, (unsigned)rdata.len);
	put(p, rdata.data, rdata.len);
}

/* tN.many.test and dN.same.test stand for a thousand domains each. */
static bool row_made_up(const char *name, unsigned type, struct zone_row *row, char *data)
{
	bool many = strstr(name, ".many.test") && name[0] == 't';
	bool same = strstr(name, ".same.test") && name[0] == 'd';

	if (!(many || same) || type != DNS_MX)
		return false;
	if (many)
		snprintf(data, 64, "%.20s.bigprov.test", name);
	else
		snprintf(data, 64, "mx1.prov.test");
	*row = (struct zone_row){name, DNS_MX, 10, data};
	return true;
}

static void put_answer(struct packet *p, const struct zone_row *row)
{
	put_u16(p, 0xc00c);
	put_u16(p, row->type);
	put_u16(p, 1);
	put(p, "\0\0\0\144", 4); /* 100 s */
	put_rdata(p, row);
}

/* The answer to question NAME, TYPE; false: none is sent. */
static bool answer_make(struct packet *p, const uint8_t *id, const char *name, unsigned type)
{
	unsigned count = 0, rcode = 3;
	struct zone_row made_up;
	char data[64];

	p->len = 12;
	put_name(p, name);
	put_u16(p, type);
	put_u16(p, 1);
	for (size_t i = 0; i < sizeof zone / sizeof *zone; i++) {
		if (strcasecmp(zone[i].name, name) != 0)
			continue;
		if (zone[i].type == SILENT)
			return false;
		rcode = zone[i].type == SERVFAIL ? 2 : 0;
		if (zone[i].type == type && ++count)
			put_answer(p, &zone[i]);
	}
	if (row_made_up(name, type, &made_up, data) && ++count) {
		put_answer(p, &made_up);
		rcode = 0;
	}
	memcpy(p->data, id, 2);
	memcpy(p->data + 2, (uint8_t[10]){0x85, (uint8_t)(0x80 | rcode), 0, 1, 0, (uint8_t)count},
	       10);
	return true;
}

static void server_ready(void *arg, bool readable, bool writable)
{
	struct server *s = arg;
	uint8_t in[1024];
	struct sockaddr_in from;
	socklen_t from_len = sizeof from;
	ssize_t n;

	(void)readable, (void)writable;
	while ((n = recvfrom(s->fd, in, sizeof in, MSG_DONTWAIT, (struct sockaddr *)&from,
			     &from_len)) > 12) {
		char name[256] = "";
		size_t at = 12, out = 0;
		struct packet p = {.len = 0};

		while (at < (size_t)n && in[at]) {
			if (out)
				name[out++] = '.';
			memcpy(name + out, in + at + 1, in[at]);
			out += in[at];
			at += 1u + in[at];
		}
		name[out] = '\0';
		unsigned type = (unsigned)(in[at + 1] << 8 | in[at + 2]);

		s->asked++;
		s->asked_for_plain += type == DNS_MX && strcasecmp(name, "plain.test") == 0;
		if (answer_make(&p, in, name, type))
			sendto(s->fd, p.data, p.len, 0, (struct sockaddr *)&from, from_len);
	}
}

/* -- the bench --------------------------------------------------------------------- */

void bench_open(void **state, const char *extra)
{
	struct bench *b = mem_new(1, sizeof *b);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	struct config_errors errors = {0};
	const char *error = NULL;
	char text[1024];

	b->loop = loop_new();
	b->server.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	setsockopt(b->server.fd, SOL_SOCKET, SO_RCVBUF, &(int){100000}, sizeof(int));
	assert_int_equal(bind(b->server.fd, (struct sockaddr *)&at, sizeof at), 0);
	getsockname(b->server.fd, (struct sockaddr *)&at, &len);
	watch_add(&b->server.watch, b->loop, b->server.fd, server_ready, &b->server);
	watch_want(&b->server.watch, true, false);
	snprintf(
	    text, sizeof text,
	    "hostname = own.example\nlisten smtp { address = 127.0.0.7:25 }\n"
	    "resolver { forward = { 127.0.0.1@%u } trust-anchor = /nonexistent timeout = 1s %s }\n"
	    "site mine { mx = { *.bigprov.test } }\n",
	    ntohs(at.sin_port), extra);
	b->config = config_read(text_of(text), &errors);
	for (size_t i = 0; i < errors.count; i++)
		if (!errors.items[i].warning)
			print_message("%s\n", errors.items[i].text);
	config_errors_free(&errors);
	assert_non_null(b->config);
	b->lookups = lookups_new(b->loop, b->config, &error);
	assert_non_null(b->lookups);
	assert_null(error);
	*state = b;
}

int bench_setup(void **state)
{
	bench_open(state, "");
	return 0;
}

int bench_teardown(void **state)
{
	struct bench *b = *state;

	lookups_free(&b->lookups);
	config_drop(&b->config);
	watch_remove(&b->server.watch);
	close(b->server.fd);
	loop_free(&b->loop);
	free(b);
	return 0;
}
