/* SPDX-License-Identifier: ISC */
/*
 * table: reads tables for the daemons in jails. It can open nothing itself:
 * master hands it the files that the configuration names, and those alone.
 */
#include "daemon.h"
#include "store.h"

static const struct daemon_row row = {
    .name = "table",
    .kind = PEER_TABLE,
    .user = "veredus-table",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "",
    .peers = PEER_SMTPD | PEER_SUBMISSION | PEER_QMGR | PEER_LOCAL,
};

/* Peers may ask before the first begin, so the store is there as well. */
static struct store *store_of(struct daemon *d)
{
	if (!d->self)
		d->self = store_new(d);
	return d->self;
}

static void on_lookup(struct channel *c, const struct message *m)
{
	store_lookup(store_of(daemon_of(c)), c, &m->lookup);
}

static const struct serve serves[] = {
    {MSG_lookup, PEER_SMTPD | PEER_SUBMISSION | PEER_QMGR | PEER_LOCAL, on_lookup},
    {MSG_NONE, 0, NULL},
};

static void table_start(struct daemon *d)
{
	store_of(d);
}

static void table_reload(struct daemon *d)
{
	store_reload(store_of(d));
}

static void table_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	store_handle(store_of(d), m, fd);
}

static void table_gone(struct daemon *d, struct channel *c)
{
	store_forget(store_of(d), c);
}

static const struct daemon_face face = {
    .start = table_start,
    .reload = table_reload,
    .handle = table_handle,
    .gone = table_gone,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
