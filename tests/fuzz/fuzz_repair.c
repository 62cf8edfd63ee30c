/* SPDX-License-Identifier: ISC */
/*
 * Header repair: the first byte picks rules, the second who sends; the rest is
 * a header block. What goes out is fields and an empty line again, holds every
 * field that was not to be touched, has no blind copies, and settles to itself.
 */
#include "header.h"
#include "header_form.h"
#include "mailboxes.h"
#include "must.h"
#include "repair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct config *make_config(uint8_t choice)
{
	static const char *const rules[] = {"repair", "refuse", "keep", "keep"};
	char text[512];
	struct config_errors errors = {0};

	snprintf(
	    text, sizeof text,
	    "hostname = mx.test\nroute known { to = mx }\nsubmission { date = %s message-id = %s "
	    "from = %s unqualified = %s\naddresses = %s duplicates = %s\neight-bit-header = %s "
	    "add-sender = %s }\n",
	    rules[choice & 3], rules[choice & 3], rules[choice & 3], rules[choice >> 2 & 3],
	    choice & 16 ? "keep" : "refuse", choice & 32 ? "keep" : "refuse",
	    choice & 64 ? "keep" : "refuse", choice & 128 ? "no" : "yes");
	struct config *config = config_read(text_of(text), &errors);

	must(config);
	config_errors_free(&errors);
	return config;
}

static struct repair make_repair(const struct config *config, uint8_t who)
{
	static const char *const senders[] = {"", "ann@x.org", "bob@x.org", "\"a b\"@x.org"};
	static const char *const logins[] = {"", "ann@x.org", "uid:1000", "\xc3\xa4@x.org"};

	return (struct repair){.config = config,
			       .sender = text_of(senders[who & 3]),
			       .login = text_of(logins[who >> 2 & 3]),
			       .date = text_of("Sat, 21 Nov 2026 22:05:00 +0000"),
			       .message_id = text_of("1.2@mx.test"),
			       .smtputf8 = (who & 16) != 0,
			       .ours = (who & 32) != 0};
}

static void check_fields(struct text block, bool blind)
{
	struct header_field h;

	while (header_next(&block, &h))
		must(blind || (!text_equal_case(h.name, text_of("Bcc")) &&
			       !text_equal_case(h.name, text_of("Resent-Bcc"))));
}

static void check_list(struct text value)
{
	struct mailboxes list;
	struct mailbox m;
	const char *last = value.data;

	for (mailboxes_begin(&list, value); mailboxes_next(&list, &m);) {
		must(!m.local.len || (m.local.data >= last &&
				      m.local.data + m.local.len <= value.data + value.len));
		must(!m.domain.len || m.domain.data + m.domain.len <= value.data + value.len);
		must(m.address.len <= ADDRESS_MAX);
		if (m.local.len)
			last = m.local.data + m.local.len;
	}
	header_is_date(value);
	header_is_message_id(value);
}

/* Cuts DATA to a header block as content.h leaves one: whole lines that are fields. */
static struct text block_of(const uint8_t *data, size_t size)
{
	struct text all = {(const char *)data, size}, rest = all;
	struct header_field h;

	while (rest.len && header_next(&rest, &h)) {
		if (h.whole.data[h.whole.len - 1] != '\n')
			return (struct text){all.data, (size_t)(h.whole.data - all.data)};
		check_list(h.value);
	}
	return (struct text){all.data, (size_t)(rest.data - all.data)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	struct config *config = make_config(data[0]);
	struct repair r = make_repair(config, data[1]), again = r;
	struct text block = block_of(data + 2, size - 2);
	char line[REPLY_LINE_MAX];

	if (repair_header(&r, block)) {
		struct text out = bytes_text(&r.header);

		check_fields(out, r.ours);
		must(repair_header(&again, out));
		must(text_equal(out, bytes_text(&again.header)));
	} else {
		must(!r.ours && r.refusal.code >= 500 && r.refusal.code < 560);
		reply_line(&r.refusal, line);
	}
	bytes_free(&r.header);
	bytes_free(&again.header);
	config_drop(&config);
	return 0;
}
