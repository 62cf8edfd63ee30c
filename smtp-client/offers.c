/* SPDX-License-Identifier: ISC */
/* EHLO keywords, and MAIL and RCPT with their parameters. */
#include "offers.h"

#include "sasl.h"

static const struct {
	struct text word;
	unsigned offer;
} keywords[] = {
    {TEXT("PIPELINING"), OFFERS_PIPELINING},
    {TEXT("8BITMIME"), OFFERS_8BITMIME},
    {TEXT("SMTPUTF8"), OFFERS_SMTPUTF8},
    {TEXT("SIZE"), OFFERS_SIZE},
    {TEXT("DSN"), OFFERS_DSN},
    {TEXT("CHUNKING"), OFFERS_CHUNKING},
    {TEXT("STARTTLS"), OFFERS_STARTTLS},
    {TEXT("REQUIRETLS"), OFFERS_REQUIRETLS},
};

/* Takes the next word off T. */
static struct text word_next(struct text *t)
{
	size_t n = 0;

	*t = text_trim(*t);
	while (n < t->len && t->data[n] != ' ' && t->data[n] != '\t')
		n++;
	struct text word = {t->data, n};

	*t = (struct text){t->data + n, t->len - n};
	return word;
}

/* "RCPTMAX=20": a number of one to six digits, not 0 (RFC 9422 section 4). */
static void limit_take(struct offers *o, struct text word)
{
	const struct {
		struct text name;
		uint32_t *value;
	} limits[] = {
	    {TEXT("MAILMAX="), &o->mail_max},
	    {TEXT("RCPTMAX="), &o->rcpt_max},
	    {TEXT("RCPTDOMAINMAX="), &o->rcpt_domain_max},
	};

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		size_t n = limits[i].name.len;
		uint64_t value;

		if (word.len > n && text_equal_case((struct text){word.data, n}, limits[i].name) &&
		    text_number((struct text){word.data + n, word.len - n}, 999999, &value))
			*limits[i].value = (uint32_t)value;
	}
}

/* "AUTH PLAIN LOGIN"; and "AUTH=LOGIN PLAIN", as it was before RFC 2554. */
static void mechanisms_take(struct offers *o, struct text word, struct text line)
{
	if (word.len > 4 && word.data[4] != '=')
		return;
	if (word.len > 5)
		o->mechanisms |=
		    sasl_client_mechanism_of((struct text){word.data + 5, word.len - 5});
	while ((word = word_next(&line)).len)
		o->mechanisms |= sasl_client_mechanism_of(word);
}

void offers_take(struct offers *o, struct text line)
{
	struct text word = word_next(&line);
	uint64_t size;

	if (text_equal_case(word, (struct text)TEXT("LIMITS"))) {
		while ((word = word_next(&line)).len)
			limit_take(o, word);
		return;
	}
	if (text_starts_case(word, "AUTH")) {
		mechanisms_take(o, word, line);
		return;
	}
	for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		if (!text_equal_case(word, keywords[i].word))
			continue;
		o->set |= keywords[i].offer;
		if (keywords[i].offer == OFFERS_SIZE &&
		    text_number(word_next(&line), UINT64_MAX / 2, &size))
			o->size_limit = size;
	}
}

void offers_put_mail(const struct offers *o, struct bytes *out, const struct job *job)
{
	PUT(out, "MAIL FROM:<");
	bytes_add_text(out, job->sender);
	PUT(out, ">");
	if (o->set & OFFERS_SIZE) {
		PUT(out, " SIZE=");
		bytes_add_number(out, job_size(job));
	}
	if ((o->set & OFFERS_8BITMIME) && job->body_type == BODY_8BITMIME)
		PUT(out, " BODY=8BITMIME");
	if ((o->set & OFFERS_SMTPUTF8) && job_needs_utf8(job))
		PUT(out, " SMTPUTF8");
	if ((o->set & OFFERS_DSN) && job->ret == RET_FULL)
		PUT(out, " RET=FULL");
	if ((o->set & OFFERS_DSN) && job->ret == RET_HDRS)
		PUT(out, " RET=HDRS");
	if ((o->set & OFFERS_DSN) && job->envid.len) {
		PUT(out, " ENVID=");
		bytes_add_text(out, job->envid);
	}
	if ((o->set & OFFERS_REQUIRETLS) && job->tls_wish == MAIL_TLS_REQUIRED)
		PUT(out, " REQUIRETLS");
	PUT(out, "\r\n");
}

static void put_notify(struct bytes *out, unsigned notify)
{
	static const struct {
		unsigned bit;
		struct text word;
	} words[] = {
	    {NOTIFY_SUCCESS, TEXT("SUCCESS")},
	    {NOTIFY_FAILURE, TEXT("FAILURE")},
	    {NOTIFY_DELAY, TEXT("DELAY")},
	};
	bool first = true;

	PUT(out, " NOTIFY=");
	/* RFC 3461 section 4.1: NEVER stands alone. */
	if (notify & NOTIFY_NEVER) {
		PUT(out, "NEVER");
		return;
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (!(notify & words[i].bit))
			continue;
		if (!first)
			PUT(out, ",");
		bytes_add_text(out, words[i].word);
		first = false;
	}
}

void offers_put_rcpt(const struct offers *o, struct bytes *out, const struct recipient *r)
{
	const unsigned known = NOTIFY_NEVER | NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY;

	PUT(out, "RCPT TO:<");
	bytes_add_text(out, r->address);
	PUT(out, ">");
	if ((o->set & OFFERS_DSN) && (r->notify & known))
		put_notify(out, r->notify);
	if ((o->set & OFFERS_DSN) && r->orcpt.len) {
		PUT(out, " ORCPT=");
		bytes_add_text(out, r->orcpt);
	}
	PUT(out, "\r\n");
}
