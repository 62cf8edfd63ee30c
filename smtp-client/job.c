/* SPDX-License-Identifier: ISC */
/* Jobs. */
#include "job.h"

#include "config_source.h"
#include "mem.h"
#include "route_login.h"
#include "route_tls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_BYTES_MAX = 512, RELAY_BYTES_MAX = 320, SCAN_BYTES = 65536 };

static struct text take_text(char **at, struct text t)
{
	struct text copy = {*at, t.len};

	if (t.len)
		memcpy(*at, t.data, t.len);
	*at += t.len;
	return copy;
}

/* An address goes between < and >: nothing in it may end it early, or the line. */
static bool address_is_safe(struct text a)
{
	bool quoted = false;

	for (size_t i = 0; i < a.len; i++) {
		unsigned char c = (unsigned char)a.data[i];

		if (c < ' ' || c == 0x7f)
			return false;
		if (c == '\\' && quoted)
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '<' || c == '>' || c == ' '))
			return false;
		if (i < a.len && ((unsigned char)a.data[i] < ' ' || a.data[i] == 0x7f))
			return false;
	}
	return !quoted;
}

static bool parameter_is_safe(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] <= ' ' || t.data[i] > '~')
			return false;
	return true;
}

/* The bytes of all texts of M; false when M makes no sense. */
static bool job_measure(const struct msg_job *m, bool in_file, size_t *size)
{
	struct wire_list list = m->recipients;
	struct rec_job_recipient r;

	if (!m->recipients.count || m->how > HOP_SMTPS || !m->prelude.len ||
	    m->sts_mode > STS_ENFORCE)
		return false;
	if (in_file ? m->body.len != 0 : m->body.len != m->body_length)
		return false;
	*size = m->site.len + m->hop.len + m->target.len + m->domain.len + m->sender.len +
		m->envid.len + m->source.len + m->prelude.len + m->body.len + m->tls_row.len +
		m->sts_id.len + m->sts_mx.len + m->route.len;
	while (list_next_job_recipient(&list, &r))
		*size += r.address.len + r.orcpt.len;
	return true;
}

static void job_fill(struct job *job, const struct msg_job *m, char *at)
{
	job->number = m->job;
	job->id = m->id;
	job->slot = m->slot;
	job->how = m->how;
	job->port = m->port;
	job->ret = m->ret;
	job->body_type = m->body_type;
	job->smtputf8 = m->smtputf8;
	job->tls_wish = m->tls <= MAIL_TLS_OPTIONAL ? m->tls : MAIL_TLS_REQUIRED;
	job->arrival.us = (int64_t)m->arrival_wall;
	job->active.us = (int64_t)m->active_wall;
	job->body_length = m->body_length;
	job->one_domain = m->one_domain == 1;
	job->prelude_bytes = m->prelude.len;
	job->content = take_text(&at, m->prelude);
	job->content.len += take_text(&at, m->body).len;
	job->site = take_text(&at, m->site);
	job->hop = take_text(&at, m->hop);
	job->target = take_text(&at, m->target);
	job->domain = take_text(&at, m->domain);
	job->sender = take_text(&at, m->sender);
	job->envid = take_text(&at, m->envid);
	job->source_name = take_text(&at, m->source);
	job->route_name = take_text(&at, m->route);
	job->tls_row = take_text(&at, m->tls_row);
	job->sts = (struct sts_policy){.mode = m->sts_mode,
				       .max_age_s = m->sts_max_age_s,
				       .id = take_text(&at, m->sts_id),
				       .mx = take_text(&at, m->sts_mx)};
	if (!parameter_is_safe(job->envid))
		job->envid.len = 0;
	struct wire_list list = m->recipients;
	struct rec_job_recipient r;

	for (struct recipient *to = job->recipients; list_next_job_recipient(&list, &r); to++) {
		to->number = r.number;
		to->notify = r.notify;
		to->address = take_text(&at, r.address);
		to->orcpt = take_text(&at, r.orcpt);
		if (!parameter_is_safe(to->orcpt))
			to->orcpt.len = 0;
	}
}

static void job_refuse_unsafe(struct job *job)
{
	const struct verdict sender = {OUTCOME_FAILED, 0, "5.1.7",
				       TEXT("the sender's address is not valid")};
	const struct verdict recipient = {OUTCOME_FAILED, 0, "5.1.3",
					  TEXT("the recipient's address is not valid")};

	if (!address_is_safe(job->sender))
		job_settle_open(job, &sender);
	for (uint32_t i = 0; i < job->recipient_count; i++) {
		struct recipient *r = &job->recipients[i];

		if (r->stage != RECIPIENT_SETTLED &&
		    (!r->address.len || !address_is_safe(r->address)))
			job_settle(job, r, &recipient);
	}
}

struct job *job_new(const struct msg_job *m, int fd, bool fd_lost)
{
	const struct verdict lost = {OUTCOME_DEFERRED, 0, "4.3.0",
				     TEXT("no descriptor is left to read the message with")};
	size_t texts;

	if (!job_measure(m, fd >= 0 || fd_lost, &texts)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	size_t fixed = sizeof(struct job) + m->recipients.count * sizeof(struct recipient);
	struct job *job = mem_resize(NULL, fixed + texts, 1);

	memset(job, 0, fixed);
	job->fd = fd;
	job->recipient_count = job->open = m->recipients.count;
	job->relay = job->policy = job->tls = (struct text)TEXT("none");
	job_fill(job, m, (char *)job + fixed);
	job_refuse_unsafe(job);
	if (fd_lost)
		job_settle_open(job, &lost);
	return job;
}

void job_free(struct job **job)
{
	if (!*job)
		return;
	if ((*job)->fd >= 0)
		close((*job)->fd);
	bytes_free(&(*job)->words);
	policy_row_drop(&(*job)->own);
	config_drop(&(*job)->config);
	free(*job);
	*job = NULL;
}

/*
 * A reload comes to qmgr and to us one after the other, and what qmgr has sent before leads where
 * the old route led: to somebody's MX, or to another relay. The key of the connection names the
 * login that qmgr meant; ours must be heard by nobody else. And a relay that knows nobody without
 * one would refuse for good what comes to it without.
 */
static bool job_login_is_meant(const struct job *job)
{
	char key[ROUTE_KEY_BYTES];
	struct text hop = job->hop, its = {key, route_login_key(job->route, key)};
	bool has_one = hop.len && memmem(hop.data, hop.len, LOGIN_KEY, strlen(LOGIN_KEY));

	return its.len ? has_one && memmem(hop.data, hop.len, its.data, its.len) : !has_one;
}

void job_set_config(struct job *job, const struct config *config)
{
	static const struct verdict moved = {OUTCOME_DEFERRED, 0, "4.3.0",
					     TEXT("the configuration has changed meanwhile")};
	static const struct verdict lost = {OUTCOME_DEFERRED, 0, "4.3.5",
					    TEXT("its route is not in the configuration of this "
						 "process")};

	job->config = config_keep(config);
	job->route = config_route_of(config, job->domain, job->route_name);
	job->source = config_source(config, job->source_name);
	if (route_is_lost(job->route))
		job_settle_open(job, &lost);
	if (job->hop.len && !job_login_is_meant(job))
		job_settle_open(job, &moved);
	if (!job->tls_row.len)
		return;
	/* qmgr has read it as well; a configuration that has come since may lead elsewhere. */
	char why[POLICY_WHY_BYTES];
	const struct verdict unfit = {OUTCOME_DEFERRED, 0, "4.3.5",
				      TEXT("the policy of the table tls-policies does not fit "
					   "the route any more")};

	job->own = policy_row_new(job->route, job->tls_row, why);
	if (job->own)
		job->route = policy_row_route(job->own);
	else
		job_settle_open(job, &unfit);
}

uint64_t job_size(const struct job *job)
{
	return job->prelude_bytes + job->body_length;
}

bool job_is_8bit(const struct job *job)
{
	if (!text_is_ascii(job->content))
		return true;
	if (job->fd < 0)
		return false;
	char *block = mem_resize(NULL, SCAN_BYTES, 1);
	bool ascii = true;
	off_t at = 0;

	for (ssize_t n; ascii && (n = pread(job->fd, block, SCAN_BYTES, at)) > 0; at += n)
		ascii = text_is_ascii((struct text){block, (size_t)n});
	free(block);
	return !ascii;
}

bool job_needs_utf8(const struct job *job)
{
	if (!text_is_ascii(job->sender))
		return true;
	for (uint32_t i = 0; i < job->recipient_count; i++)
		if (job->recipients[i].stage != RECIPIENT_SETTLED &&
		    !text_is_ascii(job->recipients[i].address))
			return true;
	return job->smtputf8 &&
	       !text_is_ascii((struct text){job->content.data, job->prelude_bytes});
}

struct text job_reply(const struct job *job, const struct recipient *r)
{
	return (struct text){(const char *)job->words.data + r->reply_at, r->reply_len};
}

/* Recipients mostly hear the same words: equal neighbours share them. */
static void job_keep_reply(struct job *job, struct recipient *r, struct text reply)
{
	const struct recipient *before = r > job->recipients ? r - 1 : NULL;

	if (reply.len > REPLY_BYTES_MAX)
		reply.len = REPLY_BYTES_MAX;
	if (before && before->stage == RECIPIENT_SETTLED &&
	    text_equal(job_reply(job, before), reply)) {
		r->reply_at = before->reply_at;
		r->reply_len = before->reply_len;
		return;
	}
	r->reply_at = (uint32_t)job->words.end;
	r->reply_len = (uint16_t)reply.len;
	bytes_add(&job->words, reply.data, reply.len);
}

void job_settle(struct job *job, struct recipient *r, const struct verdict *v)
{
	if (r->stage == RECIPIENT_SETTLED)
		return;
	job_keep_reply(job, r, v->reply);
	r->stage = RECIPIENT_SETTLED;
	r->kind = (uint8_t)v->kind;
	r->code = v->code;
	text_copy(r->dsn, sizeof r->dsn, text_of(v->dsn));
	job->open--;
}

void job_settle_open(struct job *job, const struct verdict *v)
{
	for (uint32_t i = 0; i < job->recipient_count && job->open; i++)
		job_settle(job, &job->recipients[i], v);
}

void job_widen(struct job *job, enum failure_scope scope)
{
	if (job->scope < scope)
		job->scope = (uint8_t)scope;
}

void job_set_way(struct job *job, struct text relay, struct text policy, struct text tls)
{
	size_t at = job->words.end;

	if (relay.len > RELAY_BYTES_MAX)
		relay.len = RELAY_BYTES_MAX;
	bytes_add(&job->words, relay.data, relay.len);
	bytes_add(&job->words, policy.data, policy.len);
	bytes_add(&job->words, tls.data, tls.len);
	/* Nothing is added afterwards that could move the bytes: the outcome stands. */
	const char *words = (const char *)job->words.data + at;

	job->relay = (struct text){words, relay.len};
	job->policy = (struct text){words + relay.len, policy.len};
	job->tls = (struct text){words + relay.len + policy.len, tls.len};
}

struct msg_outcome job_outcome(const struct job *job, struct bytes *items)
{
	items->start = items->end = 0;
	for (uint32_t i = 0; i < job->recipient_count; i++) {
		const struct recipient *r = &job->recipients[i];

		rec_outcome_recipient_encode(items, &(struct rec_outcome_recipient){
							.number = r->number,
							.kind = r->kind,
							.code = r->code,
							.dsn = text_of(r->dsn),
							.reply = job_reply(job, r),
							.receiver_dsn = r->receiver_dsn,
						    });
	}
	return (struct msg_outcome){
	    .slot = job->slot,
	    .job = job->number,
	    .id = job->id,
	    .scope = job->scope,
	    .relay = job->relay,
	    .recipients = {job->recipient_count, {(const char *)items->data, items->end}},
	};
}

struct msg_in_flight job_in_flight(const struct job *job, struct bytes *items)
{
	items->start = items->end = 0;
	for (uint32_t i = 0; i < job->recipient_count; i++)
		rec_number_encode(items, &(struct rec_number){job->recipients[i].number});
	return (struct msg_in_flight){
	    .slot = job->slot,
	    .job = job->number,
	    .id = job->id,
	    .recipients = {job->recipient_count, {(const char *)items->data, items->end}},
	};
}
