/* SPDX-License-Identifier: ISC */
/* A snapshot of the queue, and going through it. */
#include "view.h"

#include "disk.h"
#include "mem.h"
#include "queue_id.h"
#include "site.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	ROUNDS = 5,	       /* for what is moved while it is read */
	TRIES = 20,	       /* a busy queue recycles segments under the reader */
	DOMAINS_CACHED = 4096, /* equal domains share their bytes */
};

struct view {
	const struct ctl *ctl;
	struct queue *queue;
	struct view_message *messages;
	struct queue_recipient *recipients;
	size_t count, size, recipient_count, recipient_size;
	struct arena *arena; /* domains */
	struct text domains[DOMAINS_CACHED];
	struct site_finder *sites;
	struct waits *waits; /* NULL: not asked for */
	int dir;
	/* while visiting */
	struct hit_recipient *hits;
	size_t hit_size;
	struct arena *texts; /* replies of the message at hand */
	uint64_t changed, unreadable;
};

/* -- the snapshot ------------------------------------------------------------------- */

static struct text keep_domain(struct view *v, struct text domain)
{
	uint32_t hash = queue_crc32c(0, domain.data, domain.len) % DOMAINS_CACHED;
	struct text *cached = &v->domains[hash];

	if (!cached->data || !text_equal(*cached, domain)) {
		char *copy = arena_copy(v->arena, domain.data, domain.len);

		/* The arena has no bound of its own: what it holds is bounded by the queue's. */
		*cached = (struct text){copy, copy ? domain.len : 0};
	}
	return *cached;
}

static void take_entry(void *self, const struct queue_entry *e)
{
	struct view *v = self;

	if (v->count == v->size) {
		v->size = v->size ? v->size * 2 : 256;
		v->messages = mem_resize(v->messages, v->size, sizeof *v->messages);
	}
	if (e->open_count > v->recipient_size - v->recipient_count) {
		v->recipient_size = v->recipient_size * 2 + e->open_count + 256;
		v->recipients = mem_resize(v->recipients, v->recipient_size, sizeof *v->recipients);
	}
	v->messages[v->count++] = (struct view_message){
	    .id = e->id,
	    .location = e->location,
	    .arrival = e->arrival,
	    .size_bytes = e->size_bytes,
	    .first = v->recipient_count,
	    .open_count = e->open_count,
	    .recipient_count = e->recipient_count,
	    .damaged = e->damaged,
	    .body_in_file = e->body_in_file,
	};
	for (uint32_t i = 0; i < e->open_count; i++) {
		struct queue_recipient *r = &v->recipients[v->recipient_count++];

		*r = e->open[i];
		r->domain = keep_domain(v, r->domain);
	}
}

/* Its message stands in the list with its damaged mark, or not at all: queue check tells more. */
static void take_damage(void *self, const struct queue_damage *damage)
{
	(void)self;
	(void)damage;
}

static void view_forget(struct view *v)
{
	queue_close(&v->queue);
	arena_free(&v->arena);
	v->arena = arena_new(SIZE_MAX / 2);
	memset(v->domains, 0, sizeof v->domains);
	v->count = v->recipient_count = 0;
}

static int compare_messages(const void *a, const void *b)
{
	const struct view_message *x = a, *y = b;

	if (x->arrival.us != y->arrival.us)
		return x->arrival.us < y->arrival.us ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static enum queue_result view_load(struct view *v)
{
	struct queue_owner owner = {.self = v, .entry = take_entry, .damage = take_damage};
	enum queue_result result = QUEUE_CHANGED;

	for (int i = 0; i < TRIES && result == QUEUE_CHANGED; i++) {
		view_forget(v);
		result = queue_open_readonly(&v->queue, disk_real(), v->dir, &owner);
		if (result == QUEUE_OK)
			result = queue_load_all(v->queue);
		if (result == QUEUE_CHANGED)
			usleep(20000);
	}
	if (result == QUEUE_OK && v->count)
		qsort(v->messages, v->count, sizeof *v->messages, compare_messages);
	return result;
}

struct view *view_open(const struct ctl *ctl, int *status)
{
	struct view *v = mem_new(1, sizeof *v);
	char path[4200];

	*status = EX_NOINPUT;
	ctl_path(ctl, "queue", path, sizeof path);
	v->ctl = ctl;
	v->texts = arena_new(SIZE_MAX / 2);
	v->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (v->dir < 0) {
		*status = ctl_say_path(path);
		view_close(&v);
		return NULL;
	}
	enum queue_result result = view_load(v);

	if (result != QUEUE_OK) {
		ctl_say("%s: %s", path, queue_result_text(result));
		*status = result == QUEUE_CHANGED ? EX_TEMPFAIL : EX_IOERR;
		view_close(&v);
		return NULL;
	}
	v->sites = site_finder_new(ctl->config);
	return v;
}

void view_close(struct view **view)
{
	struct view *v = *view;

	*view = NULL;
	if (!v)
		return;
	queue_close(&v->queue);
	waits_free(&v->waits);
	if (v->dir >= 0)
		close(v->dir);
	arena_free(&v->arena);
	arena_free(&v->texts);
	site_finder_free(&v->sites);
	free(v->messages);
	free(v->recipients);
	free(v->hits);
	free(v);
}

struct walltime view_oldest(const struct view *view)
{
	return view->count ? view->messages[0].arrival : (struct walltime){0};
}

struct queue *view_queue(struct view *view)
{
	return view->queue;
}

/* -- one message ----------------------------------------------------------------------- */

static enum filter_state state_of(const struct queue_recipient *r, struct walltime now)
{
	switch (r->kind) {
	case QUEUE_DEFERRED:
		return r->next.us > now.us ? STATE_DEFERRED : STATE_READY;
	case QUEUE_HELD:
		return STATE_HELD;
	case QUEUE_FAILED:
	case QUEUE_RELAYED:
	case QUEUE_DELIVERED:
		return STATE_REPORT;
	case QUEUE_WAITING:
	case QUEUE_RELEASED:
	case QUEUE_EXPANDED:
	case QUEUE_REMOVED:
	case QUEUE_KINDS:
		break;
	}
	return STATE_READY;
}

/* A walk: what is constant over the messages. */
struct walk {
	struct view *view;
	const struct filter *filter;
	unsigned keys; /* that the filter asks for */
	unsigned wants;
	struct walltime now;
	struct bytes missed; /* ids, u64 each: gone from where the snapshot has them */
};

static struct filter_subject subject_of(const struct walk *w, const struct hit *hit,
					const struct hit_recipient *r)
{
	struct text client = hit->envelope.client;

	return (struct filter_subject){
	    .id = hit->message->id,
	    .age = {w->now.us - hit->message->arrival.us},
	    .state = r->word,
	    .sender = hit->envelope.sender,
	    .login = hit->envelope.login,
	    .source = client,
	    .recipient = r->envelope.address,
	    .domain = r->state->domain,
	    .reply = r->reply,
	    .waits = r->wait ? r->wait->reason : (struct text){NULL, 0},
	    .route = hit->envelope.route,
	    .site = site_finder_matches,
	    .site_arg = w->view->sites,
	};
}

static void judge(const struct walk *w, struct hit *hit, unsigned keys)
{
	hit->matching = 0;
	for (uint32_t i = 0; i < hit->count; i++) {
		struct hit_recipient *r = &hit->recipients[i];
		struct filter_subject s = subject_of(w, hit, r);

		r->matches = r->matches && filter_matches(w->filter, keys, &s);
		hit->matching += r->matches;
	}
}

static bool read_envelope(struct walk *w, struct hit *hit, struct queue_content *content)
{
	enum queue_result result =
	    queue_read_message(w->view->queue, &hit->message->location, content);
	struct envelope_recipient r;
	uint32_t at = 0;

	if (result == QUEUE_GONE || result == QUEUE_CHANGED) {
		bytes_add(&w->missed, &hit->message->id, sizeof hit->message->id);
		return false;
	}
	if (result != QUEUE_OK || content->id != hit->message->id ||
	    !envelope_decode(content->envelope, &hit->envelope)) {
		w->view->unreadable++;
		return false;
	}
	hit->content = content;
	struct envelope_iter it = envelope_recipients(content->envelope);

	for (uint32_t number = 0; at < hit->count && envelope_next(&it, &r); number++)
		if (hit->recipients[at].state->number == number)
			hit->recipients[at++].envelope = r;
	return true;
}

static struct text keep_text(struct arena *arena, struct text t)
{
	char *copy = arena_copy(arena, t.data, t.len);

	return (struct text){copy, copy ? t.len : 0};
}

static void read_replies(struct walk *w, struct hit *hit)
{
	struct queue_outcome_copy copy;

	for (uint32_t i = 0; i < hit->count; i++) {
		struct hit_recipient *r = &hit->recipients[i];

		if (!r->matches || !r->state->where.generation ||
		    queue_read_outcome(w->view->queue, r->state->where, hit->message->id,
				       r->state->number, &copy) != QUEUE_OK)
			continue;
		r->reply = keep_text(w->view->texts, copy.outcome.text);
		r->dsn = keep_text(w->view->texts, copy.outcome.dsn);
		r->code = copy.outcome.code;
		r->at = copy.outcome.at;
	}
}

static void begin_hit(struct walk *w, struct hit *hit)
{
	struct view *v = w->view;

	if (hit->message->open_count > v->hit_size) {
		v->hit_size = hit->message->open_count;
		v->hits = mem_resize(v->hits, v->hit_size, sizeof *v->hits);
	}
	hit->recipients = v->hits;
	hit->count = hit->message->open_count;
	for (uint32_t i = 0; i < hit->count; i++) {
		const struct queue_recipient *state = &v->recipients[hit->message->first + i];

		v->hits[i] = (struct hit_recipient){
		    .state = state, .word = state_of(state, w->now), .matches = true};
		if (v->waits && v->hits[i].word == STATE_READY)
			v->hits[i].wait = waits_of(v->waits, state->domain);
		if (v->hits[i].wait)
			v->hits[i].word = STATE_DEFERRED;
	}
}

/* All domains are asked for at once that the filter does not rule out by themselves. */
static void ask_waits(struct walk *w)
{
	struct view *v = w->view;
	unsigned keys = w->keys & FILTER_OF_INDEX & ~FILTER_BIT(FILTER_STATE);

	v->waits = waits_new();
	for (size_t i = 0; i < v->count; i++) {
		struct hit hit = {.message = &v->messages[i]};

		begin_hit(w, &hit);
		judge(w, &hit, keys);
		for (uint32_t j = 0; j < hit.count; j++)
			if (hit.recipients[j].matches && hit.recipients[j].word == STATE_READY)
				waits_want(v->waits, hit.recipients[j].state->domain);
	}
	waits_ask(v->waits, v->ctl);
}

/* Judges cheap conditions first; true when a recipient is left at the end. */
static bool find_hit(struct walk *w, struct hit *hit, struct queue_content *content)
{
	begin_hit(w, hit);
	judge(w, hit, FILTER_OF_INDEX);
	if (!hit->matching)
		return false;
	bool routes =
	    (w->keys & FILTER_BIT(FILTER_SITE)) && site_finder_needs_routes(w->view->sites);

	if ((w->wants & VIEW_ENVELOPE) || (w->keys & FILTER_OF_ENVELOPE) || routes) {
		if (!read_envelope(w, hit, content))
			return false;
		judge(w, hit, FILTER_OF_ENVELOPE);
	}
	if (hit->matching && ((w->wants & VIEW_REPLIES) || (w->keys & FILTER_BIT(FILTER_REPLY)))) {
		read_replies(w, hit);
		judge(w, hit, FILTER_BIT(FILTER_REPLY));
	}
	if (hit->matching && (w->keys & FILTER_BIT(FILTER_SITE)))
		judge(w, hit, FILTER_BIT(FILTER_SITE));
	return hit->matching > 0;
}

static void walk_begin(struct walk *w)
{
	unsigned of_waits = FILTER_BIT(FILTER_STATE) | FILTER_BIT(FILTER_REPLY);

	if (!w->view->waits && ((w->wants & VIEW_REPLIES) || (w->keys & of_waits)))
		ask_waits(w);
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

/* Visits all messages, or those of ONLY; adds to *SEEN how many these were. False: VISIT ended it.
 */
static bool walk_pass(struct walk *w, const struct bytes *only, size_t *seen,
		      bool (*visit)(void *arg, const struct hit *hit), void *arg)
{
	struct view *v = w->view;
	bool more = true;

	walk_begin(w);
	for (size_t i = 0; i < v->count && more; i++) {
		struct queue_content content = {0};
		struct hit hit = {.message = &v->messages[i]};

		if (only &&
		    !bsearch(&v->messages[i].id, bytes_at(only), bytes_len(only) / sizeof(uint64_t),
			     sizeof(uint64_t), compare_ids))
			continue;
		++*seen;
		if (find_hit(w, &hit, &content))
			more = visit(arg, &hit);
		queue_content_free(&content);
		arena_reset(v->texts);
	}
	return more;
}

/* What was moved is read where a new snapshot has it; what that does not have has left. */
static bool walk_again(struct walk *w, bool (*visit)(void *arg, const struct hit *hit), void *arg)
{
	struct bytes only = w->missed;
	size_t count = bytes_len(&only) / sizeof(uint64_t), seen = 0;

	w->missed = (struct bytes){0};
	qsort(bytes_at(&only), count, sizeof(uint64_t), compare_ids);
	waits_free(&w->view->waits);
	bool more = view_load(w->view) == QUEUE_OK && walk_pass(w, &only, &seen, visit, arg);

	w->view->changed += count - seen;
	bytes_free(&only);
	return more;
}

bool view_each(struct view *v, const struct filter *filter, unsigned wants,
	       bool (*visit)(void *arg, const struct hit *hit), void *arg)
{
	struct walk w = {v, filter, filter_keys(filter), wants, walltime_read(), {0}};
	size_t seen = 0;

	v->changed = v->unreadable = 0;
	bool more = walk_pass(&w, NULL, &seen, visit, arg);

	for (int i = 0; i < ROUNDS && more && bytes_len(&w.missed); i++)
		more = walk_again(&w, visit, arg);
	v->changed += bytes_len(&w.missed) / sizeof(uint64_t);
	bytes_free(&w.missed);
	if (v->changed)
		ctl_say("%llu messages left or moved while the queue was read",
			(unsigned long long)v->changed);
	if (v->unreadable)
		ctl_say("%llu messages cannot be read: veredus queue check tells more",
			(unsigned long long)v->unreadable);
	return !v->unreadable;
}
