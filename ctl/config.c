/* SPDX-License-Identifier: ISC */
/* veredus config show; and, hidden, config man: the settings for veredus.conf(5), from the same
 * rows. */
#include "ctl.h"

#include "config_row.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* A backslash, and a dot or quote at the start of a line, are commands to troff. */
static void man_text(const char *s)
{
	for (; *s; s++)
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
}

static const char *type_text(enum setting_type type)
{
	static const char *const names[TYPE_COUNT] = {
	    [TYPE_HOST] = "host name",
	    [TYPE_ADDRESS] = "mail address",
	    [TYPE_PATH] = "path",
	    [TYPE_LOG_TO] = "word or path",
	    [TYPE_TABLE] = "table",
	    [TYPE_LOCAL_TABLE] = "table",
	    [TYPE_TEXT] = "text",
	    [TYPE_URL] = "https address",
	    [TYPE_ROUTE] = "@name",
	    [TYPE_ROUTE_TO] = "target",
	    [TYPE_BOOL] = "yes or no",
	    [TYPE_NUMBER] = "number",
	    [TYPE_SIZE] = "size",
	    [TYPE_TIME] = "time",
	    [TYPE_WORD_NEWLINE] = "word",
	    [TYPE_WORD_LOG] = "word",
	    [TYPE_WORD_FAMILY] = "word",
	    [TYPE_WORD_TLS] = "word",
	    [TYPE_WORD_RULE] = "word",
	    [TYPE_WORD_REFUSE] = "word",
	    [TYPE_WORD_ACTION] = "word",
	    [TYPE_WORD_TAKEOVER] = "word",
	    [TYPE_RATES] = "list of rates",
	    [TYPE_LOGINS] = "list of logins",
	    [TYPE_WORD_POLICY] = "word",
	    [TYPE_DIGESTS] = "list of digests",
	    [TYPE_NETWORKS] = "list of networks",
	    [TYPE_DOMAINS] = "list of domains",
	    [TYPE_ENDPOINTS] = "list of ADDRESS:PORT",
	    [TYPE_SERVERS] = "list of ADDRESS@PORT",
	};

	return names[type];
}

static void man_row(const struct setting_row *row)
{
	bool number = row->type == TYPE_NUMBER || row->type == TYPE_SIZE || row->type == TYPE_TIME;

	fputs(".TP\n\\fB", stdout);
	man_text(row->name);
	printf("\\fR (%s", type_text(row->type));
	if (row->fallback) {
		fputs("; default ", stdout);
		man_text(row->fallback);
	} else if (row->least) {
		fputs("; must be given", stdout);
	}
	if (number)
		printf("; %llu to %llu%s", (unsigned long long)row->least,
		       (unsigned long long)row->most,
		       row->type == TYPE_TIME	? " seconds"
		       : row->type == TYPE_SIZE ? " bytes"
						: "");
	fputs(")\n\\&", stdout);
	man_text(row->text);
	putchar('\n');
}

static void man_settings(void)
{
	for (size_t b = 0; b < BLOCK_COUNT; b++) {
		const struct block_row *block = &block_rows[b];

		fputs(".SS ", stdout);
		if (!b)
			fputs("Outside of blocks", stdout);
		man_text(block->name);
		fputs(block->label ? " NAME { }\n" : b ? " { }\n" : "\n", stdout);
		if (b) {
			man_text(block->text);
			fputs(block->many ? ". May stand several times.\n" : ".\n", stdout);
		}
		for (size_t i = 0; i < setting_count; i++)
			if (setting_rows[i].block == (enum setting_block)b)
				man_row(&setting_rows[i]);
	}
}

int config_verb(struct ctl *ctl)
{
	if (ctl->count == 1 && strcmp(ctl->words[0], "man") == 0) {
		man_settings();
		return 0;
	}
	if (ctl->count != 1 || strcmp(ctl->words[0], "show") != 0) {
		ctl_say("usage: veredus config show [--all] [-c FILE]");
		return EX_USAGE;
	}
	if (!ctl_config_load(ctl))
		return 1;
	config_show(ctl->config, ctl->all, stdout);
	return 0;
}
