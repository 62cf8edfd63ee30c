/* SPDX-License-Identifier: ISC */
/* veredus queue check: reads all of the queue and verifies every checksum, with the daemons up or
 * down. */
#include "queue_verbs.h"

#include "disk.h"
#include "queue_id.h"

#include <fcntl.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { TRIES = 20 };

struct checking {
	bool json;
	uint64_t damaged_messages;
};

static void check_entry(void *self, const struct queue_entry *entry)
{
	struct checking *c = self;
	char id[QUEUE_ID_BYTES];

	if (!entry->damaged)
		return;
	c->damaged_messages++;
	if (!c->json)
		printf("damaged: message %s lost part of its state\n",
		       queue_id_print(entry->id, id));
}

static void check_damage(void *self, const struct queue_damage *d)
{
	struct checking *c = self;
	char id[QUEUE_ID_BYTES];

	if (c->json)
		return;
	printf("damage: segment %08x, %u bytes at %u%s%s\n", d->generation, d->length, d->offset,
	       d->id ? ", of message " : "", d->id ? queue_id_print(d->id, id) : "");
}

static enum queue_result check_all(struct checking *c, int dir, struct queue_check *found)
{
	struct queue_owner owner = {.self = c, .entry = check_entry, .damage = check_damage};
	enum queue_result result = QUEUE_CHANGED;

	for (int i = 0; i < TRIES && result == QUEUE_CHANGED; i++) {
		struct queue *queue = NULL;

		*found = (struct queue_check){0};
		c->damaged_messages = 0;
		result = queue_open_readonly(&queue, disk_real(), dir, &owner);
		if (result == QUEUE_OK)
			result = queue_check(queue, found);
		queue_close(&queue);
		if (result == QUEUE_CHANGED)
			usleep(50000);
	}
	return result;
}

static void print_found(const struct queue_check *f, const struct checking *c, bool good)
{
	if (!c->json) {
		printf("%s: %llu segments, %llu records, %llu bytes; %llu live messages with %llu "
		       "recipients; %llu body files, %llu bad; %llu index files, %llu bad; %llu "
		       "damaged places\n",
		       good ? "fine" : "damaged", (unsigned long long)f->segments,
		       (unsigned long long)f->records, (unsigned long long)f->bytes,
		       (unsigned long long)f->live_messages, (unsigned long long)f->live_recipients,
		       (unsigned long long)f->bodies, (unsigned long long)f->bad_bodies,
		       (unsigned long long)f->indexes, (unsigned long long)f->bad_indexes,
		       (unsigned long long)f->damages);
		return;
	}
	json_t *o = json_object();

	json_object_set_new(o, "fine", json_boolean(good));
#define NUMBER(name) json_object_set_new(o, #name, json_u64(f->name));
	NUMBER(segments)
	NUMBER(records)
	NUMBER(bytes)
	NUMBER(messages)
	NUMBER(outcomes)
	NUMBER(tombstones)
	NUMBER(indexes)
	NUMBER(bad_indexes)
	NUMBER(bodies)
	NUMBER(bad_bodies)
	NUMBER(damages)
	NUMBER(live_messages)
	NUMBER(live_recipients)
#undef NUMBER
	json_object_set_new(o, "damaged_messages", json_u64(c->damaged_messages));
	json_print(o, stdout);
}

int queue_check_verb(struct ctl *ctl)
{
	struct checking c = {.json = ctl->json};
	struct queue_check found = {0};
	char path[4200];

	if (ctl->count) {
		ctl_say("queue check takes no argument \"%s\"", ctl->words[0]);
		return EX_USAGE;
	}
	ctl_path(ctl, "queue", path, sizeof path);
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return ctl_say_path(path);
	enum queue_result result = check_all(&c, dir, &found);

	close(dir);
	if (result != QUEUE_OK && result != QUEUE_DAMAGED) {
		ctl_say("%s: %s", path, queue_result_text(result));
		return result == QUEUE_CHANGED ? EX_TEMPFAIL : EX_IOERR;
	}
	print_found(&found, &c, result == QUEUE_OK);
	return result == QUEUE_OK ? 0 : 1;
}
