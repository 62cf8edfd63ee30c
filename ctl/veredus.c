/* SPDX-License-Identifier: ISC */
/* The veredus command: one verb a file, found in the table below. Called as sendmail, mailq
 * or newaliases it is that program. */
#include "ctl.h"

#include "mem.h"
#include "nearest.h"
#include "sendmail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { HELP_COLUMN = 35 }; /* of a verb's arguments, in a list of verbs */

static const struct verb verbs[] = {
    {"run", run_verb, "[-c FILE]", "serve in the foreground; SIGTERM ends it, SIGHUP reloads"},
    {"check", check_verb, "[-c FILE]", "say everything that is wrong with the configuration"},
    {"config", config_verb, "show [--all]", "the effective values and where each came from"},
    {"status", status_verb, "[--json]", "rates, depth, oldest mail, the busiest sites"},
    {"route", route_verb,
     "ADDRESS|DOMAIN [--from SENDER [--login NAME]] [--requiretls] [--connect] [--json]",
     "where a mail would go now, and why; --connect also tries it, and sends nothing"},
    {"queue", queue_verb, "VERB ...", "look at queued mail and act on it; veredus queue --help"},
    {"trace", trace_verb, "ID|MESSAGE-ID|ADDRESS|LOGIN [--json]", "a message's whole story"},
    {"user", user_verb, "VERB NAME", "who may log in: veredus user --help"},
    {"table", table_verb, "VERB ...", "make, query or list a table: veredus table --help"},
    {"tls-report", tls_report_verb, "[DOMAIN] [--json]",
     "what was counted of TLS today (RFC 8460)"},
    {"mailq", mailq_verb, NULL, "queue list, by the name of that program"},
    {"newaliases", newaliases_verb, NULL, "by the name of that program"},
    {0},
};

const struct verb *verb_find(const struct verb *table, const char *of, const char *word)
{
	const char *names[64];
	size_t count = 0;

	for (const struct verb *v = table; v->name; v++) {
		if (strcmp(v->name, word) == 0)
			return v;
		if (v->arguments && count < 64)
			names[count++] = v->name;
	}
	const char *near = nearest_name(text_of(word), names, count);
	char shown[64];

	text_printable(shown, sizeof shown, text_of(word));
	if (near)
		ctl_say("unknown verb \"%s\"; did you mean %s %s?", shown, of, near);
	else
		ctl_say("unknown verb \"%s\"; %s --help names them", shown, of);
	return NULL;
}

const struct verb *verb_take(struct ctl *ctl, const struct verb *table, const char *of)
{
	const struct verb *verb = verb_find(table, of, ctl->words[0]);

	ctl->count--;
	memmove(ctl->words, ctl->words + 1, (size_t)ctl->count * sizeof *ctl->words);
	return verb;
}

void verbs_help(const struct verb *table, const char *of, FILE *to)
{
	fprintf(to, "usage: %s VERB [-c FILE] ...\n\n", of);
	for (const struct verb *v = table; v->name; v++)
		if (v->arguments && strlen(v->arguments) > HELP_COLUMN)
			fprintf(to, "  %-10s %s\n%*s%s\n", v->name, v->arguments, HELP_COLUMN + 14,
				"", v->text);
		else if (v->arguments)
			fprintf(to, "  %-10s %-*s %s\n", v->name, HELP_COLUMN, v->arguments,
				v->text);
}

void verb_help(const struct verb *verb, const char *of)
{
	printf("usage: %s %s %s%s\n%s\n", of, verb->name, verb->arguments,
	       strstr(verb->arguments, "-c FILE") ? "" : " [-c FILE]", verb->text);
}

bool verb_takes(const struct ctl *ctl, const struct verb *verb, const char *of)
{
	const struct {
		const char *name;
		bool given;
	} options[] = {{"--json", ctl->json},	    {"--yes", ctl->yes},
		       {"--all", ctl->all},	    {"--sender", ctl->by_sender},
		       {"--connect", ctl->connect}, {"--requiretls", ctl->requires_tls},
		       {"--from", ctl->from},	    {"--login", ctl->login}};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (options[i].given && !strstr(verb->arguments, options[i].name)) {
			ctl_say("%s %s takes no %s; it takes %s", of, verb->name, options[i].name,
				verb->arguments);
			return false;
		}
	return true;
}

void ctl_path(const struct ctl *ctl, const char *name, char *to, size_t size)
{
	snprintf(to, size, "%.*s/%s", (int)ctl->config->queue.len, ctl->config->queue.data, name);
}

static bool take_flag(struct ctl *ctl, const char *word)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
	    {"--json", &ctl->json},	  {"--yes", &ctl->yes},
	    {"--all", &ctl->all},	  {"--sender", &ctl->by_sender},
	    {"--connect", &ctl->connect}, {"--requiretls", &ctl->requires_tls},
	    {"--help", &ctl->help},	  {"-h", &ctl->help},
	};
	const char *names[sizeof flags / sizeof *flags];
	char shown[64];

	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		names[i] = flags[i].name;
		if (strcmp(word, flags[i].name) == 0) {
			*flags[i].flag = true;
			return true;
		}
	}
	const char *near = nearest_name(text_of(word), names, sizeof names / sizeof *names);

	text_printable(shown, sizeof shown, text_of(word));
	ctl_say("unknown option %s%s%s%s", shown, near ? "; did you mean " : "", near ? near : "",
		near ? "?" : "");
	return false;
}

/* Options whose value is the next word, VALUE; NULL: there is none. -1: it is none of these, 0:
 * usage, 1: taken. */
static int take_value(struct ctl *ctl, const char *word, const char *value)
{
	const char **to = strcmp(word, "-c") == 0	 ? &ctl->config_path
			  : strcmp(word, "--from") == 0	 ? &ctl->from
			  : strcmp(word, "--login") == 0 ? &ctl->login
							 : NULL;

	if (!to)
		return -1;
	if (!value) {
		ctl_say("%s lacks %s", word,
			to == &ctl->from    ? "the sender"
			: to == &ctl->login ? "the name"
					    : "the file's name");
		return 0;
	}
	*to = value;
	return 1;
}

/* Sorts the words behind the verb into options and the rest; false: usage. */
static bool take_words(struct ctl *ctl, int argc, char **argv)
{
	bool plain = false;

	ctl->words = mem_new((size_t)argc + 1, sizeof *ctl->words);
	for (int i = 0; i < argc; i++) {
		if (!plain && strcmp(argv[i], "--") == 0) {
			plain = true;
		} else if (plain || argv[i][0] != '-' || !argv[i][1]) {
			ctl->words[ctl->count++] = argv[i];
		} else {
			int taken = take_value(ctl, argv[i], argv[i + 1]);

			if (!taken || (taken < 0 && !take_flag(ctl, argv[i])))
				return false;
			i += taken > 0;
		}
	}
	return true;
}

/* Of `| head`: it has what it wanted. */
static bool reader_left(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

static int run_found(const struct verb *verb, int argc, char **argv)
{
	struct ctl ctl = {.config_path = CTL_CONFIG};
	int status = EX_USAGE;

	/* Those have verbs of their own, with options of their own. */
	bool nested = verb->run == queue_verb || verb->run == user_verb || verb->run == table_verb;

	if (!take_words(&ctl, argc, argv))
		goto out;
	if (ctl.help && !nested) {
		verb_help(verb, "veredus");
		status = 0;
	} else if (nested || verb_takes(&ctl, verb, "veredus")) {
		status = verb->run(&ctl);
	}
out:
	free(ctl.words);
	config_drop(&ctl.config);
	if ((fflush(stdout) != 0 || ferror(stdout)) && !reader_left()) {
		ctl_say("writing: %s", strerror(errno));
		return EX_IOERR;
	}
	return status;
}

static const struct verb mailq = {"mailq", mailq_verb, "[FILTER] [--json]", "list the queue"};
static const struct verb newaliases = {"newaliases", newaliases_verb, "",
				       "read the aliases, and say what is wrong with them"};

/* The name by which we are called; -1: it is none of a program that we stand for. */
static int run_by_name(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = !argc ? "" : slash ? slash + 1 : argv[0];

	if (strcmp(name, "sendmail") == 0)
		return sendmail_run(argc - 1, argv + 1, sendmail_mode);
	if (strcmp(name, "mailq") == 0)
		return run_found(&mailq, argc - 1, argv + 1);
	if (strcmp(name, "newaliases") == 0)
		return run_found(&newaliases, argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "sendmail") == 0)
		return sendmail_run(argc - 2, argv + 2, sendmail_mode);
	return -1;
}

int main(int argc, char **argv)
{
	/* An import or a deletion whose reader has left still ends as it should. */
	signal(SIGPIPE, SIG_IGN);
	int status = run_by_name(argc, argv);

	if (status >= 0)
		return status;
	if (argc < 2) {
		verbs_help(verbs, "veredus", stderr);
		return EX_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		verbs_help(verbs, "veredus", stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("veredus %s\n", VEREDUS_VERSION);
		return 0;
	}
	if (argv[1][0] == '-') {
		ctl_say("the verb comes first, its options behind it: veredus status -c FILE");
		return EX_USAGE;
	}
	const struct verb *verb = verb_find(verbs, "veredus", argv[1]);

	if (verb && verb->run == mailq_verb)
		verb = &mailq;
	if (verb && verb->run == newaliases_verb)
		verb = &newaliases;
	return verb ? run_found(verb, argc - 2, argv + 2) : EX_USAGE;
}
