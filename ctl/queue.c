/* SPDX-License-Identifier: ISC */
/* veredus queue: the table of its verbs. */
#include "queue_verbs.h"

#include "queue_id.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const struct verb verbs[] = {
    {"list", queue_list_verb, "[FILTER] [--json]", "what is queued, oldest first"},
    {"shape", queue_shape_verb, "[FILTER] [--sender] [--all] [--json]", "domains by age"},
    {"show", queue_show_verb, "ID... [--json]", "the whole state of messages"},
    {"cat", queue_cat_verb, "ID", "the content of a message, as it will be sent"},
    {"hold", queue_hold_verb, "FILTER | ID... | - [--json]", "keep from being delivered"},
    {"release", queue_release_verb, "FILTER | ID... | - [--json]", "let held mail go on"},
    {"requeue", queue_requeue_verb, "FILTER | ID... | - [--json]",
     "start anew: ready now, attempts forgotten"},
    {"flush", queue_flush_verb, "[FILTER | ID... | -] [--json]",
     "try again now; all of it without a filter"},
    {"delete", queue_delete_verb, "FILTER | ID... | - [--yes] [--json]", "remove without a report"},
    {"bounce", queue_bounce_verb, "FILTER | ID... | - [--yes] [--json]",
     "give up now: report to the sender"},
    {"export", queue_export_verb, "DIR [FILTER]",
     "write ID.eml and ID.json files; the queue stays as it is"},
    {"import", queue_import_verb, "DIR", "queue what export wrote, each file once"},
    {"check", queue_check_verb, "[--json]", "read it all, and verify every checksum"},
    {0},
};

static void help_filter(FILE *to)
{
	fputs("\n"
	      "FILTER is KEY=VALUE words, of which all must hold:\n"
	      "  sender=ADDRESS (<> for none)  recipient=ADDRESS  login=NAME  domain=DOMAIN\n"
	      "  site=NAME (a site block, an MX host, a fixed next hop)\n"
	      "  source=CLIENT (name, address or network)  reply=TEXT (contained in the reason)\n"
	      "  age=2h+ (older) age=2h- (younger)  state=ready|deferred|held|report  id=ID\n"
	      "* stands for any run of characters; .example.net for every name below it.\n",
	      to);
}

static void help_stdin(FILE *to)
{
	fputs("- reads IDs from standard input.\n", to);
}

static void help_yes(FILE *to)
{
	fputs("For more than one message delete and bounce say what they would do, and do it\n"
	      "with --yes.\n",
	      to);
}

static void help(FILE *to)
{
	verbs_help(verbs, "veredus queue", to);
	help_filter(to);
	help_stdin(to);
	help_yes(to);
}

static void help_of(const struct verb *verb)
{
	verb_help(verb, "veredus queue");
	if (strstr(verb->arguments, "FILTER"))
		help_filter(stdout);
	if (strstr(verb->arguments, "| -"))
		help_stdin(stdout);
	if (strstr(verb->arguments, "--yes"))
		help_yes(stdout);
}

bool queue_filter(const struct ctl *ctl, int from, struct filter *filter)
{
	char error[256];

	*filter = (struct filter){.count = 0};
	for (int i = from; i < ctl->count; i++)
		if (!filter_add(filter, ctl->words[i], error, sizeof error)) {
			ctl_say("%s", error);
			return false;
		}
	return true;
}

bool queue_filter_id(const char *word, struct filter *filter)
{
	char shown[64];
	uint64_t id;

	if (!queue_id_parse(text_of(word), &id)) {
		text_printable(shown, sizeof shown, text_of(word));
		ctl_say("\"%s\" is no queue ID", shown);
		return false;
	}
	filter->items[0] = (struct condition){.key = FILTER_ID, .id = id};
	filter->count = 1;
	return true;
}

int queue_verb(struct ctl *ctl)
{
	if (!ctl->count) {
		help(ctl->help ? stdout : stderr);
		return ctl->help ? 0 : EX_USAGE;
	}
	const struct verb *verb = verb_take(ctl, verbs, "veredus queue");

	if (verb && ctl->help) {
		help_of(verb);
		return 0;
	}
	if (!verb || !verb_takes(ctl, verb, "veredus queue"))
		return EX_USAGE;
	return ctl_config_load(ctl) ? verb->run(ctl) : 1;
}

int mailq_verb(struct ctl *ctl)
{
	return ctl_config_load(ctl) ? queue_list_verb(ctl) : 1;
}
