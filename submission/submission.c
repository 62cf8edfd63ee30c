/* SPDX-License-Identifier: ISC */
/*
 * submission: message submission (RFC 6409) on 587 and 465, and the door
 * through which mail of our own making enters: bounce hands in reports, and
 * they go the way of every mail, through the session engine and qmgr's intake.
 */
#include "submission.h"

#include "mem.h"
#include "queue.h"

static const struct daemon_row row = {
    .name = "submission",
    .kind = PEER_SUBMISSION,
    .user = "veredus-submission",
    .root = JAIL_EMPTY,
    .capabilities = "",
    .system_calls = "accept4 setsockopt",
    .peers = SERVER_PEERS | PEER_BOUNCE | PEER_PICKUP,
};

static void on_handin(struct channel *c, const struct message *m)
{
	letter_new(server_own(daemon_of(c)), c, &m->handin, m->fd, m->fd_lost);
}

static void on_notice(struct channel *c, const struct message *m)
{
	notice_new(server_own(daemon_of(c)), c, &m->notice);
}

static void on_tls_report(struct channel *c, const struct message *m)
{
	tls_report_new(server_own(daemon_of(c)), c, &m->tls_report);
}

static const struct serve serves[] = {
    {MSG_handin, PEER_BOUNCE | PEER_PICKUP, on_handin},
    {MSG_notice, PEER_LIMITS, on_notice},
    {MSG_tls_report, PEER_LIMITS, on_tls_report},
    SERVER_SERVES,
    {MSG_NONE, 0, NULL},
};

static void submission_gone(struct daemon *d, struct channel *c)
{
	server_gone(d, c);
	letters_forget(server_own(d), c);
}

static void submission_warm_up(struct daemon *d)
{
	struct submission *self = mem_new(1, sizeof *self);

	self->d = d;
	server_open(d,
		    &(struct server_setup){
			.checksum = queue_crc32c,
			.roles = 1u << HANDLE_LISTEN_SUBMISSION | 1u << HANDLE_LISTEN_SUBMISSIONS,
			.left = letters_left,
			.cut = letters_cut,
			.own = self,
		    });
}

static const struct daemon_face face = {
    .warm_up = submission_warm_up,
    .start = server_start,
    .reload = server_reload,
    .handle = server_handle,
    .peer = server_peer,
    .gone = submission_gone,
    .drain = server_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
