/* SPDX-License-Identifier: ISC */
/* sendmail(1): what its parts share. None of them has any right that its caller has not. */
#ifndef CTL_SENDMAIL_H
#define CTL_SENDMAIL_H

#include "ctl.h"
#include "sendmail_header.h"
#include "sendmail_options.h"

#include <limits.h>

/* "sendmail: ..." on standard error; returns STATUS. */
int sendmail_say(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A mail as it goes to postdrop(1): the envelope. */
struct post_form {
	const char *maildrop; /* of the configuration that -C named; NULL: postdrop's own */
	struct text sender;   /* empty: null */
	const char *const *recipients;
	const uint8_t *notify; /* of each recipient, or NULL: NOTIFY for all */
	size_t count;
	const char *envid; /* xtext, or NULL */
	uint8_t all_notify, ret;
};

struct post;

/* A mail for postdrop, which lies beside this program, and is started once there is much to give.
 */
struct post *post_begin(const struct post_form *form);

/* False: postdrop has ended, or cannot be had; post_end() tells how. */
bool post_content(struct post *post, const void *data, size_t len);

/*
 * The mail is whole: waits until postdrop has it safe. Returns an exit status,
 * what went wrong having been said by postdrop; ID (17 bytes) is how it calls the mail.
 * Without an ID it may not return at all: postdrop takes this process's place when the mail is
 * small, and its status is the caller's.
 */
int post_end(struct post **post, uint8_t flags, char *id);
/* Without an end there was no mail. */
void post_abandon(struct post **post);

/* xtext (RFC 3461 4) of FROM, printable ASCII; TO holds three times its length and a NUL. */
void post_xtext(const char *from, char *to);

/* The configuration of a call, as far as there is one. Begins as zeros. */
struct sendmail_place {
	struct ctl ctl;	      /* its configuration is the caller's to drop */
	const char *maildrop; /* of -C; NULL: postdrop's own */
	char path[PATH_MAX];
};

/* False after saying what is wrong with that of -C; another one need not be there. */
bool sendmail_config(const struct sendmail_options *o, struct sendmail_place *to);

/* What a call does that is no delivery; returns the exit status. */
typedef int sendmail_other(const struct sendmail_options *o, int argc, char **argv);

/* ARGV begins behind the program's name. */
int sendmail_run(int argc, char **argv, sendmail_other *other);

/* The other modes, in the program that has all it takes. */
sendmail_other sendmail_mode;

/* -bs: SMTP on standard input and output. CONFIG: NULL when it can't be read. */
int sendmail_smtp(const struct config *config, const char *maildrop);

/* Who calls, as an address without a domain. */
void sendmail_caller(char *to, size_t size);

#endif
