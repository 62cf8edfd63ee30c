/* SPDX-License-Identifier: ISC */
/*
 * Replays of outbound sessions. A script's lines:
 *   S line    the receiver sends it (S+ with the next one in the same read)
 *   C line    the engine has sent it
 *   = word    what the engine said last: WAIT READY CONTENT SETTLED ...
 * Nothing may be left of what the engine sent when the receiver speaks.
 */
#ifndef TESTS_UNIT_DIALOG_PLAY_H
#define TESTS_UNIT_DIALOG_PLAY_H

#include "dialog.h"
#include "mem.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define EHLO_ALL                                                                                   \
	"S 220 mx.example ESMTP\nC EHLO client.example\nS+ 250-mx.example\n"                       \
	"S+ 250-PIPELINING\nS+ 250-SIZE 1000000\nS+ 250-8BITMIME\nS+ 250-SMTPUTF8\n"               \
	"S 250 DSN\n= READY\n"
#define EHLO_PIPELINING                                                                            \
	"S 220 mx.example ESMTP\nC EHLO client.example\nS+ 250-mx.example\nS 250 PIPELINING\n= "   \
	"READY\n"
#define EHLO_PLAIN "S 220 mx.example ESMTP\nC EHLO client.example\nS 250 mx.example\n= READY\n"

struct play {
	struct config config;
	struct dialog d;
	struct bytes out, in;
	struct job *job;
	enum dialog_says says;
};

void play_begin(struct play *p, enum hop_how how);
void play_begin_tls(struct play *p, enum hop_how how, enum dialog_tls tls);
void play_end(struct play *p); /* nothing was sent that the script did not expect */
void play_feed(struct play *p);
void play_script(struct play *p, const char *script);

struct mail {
	const char *sender, *to[8], *prelude, *body;
	const char *envid, *orcpt;
	uint8_t ret, notify, body_type, smtputf8, tls;
	int fd;
	uint64_t body_length;
};

extern const struct mail one, two; /* recipients */

struct job *mail_job(const struct mail *mail);
void play_job(struct play *p, const struct mail *mail); /* begins it */
void verdict_is(const struct play *p, uint32_t i, enum outcome_kind kind, const char *dsn,
		const char *reply);

#define ONE_COMMANDS "C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\nC DATA\n"
#define TWO_COMMANDS                                                                               \
	"C MAIL FROM:<s@a.example>\nC RCPT TO:<r@b.example>\nC RCPT TO:<q@b.example>\nC DATA\n"
#define CONTENT "C Subject: x\nC \nC hello\nC .\n"

#endif
