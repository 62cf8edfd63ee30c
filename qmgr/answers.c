/* SPDX-License-Identifier: ISC */
/*
 * Answers of the resolver that wait a moment for those about the other domains
 * of the message that they were asked for, so that recipients who turn out to
 * go over one connection go in one transaction: RFC 5321 section 2.1
 * "encourages the transmission of only one copy of the data for all recipients
 * at the same destination (or intermediate relay) host".
 */
#include "scheduler_private.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

struct kept_answer {
	struct kept_answer *next;
	uint64_t query, mail;
	int64_t due_us;
	uint32_t lifetime_s;
	struct text site, hop; /* behind it */
};

/* Is another domain of that message asked for and unanswered? */
static bool message_waits(const struct scheduler *s, uint64_t id, const struct domain *d)
{
	const struct mail *mail = id ? mail_find(s->mails, id) : NULL;
	uint32_t count = mail ? mail->recipient_count : 0;

	for (uint32_t i = 0; i < count && i < LOOK_MAX; i++) {
		const struct recipient *r = &mail->recipients[i];
		const struct domain *other = r->state == RECIPIENT_READY ? r->lane->domain : NULL;

		if (other && other != d && other->state == DOMAIN_ASKED && !other->answered)
			return true;
	}
	return false;
}

/* The site's name and the hop lie behind the answer. */
static void answer_keep(struct scheduler *s, struct domain *d, struct text site, struct text hop,
			uint32_t lifetime_s, int64_t now_us)
{
	struct kept_answer *a = mem_new(1, sizeof *a + site.len + hop.len);
	char *at = (char *)(a + 1);

	memcpy(at, site.data, site.len);
	memcpy(at + site.len, hop.data, hop.len);
	a->query = d->query;
	a->mail = d->asked_for;
	a->due_us = now_us + ANSWER_WAIT_US;
	a->lifetime_s = lifetime_s;
	a->site = (struct text){at, site.len};
	a->hop = (struct text){at + site.len, hop.len};
	d->answered = true;
	*s->answers_end = a;
	s->answers_end = &a->next;
}

static void answers_give(struct scheduler *s, uint64_t mail, bool all, int64_t now_us)
{
	struct kept_answer *list = s->answers;

	s->answers = NULL;
	s->answers_end = &s->answers;
	for (struct kept_answer *a = list, *next; a; a = next) {
		next = a->next;
		a->next = NULL;
		if (all || a->mail == mail || a->due_us <= now_us) {
			domain_answer(s, a->query, a->site, a->hop, a->lifetime_s, now_us);
			free(a);
		} else {
			*s->answers_end = a;
			s->answers_end = &a->next;
		}
	}
}

bool answer_waits(struct scheduler *s, struct domain *d, struct text site, struct text hop,
		  uint32_t lifetime_s, int64_t now_us)
{
	if (d->answered || !site.len || !hop.len || !message_waits(s, d->asked_for, d))
		return false;
	answer_keep(s, d, site, hop, lifetime_s, now_us);
	return true;
}

void answers_after(struct scheduler *s, uint64_t mail, int64_t now_us)
{
	if (s->answers && mail && !message_waits(s, mail, NULL))
		answers_give(s, mail, false, now_us);
}

void answers_due(struct scheduler *s, int64_t now_us)
{
	if (s->answers && s->answers->due_us <= now_us)
		answers_give(s, 0, false, now_us);
}

void answers_free(struct scheduler *s)
{
	while (s->answers) {
		struct kept_answer *a = s->answers;

		s->answers = a->next;
		free(a);
	}
}
