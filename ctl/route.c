/* SPDX-License-Identifier: ISC */
/*
 * veredus route: what would become of a mail to an address, and why. qmgr
 * answers by the configuration that it serves, through the resolver that
 * deliveries ask; here it is only shown.
 */
#include "ctl.h"

#include "config_source.h"
#include "control.h"
#include "next_hops.h"
#include "print.h"
#include "route_try.h"
#include "route_view.h"
#include "sts.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

/* -- for people -------------------------------------------------------------------------- */

static void field(const char *name)
{
	printf("%-11s ", name);
}

static void field_text(const char *name, struct text t)
{
	field(name);
	print_text(t, stdout);
	putchar('\n');
}

static void route_text(const struct route_view *v)
{
	const struct msg_route_is *m = v->is;

	field("route");
	print_text(m->route, stdout);
	fputs(" { to = ", stdout);
	print_text(m->to, stdout);
	fputs(" }", stdout);
	if (v->line)
		printf(", line %u of %s", v->line, v->config_path);
	else if (v->changed)
		printf(", which is not what %s says now: it waits for a reload", v->config_path);
	else
		fputs(", since no route block says otherwise", stdout);
	putchar('\n');
}

/* The policy, and where it comes from. */
static void tls_text(const struct msg_route_is *m)
{
	field("tls");
	if (m->tls_why.len) {
		fputs("not known, and so no mail is sent: tls-policies, ", stdout);
		print_text(m->tls_key, stdout);
		fputs(": ", stdout);
		print_text(m->tls_why, stdout);
	} else if (m->tls_key.len) {
		printf("%s; tls-policies, ", policy_of(m->tls));
		print_text(m->tls_key, stdout);
		fputs(": ", stdout);
		print_text(m->tls_row, stdout);
	} else {
		fputs(policy_of(m->tls), stdout);
	}
	putchar('\n');
}

/* What is said of the sender, and where. */
static void sender_text(const struct msg_route_is *m)
{
	if (m->sender_by == SENDER_NOT_ASKED)
		return;
	field("sender");
	if (m->sender_route.len)
		fputs("route = ", stdout);
	print_text(m->sender_route, stdout);
	if (m->sender_source.len)
		fputs(m->sender_route.len ? ", source = " : "source = ", stdout);
	print_text(m->sender_source, stdout);
	if (m->sender_by == SENDER_NOBODY)
		fputs("nothing is said of it", stdout);
	else
		printf("; %s ", sender_by_word(m->sender_by));
	print_text(m->sender_key, stdout);
	putchar('\n');
	if (m->sender_route.len && m->kind == ROUTE_HOP && !text_equal(m->route, m->sender_route)) {
		field("");
		puts("what is said of the domain itself goes before that route");
	}
}

static void next_hop_text(const struct msg_route_is *m)
{
	field("next hop");
	if (m->kind != ROUTE_HOP) {
		puts(m->kind == ROUTE_LOCAL	? "a mailbox of this machine"
		     : m->kind == ROUTE_DISCARD ? "none: discarded"
						: "none: returned to the sender");
		return;
	}
	print_text(m->target, stdout);
	if (m->how == HOP_MX && m->origin != ORIGIN_ROUTE)
		printf("; %s, %s", origin_word(m->origin), dnssec_word(m->dnssec));
	if (m->how != HOP_LMTP_UNIX && !target_is_list(m->target))
		printf("; port %u", m->port);
	if (m->how == HOP_LMTP || m->how == HOP_LMTP_UNIX)
		fputs("; LMTP", stdout);
	if (m->how == HOP_SMTPS)
		fputs("; TLS from the first octet", stdout);
	putchar('\n');
	tls_text(m);
	if (m->source.len) {
		field("source");
		print_text(m->source, stdout);
		puts(text_equals(m->route, "*") && m->sender_by == SENDER_NOT_ASKED
			 ? ", unless something else is said of the sender (--from)"
			 : "");
	}
	if (m->login.len)
		field_text("login", m->login);
}

static void verdict_text(const struct msg_route_is *m)
{
	if (m->kind != ROUTE_HOP || m->verdict == HOP_FOUND)
		return;
	field("verdict");
	printf("%s: %u ", m->verdict == HOP_TEMPORARY ? "tried again later" : "returned", m->code);
	print_text(m->dsn, stdout);
	putchar(' ');
	print_text(m->reason, stdout);
	putchar('\n');
}

static void site_text(const struct msg_route_is *m)
{
	char age[SHORT_BYTES];

	if (!m->site.len)
		return;
	field_text("site", m->site);
	field("limits");
	printf("%u connections, %u messages over each", m->site_connections, m->site_messages);
	if (m->site_rate)
		printf(", %llu messages a minute", (unsigned long long)m->site_rate);
	putchar('\n');
	if (!m->site_known)
		return;
	field("now");
	printf("%u connections of %u that it is trusted with; %u ready, %u in flight, %u "
	       "deferred\n",
	       m->connections, m->window, m->ready, m->in_flight, m->deferred);
	if (m->next_wall) {
		struct duration wait = {(int64_t)m->next_wall - walltime_read().us};

		field("");
		printf("down, next attempt in %s: ", print_age(age, wait));
		print_text(m->last_error, stdout);
		putchar('\n');
	}
}

static void record_text(const struct rec_path_tlsa *r)
{
	printf("%16s%u %u %u ", "", r->usage, r->selector, r->matching);
	for (size_t i = 0; i < r->data.len && i < 64; i++)
		printf("%02x", (unsigned char)r->data.data[i]);
	if (r->length > 64)
		printf("... (%u octets)", r->length);
	if (r->fault)
		printf("  of no use: %s", tlsa_fault_text(r->fault));
	putchar('\n');
}

static void tlsa_text(const struct msg_route_is *m, const struct rec_path_host *h)
{
	struct wire_list list = h->tlsa;
	struct rec_path_tlsa r;

	if (!h->tlsa_asked && h->tlsa_state == TLSA_NONE && !h->tlsa_why.len) {
		if (h->addresses.count && m->origin != ORIGIN_ROUTE)
			printf("%12sTLSA  not asked for: the MX set is not secure\n", "");
		return;
	}
	printf("%12sTLSA  %s", "", tlsa_state_text(h->tlsa_state));
	if (h->tlsa_base.len) {
		fputs(", below ", stdout);
		print_text(h->tlsa_base, stdout);
	}
	if (h->tlsa_why.len) {
		fputs(": ", stdout);
		print_text(h->tlsa_why, stdout);
	}
	putchar('\n');
	while (list_next_path_tlsa(&list, &r))
		record_text(&r);
}

static void addresses_text(struct wire_list list)
{
	struct rec_path_address a;
	char address[46];

	for (const char *before = ": "; list_next_path_address(&list, &a); before = ", ")
		if (a.address.len == 16)
			printf("%s%s", before,
			       host_address_print((const uint8_t *)a.address.data, address));
}

static void host_text(const struct route_view *v, const struct rec_path_host *h)
{
	const struct msg_route_is *m = v->is;

	printf("%10u  ", h->preference);
	print_text(h->name, stdout);
	if (target_is_list(m->target))
		printf(":%u", h->port);
	if (h->weight)
		printf(", weight %u", h->weight);
	if (h->alias.len) {
		fputs(", an alias of ", stdout);
		print_text(h->alias, stdout);
	}
	if (m->how != HOP_LMTP_UNIX && m->how != HOP_LITERAL) {
		printf("; addresses %s", dnssec_word(h->dnssec));
		addresses_text(h->addresses);
	}
	if (h->use != HOST_USED)
		printf("; left out: %s", host_use_text(h->use));
	if (h->why.len) {
		fputs("; ", stdout);
		print_text(h->why, stdout);
	}
	putchar('\n');
	tlsa_text(m, h);
	if (m->sts_mode == STS_TESTING && !sts_names(m->sts_mx, h->name))
		printf("%12sSTS   no mx of the policy names it, which is in testing\n", "");
	if (h->use == HOST_USED && m->how != HOP_LMTP_UNIX)
		printf("%12sTLS   %s\n", "", level_text(host_level(v, h)));
}

/* Its domain's MTA-STS policy. */
static void policy_text(const struct msg_route_is *m)
{
	struct duration age = {walltime_read().us - (int64_t)m->sts_fetched_wall};
	char text[SHORT_BYTES];

	if (!m->sts_asked)
		return;
	field("mta-sts");
	if (m->sts_mode == STS_NONE && !m->sts_id.len) {
		fputs("none", stdout);
	} else {
		printf("%s, id ", sts_mode_name(m->sts_mode));
		print_text(m->sts_id, stdout);
		printf(", fetched %s ago", print_age(text, age));
		printf(", max_age %u s", m->sts_max_age_s);
		if (m->sts_mx.len)
			fputs("; mx ", stdout);
		print_text(m->sts_mx, stdout);
	}
	if (m->sts_why.len) {
		fputs(": ", stdout);
		print_text(m->sts_why, stdout);
	}
	putchar('\n');
}

static void view_text(const struct route_view *v)
{
	const struct msg_route_is *m = v->is;
	struct wire_list list = m->hosts;
	struct rec_path_host h;

	field_text("domain", m->domain);
	sender_text(m);
	route_text(v);
	next_hop_text(m);
	if (v->requires)
		field_text("requiretls",
			   text_of("to hosts that prove their name, and offer it; else "
				   "the mail comes back"));
	policy_text(m);
	verdict_text(m);
	site_text(m);
	if (list.count)
		puts("hosts");
	while (list_next_path_host(&list, &h))
		host_text(v, &h);
}

/* -- the verb ------------------------------------------------------------------------------ */

/* The block's line is that of the file, which the daemons do not have. */
static void find_line(const struct ctl *ctl, struct route_view *v)
{
	const struct config_route *r =
	    config_route_of(ctl->config, v->is->domain, v->is->sender_route);
	size_t len = r->to.len < 1024 ? r->to.len : 1024;

	if (text_equal(r->label, v->is->route) &&
	    text_equal((struct text){r->to.data, len}, v->is->to))
		v->line = r->line;
	else
		v->changed = true;
}

/* Has the hosts tried; the exit status. */
static int route_connect(struct control *control, const struct msg_route_ask *ask, bool requires,
			 json_t *to)
{
	const struct msg_try_ask again = {.request = 2,
					  .address = ask->address,
					  .has_sender = ask->has_sender,
					  .sender = ask->sender,
					  .login = ask->login,
					  .tls = requires ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY};
	struct message m;

	if (!control_ask(control, MSG_try_ask, &again, MSG_tried, &m))
		return EX_UNAVAILABLE;
	if (m.tried.error.len) {
		ctl_say("not tried: %.*s", (int)m.tried.error.len, m.tried.error.data);
		return 1;
	}
	if (to)
		json_object_set_new(to, "tried", tried_json(&m.tried));
	else
		tried_text(&m.tried);
	return !tried_well(&m.tried);
}

/* What was answered, and what is met there; the exit status. */
static int route_show(const struct ctl *ctl, struct control *control,
		      const struct msg_route_ask *ask, const struct route_view *view)
{
	const struct msg_route_is *is = view->is;
	json_t *json = ctl->json ? route_json(view) : NULL;
	bool hop = is->kind == ROUTE_HOP && is->verdict == HOP_FOUND && !is->tls_why.len;
	int status = is->kind == ROUTE_REJECT || is->verdict != HOP_FOUND || is->tls_why.len > 0;

	if (!json)
		view_text(view);
	if (ctl->connect && hop) /* its answer takes the place of the first one */
		status = route_connect(control, ask, view->requires, json);
	if (json)
		json_print(json, stdout);
	return status;
}

/* What is asked, of the words; false: usage. */
static bool route_question(const struct ctl *ctl, struct msg_route_ask *ask)
{
	*ask = (struct msg_route_ask){.request = 1};
	if (ctl->count != 1 || (ctl->login && !ctl->from)) {
		ctl_say("usage: veredus route ADDRESS|DOMAIN [--from SENDER [--login NAME]] "
			"[--requiretls] [--connect] [--json] [-c FILE]");
		return false;
	}
	ask->address = text_of(ctl->words[0]);
	ask->has_sender = ctl->from != NULL;
	if (ctl->from && strcmp(ctl->from, SENDER_NULL) != 0)
		ask->sender = text_of(ctl->from);
	if (ctl->login)
		ask->login = text_of(ctl->login);
	if (ask->address.len <= 512 && ask->sender.len <= ADDRESS_MAX &&
	    ask->login.len <= SUBMITTER_MAX)
		return true;
	ctl_say("too long: an address has 512 octets at most, a sender %d, a login %d", ADDRESS_MAX,
		SUBMITTER_MAX);
	return false;
}

int route_verb(struct ctl *ctl)
{
	struct message m;
	struct msg_route_ask ask;
	int status;

	if (!route_question(ctl, &ask))
		return EX_USAGE;
	if (!ctl_config_load(ctl))
		return 1;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	status = EX_UNAVAILABLE;
	if (!control_ask(control, MSG_route_ask, &ask, MSG_route_is, &m))
		goto out;
	const struct msg_route_is *is = &m.route_is;
	struct route_view view = {
	    .is = is, .config_path = ctl->config_path, .requires = ctl->requires_tls};

	status = 1;
	if (is->error.len) {
		ctl_say("%.200s: %.*s", ctl->words[0], (int)is->error.len, is->error.data);
		goto out;
	}
	find_line(ctl, &view);
	status = route_show(ctl, control, &ask, &view);
out:
	control_close(&control);
	return status;
}
