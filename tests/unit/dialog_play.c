/* SPDX-License-Identifier: ISC */
#include "dialog_play.h"

static const char *const words[] = {
    [DIALOG_WAIT] = "WAIT",	      [DIALOG_SECURE] = "SECURE",   [DIALOG_READY] = "READY",
    [DIALOG_CONTENT] = "CONTENT",     [DIALOG_SETTLED] = "SETTLED", [DIALOG_UNFIT] = "UNFIT",
    [DIALOG_LATER] = "LATER",	      [DIALOG_AGAIN] = "AGAIN",	    [DIALOG_STALE] = "STALE",
    [DIALOG_REFUSED] = "REFUSED",     [DIALOG_OVER] = "OVER",	    [DIALOG_LOGIN] = "LOGIN",
    [DIALOG_CHALLENGE] = "CHALLENGE", [DIALOG_JUDGED] = "JUDGED",
};

void play_begin_tls(struct play *p, enum hop_how how, enum dialog_tls tls)
{
	memset(p, 0, sizeof *p);
	p->config.hostname = (struct text)TEXT("client.example");
	p->config.timeout_mail = SECONDS(300);
	p->config.timeout_data = SECONDS(120);
	p->config.timeout_block = SECONDS(180);
	p->config.timeout_dot = SECONDS(600);
	p->config.timeout_greeting = SECONDS(299);
	dialog_start(&p->d, &p->config, how, tls, &p->out);
}

void play_begin(struct play *p, enum hop_how how)
{
	play_begin_tls(p, how, DIALOG_CLEAR);
}

void play_end(struct play *p)
{
	assert_int_equal(bytes_len(&p->out), 0);
	bytes_free(&p->out);
	bytes_free(&p->in);
	job_free(&p->job);
}

void play_feed(struct play *p)
{
	while (bytes_len(&p->in)) {
		size_t used;

		p->says = dialog_input(&p->d, bytes_at(&p->in), bytes_len(&p->in), &used);
		bytes_take(&p->in, used, 4096);
		if (p->says != DIALOG_WAIT || !used)
			break;
	}
	if (p->d.over)
		bytes_take(&p->in, bytes_len(&p->in), 4096);
}

static void play_expect(struct play *p, const char *line, size_t len)
{
	const uint8_t *lf =
	    bytes_len(&p->out) ? memchr(bytes_at(&p->out), '\n', bytes_len(&p->out)) : NULL;

	if (!lf || (size_t)(lf - bytes_at(&p->out)) != len + 1 ||
	    memcmp(bytes_at(&p->out), line, len) != 0)
		fail_msg("expected \"%.*s\", sent \"%.*s\"", (int)len, line,
			 (int)bytes_len(&p->out), (const char *)bytes_at(&p->out));
	assert_int_equal(lf[-1], '\r');
	bytes_take(&p->out, len + 2, 4096);
}

static void play_line(struct play *p, const char *line, size_t len)
{
	bool more = line[1] == '+';
	const char *rest = line + (more ? 3 : 2);
	size_t rest_len = len - (more ? 3 : 2);

	if (line[0] == 'C') {
		play_expect(p, rest, rest_len);
	} else if (line[0] == 'S') {
		if (bytes_len(&p->out))
			fail_msg("unexpected: \"%.*s\"", (int)bytes_len(&p->out),
				 (const char *)bytes_at(&p->out));
		bytes_add(&p->in, rest, rest_len);
		bytes_add(&p->in, "\r\n", 2);
		if (!more)
			play_feed(p);
	} else {
		char word[16];

		text_copy(word, sizeof word, (struct text){rest, rest_len});
		assert_string_equal(words[p->says], word);
	}
}

void play_script(struct play *p, const char *script)
{
	while (*script) {
		const char *end = strchr(script, '\n');

		play_line(p, script, (size_t)(end - script));
		script = end + 1;
	}
}

struct job *mail_job(const struct mail *mail)
{
	struct bytes items = {0};
	struct msg_job m = {
	    .job = 1,
	    .id = 1,
	    .hop = TEXT("hop"),
	    .sender = text_of(mail->sender ? mail->sender : "s@a.example"),
	    .envid = text_of(mail->envid),
	    .ret = mail->ret,
	    .body_type = mail->body_type,
	    .smtputf8 = mail->smtputf8,
	    .tls = mail->tls,
	    .prelude = text_of(mail->prelude ? mail->prelude : "Subject: x\r\n\r\n"),
	    .body = text_of(mail->fd	 ? ""
			    : mail->body ? mail->body
					 : "hello\r\n"),
	};

	for (m.recipients.count = 0; mail->to[m.recipients.count]; m.recipients.count++)
		rec_job_recipient_encode(
		    &items,
		    &(struct rec_job_recipient){.number = m.recipients.count,
						.address = text_of(mail->to[m.recipients.count]),
						.orcpt = text_of(mail->orcpt),
						.notify = mail->notify});
	m.recipients.items = (struct text){(const char *)items.data, items.end};
	m.body_length = mail->fd ? mail->body_length : m.body.len;
	struct job *job = job_new(&m, mail->fd ? mail->fd : -1, false);

	bytes_free(&items);
	assert_non_null(job);
	return job;
}

void play_job(struct play *p, const struct mail *mail)
{
	job_free(&p->job);
	p->job = mail_job(mail);
	p->says = dialog_begin(&p->d, p->job);
}

void verdict_is(const struct play *p, uint32_t i, enum outcome_kind kind, const char *dsn,
		const char *reply)
{
	const struct recipient *r = &p->job->recipients[i];
	struct text words_of = job_reply(p->job, r);

	assert_int_equal(r->stage, RECIPIENT_SETTLED);
	assert_int_equal(r->kind, kind);
	assert_string_equal(r->dsn, dsn);
	assert_int_equal(words_of.len, strlen(reply));
	assert_memory_equal(words_of.data, reply, words_of.len);
}

const struct mail one = {.to = {"r@b.example"}};
const struct mail two = {.to = {"r@b.example", "q@b.example"}};
