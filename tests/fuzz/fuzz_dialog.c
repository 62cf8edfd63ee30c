/* SPDX-License-Identifier: ISC */
/*
 * Outbound sessions with a receiver that says what it likes. The first byte
 * chooses protocol and job (enum flag); 0xFF cuts the rest into reads, 0xFE is
 * an expiry, 0xFD the end of the connection, 0xFC lets what was sent leave, 0xFB
 * sends one more job ahead if it can, whole or its commands alone. STARTTLS, where it is offered,
 * is done at once. A job's verdicts are complete when it is settled, nobody counts as served
 * without a reply of the second class, and only CRLF lines are sent.
 */
#include "dialog.h"
#include "must.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum flag {
	FLAG_LMTP = 1,
	FLAG_MANY = 2, /* recipients */
	FLAG_8BIT = 4,
	FLAG_UTF8 = 8,
	FLAG_UNSAFE = 16, /* an address that could end its line */
	FLAG_FILE = 32,	  /* the body is in a file, two bytes a block */
	FLAG_BARE = 64,	  /* it holds a bare LF */
	FLAG_ONCE = 128,  /* QUIT after the first job */
};

static const struct text bodies[] = {TEXT(".\r\nb\xc3\xbc\r\n"), TEXT(".\r\nbare\nline\r\n")};

static int body_file(struct text body)
{
	int fd = memfd_create("body", MFD_CLOEXEC);

	must(fd >= 0 && write(fd, body.data, body.len) == (ssize_t)body.len);
	return fd;
}

static struct job *make_job(unsigned flags)
{
	const struct text body = bodies[(flags & FLAG_BARE) != 0];
	struct bytes items = {0};
	struct msg_job m = {
	    .job = 1,
	    .sender = TEXT("s@a.example"),
	    .envid = text_of(flags & FLAG_UNSAFE ? "x y" : "x"),
	    .ret = RET_FULL,
	    .body_type = flags & FLAG_8BIT ? BODY_8BITMIME : BODY_7BIT,
	    .smtputf8 = (flags & FLAG_UTF8) != 0,
	    .tls = flags & FLAG_8BIT ? MAIL_TLS_REQUIRED : MAIL_TLS_ANY,
	    .prelude = TEXT("Subject: x\r\n\r\n"),
	    .body_length = body.len,
	};
	unsigned count = flags & FLAG_MANY ? 40 : 2;

	for (uint32_t i = 0; i < count; i++) {
		struct rec_job_recipient r = {.number = i,
					      .address = TEXT("\"r\\\" \"@b.example"),
					      .orcpt = TEXT("rfc822;r"),
					      .notify = NOTIFY_FAILURE};

		if ((flags & FLAG_UNSAFE) && i == 0)
			r.address = text_of("r>\r\nDATA@b.example");
		if (flags & FLAG_UNSAFE)
			r.orcpt = text_of("rfc822;r\r\n");
		rec_job_recipient_encode(&items, &r);
	}
	m.recipients = (struct wire_list){count, {(const char *)items.data, items.end}};
	if (!(flags & FLAG_FILE))
		m.body = body;
	struct job *job = job_new(&m, flags & FLAG_FILE ? body_file(body) : -1, false);

	bytes_free(&items);
	must(job);
	return job;
}

/* What qmgr would be told. */
static void check_outcome(struct job *job)
{
	struct bytes items = {0}, payload = {0};
	struct message m;

	job_set_way(job, text_of("mx.example[192.0.2.1]:25"), text_of("may/*"), text_of("none"));
	struct msg_outcome outcome = job_outcome(job, &items);

	message_encode(&payload, MSG_outcome, &outcome);
	must(message_decode(bytes_at(&payload), bytes_len(&payload), MSG_outcome, &m));
	must(m.outcome.recipients.count == job->recipient_count);
	must(job_in_flight(job, &items).recipients.count == job->recipient_count);
	bytes_free(&items);
	bytes_free(&payload);
}

static void check_settled(struct job *job)
{
	must(job->open == 0);
	check_outcome(job);
	for (uint32_t i = 0; i < job->recipient_count; i++) {
		const struct recipient *r = &job->recipients[i];

		must(r->stage == RECIPIENT_SETTLED);
		must(r->kind != OUTCOME_RELAYED || r->code / 100 == 2);
		must(r->reply_at + (size_t)r->reply_len <= job->words.end);
	}
}

static void check_sent(struct bytes *out)
{
	const struct text sent = bytes_text(out);

	bool dotted;

	must(!sent.len || content_is_clean(sent, &dotted));
	bytes_take(out, bytes_len(out), 4096);
}

enum { JOBS = DIALOG_AHEAD + 1 };

struct jobs {
	struct job *now;
	struct job *next[JOBS]; /* the first SENT are on their way */
	unsigned count, sent;
};

static void send_ahead(struct dialog *d, struct jobs *jobs, unsigned flags)
{
	if (jobs->count == JOBS || jobs->count > jobs->sent)
		return;
	struct job *job = make_job(flags);

	if (!dialog_send_ahead(d, job)) {
		job_free(&job);
		return;
	}
	must(d->job && (d->ahead_whole || dialog_past_dot(d)));
	must(d->ahead_count <= (d->ahead_whole ? DIALOG_AHEAD : 1));
	jobs->next[jobs->count++] = job;
	jobs->sent++;
}

/* What goes on with the next reply, or a job that was put off, or a new one. */
static struct job *next_job(struct jobs *jobs, unsigned flags)
{
	struct job *job = jobs->next[0];

	if (!jobs->count)
		return make_job(flags);
	jobs->sent -= jobs->sent > 0;
	memmove(jobs->next, jobs->next + 1, --jobs->count * sizeof(struct job *));
	return job;
}

static void jobs_free(struct jobs *jobs)
{
	job_free(&jobs->now);
	while (jobs->count)
		job_free(&jobs->next[--jobs->count]);
}

static void put_off(struct dialog *d, struct jobs *jobs)
{
	must(jobs->now->open && jobs->now->alone && !d->job && jobs->count < JOBS);
	jobs->next[jobs->count++] = jobs->now;
	jobs->now = NULL;
}

/* False when the connection is to be closed. */
static bool follow(struct dialog *d, struct jobs *jobs, enum dialog_says says, unsigned flags)
{
	while (says != DIALOG_WAIT && says != DIALOG_CONTENT) {
		if (says == DIALOG_SECURE) {
			must(!d->up && !d->job && !d->secured);
			d->proved = (flags & FLAG_UTF8) != 0;
			dialog_secured(d);
			return true;
		}
		if (says == DIALOG_SETTLED) {
			check_settled(jobs->now);
			job_free(&jobs->now);
		} else if (says == DIALOG_LATER) {
			put_off(d, jobs);
		} else if (says != DIALOG_READY) {
			must(says == DIALOG_OVER || d->over || !d->up || jobs->now->unfit);
			return false;
		}
		if (!dialog_is_free(d))
			return false;
		if (d->jobs && (flags & FLAG_ONCE) && !jobs->count) {
			dialog_quit(d);
			return true;
		}
		job_free(&jobs->now);
		jobs->now = next_job(jobs, flags);
		says = dialog_begin(d, jobs->now);
		if (says == DIALOG_SETTLED)
			return false;
	}
	return true;
}

/* The file's blocks, as long as they are wanted; with FLAG_ONCE it is shorter than was said. */
static bool feed(struct dialog *d, struct jobs *jobs, unsigned flags)
{
	const struct text body = bodies[(flags & FLAG_BARE) != 0];
	uint64_t offset, want;
	bool open = true;

	while (open && (want = dialog_wants_body(d, &offset)) > 0) {
		must(offset + want == body.len);
		struct text block = {body.data + offset, want > 2 ? 2 : (size_t)want};

		if ((flags & FLAG_ONCE) && offset)
			block.len = 0;
		open = follow(d, jobs, dialog_body(d, block), flags);
	}
	return open;
}

static bool event(struct dialog *d, struct jobs *jobs, uint8_t what, unsigned flags)
{
	must(dialog_patience(d).us >= 0);
	if (what == 0xfe)
		return follow(d, jobs, dialog_expired(d), flags);
	if (what == 0xfd)
		return follow(d, jobs, dialog_ended(d, dialog_past_dot(d) ? "late" : "reset"),
			      flags);
	if (what == 0xfc)
		dialog_flushed(d);
	if (what == 0xfb)
		send_ahead(d, jobs, flags);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config = {.hostname = TEXT("client.example")};
	struct bytes out = {0}, in = {0};
	struct jobs jobs = {0};
	struct dialog d;
	unsigned flags = size ? data[0] : 0;
	bool open = true;

	bool needs_tls = (flags & FLAG_UNSAFE) && (flags & FLAG_BARE);

	dialog_start(&d, &config, flags & FLAG_LMTP ? HOP_LMTP : HOP_MX,
		     needs_tls ? DIALOG_TLS_NEEDED : DIALOG_TLS_MAY, &out);
	d.several = true;
	d.requires = (flags & FLAG_8BIT) && (flags & FLAG_UTF8) && !(flags & FLAG_LMTP);
	for (size_t i = 1; i < size && open; i++) {
		size_t used = 1;

		if (data[i] < 0xfb) {
			bytes_add(&in, &data[i], 1);
			continue;
		}
		open = event(&d, &jobs, data[i], flags);
		while (open && used && bytes_len(&in)) {
			enum dialog_says says =
			    dialog_input(&d, bytes_at(&in), bytes_len(&in), &used);

			bytes_take(&in, used, 4096);
			open = follow(&d, &jobs, says, flags);
			if (says == DIALOG_WAIT)
				break;
		}
		if (open && data[i] == 0xfc)
			open = feed(&d, &jobs, flags);
		check_sent(&out);
	}
	/* What was sent ahead is forgotten, but where its content was sent. */
	dialog_forget_ahead(&d);
	must(!d.ahead_count || d.ahead_whole);
	/* Whatever comes last, a job that is under way can be brought to its end. */
	if (open && d.job && dialog_cut(&d) == DIALOG_SETTLED)
		check_settled(jobs.now);
	jobs_free(&jobs);
	bytes_free(&in);
	bytes_free(&out);
	return 0;
}
