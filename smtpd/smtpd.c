/* SPDX-License-Identifier: ISC */
/*
 * smtpd: the SMTP server on port 25, for everybody. Clients, listeners and
 * the session engine are in lib (server.h): what makes them smtpd is the port.
 */
#include "queue.h"
#include "server.h"

static const struct daemon_row row = {
    .name = "smtpd",
    .kind = PEER_SMTPD,
    .user = "veredus-smtpd",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "accept4 setsockopt",
    .peers = SERVER_PEERS,
};

static const struct serve serves[] = {
    SERVER_SERVES,
    {MSG_NONE, 0, NULL},
};

static void smtpd_warm_up(struct daemon *d)
{
	server_open(d, &(struct server_setup){
			   .checksum = queue_crc32c,
			   .roles = 1u << HANDLE_LISTEN_SMTP,
		       });
}

static const struct daemon_face face = {
    .warm_up = smtpd_warm_up,
    .start = server_start,
    .reload = server_reload,
    .handle = server_handle,
    .peer = server_peer,
    .gone = server_gone,
    .drain = server_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
