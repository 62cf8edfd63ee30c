/* SPDX-License-Identifier: ISC */
#include "session_host.h"

static const char base_config[] = "hostname = mx.test\n"
				  "relay-from = { 10.0.0.0/8 }\n"
				  "relay-to = { customer.example }\n"
				  "route no.customer.example { to = \"reject: go away\" }\n"
				  "limits { message = 64K header = 4K recipients = 100 errors = 6 "
				  "idle-commands = 10 received = 25 }\n";

static void ask(void *owner, enum session_point point)
{
	static const struct reply ok = REPLY(250, "2.0.0", "Ok: queued");
	struct host *h = owner;

	if (point == POINT_DATA) {
		struct session_message m = session_message(h->session);

		h->messages++;
		h->prelude.start = h->prelude.end = 0;
		bytes_add(&h->prelude, m.prelude.data, m.prelude.len);
		h->envelope.start = h->envelope.end = 0;
		bytes_add(&h->envelope, m.envelope.data, m.envelope.len);
		session_passed_on(h->session);
		if (!h->wait_data)
			session_answer(h->session, h->now, &ok);
	} else if (point == POINT_SENDER) {
		session_answer(h->session, h->now, h->sender_answer);
	} else if (point == POINT_RECIPIENT) {
		if (!h->wait_recipient)
			session_answer(h->session, h->now, h->recipient_answer);
	} else {
		session_answer(h->session, h->now, NULL);
	}
}

static uint64_t open_message(void *owner, const struct reply **refusal)
{
	static const struct reply none = REPLY(451, "4.3.2", "no id");
	struct host *h = owner;

	*refusal = h->open_answer ? h->open_answer : &none;
	h->opened += !h->no_id;
	h->body.start = h->body.end = 0;
	return h->no_id ? 0 : 36;
}

static void take_body(void *owner, const uint8_t *data, size_t len)
{
	struct host *h = owner;

	bytes_add(&h->body, data, len);
	if (h->hold_body)
		session_hold(h->session, true);
}

static void drop(void *owner)
{
	((struct host *)owner)->dropped++;
}

static void event(void *owner, enum event_kind what, uint64_t id, const struct text *values,
		  size_t count)
{
	struct host *h = owner;
	char line[2048];
	size_t n = event_print(line, sizeof line, event_row((unsigned)what), values, count);

	(void)id;
	bytes_add(&h->log, line, n);
	bytes_add(&h->log, "\n", 1);
}

static const struct session_face face = {
    .ask = ask, .open = open_message, .body = take_body, .drop = drop, .event = event};

static struct config *make_config(const char *more)
{
	char text[2048];
	struct config_errors errors = {0};

	snprintf(text, sizeof text, "%s%s", base_config, more ? more : "");
	struct config *config = config_read(text_of(text), &errors);

	assert_non_null(config);
	config_errors_free(&errors);
	return config;
}

void host_make(struct host *h, const char *more, const char *address)
{
	struct config *config = make_config(more);
	struct session_setup setup = {.face = &face,
				      .owner = h,
				      .config = config,
				      .out = &h->out,
				      .submitter = text_of("net:x"),
				      .offers_tls = h->offers_tls,
				      .seed = 7};

	h->now = (struct moment){{1000000}, {1790000000000000}};
	assert_true(host_address_parse(text_of(address), setup.address));
	h->session = session_new(&setup, h->now);
	config_drop(&config);
}

void host_begin(struct host *h, const char *more, const char *address)
{
	host_make(h, more, address);
	session_begin(h->session);
}

void host_end(struct host *h)
{
	session_free(&h->session);
	bytes_free(&h->out);
	bytes_free(&h->body);
	bytes_free(&h->prelude);
	bytes_free(&h->envelope);
	bytes_free(&h->log);
}

const char *string_in(struct bytes *b)
{
	bytes_room(b, 1)[0] = '\0';
	return b->data ? (const char *)bytes_at(b) : "";
}

void give(struct host *h, const char *input, size_t len, size_t step)
{
	struct bytes in = {0};

	for (size_t at = 0; at < len; at += step) {
		bytes_add(&in, input + at, len - at < step ? len - at : step);
		bytes_take(&in, session_input(h->session, h->now, bytes_at(&in), bytes_len(&in)),
			   0);
	}
	bytes_free(&in);
}

void repeat(struct bytes *b, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		bytes_add(b, text, strlen(text));
}
