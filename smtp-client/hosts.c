/* SPDX-License-Identifier: ISC */
/* The cache of resolver answers. */
#include "hosts.h"

#include "mem.h"
#include "next_hops.h"
#include "siphash.h"

#include <stdlib.h>
#include <string.h>

enum {
	BUCKETS = 1024,
	ENTRIES_MAX = 8192,
	BYTES_MAX = 64 * 1024 * 1024, /* of all answers: of TLSA records there may be many */
	LIFETIME_MAX_S = 3600,
	FAILURE_LIFETIME_MAX_S = 60,
	/* The resolver has a deadline of its own; this one is for a resolver that is lost. */
	PATIENCE_S = 330,
};

struct entry {
	struct entry *next;		/* in its bucket */
	struct entry *later, **earlier; /* all, the latest answer first */
	struct hosts *hosts;
	struct hosts_waiter *waiters;
	struct host_list *list; /* NULL while the query is open */
	struct monotime until;
	struct timer patience;
	uint64_t query;
	uint32_t bucket;
	uint16_t port;
	uint8_t how;
	bool tlsa_wanted;
	size_t target_len;
	char target[];
};

struct hosts {
	struct loop *loop;
	struct channel *resolver;
	uint64_t last_query;
	size_t count, bytes;
	struct entry *all;
	uint8_t key[SIPHASH_KEY_BYTES];
	struct entry *buckets[BUCKETS];
};

struct host_list *host_list_keep(struct host_list *list)
{
	list->holders++;
	return list;
}

void host_list_drop(struct host_list **list)
{
	if (*list && --(*list)->holders == 0)
		free(*list);
	*list = NULL;
}

struct hosts *hosts_new(struct loop *loop)
{
	struct hosts *h = mem_new(1, sizeof *h);

	h->loop = loop;
	siphash_key_make(h->key);
	return h;
}

/* Whose mail it is chooses the target. */
static uint32_t key_bucket(const struct hosts *h, const struct hop_key *key)
{
	char lower[NEXT_HOPS_BYTES];
	size_t n = key->target.len < sizeof lower ? key->target.len : sizeof lower;

	for (size_t i = 0; i < n; i++)
		lower[i] = ascii_lower(key->target.data[i]);
	uint64_t hash = siphash(h->key, lower, n) ^ key->how ^ ((uint64_t)key->port << 8) ^
			((uint64_t)key->tlsa_wanted << 24);

	return (uint32_t)(hash % BUCKETS);
}

static struct entry *entry_find(const struct hosts *h, const struct hop_key *key, uint32_t bucket)
{
	struct entry *e = h->buckets[bucket];

	while (e &&
	       !(e->how == key->how && e->port == key->port && e->tlsa_wanted == key->tlsa_wanted &&
		 text_equal_case((struct text){e->target, e->target_len}, key->target)))
		e = e->next;
	return e;
}

static void entry_unlink(struct entry *e)
{
	*e->earlier = e->later;
	if (e->later)
		e->later->earlier = e->earlier;
}

static void entry_link_first(struct entry *e)
{
	struct hosts *h = e->hosts;

	e->later = h->all;
	e->earlier = &h->all;
	if (h->all)
		/* entry_unlink() took off what was freed.
		 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		h->all->earlier = &e->later;
	h->all = e;
}

static void entry_drop_list(struct entry *e)
{
	if (e->list)
		e->hosts->bytes -= e->list->bytes;
	host_list_drop(&e->list);
}

static void entry_free(struct entry *e)
{
	struct hosts *h = e->hosts;
	struct entry **at = &h->buckets[e->bucket];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	entry_unlink(e);
	while (e->waiters)
		hosts_cancel(e->waiters);
	timer_clear(&e->patience);
	entry_drop_list(e);
	h->count--;
	free(e);
}

/* The last of the list that nobody waits for make room. */
static void hosts_make_room(struct hosts *h)
{
	while (h->count >= ENTRIES_MAX || h->bytes > BYTES_MAX) {
		struct entry *victim = NULL;

		for (struct entry *e = h->all; e; e = e->later)
			if (!e->waiters)
				victim = e;
		if (!victim)
			return;
		entry_free(victim);
	}
}

static void entry_ask(struct entry *e)
{
	if (!e->hosts->resolver)
		return;
	channel_send_hosts_ask(e->hosts->resolver,
			       &(struct msg_hosts_ask){.query = e->query,
						       .how = e->how,
						       .target = {e->target, e->target_len},
						       .port = e->port,
						       .tlsa_wanted = e->tlsa_wanted});
}

/* All who wait get LIST. They may ask anew meanwhile, so the waiters are taken off first. */
static void entry_answer(struct entry *e, struct host_list *list)
{
	struct hosts_waiter *waiters = e->waiters;

	timer_clear(&e->patience);
	entry_drop_list(e);
	e->list = host_list_keep(list);
	e->hosts->bytes += list->bytes;
	e->waiters = NULL;
	if (waiters)
		waiters->prev = &waiters;
	while (waiters) {
		struct hosts_waiter *w = waiters;

		hosts_cancel(w);
		w->answered(w->arg, host_list_keep(list));
	}
}

static void entry_lost_patience(void *arg)
{
	static const struct text reason = TEXT("the resolver does not answer");
	struct entry *e = arg;
	struct host_list *list = mem_new(1, sizeof *list);

	list->holders = 1;
	list->bytes = sizeof *list;
	list->verdict = HOP_TEMPORARY;
	list->code = 0;
	memcpy(list->dsn, "4.4.3", 6);
	list->reason = reason;
	e->until = loop_now(e->hosts->loop);
	entry_answer(e, list);
	host_list_drop(&list);
}

static void entry_open(struct entry *e)
{
	entry_drop_list(e);
	/* The number leads back to the bucket. */
	e->query = ++e->hosts->last_query * BUCKETS + e->bucket;
	timer_init(&e->patience, e->hosts->loop, entry_lost_patience, e);
	timer_set(&e->patience, SECONDS(PATIENCE_S));
	entry_ask(e);
}

static struct entry *entry_new(struct hosts *h, const struct hop_key *key, uint32_t bucket)
{
	hosts_make_room(h);
	struct entry *e = mem_new(1, sizeof *e + key->target.len);

	e->hosts = h;
	e->bucket = bucket;
	e->how = key->how;
	e->port = key->port;
	e->tlsa_wanted = key->tlsa_wanted;
	e->target_len = key->target.len;
	if (key->target.len)
		memcpy(e->target, key->target.data, key->target.len);
	e->next = h->buckets[bucket];
	h->buckets[bucket] = e;
	h->count++;
	entry_link_first(e);
	return e;
}

struct host_list *hosts_ask(struct hosts *hosts, const struct hop_key *key,
			    struct hosts_waiter *waiter)
{
	uint32_t bucket = key_bucket(hosts, key);
	struct entry *e = entry_find(hosts, key, bucket);
	bool fresh = !e;

	if (e && e->list && loop_now(hosts->loop).us < e->until.us)
		return host_list_keep(e->list);
	if (!e)
		e = entry_new(hosts, key, bucket);
	if (fresh || e->list)
		entry_open(e);
	waiter->next = e->waiters;
	waiter->prev = &e->waiters;
	if (waiter->next)
		waiter->next->prev = &waiter->next;
	e->waiters = waiter;
	return NULL;
}

void hosts_cancel(struct hosts_waiter *waiter)
{
	if (!waiter->prev)
		return;
	*waiter->prev = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	waiter->next = NULL;
	waiter->prev = NULL;
}

void hosts_set_resolver(struct hosts *hosts, struct channel *resolver)
{
	hosts->resolver = resolver;
	for (struct entry *e = hosts->all; e && resolver; e = e->later)
		if (!e->list)
			entry_ask(e);
}

static struct text text_take(char **at, struct text t)
{
	struct text copy = {*at, t.len};

	if (t.len)
		memcpy(*at, t.data, t.len);
	*at += t.len;
	return copy;
}

/* The octets of all texts, and how many TLSA records there are. */
static size_t list_measure(const struct msg_hosts_are *m, size_t *records)
{
	size_t texts = m->reason.len + m->canonical.len;
	struct wire_list in = m->hosts;
	struct rec_host r;
	struct rec_tlsa tlsa;

	*records = 0;
	while (list_next_host(&in, &r)) {
		texts += r.name.len + r.tlsa_base.len + r.tlsa_why.len;
		while (list_next_tlsa(&r.tlsa, &tlsa)) {
			texts += tlsa.data.len;
			++*records;
		}
	}
	return texts;
}

/* A UNIX socket has none: what tells it from others all the same, as no host's address begins. */
static void socket_address(struct text path, uint8_t *address)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < path.len; i++)
		hash = (hash ^ (uint8_t)path.data[i]) * 1099511628211u;
	address[0] = 0xff;
	for (size_t i = 1; i <= sizeof hash; i++, hash >>= 8)
		address[i] = (uint8_t)hash;
}

static void host_take(struct host *host, struct rec_host *r, struct tls_tlsa **records, char **at)
{
	struct rec_tlsa tlsa;

	if (r->address.len)
		memcpy(host->address, r->address.data, sizeof host->address);
	else
		socket_address(r->name, host->address);
	host->port = r->address.len ? r->port : 0;
	host->preference = r->preference;
	host->weight = r->weight ? r->weight : 1;
	memcpy(host->place, host->address, sizeof host->address);
	host->place[16] = (uint8_t)(host->port >> 8);
	host->place[17] = (uint8_t)host->port;
	host->dnssec = r->dnssec;
	host->vouched = r->vouched != 0;
	host->tlsa_state = r->tlsa_state;
	host->name = text_take(at, r->name);
	host->tlsa_base = text_take(at, r->tlsa_base);
	host->tlsa_why = text_take(at, r->tlsa_why);
	host->tlsa = *records;
	while (list_next_tlsa(&r->tlsa, &tlsa)) {
		*(*records)++ = (struct tls_tlsa){tlsa.usage, tlsa.selector, tlsa.matching,
						  text_take(at, tlsa.data)};
		host->tlsa_count++;
	}
}

/* A UNIX socket has no address, and nothing else has none. */
static bool host_fits(const struct rec_host *r, unsigned how)
{
	return how == HOP_LMTP_UNIX ? !r->address.len : r->address.len == 16 && r->port;
}

/* One allocation: the list, its TLSA records, its texts. Hosts that do not fit HOW are left out. */
static struct host_list *list_new(const struct msg_hosts_are *m, unsigned how)
{
	size_t count, texts = list_measure(m, &count);
	size_t hosts = sizeof(struct host_list) + m->hosts.count * sizeof(struct host);
	size_t bytes = hosts + count * sizeof(struct tls_tlsa) + texts;
	struct host_list *list = mem_new(1, bytes);
	struct tls_tlsa *records = (struct tls_tlsa *)(void *)((char *)list + hosts);
	char *at = (char *)(records + count);
	struct wire_list in = m->hosts;
	struct rec_host r;

	list->holders = 1;
	list->bytes = bytes;
	list->verdict = m->verdict <= HOP_PERMANENT ? m->verdict : HOP_TEMPORARY;
	list->code = m->code;
	text_copy(list->dsn, sizeof list->dsn, m->dsn);
	list->reason = text_take(&at, m->reason);
	list->canonical = text_take(&at, m->canonical);
	while (list_next_host(&in, &r))
		if (host_fits(&r, how))
			host_take(&list->items[list->count++], &r, &records, &at);
	return list;
}

bool hosts_are(struct hosts *hosts, const struct msg_hosts_are *m)
{
	uint32_t most = m->verdict == HOP_FOUND ? LIFETIME_MAX_S : FAILURE_LIFETIME_MAX_S;
	uint32_t lifetime = m->lifetime_s < most ? m->lifetime_s : most;
	struct entry *e = hosts->buckets[m->query % BUCKETS];

	while (e && e->query != m->query)
		e = e->next;
	if (!e)
		return false;
	/* Asked of two resolvers, since the first one was lost: the first answer counts. */
	if (e->list)
		return true;
	struct host_list *list = list_new(m, e->how);

	e->until = monotime_add(loop_now(hosts->loop), SECONDS(lifetime));
	entry_answer(e, list);
	host_list_drop(&list);
	return true;
}
