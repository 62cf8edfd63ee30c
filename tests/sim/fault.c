/* SPDX-License-Identifier: ISC */
/* Faults by number, and the recipe that says which of them happen. */
#include "fault.h"

#include "mem.h"
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GAP_US = 19000000, /* between two faults at most; half of that is usual */
	CAPACITY = 1 << 30,
};

static const struct {
	const char *text;
	unsigned weight;
} kinds[FAULT_KINDS] = {
    [FAULT_CRASH] = {"crash", 120},
    [FAULT_WORKER] = {"worker dies", 60},
    [FAULT_SYNC] = {"sync fails", 60},
    [FAULT_WRITE] = {"write fails", 30},
    [FAULT_RENAME] = {"rename fails", 30},
    [FAULT_FOLDER] = {"sync of a folder fails", 30},
    [FAULT_ALLOCATE] = {"no space for a new file", 15},
    [FAULT_TOGETHER] = {"commit and abort fail together", 9},
    [FAULT_FULL] = {"disk full", 12},
    [FAULT_READONLY] = {"read-only", 6},
    [FAULT_CLOCK] = {"clock jumps", 10},
    [FAULT_CHANNEL] = {"a channel breaks", 30},
    [FAULT_LIE] = {"sync lies", 30},
};

uint64_t fault_chance(uint64_t *random, uint64_t limit)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (*random * 0x2545f4914f6cdd1du >> 16) % limit;
}

/* splitmix64's finish: neighbours have nothing in common. */
static uint64_t random_of(uint64_t seed, uint32_t number)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + number * 0xd1342543de82ef95u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	x ^= x >> 31;
	return x ? x : 1;
}

static enum fault_kind kind_of(uint64_t *random, bool lies)
{
	unsigned count = lies ? FAULT_KINDS : FAULT_LIE, sum = 0;

	for (unsigned k = 0; k < count; k++)
		sum += kinds[k].weight;
	uint64_t dice = fault_chance(random, sum);

	for (unsigned k = 0; k < count; k++) {
		if (dice < kinds[k].weight)
			return (enum fault_kind)k;
		dice -= kinds[k].weight;
	}
	return FAULT_CRASH;
}

void fault_next(const struct recipe *r, struct fault *f)
{
	f->number++;
	f->random = random_of(r->seed, f->number);
	f->at_us += 1 + (int64_t)fault_chance(&f->random, GAP_US);
	f->kind = kind_of(&f->random, r->plant_lie);
}

bool fault_is_picked(const struct recipe *r, uint32_t number)
{
	size_t low = 0, high = r->only_count;

	if (!r->picked)
		return true;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->only[mid] == number)
			return true;
		if (r->only[mid] < number)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

const char *fault_kind_text(enum fault_kind kind)
{
	return kinds[kind].text;
}

void fault_text(const struct fault *f, char *to, size_t size)
{
	snprintf(to, size, "fault %u: %s", f->number, kinds[f->kind].text);
}

/* -- what they do ------------------------------------------------------------------------- */

static void fault_together(struct sim *s)
{
	simdisk_fail(s->disk, SIMDISK_SYNC, 1, EIO);
	simdisk_fail(s->disk, SIMDISK_RENAME, 1, EIO);
	simdisk_fail(s->disk, SIMDISK_WRITE, 2, EIO);
	simdisk_fail(s->disk, SIMDISK_ALLOCATE, 1, ENOSPC);
}

static void fault_full(struct sim *s, uint64_t *random)
{
	s->full_until_us = s->now + (int64_t)(1 + fault_chance(random, 30)) * SECOND;
	simdisk_capacity(s->disk, simdisk_used(s->disk) + fault_chance(random, 3 * SEGMENT));
}

static void fault_happens(struct sim *s, const struct fault *f)
{
	uint64_t random = f->random;

	s->n.faults[f->kind]++;
	switch (f->kind) {
	case FAULT_CRASH:
		s->crash_random = random_of(f->random, 1);
		simdisk_seed(s->disk, random_of(f->random, 2));
		simdisk_stop_after(s->disk, 1 + fault_chance(&random, 200));
		break;
	case FAULT_WORKER:
		sim_worker_dies(s, (unsigned)fault_chance(&random, WORKERS));
		break;
	case FAULT_SYNC:
		simdisk_fail(s->disk, SIMDISK_SYNC, 1 + fault_chance(&random, 40), EIO);
		break;
	case FAULT_WRITE:
		simdisk_fail(s->disk, SIMDISK_WRITE, 1 + fault_chance(&random, 40), EIO);
		break;
	case FAULT_RENAME:
		simdisk_fail(s->disk, SIMDISK_RENAME, 1 + fault_chance(&random, 4), EIO);
		break;
	case FAULT_FOLDER:
		simdisk_fail(s->disk, SIMDISK_SYNC_FOLDER, 1 + fault_chance(&random, 4), EIO);
		break;
	case FAULT_ALLOCATE:
		simdisk_fail(s->disk, SIMDISK_ALLOCATE, 1 + fault_chance(&random, 3), ENOSPC);
		break;
	case FAULT_TOGETHER:
		fault_together(s);
		break;
	case FAULT_FULL:
		fault_full(s, &random);
		break;
	case FAULT_READONLY:
		s->readonly_until_us = s->now + (int64_t)(1 + fault_chance(&random, 30)) * SECOND;
		simdisk_readonly(s->disk, true);
		break;
	case FAULT_CLOCK:
		s->wall_ahead += ((int64_t)fault_chance(&random, 1200) - 600) * SECOND;
		break;
	case FAULT_CHANNEL:
		sim_worker_cut(s, (unsigned)fault_chance(&random, WORKERS));
		break;
	case FAULT_LIE:
		simdisk_lie(s->disk, 1 + fault_chance(&random, 40));
		break;
	case FAULT_KINDS:
		break;
	}
}

void fault_reset(struct sim *s)
{
	s->full_until_us = s->readonly_until_us = 0;
	simdisk_capacity(s->disk, CAPACITY);
	simdisk_readonly(s->disk, false);
}

void fault_turn(struct sim *s)
{
	char text[64];

	if (s->full_until_us && (s->full_until_us <= s->now || s->ending)) {
		s->full_until_us = 0;
		simdisk_capacity(s->disk, CAPACITY);
		sim_note(s, "there is room again");
	}
	if (s->readonly_until_us && (s->readonly_until_us <= s->now || s->ending)) {
		s->readonly_until_us = 0;
		simdisk_readonly(s->disk, false);
		sim_note(s, "the disk can be written again");
	}
	for (; s->fault.at_us <= s->now && !s->ending; fault_next(s->recipe, &s->fault)) {
		if (!fault_is_picked(s->recipe, s->fault.number))
			continue;
		fault_text(&s->fault, text, sizeof text);
		sim_note(s, "%s", text);
		fault_happens(s, &s->fault);
	}
}

/* -- recipes ------------------------------------------------------------------------------ */

void recipe_print(const struct recipe *r)
{
	printf("make sim SEED=%" PRIu64 " STEPS=%" PRIu64, r->seed, r->steps);
	if (r->from)
		printf(" FROM=%" PRIu64, r->from);
	if (r->mails != UINT64_MAX)
		printf(" MAILS=%" PRIu64, r->mails);
	if (r->calm)
		printf(" CALM=1");
	if (r->plant_lie)
		printf(" PLANT=lie");
	if (r->picked)
		printf(" ONLY=");
	if (r->picked && !r->only_count)
		printf("none");
	for (size_t i = 0; r->picked && i < r->only_count; i++)
		printf("%s%u", i ? "," : "", r->only[i]);
	printf("\n");
}

static bool only_read(struct recipe *r, const char *list)
{
	r->picked = true;
	if (strcmp(list, "none") == 0)
		return true;
	for (char *end; *list; list = end + (*end == ',')) {
		unsigned long number = strtoul(list, &end, 10);

		if (end == list || number > UINT32_MAX)
			return false;
		/* Rising, for the search. */
		if (r->only_count && number <= r->only[r->only_count - 1])
			return false;
		r->only = mem_resize(r->only, r->only_count + 1, sizeof *r->only);
		r->only[r->only_count++] = (uint32_t)number;
	}
	return true;
}

bool recipe_word(struct recipe *r, const char *word)
{
	double hours = 0;

	if (sscanf(word, "hours=%lf", &hours) == 1) {
		r->steps = (uint64_t)(hours * 3.6e9 / STEP_US);
		return true;
	}
	if (strncmp(word, "only=", 5) == 0)
		return only_read(r, word + 5);
	r->calm |= strcmp(word, "calm=1") == 0;
	r->plant_lie |= strcmp(word, "plant=lie") == 0;
	return sscanf(word, "seed=%" SCNu64, &r->seed) == 1 ||
	       sscanf(word, "steps=%" SCNu64, &r->steps) == 1 ||
	       sscanf(word, "from=%" SCNu64, &r->from) == 1 ||
	       sscanf(word, "mails=%" SCNu64, &r->mails) == 1 || strcmp(word, "calm=1") == 0 ||
	       strcmp(word, "plant=lie") == 0;
}

void recipe_free(struct recipe *r)
{
	free(r->only);
	*r = (struct recipe){0};
}
