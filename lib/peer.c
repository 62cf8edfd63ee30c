/* SPDX-License-Identifier: ISC */
/* Names of the kinds of processes. */
#include "peer.h"

#include <stddef.h>
#include <string.h>

static const struct {
	unsigned kind;
	const char *name;
} peers[] = {
    {PEER_MASTER, "master"},
    {PEER_SMTPD, "smtpd"},
    {PEER_SUBMISSION, "submission"},
    {PEER_PICKUP, "pickup"},
    {PEER_QMGR, "qmgr"},
    {PEER_BOUNCE, "bounce"},
    {PEER_RESOLVER, "resolver"},
    {PEER_SMTP_CLIENT, "smtp-client"},
    {PEER_LOCAL, "local"},
    {PEER_LIMITS, "limits"},
    {PEER_LOGGER, "logger"},
    {PEER_CONTROL, "control"},
    {PEER_CHECKER, "checker"},
    {PEER_KEEPER, "keeper"},
    {PEER_TABLE, "table"},
    {PEER_FETCHER, "fetcher"},
};

const char *peer_name(unsigned kind)
{
	for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
		if (peers[i].kind == kind)
			return peers[i].name;
	return "?";
}

unsigned peer_kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof peers / sizeof *peers; i++)
		if (strcmp(peers[i].name, name) == 0)
			return peers[i].kind;
	return 0;
}
