/* SPDX-License-Identifier: ISC */
/* The common life of a daemon: master's channel, peers, the jail. */
#include "daemon.h"

#include "jail.h"
#include "mem.h"
#include "must.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum {
	MASTER_FD = 3,
	HELD_MAX = 1024, /* descriptors that wait for begin */
	ENDS_MAX = 1024, /* peers, those of the control socket included */
	WANT_EVERY_MS = 500,
};

/* Our end of a channel to a peer; stays while the daemon may have a channel to it again. */
struct end {
	struct end *next;
	struct house *house;
	struct channel *channel; /* NULL while there is none */
	void *state;
	unsigned kind, instance;
	bool wanted;  /* asked of master until it comes */
	bool adopted; /* not from master: goes with its channel */
};

/* A handle or peer message that came before its begin. */
struct held {
	enum message_type type;
	unsigned number; /* role or kind */
	unsigned index;	 /* index or instance */
	char *name;
	int fd;
};

struct house {
	struct daemon d; /* first: a daemon is its house */
	struct end *ends;
	size_t end_count;
	struct held held[HELD_MAX];
	size_t held_count;
	struct config *next_config; /* until begin */
	struct timer want;
	bool begun, draining, gathering; /* gathering: between config and its begin */
};

static struct house *house_of(struct daemon *d)
{
	return (struct house *)d;
}

static _Noreturn void daemon_die(const struct daemon *d, int status, const char *why)
{
	fprintf(stderr, "veredus/%s: %s\n", d->row->name, why);
	exit(status);
}

struct daemon *daemon_of(const struct channel *c)
{
	const struct end *e = channel_owner(c);

	return &e->house->d;
}

void daemon_set_peer_state(struct channel *c, void *state)
{
	struct end *e = channel_owner(c);

	e->state = state;
}

void *daemon_peer_state(const struct channel *c)
{
	const struct end *e = channel_owner(c);

	return e->state;
}

/* -- ends --------------------------------------------------------------------- */

static struct end *end_find(struct house *h, unsigned kind, unsigned instance)
{
	for (struct end *e = h->ends; e; e = e->next)
		if (!e->adopted && e->kind == kind && e->instance == instance)
			return e;
	return NULL;
}

static struct end *end_new(struct house *h, unsigned kind, unsigned instance)
{
	if (h->end_count == ENDS_MAX)
		return NULL;
	struct end *e = mem_new(1, sizeof *e);

	*e = (struct end){.next = h->ends, .house = h, .kind = kind, .instance = instance};
	h->ends = e;
	h->end_count++;
	return e;
}

static void end_free(struct end *e)
{
	struct end **at = &e->house->ends;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	e->house->end_count--;
	free(e);
}

static void end_announce_gone(struct end *e)
{
	struct house *h = e->house;

	if (h->d.logger == e->channel) {
		h->d.logger = NULL;
		log_set_channel(h->d.log, NULL);
	} else if (h->d.face->gone) {
		h->d.face->gone(&h->d, e->channel);
	}
}

/* What is part of every peer's restart is no news; a broken rule is. */
static bool end_is_news(const struct end *e, const char *why)
{
	return !e->house->draining && strcmp(why, "closed") != 0 &&
	       strcmp(why, "Connection reset by peer") != 0 && strcmp(why, "Broken pipe") != 0;
}

static void want_schedule(struct house *h)
{
	if (!timer_is_set(&h->want) && !h->draining)
		timer_set(&h->want, MILLISECONDS(WANT_EVERY_MS));
}

static void end_gone(struct channel *c, const char *why)
{
	struct end *e = channel_owner(c);
	struct house *h = e->house;

	end_announce_gone(e);
	e->channel = NULL;
	e->state = NULL;
	if (end_is_news(e, why))
		LOG(h->d.log, peer_ended, 0, text_of(peer_name(e->kind)), text_of(why));
	if (e->adopted) {
		end_free(e);
		return;
	}
	/* If the peer died, master makes a channel to its successor before the timer fires. */
	if (e->kind & (h->d.row->peers | PEER_LOGGER))
		e->wanted = true;
	want_schedule(h);
}

static struct channel *end_open(struct end *e, int fd)
{
	struct house *h = e->house;
	struct channel_config config = {
	    .loop = h->d.loop,
	    .self_kind = h->d.row->kind,
	    .serves = h->d.face->serves,
	    .gone = end_gone,
	    .hello = {.schema = message_schema(),
		      .epoch = h->d.epoch,
		      .generation = h->d.config ? h->d.config->generation : 0,
		      .pid = (uint32_t)getpid()},
	};

	e->wanted = false;
	e->channel = channel_new(&config, fd, e->kind, e->instance, e);
	return e->channel;
}

/* A fresh channel; the old one's end is announced before the new one. */
static void end_renew(struct house *h, unsigned kind, unsigned instance, int fd)
{
	struct end *e = end_find(h, kind, instance);

	if (!e)
		e = end_new(h, kind, instance);
	if (!e) {
		log_error(h->d.log, "more peers than there can be: %s refused", peer_name(kind));
		close(fd);
		return;
	}
	if (e->channel) {
		end_announce_gone(e);
		channel_free(&e->channel);
		e->state = NULL;
	}
	end_open(e, fd);
	if (kind == PEER_LOGGER) {
		h->d.logger = e->channel;
		log_set_channel(h->d.log, e->channel);
	} else if (h->d.face->peer) {
		h->d.face->peer(&h->d, e->channel);
	}
}

struct channel *daemon_adopt(struct daemon *d, int fd, unsigned kind)
{
	struct end *e = end_new(house_of(d), kind, 0);

	if (!e) {
		close(fd);
		return NULL;
	}
	e->adopted = true;
	return end_open(e, fd);
}

static void want_send(void *arg)
{
	struct house *h = arg;

	for (struct end *e = h->ends; e; e = e->next) {
		if (!e->wanted || e->channel || h->draining)
			continue;
		channel_send_want_peer(
		    h->d.master, &(struct msg_want_peer){(uint16_t)e->kind, (uint16_t)e->instance});
		want_schedule(h);
	}
}

void daemon_drained(struct daemon *d, uint32_t left)
{
	if (d->master)
		channel_send_drained(d->master, &(struct msg_drained){left});
}

/* -- what master says ----------------------------------------------------------- */

static void handle_announce(struct house *h, const struct msg_handle *m, int fd)
{
	if (h->d.face->handle)
		h->d.face->handle(&h->d, m, fd);
	else
		close(fd);
}

static bool peer_is_expected(const struct daemon_row *row, unsigned kind)
{
	unsigned known =
	    row->kind == PEER_LOGGER ? PEER_ALL & ~PEER_CONTROL : row->peers | PEER_LOGGER;

	return (kind & known) != 0 && (kind & (kind - 1)) == 0;
}

static void held_add(struct house *h, const struct held *held)
{
	if (h->held_count == HELD_MAX)
		daemon_die(&h->d, EX_SOFTWARE, "master sends more descriptors than there can be");
	h->held[h->held_count++] = *held;
}

static void held_announce(struct house *h)
{
	size_t count = h->held_count;

	h->held_count = 0;
	for (size_t i = 0; i < count; i++) {
		struct held *one = &h->held[i];

		if (one->type == MSG_handle)
			handle_announce(h,
					&(struct msg_handle){(uint8_t)one->number,
							     (uint16_t)one->index,
							     text_of(one->name)},
					one->fd);
		else
			end_renew(h, one->number, one->index, one->fd);
		free(one->name);
		one->name = NULL;
	}
}

static void on_config(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));
	struct config_errors errors = {0};
	struct config *config = config_read(m->config.content, &errors);

	config_errors_free(&errors);
	if (!config)
		daemon_die(&h->d, EX_CONFIG, "cannot read the configuration that master sent");
	config->generation = m->config.generation;
	config_drop(&h->next_config);
	h->next_config = config;
	h->gathering = true;
	if (!h->d.config) /* for warm_up and hellos */
		h->d.config = config_keep(config);
}

static void on_handle(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));

	if (h->begun && !h->gathering) {
		handle_announce(h, &m->handle, m->fd);
		return;
	}
	held_add(h, &(struct held){.type = MSG_handle,
				   .number = m->handle.role,
				   .index = m->handle.index,
				   .name = mem_copy(m->handle.name.data, m->handle.name.len),
				   .fd = m->fd});
}

static void on_handle_none(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));

	if (h->begun && h->d.face->handle_none)
		h->d.face->handle_none(&h->d, &m->handle_none);
}

static void on_peer(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));

	if (!peer_is_expected(h->d.row, m->peer.kind)) {
		log_error(h->d.log, "master offers a channel to %s, which is no neighbour",
			  peer_name(m->peer.kind));
		close(m->fd);
		return;
	}
	/* The log works from the first moment. */
	if ((h->begun && !h->gathering) || m->peer.kind == PEER_LOGGER) {
		end_renew(h, m->peer.kind, m->peer.instance, m->fd);
		return;
	}
	held_add(h, &(struct held){.type = MSG_peer,
				   .number = m->peer.kind,
				   .index = m->peer.instance,
				   .fd = m->fd});
}

static int compare_octets(const void *a, const void *b)
{
	return *(const uint8_t *)a - *(const uint8_t *)b;
}

static void warm_up_common(void)
{
	/* Above 1 KB the C library's sort asks once how much memory there is (sysinfo). */
	uint8_t sorted[2048] = {0};

	qsort(sorted, sizeof sorted, 1, compare_octets);
	unsigned char random[16];
	time_t now = time(NULL);
	struct tm tm;

	/* Reads /etc/localtime now, since it is out of reach later. */
	tzset();
	localtime_r(&now, &tm);
	gmtime_r(&now, &tm);
	must(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
}

static void house_begin(struct house *h)
{
	struct daemon *d = &h->d;

	warm_up_common();
	if (d->face->warm_up)
		d->face->warm_up(d);
	jail_enter(d->row, d->config->queue);
	h->begun = true;
	held_announce(h);
	if (d->face->start)
		d->face->start(d);
}

static void on_begin(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));
	struct daemon *d = &h->d;

	if (!h->next_config)
		daemon_die(d, EX_SOFTWARE, "master says begin without a configuration");
	config_drop(&d->config);
	d->config = h->next_config;
	h->next_config = NULL;
	h->gathering = false;
	if (!h->begun) {
		house_begin(h);
	} else {
		held_announce(h);
		if (d->face->reload)
			d->face->reload(d);
	}
	channel_send_ready(c, &(struct msg_ready){m->begin.generation});
}

static void on_drain(struct channel *c, const struct message *m)
{
	struct house *h = house_of(daemon_of(c));

	if (h->draining)
		return;
	h->draining = true;
	timer_clear(&h->want);
	if (h->begun && h->d.face->drain)
		h->d.face->drain(&h->d, MILLISECONDS(m->drain.limit_ms));
	else
		daemon_drained(&h->d, 0);
}

static void on_ping(struct channel *c, const struct message *m)
{
	channel_send_pong(c, &(struct msg_pong){m->ping.number});
}

static const struct serve master_serves[] = {
    {MSG_config, PEER_MASTER, on_config},
    {MSG_handle, PEER_MASTER, on_handle},
    {MSG_handle_none, PEER_MASTER, on_handle_none},
    {MSG_peer, PEER_MASTER, on_peer},
    {MSG_begin, PEER_MASTER, on_begin},
    {MSG_drain, PEER_MASTER, on_drain},
    {MSG_ping, PEER_MASTER, on_ping},
    {MSG_NONE, 0, NULL},
};

static void master_gone(struct channel *c, const char *why)
{
	struct end *e = channel_owner(c);
	struct house *h = e->house;

	if (end_is_news(e, why))
		fprintf(stderr, "veredus/%s: master's channel ended: %s\n", h->d.row->name, why);
	h->d.master = NULL;
	loop_stop(h->d.loop);
}

/* -- start ------------------------------------------------------------------------ */

static void process_prepare(void)
{
	/* A terminal's Ctrl-C reaches the whole group; what it means is master's to say. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	umask(077);
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	close_range(MASTER_FD + 1, ~0u, 0);
}

static void master_open(struct house *h)
{
	struct end *e = mem_new(1, sizeof *e);
	struct channel_config config = {
	    .loop = h->d.loop,
	    .self_kind = h->d.row->kind,
	    .serves = master_serves,
	    .gone = master_gone,
	    .hello = {message_schema(), h->d.epoch, 0, (uint32_t)getpid()},
	};

	e->house = h;
	e->kind = PEER_MASTER;
	h->d.master = channel_new(&config, MASTER_FD, PEER_MASTER, 0, e);
}

/* For reviewers and for the tests of the walls: the row as this very program has it. */
static int row_print(const struct daemon_row *row)
{
	const char *root = jail_root_name(row->root);

	printf("name %s\nuser %s\nroot %s\ncapabilities %s\nsystem-calls %s\npeers", row->name,
	       row->user, root ? root : "none", row->capabilities, row->system_calls);
	for (unsigned kind = 1; kind <= PEER_ALL; kind <<= 1)
		if ((row->peers & kind) && *peer_name(kind) != '?')
			printf(" %s", peer_name(kind));
	printf("\n");
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int daemon_main(int argc, char **argv, const struct daemon_row *row, const struct daemon_face *face)
{
	struct house *h;
	struct stat st;
	uint64_t instance;

	if (argc == 2 && strcmp(argv[1], "--privileges") == 0)
		return row_print(row);
	h = mem_new(1, sizeof *h);
	h->d.row = row;
	h->d.face = face;
	if (argc != 2 || !text_number(text_of(argv[1]), UINT16_MAX, &instance) ||
	    fstat(MASTER_FD, &st) != 0 || !S_ISSOCK(st.st_mode))
		daemon_die(&h->d, EX_USAGE, "is started by master; see veredus(8)");
	process_prepare();
	h->d.instance = (unsigned)instance;
	h->d.unprivileged = geteuid() != 0;
	must(getrandom(&h->d.epoch, sizeof h->d.epoch, 0) == (ssize_t)sizeof h->d.epoch);
	h->d.loop = loop_new();
	h->d.log = log_new(h->d.loop, row->name);
	timer_init(&h->want, h->d.loop, want_send, h);
	master_open(h);
	loop_run(h->d.loop);
	return EX_OK;
}
