/* SPDX-License-Identifier: ISC */
/* A child's words. */
#include "result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void result_set(struct result *r, enum outcome_kind kind, uint16_t code, const char *dsn,
		const char *format, ...)
{
	va_list args;

	r->kind = (uint8_t)kind;
	r->code = code;
	text_copy(r->dsn, sizeof r->dsn, text_of(dsn));
	va_start(args, format);
	vsnprintf(r->reply, sizeof r->reply, format, args);
	va_end(args);
	for (char *c = r->reply; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
}

bool result_add(struct result *r, const struct addition *a)
{
	if (r->added >= RESULT_ADDITIONS_MAX || a->address.len > RESULT_ADDRESS_MAX ||
	    a->sender.len > RESULT_ADDRESS_MAX || a->target.len > RESULT_TARGET_MAX ||
	    bytes_len(&r->additions) > RESULT_ADDED_BYTES_MAX)
		return false;
	wire_put_text(&r->additions, a->address);
	wire_put_text(&r->additions, a->target);
	wire_put_text(&r->additions, a->sender);
	r->added++;
	return true;
}

struct text result_additions(const struct result *r)
{
	return bytes_text(&r->additions);
}

bool result_next(struct text *list, struct addition *a)
{
	struct wire_reader in = wire_reader_over(list->data, list->len);

	if (!list->len)
		return false;
	a->address = wire_text(&in, RESULT_ADDRESS_MAX);
	a->target = wire_text(&in, RESULT_TARGET_MAX);
	a->sender = wire_text(&in, RESULT_ADDRESS_MAX);
	if (in.bad)
		return false;
	*list = (struct text){(const char *)in.at, (size_t)(in.end - in.at)};
	return true;
}

void result_encode(struct bytes *to, const struct result *r)
{
	wire_put_u8(to, r->kind);
	wire_put_u16(to, r->code);
	wire_put_text(to, text_of(r->dsn));
	wire_put_text(to, text_of(r->reply));
	wire_put_u32(to, r->added);
	bytes_add(to, bytes_at(&r->additions), bytes_len(&r->additions));
}

/* "2.0.0" and its like: three numbers of at most three digits. */
static bool dsn_is_sound(const char *dsn, uint8_t kind)
{
	size_t dots = 0, digits = 0;
	char class = kind == OUTCOME_DEFERRED ? '4' : kind == OUTCOME_FAILED ? '5' : '2';

	for (const char *c = dsn; *c; c++) {
		if (*c >= '0' && *c <= '9') {
			if (++digits > 3)
				return false;
		} else if (*c == '.' && digits) {
			digits = 0;
			dots++;
		} else {
			return false;
		}
	}
	return dots == 2 && digits && dsn[0] == class && dsn[1] == '.';
}

static bool line_is_sound(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] < ' ' || t.data[i] == 0x7f)
			return false;
	return true;
}

bool result_decode(struct text from, struct result *r)
{
	struct wire_reader in = wire_reader_over(from.data, from.len);
	struct addition a;

	r->kind = wire_u8(&in);
	r->code = wire_u16(&in);
	struct text dsn = wire_text(&in, sizeof r->dsn - 1);
	struct text reply = wire_text(&in, RESULT_REPLY_MAX);
	uint32_t count = wire_u32(&in);

	text_copy(r->dsn, sizeof r->dsn, dsn);
	text_copy(r->reply, sizeof r->reply, reply);
	if (in.bad || !line_is_sound(reply) || count > RESULT_ADDITIONS_MAX ||
	    (r->kind != OUTCOME_DELIVERED && r->kind != OUTCOME_DEFERRED &&
	     r->kind != OUTCOME_FAILED && r->kind != OUTCOME_EXPANDED) ||
	    !dsn_is_sound(r->dsn, r->kind) || (count && r->kind != OUTCOME_EXPANDED))
		return false;
	struct text list = {(const char *)in.at, (size_t)(in.end - in.at)};

	while (result_next(&list, &a))
		if (!a.address.len || !line_is_sound(a.address) || !line_is_sound(a.target) ||
		    a.sender.len || !result_add(r, &a))
			return false;
	return !list.len && r->added == count;
}

void result_free(struct result *r)
{
	bytes_free(&r->additions);
	r->added = 0;
}
