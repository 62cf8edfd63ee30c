/* SPDX-License-Identifier: ISC */
/*
 * A mail as programs write it to sendmail(1): the first octet says how, the
 * rest is standard input. What comes out are CRLF lines that fit, whatever
 * goes in, the same in one piece and octet by octet; recipients are addresses.
 */
#include "../../ctl/sendmail_encode.h"
#include "../../ctl/sendmail_header.h"
#include "../../ctl/sendmail_options.h"
#include "../../ctl/sendmail_text.h"
#include "header.h"
#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_lines(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		must(t.data[i] != '\0');
		must(t.data[i] != '\n' || (i > 0 && t.data[i - 1] == '\r'));
		must(t.data[i] != '\r' || (i + 1 < t.len && t.data[i + 1] == '\n'));
	}
	must(!t.len || t.data[t.len - 1] == '\n');
}

static bool make_lines(const uint8_t *data, size_t size, bool dots, size_t piece, struct bytes *to)
{
	struct mail_lines l = {.dots = dots};

	for (size_t i = 0; i < size; i += piece)
		mail_lines_take(&l, data + i, size - i < piece ? size - i : piece, to);
	mail_lines_end(&l, to);
	return l.eight;
}

static void check_recipients(struct text header, bool list)
{
	struct recipients r = {.count = 0};
	struct address a;

	if (!(list ? recipients_add_list(&r, header) : header_recipients(header, &r)))
		must(*r.why);
	for (size_t i = 0; i < r.count; i++) {
		enum address_result result = address_read(text_of(r.items[i]), &a);

		must(result == ADDRESS_FINE || result == ADDRESS_ALONE);
		must(text_equals(address_text(&a), r.items[i]));
	}
	recipients_free(&r);
}

/* The same fields, of which those without structure are ASCII. */
static void check_encoded(struct text header)
{
	struct bytes out = {0}, again = {0};
	struct header_field f, was;

	header_encode(header, &out);
	check_lines(bytes_text(&out));
	struct text rest = bytes_text(&out);

	while (header_next(&header, &was)) {
		must(header_next(&rest, &f) && text_equal(f.name, was.name));
		must(!text_equal_case(f.name, text_of("Subject")) || text_is_ascii(f.whole) ||
		     text_equal(f.whole, was.whole));
	}
	must(text_equal(rest, header));
	header_encode(bytes_text(&out), &again);
	must(text_equal(bytes_text(&out), bytes_text(&again)) || !text_is_ascii(bytes_text(&out)));
	bytes_free(&out);
	bytes_free(&again);
}

static void check_header(struct text header, struct text name)
{
	struct bytes out = {0};
	struct header_field f;
	struct text rest;

	check_recipients(header, false);
	header_put_from(header, name, text_of("ann"), &out);
	header_without_blind(header, &out);
	check_lines(bytes_text(&out));
	rest = bytes_text(&out);
	while (header_next(&rest, &f))
		must(!text_equal_case(f.name, text_of("Bcc")) &&
		     !text_equal_case(f.name, text_of("Resent-Bcc")));
	must(header_has(bytes_text(&out), "From"));
	check_encoded(bytes_text(&out));
	must(rest.len == 2);
	(void)header_long_line(header);
	bytes_free(&out);
}

static void check_mail(struct bytes *mail, struct text name)
{
	struct bytes header = {0}, out = {0};
	struct mail_fold fold = {.line = 0};
	size_t line = 0;

	/* All of it is here: it has a header, if an empty one. */
	if (mail_header_take(mail, true, &header)) {
		check_lines(bytes_text(&header));
		check_header(bytes_text(&header), name);
		mail_fold_take(&fold, bytes_at(mail), bytes_len(mail), &out);
		check_lines(bytes_text(&out));
		for (size_t i = 0; i < bytes_len(&out); i++) {
			line = bytes_at(&out)[i] == '\n' ? 0 : line + 1;
			must(line <= MAIL_LINE_MAX + 1);
		}
	}
	bytes_free(&header);
	bytes_free(&out);
}

/* Words a NUL apart. */
static void check_options(const uint8_t *data, size_t size)
{
	struct sendmail_options o;
	char *copy = mem_copy(data, size), *argv[33];
	int argc = 0;

	for (size_t i = 0; i < size && argc < 32; i += strlen(copy + i) + 1)
		argv[argc++] = copy + i;
	argv[argc] = NULL;
	if (sendmail_options_read(argc, argv, &o))
		must(o.recipient_count >= 0 && o.recipient_count <= argc);
	else
		must(*o.why);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes whole = {0}, pieces = {0};

	if (!size)
		return 0;
	bool dots = (data[0] & 1) != 0;
	struct text all = {(const char *)data + 1, size - 1};

	check_options(data + 1, size - 1);
	check_recipients(all, true);
	bool eight = make_lines(data + 1, size - 1, dots, size, &whole);

	must(eight == make_lines(data + 1, size - 1, dots, 1, &pieces));
	must(text_equal(bytes_text(&whole), bytes_text(&pieces)));
	check_lines(bytes_text(&whole));
	check_mail(&whole, all);
	bytes_free(&whole);
	bytes_free(&pieces);
	return 0;
}
