/* SPDX-License-Identifier: ISC */
/* What was met on the way. */
#include "route_try.h"

#include "config.h"
#include "print.h"

#include <stdio.h>
#include <time.h>

static const struct {
	const char *word, *text;
} results[] = {
    [PROBE_FINE] = {"fine", "takes mail"},
    [PROBE_CLEAR] = {"clear", "TLS fails there, and mail would go in the clear"},
    [PROBE_TLS_FAILED] = {"tls-failed", "gets no mail: it does not do what the TLS policy wants"},
    [PROBE_REFUSED] = {"refused", "answers, and takes no mail"},
    [PROBE_UNREACHABLE] = {"unreachable", "can't be reached"},
    [PROBE_UNTRIED] = {"untried", "was not tried"},
};

static size_t result_of(const struct rec_probe_host *h)
{
	return h->result < sizeof results / sizeof *results ? h->result : PROBE_UNTRIED;
}

static const char *day_of(uint64_t seconds, char *to, size_t size)
{
	time_t at = (time_t)seconds;
	struct tm tm;

	if (!seconds || !gmtime_r(&at, &tm) || !strftime(to, size, "%Y-%m-%d %H:%M UTC", &tm))
		snprintf(to, size, "not known");
	return to;
}

static void line(const char *name, struct text t)
{
	if (!t.len)
		return;
	printf("%12s%-12s ", "", name);
	print_text(t, stdout);
	putchar('\n');
}

static struct text line_next(struct text *rest)
{
	ptrdiff_t end = text_find(*rest, '\n');
	struct text t = {rest->data, end < 0 ? rest->len : (size_t)end};
	size_t used = t.len + (end >= 0);

	*rest = (struct text){rest->data + used, rest->len - used};
	return t;
}

static void host_text(const struct rec_probe_host *h)
{
	struct text rest = h->offers;
	char address[46], day[40];

	printf("            ");
	print_text(h->name, stdout);
	if (h->address.len == 16)
		printf("[%s]", host_address_print((const uint8_t *)h->address.data, address));
	printf(":%u: %s (%.0f ms)\n", h->port, results[result_of(h)].text,
	       (double)h->took_us / 1000);
	line("", h->why);
	if (h->result == PROBE_FINE && !h->tls.len)
		line("TLS", (struct text)TEXT("none"));
	line("TLS", h->tls);
	if (h->subject.len || h->names.len) {
		line("certificate", h->subject);
		line("names", h->names);
		line("issuer", h->issuer);
		line("until", text_of(day_of(h->until, day, sizeof day)));
	}
	for (bool first = true; rest.len; first = false)
		line(first ? "EHLO" : "", line_next(&rest));
}

void tried_text(const struct msg_tried *tried)
{
	struct wire_list list = tried->hosts;
	struct rec_probe_host h;

	puts("tried");
	while (list_next_probe_host(&list, &h))
		host_text(&h);
}

static json_t *host_json(const struct rec_probe_host *h)
{
	json_t *o = json_object(), *offers = json_array();
	struct text rest = h->offers;
	char address[46] = "";

	if (h->address.len == 16)
		host_address_print((const uint8_t *)h->address.data, address);
	while (rest.len)
		json_array_append_new(offers, json_text(line_next(&rest)));
	json_object_set_new(o, "name", json_text(h->name));
	json_object_set_new(o, "address", json_string(address));
	json_object_set_new(o, "port", json_integer(h->port));
	json_object_set_new(o, "result", json_string(results[result_of(h)].word));
	json_object_set_new(o, "why", json_text(h->why));
	json_object_set_new(o, "tls", json_text(h->tls));
	json_object_set_new(o, "subject", json_text(h->subject));
	json_object_set_new(o, "issuer", json_text(h->issuer));
	json_object_set_new(o, "names", json_text(h->names));
	json_object_set_new(o, "until", json_u64(h->until));
	json_object_set_new(o, "offers", offers);
	json_object_set_new(o, "took_us", json_u64(h->took_us));
	return o;
}

json_t *tried_json(const struct msg_tried *tried)
{
	json_t *hosts = json_array();
	struct wire_list list = tried->hosts;
	struct rec_probe_host h;

	while (list_next_probe_host(&list, &h))
		json_array_append_new(hosts, host_json(&h));
	return hosts;
}

bool tried_well(const struct msg_tried *tried)
{
	struct wire_list list = tried->hosts;
	struct rec_probe_host h;

	while (list_next_probe_host(&list, &h))
		if (h.result == PROBE_FINE || h.result == PROBE_CLEAR)
			return true;
	return false;
}
