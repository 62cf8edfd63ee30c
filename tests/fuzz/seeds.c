/* SPDX-License-Identifier: ISC */
/*
 * Writes the corpus files that follow from the code's own tables: a message
 * of each type for fuzz_message and fuzz_channel, an event of each kind for
 * fuzz_line, envelopes. Run by `make seeds` when messages.def or events.def
 * changed: both number their rows. seeds CORPUS
 */
#include "envelope.h"
#include "log.h"
#include "message_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that make short texts and small numbers whatever reads them. */
static const char source[] = "\5first\4next\3abc\2xy\1z\0\7user@ex\4a.b.\2rr\1q\3dsn\6reply!"
			     "\2\4more\5items\3one\2zz\6yyyyyy\4last\1.\2..\3...\1-\2--\3---\1+";

static void write_file(const char *corpus, const char *target, const char *name,
		       const struct bytes *b)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s/seed-%s", corpus, target, name);
	FILE *f = fopen(path, "wb");

	if (!f || fwrite(bytes_at(b), 1, bytes_len(b), f) != bytes_len(b) || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
}

static void write_messages(const char *corpus)
{
	/* What makes lists of one item and texts of one letter. */
	uint8_t ones[200];
	char name[64];

	memset(ones, 1, sizeof ones);
	for (unsigned type = MSG_NONE + 1; type < MSG_COUNT; type++) {
		struct bytes b = {0};

		wire_put_u8(&b, (uint8_t)type);
		message_sample(&b, type, ones, sizeof ones);
		write_file(corpus, "fuzz_message", message_rule(type)->name, &b);
		b.end = 1;
		bytes_add(&b, source, sizeof source - 1);
		bytes_add(&b, ones, sizeof ones);
		snprintf(name, sizeof name, "%s-made", message_rule(type)->name);
		write_file(corpus, "fuzz_message", name, &b);
		bytes_free(&b);
	}
}

/* The peer's hello, a message of each type in TYPES, and a turn (fuzz_channel.c, enum deed). */
static void write_channel(const char *corpus, const char *name, uint8_t how, const uint8_t *types,
			  size_t count)
{
	struct bytes b = {0};

	wire_put_u8(&b, how);
	wire_put_u8(&b, 0);
	for (size_t i = 0; i < count; i++) {
		bool with_fd = message_rule(types[i])->fd != FD_NEVER;

		if (with_fd)
			bytes_add(&b, "\4\1", 2);
		wire_put_u8(&b, 1);
		wire_put_u8(&b, types[i]);
		wire_put_u8(&b, with_fd);
		wire_put_u8(&b, sizeof source - 1);
		bytes_add(&b, source, sizeof source - 1);
	}
	bytes_add(&b, "\7\10\0\10\4\7\5\7", 8);
	write_file(corpus, "fuzz_channel", name, &b);
	bytes_free(&b);
}

static void write_channels(const char *corpus)
{
	write_channel(corpus, "master", 0,
		      (const uint8_t[]){MSG_config, MSG_peer, MSG_handle, MSG_ping}, 4);
	write_channel(corpus, "qmgr", 1, (const uint8_t[]){MSG_settled, MSG_body_file}, 2);
	write_channel(corpus, "daemon", 2, (const uint8_t[]){MSG_ready, MSG_want_peer}, 2);
	write_channel(corpus, "engine", 3, (const uint8_t[]){MSG_submit, MSG_body_open}, 2);
	write_channel(corpus, "not_its_own", 0, (const uint8_t[]){MSG_ping, MSG_submit}, 2);
	write_channel(corpus, "not_served", 0, (const uint8_t[]){MSG_ping, MSG_begin}, 2);
	write_channel(corpus, "hello_twice", 3, (const uint8_t[]){MSG_submit, MSG_hello}, 2);
}

static void write_events(const char *corpus)
{
	for (unsigned what = 1; what < 256; what++) {
		struct bytes b = {0};

		if (!event_row(what))
			continue;
		wire_put_u8(&b, (uint8_t)what);
		wire_put_u16(&b, PEER_SMTPD);
		wire_put_u32(&b, 1234);
		wire_put_u64(&b, what % 3 ? 123456789 : 0);
		wire_put_u64(&b, 1795299900123456);
		for (int i = 0; i < 12; i++) {
			struct text t = {source + i, (size_t)(i * 3)};

			wire_put_u16(&b, (uint16_t)t.len);
			bytes_add(&b, t.data, t.len);
		}
		write_file(corpus, "fuzz_line", event_row(what)->name, &b);
		bytes_free(&b);
	}
}

static void write_envelope(const char *corpus)
{
	struct envelope e = {.sender = TEXT("ann@client.example"),
			     .submitter = TEXT("login:ann"),
			     .login = TEXT("ann"),
			     .client = TEXT("c.example[192.0.2.7]"),
			     .helo = TEXT("c.example"),
			     .protocol = TEXT("ESMTP"),
			     .envid = TEXT("QQ314159"),
			     .message_id = TEXT("1@client.example"),
			     .ret = RET_HDRS,
			     .body_type = BODY_8BITMIME,
			     .smtputf8 = 1,
			     .tls = MAIL_TLS_REQUIRED,
			     .source = TEXT("bulk"),
			     .arrival_wall = 1795299900123456};
	struct envelope_recipient r = {.address = TEXT("bob@example.com"),
				       .original = TEXT("team@example.com"),
				       .orcpt = TEXT("rfc822;team@example.com"),
				       .notify = NOTIFY_FAILURE | NOTIFY_DELAY};
	struct bytes b = {0};

	envelope_put_head(&b, &e);
	envelope_put_recipient(&b, &r);
	r = (struct envelope_recipient){.address = TEXT("carol")};
	envelope_put_recipient(&b, &r);
	r = (struct envelope_recipient){.address = TEXT("dave@example.org"), .parent = 1};
	envelope_put_recipient(&b, &r);
	r.sender = (struct text)TEXT("owner-team@example.com");
	envelope_put_recipient(&b, &r);
	write_file(corpus, "fuzz_envelope", "whole", &b);
	wire_put_u16(&b, 999); /* a field that a newer one writes */
	wire_put_text(&b, text_of("unknown"));
	write_file(corpus, "fuzz_envelope", "newer", &b);
	bytes_free(&b);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seeds CORPUS\n");
		return 2;
	}
	write_messages(argv[1]);
	write_channels(argv[1]);
	write_events(argv[1]);
	write_envelope(argv[1]);
	return 0;
}
