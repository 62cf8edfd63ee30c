/* SPDX-License-Identifier: ISC */
/* veredus check: all that is wrong with the configuration, or one line that it is fine. */
#include "ctl.h"

#include "check_maildrop.h"
#include "tls_check.h"

#include <stdio.h>
#include <sysexits.h>

int check_verb(struct ctl *ctl)
{
	struct config_errors errors;

	if (ctl->count) {
		ctl_say("check takes no argument \"%s\"; a file is named with -c", ctl->words[0]);
		return EX_USAGE;
	}
	bool good = ctl_config_read(ctl, &errors);

	if (good) {
		good = config_check_machine(ctl->config, &errors);
		good = tls_check(ctl->config, TLS_CHECK_ALL, false, &errors) && good;
		good = check_maildrop(ctl, &errors) && good;
	}
	ctl_config_say(ctl, &errors, stdout);
	if (good)
		printf("%s: fine: %zu listen, %zu route, %zu site blocks%s\n", ctl->config_path,
		       ctl->config->listen_count, ctl->config->route_count, ctl->config->site_count,
		       errors.count ? ", with warnings" : "");
	config_errors_free(&errors);
	return good ? 0 : 1;
}
