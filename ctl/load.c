/* SPDX-License-Identifier: ISC */
/* The configuration file, for every verb. */
#include "ctl.h"

#include "bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { READ_MAX_BYTES = 1048576 + 1 }; /* one more than config_read() takes, so that it says so */

static bool read_file(const char *path, struct bytes *to)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f) {
		bool missing = errno == ENOENT && strcmp(path, CTL_CONFIG) == 0;

		ctl_say("%s: %s%s", path, strerror(errno),
			missing ? "; -c FILE names another one" : "");
		return false;
	}
	n = fread(bytes_room(to, READ_MAX_BYTES), 1, READ_MAX_BYTES, f);
	to->end += n;
	bool good = !ferror(f);

	if (!good)
		ctl_say("%s: %s", path, strerror(errno));
	fclose(f);
	return good;
}

bool ctl_config_read(struct ctl *ctl, struct config_errors *errors)
{
	struct bytes content = {0};

	*errors = (struct config_errors){0};
	if (read_file(ctl->config_path, &content))
		ctl->config = config_read(bytes_text(&content), errors);
	bytes_free(&content);
	return ctl->config != NULL;
}

void ctl_config_say(const struct ctl *ctl, const struct config_errors *errors, FILE *to)
{
	for (size_t i = 0; i < errors->count; i++) {
		const struct config_error *e = &errors->items[i];
		const char *kind = e->warning ? "warning" : "error";

		if (e->line)
			fprintf(to, "%s:%u:%u: %s: %s\n", ctl->config_path, e->line, e->column,
				kind, e->text);
		else
			fprintf(to, "%s: %s: %s\n", ctl->config_path, kind, e->text);
	}
}

bool ctl_config_load(struct ctl *ctl)
{
	struct config_errors errors;
	bool good = ctl_config_read(ctl, &errors);

	if (!good)
		ctl_config_say(ctl, &errors, stderr);
	config_errors_free(&errors);
	return good;
}

int ctl_say_path(const char *path)
{
	int error = errno;
	bool forbidden = error == EACCES || error == EPERM;

	ctl_say("%s: %s%s", path, strerror(error),
		forbidden	  ? ": only root and the queue's owner may read it"
		: error == ENOENT ? ": veredus has not run with this configuration yet"
				  : "");
	return forbidden ? EX_NOPERM : EX_NOINPUT;
}
