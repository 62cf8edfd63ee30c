/* SPDX-License-Identifier: ISC */
/* A host of SMTP sessions for tests: it answers the engine's questions as it is told to beforehand,
 * and keeps what the session says, logs and queues. */
#ifndef TESTS_UNIT_SESSION_HOST_H
#define TESTS_UNIT_SESSION_HOST_H

#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct host {
	struct session *session;
	struct bytes out, body, prelude, envelope, log;
	struct moment now;
	const struct reply *sender_answer, *recipient_answer, *open_answer;
	bool offers_tls;
	bool wait_data, wait_recipient, no_id, hold_body;
	unsigned messages, opened, dropped;
};

/* A session that has not said a word. MORE: lines of configuration, or NULL; ADDRESS: the client's.
 */
void host_make(struct host *h, const char *more, const char *address);
/* One that has greeted. */
void host_begin(struct host *h, const char *more, const char *address);
void host_end(struct host *h);

/* Gives INPUT in pieces of STEP octets, as a stream does: what is left comes again. */
void give(struct host *h, const char *input, size_t len, size_t step);

/* TEXT behind what is in B, so many TIMES. */
void repeat(struct bytes *b, const char *text, size_t times);

/* What is in B, with a NUL behind it. */
const char *string_in(struct bytes *b);

#define GREET "220 mx.test ESMTP\r\n"
#define EHLO "EHLO c.example\r\n"
#define EHLO_IS                                                                                    \
	GREET "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 65536\r\n250-8BITMIME\r\n"                \
	      "250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n"
#define MAIL "MAIL FROM:<a@b.example>\r\n"
#define MAIL_IS "250 2.1.0 Ok\r\n"
#define RCPT "RCPT TO:<c@d.example>\r\n"
#define RCPT_IS "250 2.1.5 Ok\r\n"
#define DATA_IS "354 End data with <CR><LF>.<CR><LF>\r\n"
#define QUEUED "250 2.0.0 Ok: queued\r\n"
#define START EHLO MAIL RCPT
#define START_IS EHLO_IS MAIL_IS RCPT_IS
#define OK "250 2.0.0 Ok\r\n"
#define US "10.1.2.3"
#define THEM "192.0.2.7"

#endif
