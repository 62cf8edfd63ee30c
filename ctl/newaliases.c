/* SPDX-License-Identifier: ISC */
/*
 * newaliases: reads the aliases and says what is wrong with them. Nothing is
 * built, since local reads the text itself, whenever it changes.
 */
#include "aliases.h"
#include "ctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { MOST_BYTES = 64 * 1024 * 1024 };

struct reading {
	const char *path;
	bool wrong;
};

static void say_fault(void *owner, uint32_t line, const char *what)
{
	struct reading *r = owner;

	fprintf(stderr, "%s:%u: %s\n", r->path, (unsigned)line, what);
	r->wrong = true;
}

int newaliases_verb(struct ctl *ctl)
{
	struct config_errors errors = {0};
	char path[PATH_MAX] = "/etc/aliases";
	size_t most = MOST_BYTES;

	/* Maintainer scripts call it before there is a configuration. */
	if (access(ctl->config_path, R_OK) == 0 && ctl_config_read(ctl, &errors)) {
		text_copy(path, sizeof path, ctl->config->local_aliases);
		most = ctl->config->tables_size;
	}
	config_errors_free(&errors);
	struct reading r = {path, false};
	ptrdiff_t count = aliases_check(path, most, say_fault, &r);

	if (count < 0 && errno == ENOENT) {
		printf("%s: there is none\n", path);
		return EX_OK;
	}
	if (count < 0) {
		ctl_say("%s: %s", path, strerror(errno));
		return EX_NOINPUT;
	}
	printf("%s: %td aliases%s\n", path, count, r.wrong ? ", with faults" : "");
	return r.wrong ? EX_DATAERR : EX_OK;
}
