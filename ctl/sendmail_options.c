/* SPDX-License-Identifier: ISC */
/* Options of sendmail(1). */
#include "sendmail_options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum argument {
	ARG_NONE,
	ARG_VALUE,    /* "-f x" or "-fx" */
	ARG_ATTACHED, /* "-qx"; "-q" alone has none */
};

__attribute__((format(printf, 2, 3))) static bool wrong(struct sendmail_options *o,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(o->why, sizeof o->why, format, args);
	va_end(args);
	return false;
}

/* -- one function an option that means something ------------------------------------------ */

static bool take_mode(struct sendmail_options *o, const char *value)
{
	switch (value[0]) {
	case 'm':
	case 'a': /* ARPANET mode */
		o->mode = SENDMAIL_DELIVER;
		return true;
	case 's':
		o->mode = SENDMAIL_SMTP;
		return true;
	case 'p':
		o->mode = SENDMAIL_LIST;
		return true;
	case 'i':
	case 'I':
		o->mode = SENDMAIL_ALIASES;
		return true;
	case 'v':
		o->mode = SENDMAIL_VERIFY;
		return true;
	case 'd':
	case 'l':
	case 'D':
		return wrong(o, "-b%c: it is `veredus run` that serves", value[0]);
	case 't':
		return wrong(o, "-bt: there is no test mode; `veredus route ADDRESS` tells where "
				"mail would go, and why");
	default:
		return wrong(o, "-b%.20s: there is no such mode", value);
	}
}

static bool take_sender(struct sendmail_options *o, const char *value)
{
	o->sender = value;
	return true;
}

static bool take_name(struct sendmail_options *o, const char *value)
{
	o->name = value;
	return true;
}

static bool take_config(struct sendmail_options *o, const char *value)
{
	o->config = value;
	return true;
}

static bool take_envid(struct sendmail_options *o, const char *value)
{
	if (strlen(value) > ENVID_MAX / 3)
		return wrong(o, "-V: the identifier is too long");
	for (const char *c = value; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return wrong(o, "-V: the identifier is not printable ASCII");
	o->envid = *value ? value : NULL;
	return true;
}

static bool take_body(struct sendmail_options *o, const char *value)
{
	if (strcasecmp(value, "7BIT") == 0)
		o->body = BODY_SAID_7BIT;
	else if (strcasecmp(value, "8BITMIME") == 0)
		o->body = BODY_SAID_8BITMIME;
	else
		return wrong(o, "-B: 7BIT or 8BITMIME, and not %.40s", value);
	return true;
}

static bool take_notify(struct sendmail_options *o, const char *value)
{
	static const struct {
		const char *word;
		uint8_t bit;
	} words[] = {{"never", NOTIFY_NEVER},
		     {"success", NOTIFY_SUCCESS},
		     {"failure", NOTIFY_FAILURE},
		     {"delay", NOTIFY_DELAY}};
	uint8_t set = 0;

	while (*value) {
		size_t len = strcspn(value, ","), i = 0;

		while (i < 4 && (strlen(words[i].word) != len ||
				 strncasecmp(words[i].word, value, len) != 0))
			i++;
		if (i == 4)
			return wrong(o, "-N: never, or of success, failure, delay");
		set |= words[i].bit;
		value += len + (value[len] == ',');
	}
	if (!set || (set & NOTIFY_NEVER && set != NOTIFY_NEVER))
		return wrong(o, "-N: never, or of success, failure, delay");
	o->notify = set;
	return true;
}

static bool take_ret(struct sendmail_options *o, const char *value)
{
	if (strcasecmp(value, "full") == 0)
		o->ret = RET_FULL;
	else if (strcasecmp(value, "hdrs") == 0)
		o->ret = RET_HDRS;
	else
		return wrong(o, "-R: full or hdrs, and not %.40s", value);
	return true;
}

/* -q, -q30m, -qf; -qIID, -qRDOMAIN */
static bool take_queue(struct sendmail_options *o, const char *value)
{
	if (value[0] == 'S' || value[0] == 'Q' || value[0] == '!')
		return wrong(o, "-q%.20s: `veredus queue flush FILTER` chooses mail", value);
	if (value[0] == 'I' || value[0] == 'R') {
		if (!value[1])
			return wrong(o, "-q%c lacks what is to be tried", value[0]);
		o->flush_by = value[0];
		o->flush = value + 1;
	}
	o->mode = SENDMAIL_FLUSH;
	return true;
}

/* -oi and the rest of the old ones; -O Name=value as well. */
static bool take_old(struct sendmail_options *o, const char *value)
{
	if (strcmp(value, "i") == 0 || strncasecmp(value, "IgnoreDots", 10) == 0)
		o->dots = strcasecmp(value, "IgnoreDots=false") == 0;
	return true;
}

static bool take_flag(struct sendmail_options *o, char letter)
{
	if (letter == 'i')
		o->dots = false;
	else if (letter == 't')
		o->from_header = true;
	else if (letter == 'v')
		o->verbose = true;
	else if (letter == 'I')
		o->mode = SENDMAIL_ALIASES;
	return true;
}

/* NULL: taken, and forgotten. */
static const struct {
	char letter;
	enum argument argument;
	bool (*take)(struct sendmail_options *o, const char *value);
} rows[] = {
    {'A', ARG_VALUE, NULL}, /* -Ac, -Am: which of sendmail's configurations */
    {'B', ARG_VALUE, take_body},     {'C', ARG_VALUE, take_config},
    {'D', ARG_VALUE, NULL}, /* log of -d */
    {'E', ARG_NONE, NULL},	     {'F', ARG_VALUE, take_name},
    {'G', ARG_NONE, NULL},  /* a gateway's submission */
    {'I', ARG_NONE, NULL},  /* newaliases */
    {'L', ARG_VALUE, NULL}, /* syslog's label */
    {'M', ARG_VALUE, NULL},	     {'N', ARG_VALUE, take_notify},
    {'O', ARG_VALUE, take_old},	     {'R', ARG_VALUE, take_ret},
    {'U', ARG_NONE, NULL},				     /* initial submission */
    {'V', ARG_VALUE, take_envid},    {'X', ARG_VALUE, NULL}, /* log of traffic */
    {'b', ARG_VALUE, take_mode},     {'c', ARG_NONE, NULL},
    {'d', ARG_ATTACHED, NULL}, /* debugging */
    {'e', ARG_VALUE, NULL},    /* how errors are told: here by the status and in words */
    {'f', ARG_VALUE, take_sender},   {'h', ARG_VALUE, NULL}, /* hops: Received lines are counted */
    {'i', ARG_NONE, NULL},	     {'m', ARG_NONE, NULL},  /* to the sender as well: always */
    {'n', ARG_NONE, NULL},				     /* no aliases */
    {'o', ARG_VALUE, take_old},	     {'p', ARG_VALUE, NULL}, /* protocol that it came by */
    {'q', ARG_ATTACHED, take_queue}, {'r', ARG_VALUE, take_sender},
    {'s', ARG_NONE, NULL},	     {'t', ARG_NONE, NULL},
    {'v', ARG_NONE, NULL},	     {'x', ARG_VALUE, NULL},
};

/* The options of one argument, "-itf" and "x"; *USED: how many arguments it took. */
static bool take_argument(struct sendmail_options *o, int argc, char **argv, int *used)
{
	const char *at = argv[0] + 1;

	for (*used = 1; *at; at++) {
		size_t i = 0;

		while (i < sizeof rows / sizeof *rows && rows[i].letter != *at)
			i++;
		if (i == sizeof rows / sizeof *rows)
			return *at > 0x20 && *at < 0x7f
				   ? wrong(o, "unknown option -%c; sendmail(1) names them", *at)
				   : wrong(o, "unknown option");
		if (rows[i].argument == ARG_NONE) {
			take_flag(o, *at);
			continue;
		}
		const char *value = at + 1;

		if (!*value && rows[i].argument == ARG_VALUE) {
			if (argc < 2)
				return wrong(o, "-%c lacks its value", *at);
			value = argv[1];
			*used = 2;
		}
		return !rows[i].take || rows[i].take(o, value);
	}
	return true;
}

bool sendmail_options_read(int argc, char **argv, struct sendmail_options *to)
{
	int used;

	*to = (struct sendmail_options){.mode = SENDMAIL_DELIVER, .dots = true};
	/* Options end where the first address stands: what follows it is one, too. */
	while (argc > 0 && argv[0][0] == '-' && argv[0][1]) {
		if (strcmp(argv[0], "--") == 0) {
			argc--;
			argv++;
			break;
		}
		if (strcmp(argv[0], "--help") == 0)
			return wrong(to, "usage: sendmail [OPTIONS] [ADDRESS...] < MAIL; "
					 "sendmail(1) has the options");
		if (!take_argument(to, argc, argv, &used))
			return false;
		argc -= used;
		argv += used;
	}
	to->recipients = argv;
	to->recipient_count = argc;
	return true;
}
