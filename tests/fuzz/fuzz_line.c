/* SPDX-License-Identifier: ISC */
/*
 * Log lines: an event of any daemon with values from strangers is one line
 * in each form, without control characters, and as JSON one object that a
 * strict reader takes. u8 what, u16 daemon, u32 pid, u64 id, u64 wall, then
 * values, each u16 length and bytes.
 */
#include "line.h"
#include "must.h"
#include "wire.h"

#include <jansson.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void event_read(struct wire_reader *in, struct history_event *e)
{
	e->what = wire_u8(in);
	e->daemon = wire_u16(in);
	e->pid = wire_u32(in);
	e->id = wire_u64(in);
	e->wall = wire_u64(in);
	while (in->at < in->end && !in->bad && e->count < EVENT_VALUES_MAX) {
		size_t n = wire_u16(in) % (EVENT_VALUE_BYTES + 1u),
		       left = (size_t)(in->end - in->at);

		n = n < left ? n : left;
		e->values[e->count++] = (struct text){(const char *)in->at, n};
		in->at += n;
	}
}

/* Nothing below a space but LINE_ENDS line ends, and END behind all. */
static void check_line(const struct bytes *b, char end, size_t line_ends)
{
	struct text t = bytes_text(b);

	must(t.len > 20 && t.data[t.len - 1] == end);
	t.len--;
	must(text_is_utf8(t));
	for (size_t i = 0; i < t.len; i++) {
		must((unsigned char)t.data[i] >= ' ' || (t.data[i] == '\n' && line_ends-- > 0));
		must(t.data[i] != 0x7f);
	}
}

static void check_json(const struct bytes *b, const struct history_event *e)
{
	json_t *o = json_loadb((const char *)bytes_at(b), bytes_len(b),
			       JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

	must(json_is_object(o));
	must(json_integer_value(json_object_get(o, "pid")) == (json_int_t)e->pid);
	must(strcmp(json_string_value(json_object_get(o, "event")), event_row(e->what)->name) == 0);
	must((e->id != 0) == json_is_string(json_object_get(o, "id")));
	json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char ends[] = {[LINE_TEXT] = '\n', [LINE_JSON] = '\n'};
	struct line_writer *writer = line_writer_new("mail.example.net");
	struct wire_reader in = wire_reader_over(data, size);
	struct history_event e = {0};

	event_read(&in, &e);
	for (int form = LINE_TEXT; form <= LINE_JOURNAL; form++) {
		struct bytes out = {0};

		if (line_write(writer, (enum line_form)form, &out, &e)) {
			char end = form <= LINE_JSON ? ends[form] : '\0';

			check_line(&out, end, form == LINE_JOURNAL ? 7 : 0);
			if (form == LINE_JSON)
				check_json(&out, &e);
		} else {
			must(!event_row(e.what) && !bytes_len(&out));
		}
		bytes_free(&out);
	}
	line_writer_free(&writer);
	return 0;
}
