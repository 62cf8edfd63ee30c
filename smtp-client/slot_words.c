/* SPDX-License-Identifier: ISC */
/* Why a host was of no use to a slot, and where a job went. */
#include "slot_words.h"

#include "mem.h"
#include "tls_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* That a host did not do what the policy wants is said in the end, whatever befell the others. */
void slot_trouble(struct slot *s, const struct reply *why)
{
	if (s->tls_trouble || s->login_trouble)
		return;
	s->final = false;
	if (!s->trouble)
		s->trouble = mem_new(1, sizeof *s->trouble);
	*s->trouble = *why;
}

/* The present host failed: said once a minute, and tried after the others for as long. */
void slot_host_failed(struct slot *s, const struct reply *why)
{
	char relay[RELAY_BYTES];
	const struct host *host = s->attempt.host;

	slot_trouble(s, why);
	if (!failures_note(s->worker->failures, host, s->job->source,
			   loop_now(s->worker->daemon->loop)))
		return;
	size_t len = host_relay(host, relay);

	LOG(s->worker->daemon->log, connect_failed, 0, {relay, len}, {why->text, why->len});
}

struct reply words_make(const char *dsn, const char *what)
{
	struct reply r = {.enhanced = true};

	text_copy(r.dsn, sizeof r.dsn, text_of(dsn));
	r.len = (uint16_t)text_copy(r.text, sizeof r.text, text_of(what));
	return r;
}

void slot_unreachable(struct slot *s, const char *what)
{
	const struct reply why = words_make("4.4.1", what);

	slot_host_failed(s, &why);
}

/* RFC 3463 3.5, X.3.5: "The system is not configured in a manner that will permit it". */
void slot_unbound(struct slot *s, const char *what)
{
	const struct config_source *source = s->job->source;
	struct text from = source_address(source, s->attempt.host);
	char text[REPLY_TEXT_MAX];

	snprintf(text, sizeof text, "source %.*s: no connection can be made from %.*s: %s",
		 (int)source->label.len, source->label.data, (int)from.len, from.data, what);
	const struct reply why = words_make("4.3.5", text);

	slot_host_failed(s, &why);
}

/* X.4.4: "The mail system was unable to determine the next hop for the message". */
void slot_strange(struct slot *s)
{
	const struct config_source *source = s->job->source;
	char text[REPLY_TEXT_MAX];

	snprintf(text, sizeof text,
		 "source %.*s has no IPv%c address, and the receiver's hosts have no others",
		 (int)source->label.len, source->label.data, source->ipv4.len ? '6' : '4');
	const struct reply why = words_make("4.4.4", text);

	slot_trouble(s, &why);
}

void slot_log_tls(struct slot *s, const char *what, const char *then)
{
	char relay[RELAY_BYTES];
	size_t len = host_relay(s->attempt.host, relay);

	LOG(s->worker->daemon->log, tls_to_failed, s->job->id, {relay, len}, text_of(what),
	    text_of(then));
}

/* The host is not to blame towards other domains: it goes into no list of failures. */
void slot_tls_trouble(struct slot *s, const struct reply *why)
{
	slot_log_tls(s, why->text, "no mail is sent there");
	slot_trouble(s, why);
	s->tls_trouble = true;
}

void slot_sts(struct slot *s, enum sts_verdict verdict)
{
	if (s->sts != STS_OPEN && s->sts != STS_UNNAMED)
		return;
	if (s->sts == STS_OPEN)
		s->sts = (uint8_t)verdict;
	if (s->sts_mode != STS_TESTING || s->sts == STS_FITS || s->sts_said)
		return;
	s->sts_said = true;
	slot_log_tls(s, sts_verdict_text((enum sts_verdict)s->sts),
		     "used all the same, since the policy is in testing");
}

void slot_tls_final(struct slot *s, const char *dsn, const char *what)
{
	const struct reply why = words_make(dsn, what);
	bool first = !s->trouble || s->final;

	slot_log_tls(s, why.text, "no mail is sent there");
	s->strict_failed = true;
	/* What may pass is waited for. */
	if (!first)
		return;
	slot_trouble(s, &why);
	s->final = true;
}

bool slot_relaxes(struct slot *s)
{
	if (s->job->tls_wish != MAIL_TLS_REQUIRED || s->job->sender.len || s->job->relaxed ||
	    !s->strict_failed)
		return false;
	s->job->relaxed = true;
	slot_forget_trouble(s);
	return true;
}

void slot_forget_trouble(struct slot *s)
{
	free(s->trouble);
	s->trouble = NULL;
	s->tls_trouble = s->final = s->strict_failed = s->login_trouble = s->ours = false;
}

enum failure_scope slot_verdict(struct slot *s, struct verdict *v, char *dsn)
{
	static const struct verdict unfit[] = {
	    [UNFIT_8BIT] = {OUTCOME_FAILED, 0, "5.6.3",
			    TEXT(
				"the message has 8-bit content, which the receiver does not take")},
	    [UNFIT_UTF8] = {OUTCOME_FAILED, 0, "5.6.7",
			    TEXT("the message needs SMTPUTF8, which the receiver does not offer")},
	};

	if (s->job->unfit && !s->trouble) {
		*v = unfit[s->job->unfit];
		return SCOPE_MESSAGE;
	}
	*v = (struct verdict){OUTCOME_DEFERRED, 0, "4.4.1", TEXT("no host could be reached")};
	if (!s->trouble && s->attempt.strange)
		slot_strange(s);
	if (s->trouble) {
		v->code = s->trouble->code;
		v->dsn = s->trouble->dsn;
		v->reply = (struct text){s->trouble->text, s->trouble->len};
	}
	/* A host that is ourselves will be that tomorrow, too. */
	bool loops = s->trouble && strcmp(v->dsn, "5.4.6") == 0 && !v->code;

	if (loops || s->final) {
		v->kind = OUTCOME_FAILED;
		return loops ? SCOPE_DOMAIN : SCOPE_MESSAGE;
	}
	/* A 5xx greeting refuses the connection, not the mail: it is tried again, with a status
	 * that says so. */
	text_copy(dsn, REPLY_DSN_BYTES, text_of(v->dsn));
	dsn[0] = '4';
	v->dsn = dsn;
	/* What the policy asks for is this domain's affair; others are served there as they were.
	 */
	return s->ours ? SCOPE_NOBODY : s->tls_trouble ? SCOPE_DOMAIN : SCOPE_SITE;
}

/* Where the job went, under what policy, and what TLS there was. */
void slot_say_way(struct slot *s)
{
	char relay[RELAY_BYTES] = "none", policy[TLS_SAID_BYTES], tls[TLS_SAID_BYTES];
	size_t relay_len = s->attempt.host ? host_relay(s->attempt.host, relay) : 4;
	size_t policy_len = tls_policy_said(s->job, (enum sts_verdict)s->sts, policy);
	size_t tls_len = tls_facts_said(s->stream ? stream_tls(s->stream) : NULL, tls);

	s->job->unsourced =
	    s->job->source && s->attempt.host && !source_towards(s->job->source, s->attempt.host);
	job_set_way(s->job, (struct text){relay, relay_len}, (struct text){policy, policy_len},
		    (struct text){tls, tls_len});
}
