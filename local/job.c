/* SPDX-License-Identifier: ISC */
/* Jobs. */
#include "job.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct text take_text(char **at, struct text t)
{
	struct text copy = {*at, t.len};

	if (t.len)
		memcpy(*at, t.data, t.len);
	*at += t.len;
	return copy;
}

/* What goes into header lines of mailboxes and into the environment of commands. */
static bool is_one_line(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] < ' ' || t.data[i] == 0x7f)
			return false;
	return true;
}

static bool job_measure(const struct msg_job *m, bool in_file, size_t *size)
{
	struct wire_list list = m->recipients;
	struct rec_job_recipient r;

	if (!m->recipients.count || m->how != HOP_LOCAL || !m->prelude.len ||
	    !is_one_line(m->sender) || !is_one_line(m->domain))
		return false;
	if (in_file ? m->body.len != 0 : m->body.len != m->body_length)
		return false;
	*size = m->domain.len + m->sender.len + m->prelude.len + m->body.len;
	while (list_next_job_recipient(&list, &r)) {
		if (!r.address.len || !is_one_line(r.address) || !is_one_line(r.original) ||
		    !is_one_line(r.target))
			return false;
		*size += r.address.len + r.original.len + r.target.len;
	}
	return true;
}

struct job *job_new(const struct msg_job *m, int fd)
{
	struct wire_list list = m->recipients;
	struct rec_job_recipient r;
	size_t size;

	if (!job_measure(m, fd >= 0, &size)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	size_t head = sizeof(struct job) + m->recipients.count * sizeof(struct recipient);
	struct job *job = mem_new(1, head + size);
	char *at = (char *)job + head;

	job->number = m->job;
	job->id = m->id;
	job->slot_number = m->slot;
	job->fd = fd;
	job->body_length = m->body_length;
	job->arrival.us = (int64_t)m->arrival_wall;
	job->active.us = (int64_t)m->active_wall;
	job->domain = take_text(&at, m->domain);
	job->sender = take_text(&at, m->sender);
	job->prelude = take_text(&at, m->prelude);
	job->body = take_text(&at, m->body);
	while (list_next_job_recipient(&list, &r)) {
		struct recipient *to = &job->recipients[job->count++];

		to->job = job;
		to->number = r.number;
		to->address = take_text(&at, r.address);
		to->original = take_text(&at, r.original);
		to->target = take_text(&at, r.target);
	}
	job->open = job->count;
	return job;
}

void job_free(struct job **job)
{
	if (!*job)
		return;
	for (uint32_t i = 0; i < (*job)->count; i++) {
		answers_free(&(*job)->recipients[i].answers);
		result_free(&(*job)->recipients[i].result);
	}
	if ((*job)->fd >= 0)
		close((*job)->fd);
	config_drop(&(*job)->config);
	free(*job);
	*job = NULL;
}

static void put_additions(struct bytes *to, const struct recipient *r, uint32_t *count)
{
	struct text list = result_additions(&r->result);
	struct addition a;

	while (result_next(&list, &a)) {
		rec_addition_encode(
		    to, &(struct rec_addition){r->number, a.address, a.target, a.sender});
		++*count;
	}
}

struct msg_outcome job_outcome(const struct job *job, struct bytes *items)
{
	struct msg_outcome m = {.slot = job->slot_number,
				.job = job->number,
				.id = job->id,
				.scope = SCOPE_RECIPIENT,
				/* RFC 3464 2.3.5: a remote MTA is named only if there was one. */
				.relay = TEXT("none")};

	items->start = items->end = 0;
	for (uint32_t i = 0; i < job->count; i++) {
		const struct recipient *r = &job->recipients[i];

		rec_outcome_recipient_encode(
		    items, &(struct rec_outcome_recipient){.number = r->number,
							   .kind = r->result.kind,
							   .code = r->result.code,
							   .dsn = text_of(r->result.dsn),
							   .reply = text_of(r->result.reply)});
	}
	size_t end = items->end;

	for (uint32_t i = 0; i < job->count; i++)
		put_additions(items, &job->recipients[i], &m.added.count);
	struct text all = bytes_text(items);

	m.recipients = (struct wire_list){job->count, {all.data, end}};
	m.added.items = (struct text){all.data + end, all.len - end};
	return m;
}

struct msg_in_flight job_in_flight(const struct job *job, struct bytes *items)
{
	items->start = items->end = 0;
	for (uint32_t i = 0; i < job->count; i++)
		rec_number_encode(items, &(struct rec_number){job->recipients[i].number});
	return (struct msg_in_flight){.slot = job->slot_number,
				      .job = job->number,
				      .id = job->id,
				      .recipients = {job->count, bytes_text(items)}};
}
