/* SPDX-License-Identifier: ISC */
/*
 * Outbound sessions with a receiver that says what it likes. The first byte
 * chooses protocol and job; 0xFF cuts the rest into reads, 0xFE is an expiry
 * and 0xFD the end of the connection. A job's verdicts are complete when it
 * is settled, nobody counts as served without a reply of the second class,
 * and only CRLF lines are sent.
 */
#include "dialog.h"
#include "must.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct job *make_job(unsigned flags)
{
	struct bytes items = {0};
	struct msg_job m = {
	    .job = 1,
	    .sender = TEXT("s@a.example"),
	    .envid = TEXT("x"),
	    .ret = RET_FULL,
	    .body_type = flags & 4 ? BODY_8BITMIME : BODY_7BIT,
	    .smtputf8 = flags >> 3 & 1,
	    .prelude = TEXT("Subject: x\r\n\r\n"),
	    .body = TEXT(".\r\nb\xc3\xbc\r\n"),
	};
	unsigned count = flags & 2 ? 40 : 2;

	for (uint32_t i = 0; i < count; i++)
		rec_job_recipient_encode(&items,
					 &(struct rec_job_recipient){.number = i,
								     .address = TEXT("r@b.example"),
								     .notify = NOTIFY_FAILURE});
	m.recipients = (struct wire_list){count, {(const char *)items.data, items.end}};
	m.body_length = m.body.len;
	struct job *job = job_new(&m, -1);

	bytes_free(&items);
	must(job);
	return job;
}

static void check_settled(const struct job *job)
{
	must(job->open == 0);
	for (uint32_t i = 0; i < job->recipient_count; i++) {
		const struct recipient *r = &job->recipients[i];

		must(r->stage == RECIPIENT_SETTLED);
		must(r->kind != OUTCOME_RELAYED || r->code / 100 == 2);
		must(r->reply_at + (size_t)r->reply_len <= job->words.end);
	}
}

static void check_sent(struct bytes *out)
{
	const struct text sent = {(const char *)bytes_at(out), bytes_len(out)};

	bool dotted;

	must(!sent.len || content_is_clean(sent, &dotted));
	bytes_take(out, bytes_len(out), 4096);
}

/* False when the connection is to be closed. */
static bool follow(struct dialog *d, struct job **job, enum dialog_says says, unsigned flags)
{
	while (says != DIALOG_WAIT && says != DIALOG_CONTENT) {
		if (says == DIALOG_SETTLED) {
			check_settled(*job);
			job_free(job);
		} else if (says != DIALOG_READY) {
			must(says == DIALOG_OVER || d->over || !d->up || (*job)->unfit);
			return false;
		}
		if (!dialog_is_free(d))
			return false;
		job_free(job);
		*job = make_job(flags);
		says = dialog_begin(d, *job);
		if (says == DIALOG_SETTLED)
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = {.hostname = TEXT("client.example")};
	struct bytes out = {0}, in = {0};
	struct job *job = NULL;
	struct dialog d;
	unsigned flags = size ? data[0] : 0;
	bool open = true;

	dialog_start(&d, &config, flags & 1 ? HOP_LMTP : HOP_MX, &out);
	for (size_t i = 1; i < size && open; i++) {
		size_t used = 1;

		if (data[i] < 0xfd) {
			bytes_add(&in, &data[i], 1);
			continue;
		}
		if (data[i] == 0xfe)
			open = follow(&d, &job, dialog_expired(&d), flags);
		else if (data[i] == 0xfd)
			open = follow(&d, &job, dialog_ended(&d, "reset"), flags);
		while (open && used && bytes_len(&in)) {
			enum dialog_says says =
			    dialog_input(&d, bytes_at(&in), bytes_len(&in), &used);

			bytes_take(&in, used, 4096);
			open = follow(&d, &job, says, flags);
			if (says == DIALOG_WAIT)
				break;
		}
		check_sent(&out);
	}
	/* Whatever comes last, a job that is under way can be brought to its end. */
	if (open && d.job && dialog_cut(&d) == DIALOG_SETTLED)
		check_settled(job);
	job_free(&job);
	bytes_free(&in);
	bytes_free(&out);
	return 0;
}
