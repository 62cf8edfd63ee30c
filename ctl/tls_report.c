/* SPDX-License-Identifier: ISC */
/* veredus tls-report: what was counted today of TLS with receivers. */
#include "control.h"
#include "print.h"

#include <stdio.h>
#include <sysexits.h>

/* NULL: there is something to show. */
static const char *fault_of(unsigned state)
{
	switch ((enum tls_counts_state)state) {
	case TLS_COUNTS_FINE:
		return NULL;
	case TLS_COUNTS_OFF:
		return "tlsrpt names no contact, and nothing is counted";
	case TLS_COUNTS_NONE:
		return "nothing was counted of that domain today";
	case TLS_COUNTS_AWAY:
		break;
	}
	return "limits can't be asked now; try again in a moment";
}

static json_t *row_json(const struct rec_tls_count *row)
{
	json_t *o = json_object();

	json_object_set_new(o, "domain", json_text(row->domain));
	json_object_set_new(o, "sessions", json_u64(row->sessions));
	json_object_set_new(o, "failed", json_u64(row->failed));
	return o;
}

static void show_all(const struct ctl *ctl, const struct msg_tls_counts_are *are)
{
	struct wire_list list = are->domains;
	struct rec_tls_count row;

	while (list_next_tls_count(&list, &row)) {
		if (ctl->json) {
			json_print(row_json(&row), stdout);
			continue;
		}
		print_text(row.domain, stdout);
		printf(": %llu sessions, %llu failed\n", (unsigned long long)row.sessions,
		       (unsigned long long)row.failed);
	}
	if (!ctl->json && are->total > are->domains.count)
		printf("and %u more domains\n", are->total - are->domains.count);
}

/* The report as it would be sent now, for people in lines. */
static bool show_one(const struct ctl *ctl, struct text report)
{
	json_t *whole = json_loadb(report.data, report.len, 0, NULL);

	if (!whole)
		return false;
	json_dumpf(whole, stdout, ctl->json ? JSON_COMPACT : JSON_INDENT(2));
	putchar('\n');
	json_decref(whole);
	return true;
}

int tls_report_verb(struct ctl *ctl)
{
	struct msg_tls_counts_ask ask = {.request = 1};
	struct message m;
	int status;

	if (ctl->count)
		ask.domain = text_of(ctl->words[0]);
	if (ctl->count > 1 || ask.domain.len > 255) {
		ctl_say("usage: veredus tls-report [DOMAIN] [--json] [-c FILE]");
		return EX_USAGE;
	}
	if (!ctl_config_load(ctl))
		return 1;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	status = EX_UNAVAILABLE;
	if (control_ask(control, MSG_tls_counts_ask, &ask, MSG_tls_counts_are, &m)) {
		const char *fault = fault_of(m.tls_counts_are.state);

		status = m.tls_counts_are.state == TLS_COUNTS_AWAY ? EX_UNAVAILABLE : fault != NULL;
		if (fault)
			ctl_say("%s", fault);
		else if (!ask.domain.len)
			show_all(ctl, &m.tls_counts_are);
		else if (!show_one(ctl, m.tls_counts_are.report))
			status = EX_SOFTWARE;
	}
	control_close(&control);
	return status;
}
