/* SPDX-License-Identifier: ISC */
/*
 * The command line of sendmail(1), as forty years of programs write it. One
 * table names each option and what becomes of it; what has no meaning here is
 * taken and forgotten.
 */
#ifndef CTL_SENDMAIL_OPTIONS_H
#define CTL_SENDMAIL_OPTIONS_H

#include "envelope.h"
#include "text.h"

#include <stdbool.h>

enum sendmail_mode {
	SENDMAIL_DELIVER = 'm', /* also -ba, -bh and the like of old */
	SENDMAIL_SMTP = 's',
	SENDMAIL_LIST = 'p',
	SENDMAIL_ALIASES = 'i',
	SENDMAIL_VERIFY = 'v',
	SENDMAIL_FLUSH = 'q',
};

enum body_word { BODY_UNSAID, BODY_SAID_7BIT, BODY_SAID_8BITMIME };

/* Texts are those of the arguments. */
struct sendmail_options {
	enum sendmail_mode mode;
	const char *config; /* -C; NULL: not given */
	const char *sender; /* -f, -r; NULL: not given */
	const char *name;   /* -F; NULL: not given */
	const char *flush;  /* of -qI and -qR: an ID, a domain; NULL: all */
	const char *envid;  /* -V; NULL: not given */
	char flush_by;	    /* 'I', 'R', or 0 */
	uint8_t notify;	    /* -N: enum dsn_notify */
	uint8_t ret;	    /* -R: enum dsn_ret */
	enum body_word body;
	bool from_header; /* -t */
	bool dots;	  /* a line that is a dot is an end: not -i */
	bool verbose;	  /* -v */
	char **recipients;
	int recipient_count;
	char why[160]; /* when false was returned */
};

/* ARGV begins behind the program's name. False: usage; TO->why says what is wrong. */
bool sendmail_options_read(int argc, char **argv, struct sendmail_options *to);

#endif
