/* SPDX-License-Identifier: ISC */
/*
 * Sender rights: the input is a list, an address and a header block, with NULs between them. Who
 * may send as one address may send as no other one, whatever is put around it, and a header block
 * that is let through names nobody else as author.
 */
#include "header.h"
#include "mailboxes.h"
#include "must.h"
#include "rights.h"
#include "rights_check.h"
#include "table_text.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char login[] = "ann@x.org";

static struct text part(struct text *rest)
{
	ptrdiff_t at = text_find(*rest, '\0');
	size_t n = at < 0 ? rest->len : (size_t)at;
	struct text t = {rest->data, n};

	n += at >= 0;
	*rest = (struct text){rest->data + n, rest->len - n};
	return t;
}

static void check_list(struct text list, struct text address)
{
	bool has = rights_list_has(list, address), found = false;
	struct text words = list, word;

	while (table_word_next(&words, &word)) {
		must(word.len > 0);
		rights_word_fault(word);
		found = found || rights_list_has(word, address);
	}
	must(found == has);
	if (rights_is_own(text_of(login), address)) {
		must(address.len >= strlen(login));
		must(text_starts_case(address, "ann"));
	}
}

static void all_are_own(struct text value)
{
	struct mailboxes list;
	struct mailbox m;

	for (mailboxes_begin(&list, value); mailboxes_next(&list, &m);)
		must(m.address.len && rights_is_own(text_of(login), address_text(&m.address)));
	must(!list.broken);
}

static void settled(void *owner, const struct reply *r)
{
	int *code = owner;

	must(!r || r->code == 553);
	*code = r ? r->code : 250;
}

static void check_header(const struct config *config, struct text header)
{
	struct header_field h;
	struct text rest = header;
	bool resent = false;
	int code = 0;

	must(!rights_check_start(&(struct rights_ask){
	    .config = config,
	    .login = text_of(login),
	    .header = header,
	    .done = settled,
	    .owner = &code,
	}));
	must(code);
	while (code == 250 && header_next(&rest, &h)) {
		if (text_equal_case(h.name, text_of("From")) ||
		    text_equal_case(h.name, text_of("Sender")) ||
		    (!resent && text_equal_case(h.name, text_of("Resent-From"))))
			all_are_own(h.value);
		resent = resent || text_equal_case(h.name, text_of("Resent-From"));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors = {0};
	struct config *config = config_read(text_of("hostname = mx.test\n"), &errors);
	struct text rest = {(const char *)data, size};
	struct text list = part(&rest), address = part(&rest);

	must(config);
	check_list(list, address);
	check_header(config, rest);
	config_drop(&config);
	config_errors_free(&errors);
	return 0;
}
