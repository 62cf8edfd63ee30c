/* SPDX-License-Identifier: ISC */
/*
 * Envelopes: what decodes is within its bounds, gives as many recipients as
 * it counts, and means the same when it is written and read again.
 */
#include "envelope.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_head(const struct envelope *a, const struct envelope *b)
{
	must(text_equal(a->sender, b->sender) && text_equal(a->submitter, b->submitter));
	must(text_equal(a->login, b->login) && text_equal(a->client, b->client));
	must(text_equal(a->helo, b->helo) && text_equal(a->protocol, b->protocol));
	must(text_equal(a->envid, b->envid) && text_equal(a->message_id, b->message_id));
	must(a->ret == b->ret && a->body_type == b->body_type && a->smtputf8 == b->smtputf8);
	must(a->tls == b->tls && text_equal(a->source, b->source));
	must(a->arrival_wall == b->arrival_wall && a->recipient_count == b->recipient_count);
}

static void check_recipients(struct text one, struct text two, uint32_t count)
{
	struct envelope_iter a = envelope_recipients(one), b = envelope_recipients(two);
	struct envelope_recipient x, y;
	uint32_t n = 0;

	for (; envelope_next(&a, &x); n++) {
		must(envelope_next(&b, &y) && a.next == n + 1 && b.next == n + 1);
		must(text_equal(x.address, y.address) && text_equal(x.original, y.original));
		must(text_equal(x.orcpt, y.orcpt) && x.notify == y.notify);
		must(text_equal(x.sender, y.sender) && text_equal(x.target, y.target));
		must(x.parent == y.parent);
		must(x.address.len > 0 && address_domain(x.address).len < x.address.len);
	}
	must(n == count && !envelope_next(&b, &y));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct text in = {(const char *)data, size};
	struct envelope_recipient r;
	struct envelope e, again;
	struct bytes b = {0};

	if (!envelope_decode(in, &e)) {
		/* Also over data that was not looked at before, iterating ends. */
		struct envelope_iter it = envelope_recipients(in);

		for (size_t n = 0; envelope_next(&it, &r); n++)
			must(n <= size);
		return 0;
	}
	must(e.recipient_count >= 1 && e.recipient_count <= RECIPIENTS_MAX);
	must(e.sender.len <= ADDRESS_MAX && e.envid.len <= ENVID_MAX && e.ret <= RET_HDRS);
	envelope_put_head(&b, &e);
	for (struct envelope_iter it = envelope_recipients(in); envelope_next(&it, &r);)
		envelope_put_recipient(&b, &r);
	const struct text out = bytes_text(&b);

	must(envelope_decode(out, &again));
	check_head(&e, &again);
	check_recipients(in, out, e.recipient_count);
	bytes_free(&b);
	return 0;
}
