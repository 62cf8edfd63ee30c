/* SPDX-License-Identifier: ISC */
/*
 * What the verbs of the veredus command share: the options of a call and the
 * configuration. A verb is a function over them that returns the exit status:
 * 0 fine, 1 something is wrong or was not found, 2 a dry run, or one of
 * sysexits.h (64 usage, 69 daemons down, 77 not permitted).
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "config.h"

#include <stdbool.h>
#include <stddef.h>

#define CTL_CONFIG "/etc/veredus/veredus.conf"
#ifndef VEREDUS_SPOOL
#define VEREDUS_SPOOL "/var/spool/veredus"
#endif

enum { CTL_DRY_RUN = 2 };

struct ctl {
	const char *config_path; /* of -c, or CTL_CONFIG */
	struct config *config;	 /* after ctl_config_load() */
	char **words;		 /* what is left: no verb, no options */
	int count;
	bool json, yes, all, by_sender, connect, requires_tls, help;
	const char *from, *login; /* NULL: not given */
};

/* One row of a verb table. */
struct verb {
	const char *name;
	int (*run)(struct ctl *ctl);
	const char *arguments; /* for --help; NULL: hidden */
	const char *text;
};

/* Finds WORD in VERBS (ended by a NULL name); NULL after saying what was probably meant. */
const struct verb *verb_find(const struct verb *verbs, const char *of, const char *word);

/* The one that the words begin with, which is taken off them; NULL after saying why. */
const struct verb *verb_take(struct ctl *ctl, const struct verb *verbs, const char *of);

/* A line for each verb. */
void verbs_help(const struct verb *verbs, const char *of, FILE *to);

/* Its arguments and what it does. */
void verb_help(const struct verb *verb, const char *of);

/* False after saying which of the given options is none of the verb's arguments. */
bool verb_takes(const struct ctl *ctl, const struct verb *verb, const char *of);

/* Reads the configuration; false after saying everything that is wrong with it. */
bool ctl_config_load(struct ctl *ctl);

/* The same without a word: its errors go to *ERRORS; false also when the file can't be read (said).
 */
bool ctl_config_read(struct ctl *ctl, struct config_errors *errors);
void ctl_config_say(const struct ctl *ctl, const struct config_errors *errors, FILE *to);

/* "veredus: ..." on standard error. */
void ctl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says why PATH, of the queue's, can't be opened (errno), and gives the exit status. */
int ctl_say_path(const char *path);

/* QUEUE/NAME into TO. */
void ctl_path(const struct ctl *ctl, const char *name, char *to, size_t size);

int run_verb(struct ctl *ctl);
int check_verb(struct ctl *ctl);
int config_verb(struct ctl *ctl);
int status_verb(struct ctl *ctl);
int queue_verb(struct ctl *ctl);
int mailq_verb(struct ctl *ctl);
int trace_verb(struct ctl *ctl);
int route_verb(struct ctl *ctl);
int user_verb(struct ctl *ctl);
int tls_report_verb(struct ctl *ctl);
int newaliases_verb(struct ctl *ctl);
int table_verb(struct ctl *ctl);

#endif
