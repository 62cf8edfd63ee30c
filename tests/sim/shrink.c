/* SPDX-License-Identifier: ISC */
/* Delta debugging over a recipe. */
#include "shrink.h"

#include "mem.h"
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct search {
	struct recipe *best;
	struct verdict verdict; /* of best */
	shrink_run *run;
	double until;
	unsigned tries;
};

static bool search_over(const struct search *x)
{
	return sim_seconds() >= x->until;
}

/* Takes R (and what it owns) when it breaks a promise too, else frees it. One fault shows in many
 * ways, so it need not be the same promise. */
static bool try_recipe(struct search *x, struct recipe *r)
{
	double left = x->until - sim_seconds();
	struct verdict v = {0};

	if (left > 0) {
		v = x->run(r, left);
		x->tries++;
	}
	if (!v.broken) {
		recipe_free(r);
		return false;
	}
	recipe_free(x->best);
	*x->best = *r;
	x->verdict = v;
	/* What comes after the break is of no interest. */
	if (v.step < x->best->steps)
		x->best->steps = v.step;
	return true;
}

static struct recipe copy_without(const struct recipe *from, size_t first, size_t count)
{
	struct recipe r = *from;

	r.picked = true;
	r.only = mem_new(from->only_count + 1, sizeof *r.only);
	r.only_count = 0;
	for (size_t i = 0; i < from->only_count; i++)
		if (i < first || i >= first + count)
			r.only[r.only_count++] = from->only[i];
	return r;
}

/* All faults until the break, by number. */
static void list_faults(struct recipe *r)
{
	struct fault f = {0};
	size_t size = 0;

	if (r->picked)
		return;
	r->picked = true;
	for (fault_next(r, &f); f.at_us <= (int64_t)(r->steps + 1) * STEP_US; fault_next(r, &f)) {
		r->only = sim_grow(r->only, r->only_count, &size, sizeof *r->only);
		r->only[r->only_count++] = f.number;
	}
}

/* Leaves out half of the faults, a quarter, ... one. */
static void fewer_faults(struct search *x)
{
	size_t chunk = (x->best->only_count + 1) / 2;

	while (chunk && !search_over(x)) {
		bool less = false;

		for (size_t at = 0; at < x->best->only_count && !search_over(x);) {
			struct recipe r = copy_without(x->best, at, chunk);

			if (try_recipe(x, &r))
				less = true;
			else
				at += chunk;
		}
		if (chunk == 1 && !less)
			break;
		chunk = chunk > 1 ? (chunk + 1) / 2 : 1;
	}
}

/* The lowest value of a field that still breaks, if lower is less; else the highest. */
static void bisect(struct search *x, size_t field, uint64_t low, uint64_t high, bool lower)
{
	while (high - low > 1 && !search_over(x)) {
		uint64_t mid = low + (high - low) / 2;
		struct recipe r = copy_without(x->best, 0, 0);

		memcpy((uint8_t *)&r + field, &mid, sizeof mid);
		if (try_recipe(x, &r) == lower)
			high = mid;
		else
			low = mid;
	}
}

static void fewer_mails(struct search *x)
{
	uint64_t most = x->best->steps * 8;

	most = x->best->mails < most ? x->best->mails : most;
	bisect(x, offsetof(struct recipe, mails), x->best->from, most, true);
	bisect(x, offsetof(struct recipe, from), x->best->from, most, false);
}

static void calmer(struct search *x)
{
	struct recipe r = copy_without(x->best, 0, 0);

	r.calm = true;
	if (x->best->calm)
		recipe_free(&r);
	else
		(void)try_recipe(x, &r);
}

struct verdict shrink(struct recipe *r, struct verdict v, double seconds, shrink_run *run)
{
	struct search x = {.best = r, .verdict = v, .run = run, .until = sim_seconds() + seconds};

	if (v.step < r->steps)
		r->steps = v.step;
	list_faults(r);
	size_t faults = r->only_count;

	fewer_faults(&x);
	calmer(&x);
	/* A shorter run may break only at its end, when all must be gone: then it still breaks. */
	bisect(&x, offsetof(struct recipe, steps), 0, r->steps, true);
	fewer_mails(&x);
	fewer_faults(&x);
	printf("shrunk from %zu faults to %zu in %u runs%s\n", faults, r->only_count, x.tries,
	       search_over(&x) ? "; there was no time for more" : "");
	return x.verdict;
}
