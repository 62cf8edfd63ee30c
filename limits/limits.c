/* SPDX-License-Identifier: ISC */
/*
 * limits: counts that hold across workers. Today the connections per client;
 * the counts live in memory, since connections do not outlive their workers.
 * A client_open above the limit is answered with a refusal, is not counted
 * and needs no client_close.
 */
#include "counter.h"
#include "daemon.h"
#include "mem.h"
#include "siphash.h"

#include <stdlib.h>

static const struct daemon_row row = {
    .name = "limits",
    .kind = PEER_LIMITS,
    .user = "veredus-limits",
    .root = JAIL_LIMITS,
    .capabilities = "",
    .system_calls = "",
    .peers = PEER_SMTPD | PEER_SUBMISSION,
};

struct limits {
	struct counter *clients;
};

static void client_open_handle(struct channel *c, const struct message *m)
{
	const struct msg_client_open *ask = &m->client_open;
	const struct config *config = daemon_of(c)->config;
	uint64_t limit = ask->exempt ? UINT32_MAX : config->limit_per_client;
	uint32_t count = 0;

	if (ask->address.len != 16) {
		channel_end(c, "sent an address that is none");
		return;
	}
	enum counter_verdict verdict =
	    holder_open(daemon_peer_state(c), ask->session, (const uint8_t *)ask->address.data,
			limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX, &count);

	if (verdict == COUNTER_BROKEN) {
		channel_end(c, "opened a session twice, or too many");
		return;
	}
	channel_send_client_verdict(c, &(struct msg_client_verdict){
					   .session = ask->session,
					   .allowed = verdict == COUNTER_TAKEN,
					   .count = count,
				       });
}

static void client_close_handle(struct channel *c, const struct message *m)
{
	/* One that was refused may be closed as well: nothing is counted for it. */
	(void)holder_close(daemon_peer_state(c), m->client_close.session);
}

static const struct serve serves[] = {
    {MSG_client_open, PEER_SMTPD | PEER_SUBMISSION, client_open_handle},
    {MSG_client_close, PEER_SMTPD | PEER_SUBMISSION, client_close_handle},
    {MSG_NONE, 0, NULL},
};

/* Workers may be there before the first begin, so the table is as well. */
static struct limits *limits_of(struct daemon *d)
{
	if (!d->self) {
		struct limits *self = mem_new(1, sizeof *self);
		uint8_t key[SIPHASH_KEY_BYTES];

		siphash_key_make(key);
		self->clients = counter_new(key);
		d->self = self;
	}
	return d->self;
}

static void limits_start(struct daemon *d)
{
	limits_of(d);
}

static void limits_peer(struct daemon *d, struct channel *c)
{
	daemon_set_peer_state(c, holder_new(limits_of(d)->clients));
}

static void limits_gone(struct daemon *d, struct channel *c)
{
	struct holder *holder = daemon_peer_state(c);

	(void)d;
	daemon_set_peer_state(c, NULL);
	holder_free(&holder);
}

static const struct daemon_face face = {
    .start = limits_start,
    .peer = limits_peer,
    .gone = limits_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
