/* SPDX-License-Identifier: ISC */
/* The recipients of -t, and From. */
#include "sendmail_header.h"

#include "drop.h"
#include "header.h"
#include "mailboxes.h"
#include "mem.h"
#include "sendmail_encode.h"
#include "sendmail_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_OCTETS = 200 };

/* -- recipients --------------------------------------------------------------------------- */

static bool wrong(struct recipients *r, const char *what, struct text which)
{
	char shown[160];

	if (which.len > 100)
		which.len = 100;
	text_printable(shown, sizeof shown, which);
	snprintf(r->why, sizeof r->why, "%s: %s", shown, what);
	return false;
}

static bool recipients_put(struct recipients *r, const struct address *a)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->items[i], a->text) == 0)
			return true;
	if (r->count == DROP_RECIPIENTS_MAX) {
		snprintf(r->why, sizeof r->why, "more than %d recipients", DROP_RECIPIENTS_MAX);
		return false;
	}
	r->items = mem_resize(r->items, r->count + 1, sizeof *r->items);
	r->items[r->count++] = mem_copy(a->text, a->len);
	r->utf8 = r->utf8 || a->utf8;
	return true;
}

bool recipients_add(struct recipients *r, struct text address)
{
	struct address a;
	enum address_result result = address_read(address, &a);

	if (result == ADDRESS_FINE || result == ADDRESS_ALONE)
		return recipients_put(r, &a);
	return wrong(r, result == ADDRESS_LONG ? "the address is too long" : "this is no address",
		     address);
}

static bool add_list(struct recipients *r, struct text list, const char *where)
{
	struct mailboxes m;
	struct mailbox box;

	for (mailboxes_begin(&m, list); mailboxes_next(&m, &box);)
		if (box.address.len) {
			if (!recipients_put(r, &box.address))
				return false;
		} else {
			snprintf(r->why, sizeof r->why, "%s: there is an address that is none",
				 where);
			return false;
		}
	if (!m.broken)
		return true;
	snprintf(r->why, sizeof r->why, "%s: it is no list of addresses", where);
	return false;
}

bool recipients_add_list(struct recipients *r, struct text list)
{
	struct address a;

	/* The common case, and the one in which an address may look like anything. */
	if (!list.len)
		return wrong(r, "this is no address", text_of("\"\""));
	if (address_read(list, &a) == ADDRESS_FINE || address_read(list, &a) == ADDRESS_ALONE)
		return recipients_put(r, &a);
	char shown[80];

	text_printable(shown, sizeof shown,
		       (struct text){list.data, list.len < 60 ? list.len : 60});
	return add_list(r, list, shown);
}

void recipients_free(struct recipients *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->items[i]);
	free(r->items);
	*r = (struct recipients){.items = NULL};
}

/* -- header ------------------------------------------------------------------------------- */

bool header_has(struct text header, const char *name)
{
	struct header_field f;

	while (header_next(&header, &f))
		if (text_equal_case(f.name, text_of(name)))
			return true;
	return false;
}

static bool is_one_of(struct text name, const char *const names[3])
{
	for (size_t i = 0; i < 3; i++)
		if (text_equal_case(name, text_of(names[i])))
			return true;
	return false;
}

static const char *const plain_names[3] = {"To", "Cc", "Bcc"};
static const char *const resent_names[3] = {"Resent-To", "Resent-Cc", "Resent-Bcc"};

/*
 * RFC 5322 3.6.6: "all of the resent fields corresponding to a particular
 * resending of the message SHOULD be grouped together", the latest in front.
 * Those of an older one would get the mail a second time.
 */
static struct text latest_resent(struct text header)
{
	struct text rest = header;
	struct header_field f;
	const char *from = NULL, *to = NULL;

	while (header_next(&rest, &f)) {
		bool resent = text_starts_case(f.name, "Resent-");

		if (!resent && from)
			break;
		if (!resent)
			continue;
		/* Each set has one Resent-From and one Resent-Date. */
		struct text so_far = {from, from ? (size_t)(to - from) : 0};

		if (from && (text_equal_case(f.name, text_of("Resent-From")) ||
			     text_equal_case(f.name, text_of("Resent-Date")))) {
			char name[16];

			text_copy(name, sizeof name, f.name);
			if (header_has(so_far, name))
				break;
		}
		from = from ? from : f.whole.data;
		to = f.whole.data + f.whole.len;
	}
	return (struct text){from, from ? (size_t)(to - from) : 0};
}

static bool has_resent_recipients(struct text header)
{
	struct header_field f;

	while (header_next(&header, &f))
		if (is_one_of(f.name, resent_names))
			return true;
	return false;
}

bool header_recipients(struct text header, struct recipients *r)
{
	const bool resent = has_resent_recipients(header);
	const char *const *names = resent ? resent_names : plain_names;
	struct header_field f;
	char where[40];

	if (resent)
		header = latest_resent(header);
	while (header_next(&header, &f)) {
		if (!is_one_of(f.name, names))
			continue;
		snprintf(where, sizeof where, "the field %.*s", (int)f.name.len, f.name.data);
		/* An empty Bcc is a Bcc (RFC 5322 3.6.3). */
		if (text_trim(f.value).len && !add_list(r, f.value, where))
			return false;
	}
	return true;
}

void header_without_blind(struct text header, struct bytes *to)
{
	struct header_field f;

	while (header_next(&header, &f))
		if (!text_equal_case(f.name, text_of("Bcc")) &&
		    !text_equal_case(f.name, text_of("Resent-Bcc")))
			bytes_add(to, f.whole.data, f.whole.len);
	bytes_add(to, header.data, header.len); /* the empty line */
}

size_t header_long_line(struct text header)
{
	size_t line = 1, length = 0;

	for (size_t i = 0; i < header.len; i++) {
		if (header.data[i] == '\n') {
			line++;
			length = 0;
		} else if (header.data[i] != '\r' && ++length > MAIL_LINE_MAX) {
			return line;
		}
	}
	return 0;
}

/* -- From ---------------------------------------------------------------------------------- */

static void put_quoted(struct bytes *to, struct text name)
{
	bytes_add(to, "\"", 1);
	for (size_t i = 0; i < name.len; i++) {
		if (name.data[i] == '"' || name.data[i] == '\\')
			bytes_add(to, "\\", 1);
		bytes_add(to, name.data + i, 1);
	}
	bytes_add(to, "\" ", 2);
}

void header_put_from(struct text header, struct text name, struct text sender, struct bytes *to)
{
	char clean[NAME_OCTETS + 1];
	size_t len = 0;

	if (header_has(header, "From"))
		return;
	/* What would end the line would begin a field of the caller's choice. */
	for (size_t i = 0; i < name.len && len < NAME_OCTETS; i++)
		if ((uint8_t)name.data[i] >= 0x20 && name.data[i] != 0x7f)
			clean[len++] = name.data[i];
	while (len && ((uint8_t)clean[len - 1] & 0x80) && !text_is_utf8((struct text){clean, len}))
		len--;
	struct text plain = text_trim((struct text){clean, len});

	bytes_add(to, "From: ", 6);
	if (plain.len && text_is_ascii(plain)) {
		put_quoted(to, plain);
	} else if (plain.len && text_is_utf8(plain)) {
		/* RFC 2047 5 (3): "as a replacement for a 'word' entity within a 'phrase'". */
		header_put_words(to, plain);
		bytes_add(to, " ", 1);
	}
	bytes_add(to, "<", 1);
	if (sender.len)
		bytes_add(to, sender.data, sender.len);
	else
		bytes_add(to, "MAILER-DAEMON", 13);
	bytes_add(to, ">\r\n", 3);
}
