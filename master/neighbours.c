/* SPDX-License-Identifier: ISC */
/* The daemons, and who talks to whom. */
#include "neighbours.h"

#include "peer.h"
#include "route_login.h"
#include "sts.h"

#define GETS(role) (1u << (role))

/* The logger first, so that the others' first words are kept. */
const struct kind_row kind_rows[] = {
    {PEER_LOGGER, "veredus-logger", 1, GETS(HANDLE_LOG) | GETS(HANDLE_HISTORY)},
    {PEER_KEEPER, "veredus-keeper", 0,
     GETS(HANDLE_TLS_CERTIFICATE) | GETS(HANDLE_TLS_CLIENT_CA) | GETS(HANDLE_TLS_KEY)},
    {PEER_RESOLVER, "veredus-resolver", 1, 0},
    {PEER_LIMITS, "veredus-limits", 1, 0},
    {PEER_CHECKER, "veredus-checker", 0,
     GETS(HANDLE_USERS) | GETS(HANDLE_DOVECOT) | GETS(HANDLE_TOKEN_SECRET) |
	 GETS(HANDLE_CHECKER_KEY) | GETS(HANDLE_RELAY_PASSWORD) | GETS(HANDLE_RELAY_CLIENT_SECRET) |
	 GETS(HANDLE_RELAY_REFRESH_TOKEN) | GETS(HANDLE_RELAY_STATE)},
    {PEER_FETCHER, "veredus-fetcher", 0, GETS(HANDLE_TLS_AUTHORITIES)},
    {PEER_TABLE, "veredus-table", 1, GETS(HANDLE_TABLE)},
    {PEER_QMGR, "veredus-qmgr", 1, GETS(HANDLE_LISTEN_CONTROL) | GETS(HANDLE_POLICIES)},
    {PEER_BOUNCE, "veredus-bounce", 1, 0},
    {PEER_SUBMISSION, "veredus-submission", 1,
     GETS(HANDLE_LISTEN_SUBMISSION) | GETS(HANDLE_LISTEN_SUBMISSIONS)},
    {PEER_PICKUP, "veredus-pickup", 1, GETS(HANDLE_LISTEN_HATCH)},
    {PEER_SMTP_CLIENT, "veredus-smtp-client", 0,
     GETS(HANDLE_TLS_AUTHORITIES) | GETS(HANDLE_LMTP_SOCKET)},
    {PEER_LOCAL, "veredus-local", 0, 0},
    {PEER_SMTPD, "veredus-smtpd", 0, GETS(HANDLE_LISTEN_SMTP)},
    {0, NULL, 0, 0},
};

static const struct {
	unsigned a, b;
} talks[] = {
    {PEER_SMTPD, PEER_QMGR},				     /* intake */
    {PEER_SMTPD, PEER_LIMITS},				     /* connections per client */
    {PEER_SMTPD, PEER_RESOLVER},			     /* names of clients */
    {PEER_SUBMISSION, PEER_CHECKER},			     /* the same */
    {PEER_CHECKER, PEER_LIMITS},			     /* frozen logins */
    {PEER_QMGR, PEER_LIMITS},				     /* the same, and refused recipients */
    {PEER_SMTPD, PEER_CHECKER},				     /* logins */
    {PEER_SUBMISSION, PEER_QMGR},			     /* intake */
    {PEER_SUBMISSION, PEER_LIMITS},			     /* connections per client */
    {PEER_SUBMISSION, PEER_RESOLVER},			     /* names of clients */
    {PEER_SMTPD, PEER_KEEPER},				     /* certificates, signatures */
    {PEER_SUBMISSION, PEER_KEEPER},			     /* the same */
    {PEER_SMTP_CLIENT, PEER_KEEPER},			     /* the same, for routes */
    {PEER_CHECKER, PEER_FETCHER},			     /* requests for tokens */
    {PEER_FETCHER, PEER_RESOLVER},			     /* hosts, TXT records */
    {PEER_QMGR, PEER_FETCHER},				     /* MTA-STS policies */
    {PEER_SMTP_CLIENT, PEER_LIMITS},			     /* results of TLS */
    {PEER_LIMITS, PEER_RESOLVER},			     /* who asks for reports on it */
    {PEER_LIMITS, PEER_FETCHER},			     /* those that go over HTTPS */
    {PEER_SMTPD, PEER_TABLE},				     /* lookups */
    {PEER_SUBMISSION, PEER_TABLE},			     /* lookups */
    {PEER_QMGR, PEER_TABLE},				     /* TLS policies */
    {PEER_LOCAL, PEER_TABLE},				     /* patterns */
    {PEER_BOUNCE, PEER_QMGR},				     /* reports that are owed */
    {PEER_BOUNCE, PEER_SUBMISSION},			     /* the door for them */
    {PEER_PICKUP, PEER_SUBMISSION},			     /* the door for what it finds */
    {PEER_QMGR, PEER_RESOLVER},				     /* sites */
    {PEER_QMGR, PEER_SMTP_CLIENT},			     /* jobs and outcomes */
    {PEER_QMGR, PEER_LOCAL},				     /* jobs and outcomes */
    {PEER_SMTPD, PEER_LOCAL},				     /* is there such a user? */
    {PEER_SUBMISSION, PEER_LOCAL},			     /* the same */
    {PEER_SMTP_CLIENT, PEER_RESOLVER},			     /* hosts */
    {PEER_SMTP_CLIENT, PEER_CHECKER},			     /* logins at relays */
    {PEER_LOGGER, PEER_ALL & ~(PEER_LOGGER | PEER_CONTROL)}, /* events of all, master's as well */
};

const struct kind_row *kind_row(unsigned kind)
{
	for (const struct kind_row *row = kind_rows; row->kind; row++)
		if (row->kind == kind)
			return row;
	return NULL;
}

unsigned kind_workers(const struct kind_row *row, const struct config *config)
{
	if (row->workers)
		return row->workers;
	if (row->kind == PEER_CHECKER)
		return config_has_logins(config) || route_logins(config) > 0;
	if (row->kind == PEER_FETCHER)
		return config->auth_introspection.len > 0 || config_asks_sts(config) ||
		       route_logins_by_token(config) || config->tlsrpt_contact.len > 0;
	if (row->kind == PEER_LOCAL)
		return config_has_local(config);
	if (row->kind == PEER_KEEPER)
		return config_certificates(config) > 0;
	return (unsigned)(row->kind == PEER_SMTPD ? config->workers_smtpd
						  : config->workers_smtp_client);
}

bool kinds_talk(unsigned a, unsigned b)
{
	for (size_t i = 0; i < sizeof talks / sizeof *talks; i++)
		if (((talks[i].a & a) && (talks[i].b & b)) ||
		    ((talks[i].a & b) && (talks[i].b & a)))
			return true;
	return false;
}
