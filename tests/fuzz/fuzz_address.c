/* SPDX-License-Identifier: ISC */
/* Addresses and ESMTP parameters: what is accepted is canonical, bounded, and reads the same again.
 */
#include "address.h"
#include "esmtp.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_address(const struct address *a)
{
	struct address again;
	struct text t = address_text(a);

	must(a->len <= ADDRESS_MAX && a->at <= a->len && a->text[a->len] == '\0');
	for (size_t i = 0; i < t.len; i++)
		must((unsigned char)t.data[i] >= 0x20 && t.data[i] != 0x7f);
	must(address_read(t, &again) == ADDRESS_FINE && text_equal(address_text(&again), t));
	must(text_equal(address_host(a), address_domain(t)));
	must(again.routed == a->routed && again.utf8 == a->utf8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text t = {(const char *)data, size};
	struct address a;
	struct esmtp_mail m;
	struct esmtp_rcpt r;

	if (address_read_path(&t, &a) == ADDRESS_FINE)
		check_address(&a);
	must((const uint8_t *)t.data + t.len == data + size);
	if (esmtp_read_mail(t, &m) == ESMTP_FINE)
		must(m.envid.len <= ENVID_MAX);
	if (esmtp_read_rcpt(t, &r) == ESMTP_FINE)
		must(r.orcpt.len <= ORCPT_MAX);
	t = (struct text){(const char *)data, size};
	if (address_read(t, &a) == ADDRESS_FINE)
		check_address(&a);
	if (address_is_greeting(t))
		must(size <= 255);
	return 0;
}
