/* SPDX-License-Identifier: ISC */
/*
 * Reports: whatever qmgr passes on from strangers, what is written for
 * people and programs has only CRLF lines under 998 octets, no control
 * character, no line that looks like a part's end, and fits a handin.
 */
#include "must.h"
#include "report.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct text take(const uint8_t **data, size_t *size, size_t max)
{
	size_t n = *size ? (*data)[0] * (size_t)3 : 0;

	if (*size) {
		(*data)++;
		(*size)--;
	}
	n = n < *size ? n : *size;
	n = n < max ? n : max;
	struct text t = {(const char *)*data, n};

	*data += n;
	*size -= n;
	return t;
}

/* Up to the original, which is the sender's own bytes. */
static void check_lines(struct text t)
{
	size_t line = 0;

	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];

		if (c == '\r') {
			must(i + 1 < t.len && t.data[i + 1] == '\n');
			must(line <= 998);
			line = 0;
			i++;
			continue;
		}
		must(c >= 0x20 && c != 0x7f);
		line++;
	}
	must(text_is_utf8(t));
}

static size_t count_of(struct text t, const char *what)
{
	size_t n = 0, len = strlen(what);

	for (size_t i = 0; i + len <= t.len; i++)
		n += memcmp(t.data + i, what, len) == 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct report_maker maker = {
	    .hostname = TEXT("mail.example.net"),
	    .postmaster = TEXT("postmaster@example.net"),
	    .now = {1790000000000000},
	    .unique = "0123456789abcdef0123456789abcdef",
	};
	struct msg_report r = {.report = 1, .id = 99, .arrival_wall = 1789990000000000};
	struct bytes list = {0}, out = {0};
	struct report_form form;
	uint8_t flags = size ? data[0] : 0;

	r.smtputf8 = flags & 1;
	r.double_bounce = flags >> 1 & 1;
	r.ret = (uint8_t)((flags >> 2 & 3) % 3);
	r.to = take(&data, &size, 512);
	r.envid = take(&data, &size, 200);
	while (size > 1 && r.recipients.count < 1000) {
		struct rec_report_recipient rcpt = {.action = data[0] % 8, .code = data[1]};

		rcpt.address = take(&data, &size, 512);
		rcpt.orcpt = take(&data, &size, 600);
		rcpt.dsn = take(&data, &size, 11);
		rcpt.reply = take(&data, &size, 512);
		rcpt.relay = take(&data, &size, 320);
		rec_report_recipient_encode(&list, &rcpt);
		r.recipients.count++;
	}
	r.recipients.items = bytes_text(&list);
	r.prelude = (struct text)TEXT("Subject: x\r\n\r\n");
	report_build(&maker, &r, &out, &form);
	struct text all = bytes_text(&out);

	must(all.len <= REPORT_CONTENT_MAX);
	check_lines(all);
	must(count_of(all, "\r\n--=_0123456789abcdef0123456789abcdef") == 4);
	must(form.body_type == BODY_8BITMIME || text_is_ascii(all));
	bytes_free(&list);
	bytes_free(&out);
	return 0;
}
