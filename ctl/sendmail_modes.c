/* SPDX-License-Identifier: ISC */
/* What sendmail(1) does beside handing in a mail: these are other verbs by names of old. */
#include "sendmail.h"

#include "queue_verbs.h"

#include <stdio.h>
#include <sysexits.h>

static int list_or_flush(struct ctl *ctl, const struct sendmail_options *o)
{
	char filter[300];
	char *words[] = {filter};

	if (o->mode == SENDMAIL_LIST)
		return queue_list_verb(ctl);
	ctl->words = words;
	if (o->flush_by) {
		snprintf(filter, sizeof filter, "%s=%s", o->flush_by == 'I' ? "id" : "domain",
			 o->flush);
		ctl->count = 1;
	}
	int status = queue_flush_verb(ctl);

	ctl->words = NULL;
	ctl->count = 0;
	return status;
}

/* What the mail would meet, as `veredus route` tells it. */
static int verify(struct ctl *ctl, const struct sendmail_options *o)
{
	int status = o->recipient_count ? EX_OK : sendmail_say(EX_USAGE, "-bv: whom?");

	for (int i = 0; i < o->recipient_count; i++) {
		ctl->words = &o->recipients[i];
		ctl->count = 1;
		int one = route_verb(ctl);

		status = one ? one : status;
	}
	ctl->words = NULL;
	ctl->count = 0;
	return status;
}

static int converse(const struct sendmail_options *o)
{
	struct sendmail_place place = {.maildrop = NULL};
	int status = sendmail_config(o, &place) ? sendmail_smtp(place.ctl.config, place.maildrop)
						: EX_CONFIG;

	config_drop(&place.ctl.config);
	return status;
}

int sendmail_mode(const struct sendmail_options *o, int argc, char **argv)
{
	struct ctl ctl = {.config_path = o->config ? o->config : CTL_CONFIG};
	int status = EX_CONFIG;

	(void)argc;
	(void)argv;
	if (o->mode == SENDMAIL_SMTP)
		return converse(o);
	if (o->mode == SENDMAIL_ALIASES)
		status = newaliases_verb(&ctl);
	else if (o->mode == SENDMAIL_VERIFY)
		status = verify(&ctl, o);
	else if (ctl_config_load(&ctl))
		status = list_or_flush(&ctl, o);
	config_drop(&ctl.config);
	return status;
}
