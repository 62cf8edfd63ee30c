/* SPDX-License-Identifier: ISC */
/* veredus run: becomes master, which lies beside this program or in ../libexec/veredus. */
#include "ctl.h"

#include "program.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

int run_verb(struct ctl *ctl)
{
	static const char *const places[] = {"master", "../libexec/veredus/master"};
	char folder[PATH_MAX], path[PATH_MAX + 64], word[] = "master", option[] = "-c";
	char config[PATH_MAX];

	if (ctl->count) {
		ctl_say("run takes no argument \"%s\"", ctl->words[0]);
		return EX_USAGE;
	}
	if (!program_folder(folder, sizeof folder)) {
		ctl_say("/proc/self/exe: %s", strerror(errno));
		return EX_OSERR;
	}
	if (strlen(ctl->config_path) >= sizeof config) {
		ctl_say("the name of the configuration is too long");
		return EX_USAGE;
	}
	strcpy(config, ctl->config_path);
	signal(SIGPIPE, SIG_DFL); /* as it would find it without us */
	for (size_t i = 0; i < 2; i++) {
		char *const argv[] = {word, option, config, NULL};

		snprintf(path, sizeof path, "%s/%s", folder, places[i]);
		execv(path, argv);
		if (errno != ENOENT) {
			ctl_say("%s: %s", path, strerror(errno));
			return EX_OSERR;
		}
	}
	ctl_say("master is neither in %s nor in %s/../libexec/veredus", folder, folder);
	return EX_UNAVAILABLE;
}
