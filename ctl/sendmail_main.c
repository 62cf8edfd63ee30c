/* SPDX-License-Identifier: ISC */
/*
 * The sendmail that programs call. It hands in mail, with nothing linked to it
 * but the C library, since it is started for each mail. What else a sendmail
 * does is the veredus command's, which takes this one's place.
 */
#include "sendmail.h"

#include "mem.h"
#include "program.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The command beside this program, with WORDS; it returns only when there is none. */
static int become_veredus(char **words)
{
	char path[PATH_MAX + 32] = "veredus";

	if (program_beside("veredus", path, sizeof path))
		execv(path, words);
	return sendmail_say(EX_UNAVAILABLE, "%s: %s", path, strerror(errno));
}

static int other(const struct sendmail_options *o, int argc, char **argv)
{
	char name[] = "veredus", verb[] = "sendmail";
	char **words = mem_new((size_t)argc + 3, sizeof *words);

	(void)o;
	words[0] = name;
	words[1] = verb;
	memcpy(words + 2, argv, (size_t)argc * sizeof *words);
	int status = become_veredus(words);

	free(words);
	return status;
}

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";

	/* postdrop that ends early is heard of otherwise. */
	signal(SIGPIPE, SIG_IGN);
	/* A link of these names to sendmail is as good as one to the command. */
	if (strcmp(name, "mailq") == 0 || strcmp(name, "newaliases") == 0)
		return become_veredus(argv);
	return sendmail_run(argc ? argc - 1 : 0, argc ? argv + 1 : argv, other);
}
