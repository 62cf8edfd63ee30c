/* SPDX-License-Identifier: ISC */
/* The ledger's large bodies, written as smtpd writes them: more than the message has, then cut. */
#include "ledger.h"

#include "mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	LARGE_MIN = 66000,
	CHUNK = 30000,
	TOO_MUCH = 100, /* written before the length is known */
};

uint32_t ledger_body_crc(uint64_t id, uint32_t len)
{
	char *content = mem_new(1, len);

	ledger_content(id, len, content);
	uint32_t crc = queue_crc32c(0, content, len);

	free(content);
	return crc;
}

/* Streams it in; then length and name are durable, or an error. */
static enum queue_result body_write(struct ledger *l, uint64_t id, uint32_t len)
{
	const struct disk *d = simdisk_disk(l->sim);
	size_t all = len + TOO_MUCH;
	int fd = -1, error = 0;
	enum queue_result result = queue_body_create(l->queue, id, &fd);

	if (result != QUEUE_OK)
		return result;
	char *content = mem_new(1, all);

	ledger_content(id, all, content);
	for (size_t at = 0; at < all && error >= 0; at += CHUNK)
		error =
		    d->write(d->self, fd, content + at, all - at < CHUNK ? all - at : CHUNK, at);
	d->close(d->self, fd);
	free(content);
	return error < 0 ? QUEUE_IO : queue_body_finish(l->queue, id, len);
}

uint64_t ledger_put_large(struct ledger *l)
{
	static const struct text domain = TEXT("example.net");
	const struct text domains[LEDGER_RECIPIENTS] = {domain, domain, domain, domain};
	struct queue_message message = {.submitter = TEXT("login:ann"),
					.envelope = TEXT("envelope"),
					.prelude = TEXT("A: b\r\n"),
					.body_in_file = true,
					.body_length = LARGE_MIN + ledger_random(l, 20000),
					.domains = domains};

	message.recipient_count = (uint32_t)(1 + ledger_random(l, LEDGER_RECIPIENTS));
	message.body_crc = 0;
	if (queue_ids_take(l->queue, 1, &message.id) != QUEUE_OK)
		return 0;
	enum queue_result result = body_write(l, message.id, (uint32_t)message.body_length);

	if (result == QUEUE_OK) {
		message.body_crc = ledger_body_crc(message.id, (uint32_t)message.body_length);
		result = queue_add_message(l->queue, &message, NULL);
	}
	if (result != QUEUE_OK)
		(void)queue_body_remove(l->queue, message.id);
	return ledger_added(l, &message, result);
}

void ledger_bodies_forget(struct ledger *l)
{
	while (l->bodies_done_count)
		(void)queue_body_remove(l->queue, l->bodies_done[--l->bodies_done_count]);
}

void ledger_body_verify(struct ledger *l, uint64_t id)
{
	const struct disk *d = simdisk_disk(l->sim);
	size_t len = ledger_message(l, id)->large;
	int fd = -1;

	if (queue_body_open(l->queue, id, &fd) != QUEUE_OK) {
		ledger_broken(l, "a live message's body is not there", id);
		return;
	}
	char *want = mem_new(2, len + 1), *got = want + len + 1;

	ledger_content(id, len, want);
	if (d->read(d->self, fd, got, len + 1, 0) != (int64_t)len || memcmp(want, got, len) != 0)
		ledger_broken(l, "another body", id);
	d->close(d->self, fd);
	free(want);
}

static void body_judge(void *arg, const char *name)
{
	struct ledger *l = arg;
	uint64_t id = strtoull(name, NULL, 16);

	if (id >= l->count || !l->messages[id].known || !l->messages[id].large)
		ledger_broken(l, "a body file that no message names", id);
}

void ledger_bodies_verify(struct ledger *l)
{
	simdisk_names(l->sim, "bodies", body_judge, l);
}
