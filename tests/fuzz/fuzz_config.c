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
	struct config *again = config_read(bytes_text(&once), &errors);

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

/* A certificate that a route shows is one of those that keeper is asked for. */
static void ask_certificates(const struct config *c)
{
	size_t count = config_certificates(c), local = 0;

	for (size_t i = 0; i < c->route_count; i++) {
		const struct config_route *route = &c->routes[i];
		struct text label = config_shown(c, route);
		size_t found = 0;

		local += route->kind == ROUTE_LOCAL;
		for (size_t k = c->tls_count; k < count; k++)
			found += text_equal(config_certificate(c, k)->label, label);
		must(found == (label.len > 0) && (label.len > 0) == (route->tls_key.len > 0));
	}
	for (size_t k = 0; k < count; k++)
		must(config_certificate(c, k)->certificate.len &&
		     config_certificate(c, k)->key.len);
	must(config_has_local(c) == (local > 0));
}

/* What a server asks it, about the names that it holds itself and about others. */
static void ask(const struct config *c, const uint8_t *data, size_t size)
{
	static const uint8_t addresses[][16] = {
	    {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}, {[15] = 1}, {0x20, 0x01, 0x0d, 0xb8}};
	struct text any = {(const char *)data, size > 200 ? 200 : size};

	must(config_route(c, any));
	must(route_is_lost(config_route_of(c, text_of("no.such.test"), text_of("@"))) ||
	     !text_equals(config_route(c, text_of("no.such.test"))->label, "*") ||
	     config_route(c, text_of("no.such.test"))->kind == ROUTE_LOCAL);
	for (size_t i = 0; i < c->sender_count; i++)
		must(!c->senders[i].route.len || config_route_named(c, c->senders[i].route));
	(void)config_relays_to(c, any);
	must(domain_matches(text_of("*"), any));
	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
		(void)config_relays_from(c, addresses[i]);
	(void)config_relays_to(c, text_of("sub.customer.example"));
	(void)config_relays_to(c, text_of("customer.example"));
	for (size_t i = 0; i < c->site_count; i++)
		for (size_t k = 0; k < c->sites[i].mx.count; k++)
			must(!domain_matches(c->sites[i].mx.items[k], text_of("")));
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
	ask(c, data, size);
	ask_certificates(c);
	write_and_read(c);
	config_drop(&c);
	return 0;
}
