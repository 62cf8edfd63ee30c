/* SPDX-License-Identifier: ISC */
/* The table of queued messages. */
#include "mail.h"

#include "mem.h"
#include "must.h"
#include "submitter.h"
#include "way.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROUTE_UNKNOWN = UINT16_MAX, /* there was no room for its name */
	NAMES_MAX = UINT16_MAX - 1,
};

void mails_init(struct mails *mails, uint64_t content_max_bytes)
{
	*mails = (struct mails){.content_max_bytes = content_max_bytes};
	mails->newest_end = &mails->oldest;
	table_init(&mails->by_id);
	table_init(&mails->submitters);
	table_init(&mails->sources);
}

void mails_free(struct mails *mails)
{
	for (size_t i = 0; i < mails->by_id.size; i++)
		while (mails->by_id.slots[i])
			mail_free(mails, ITEM_OF(mails->by_id.slots[i], struct mail, link));
	while (mails->oldest) {
		struct content *c = mails->oldest;

		mails->oldest = c->newer;
		free(c);
	}
	table_free(&mails->by_id);
	table_free(&mails->submitters);
	for (uint16_t i = 0; i < mails->source_count; i++)
		free(mails->source_names[i]);
	free(mails->source_names);
	table_free(&mails->sources);
}

/* -- sources -------------------------------------------------------------------------- */

struct source_name {
	struct table_link link;
	struct text name; /* behind it */
	uint16_t number;
};

uint16_t mails_source(const struct mails *mails, struct text name)
{
	struct table_link *link =
	    mails->source_count
		? table_first(&mails->sources, table_hash_text(&mails->sources, name))
		: NULL;

	for (; link; link = table_again(link))
		if (text_equal(ITEM_OF(link, struct source_name, link)->name, name))
			return ITEM_OF(link, struct source_name, link)->number;
	return 0;
}

void mails_know_source(struct mails *mails, struct text name)
{
	if (!name.len || mails_source(mails, name) || mails->source_count == NAMES_MAX)
		return;
	struct source_name *s = mem_new(1, sizeof *s + name.len);
	char *copy = (char *)(s + 1);

	memcpy(copy, name.data, name.len);
	s->name = (struct text){copy, name.len};
	mails->source_names =
	    mem_resize(mails->source_names, mails->source_count + 1u, sizeof(struct source_name *));
	mails->source_names[mails->source_count++] = s;
	s->number = mails->source_count;
	table_add(&mails->sources, &s->link, table_hash_text(&mails->sources, name));
}

/* A configuration that has it may come: until then its mail waits. */
uint16_t mails_route(struct mails *mails, struct text name)
{
	mails_know_source(mails, name);
	uint16_t number = mails_source(mails, name);

	return number || !name.len ? number : ROUTE_UNKNOWN;
}

struct text mails_source_name(const struct mails *mails, uint16_t number)
{
	if (number == ROUTE_UNKNOWN)
		return (struct text)TEXT(ROUTE_MARK);
	return number ? mails->source_names[number - 1]->name : (struct text){NULL, 0};
}

/* -- submitters ------------------------------------------------------------------------ */

struct submitter *submitter_get(struct mails *mails, struct text name)
{
	uint64_t hash = table_hash_text(&mails->submitters, name);
	struct table_link *link = table_first(&mails->submitters, hash);

	for (; link; link = table_again(link)) {
		struct submitter *s = ITEM_OF(link, struct submitter, link);

		if (text_equal(s->name, name)) {
			s->holders++;
			return s;
		}
	}
	struct submitter *s = mem_new(1, sizeof *s + name.len + 1);
	char *copy = (char *)(s + 1);

	if (name.len)
		memcpy(copy, name.data, name.len);
	s->name = (struct text){copy, name.len};
	s->holders = 1;
	s->frozen = mails->frozen && frozen_has(mails->frozen, submitter_login(s->name));
	table_add(&mails->submitters, &s->link, hash);
	return s;
}

void submitter_drop(struct mails *mails, struct submitter *s)
{
	if (--s->holders)
		return;
	table_remove(&mails->submitters, &s->link);
	free(s);
}

/* -- mails ----------------------------------------------------------------------------- */

struct mail *mail_new(struct mails *mails, uint64_t id, struct text submitter, uint32_t recipients)
{
	struct way way;
	struct mail *mail = mem_new(1, sizeof *mail + recipients * sizeof(struct recipient));

	mail->id = id;
	mail->submitter = submitter_get(mails, way_load(submitter, &way));
	mail->source = mails_source(mails, way.source);
	mail->route = mails_route(mails, way.route);
	mail->tls = way.tls;
	mail->recipient_count = mail->open_count = recipients;
	mails->recipients += recipients;
	for (uint32_t i = 0; i < recipients; i++) {
		mail->recipients[i].mail = mail;
		mail->recipients[i].number = i;
	}
	table_add(&mails->by_id, &mail->link, table_hash_number(&mails->by_id, id));
	return mail;
}

struct mail *mail_find(const struct mails *mails, uint64_t id)
{
	struct table_link *link = table_first(&mails->by_id, table_hash_number(&mails->by_id, id));

	for (; link; link = table_again(link)) {
		struct mail *mail = ITEM_OF(link, struct mail, link);

		if (mail->id == id)
			return mail;
	}
	return NULL;
}

struct recipient *mail_recipient(struct mail *mail, uint32_t number)
{
	uint32_t low = 0, high = mail->recipient_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (mail->recipients[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == mail->recipient_count || mail->recipients[low].number != number ||
	    mail->recipients[low].state == RECIPIENT_GONE)
		return NULL;
	return &mail->recipients[low];
}

void mail_count_held(struct mails *mails, struct recipient *r, bool held)
{
	if (r->held_counted == held)
		return;
	r->held_counted = held;
	mails->held += held ? 1 : UINT64_MAX;
}

bool mail_settle(struct mails *mails, struct recipient *r)
{
	must(r->state != RECIPIENT_GONE && r->mail->open_count > 0);
	mail_count_held(mails, r, false);
	r->state = RECIPIENT_GONE;
	mails->recipients--;
	return --r->mail->open_count == 0;
}

static void job_follow(struct job *job, const struct recipient *from, struct recipient *to)
{
	job->mail = to->mail;
	for (uint32_t i = 0; i < job->count; i++)
		if (job->recipients[i] == from)
			job->recipients[i] = to;
}

/* The list that FROM is in, or its job, names TO from here on. */
static void recipient_move(struct recipient *from, struct recipient *to, struct mail *mail)
{
	*to = *from;
	to->mail = mail;
	if (to->state == RECIPIENT_FLYING)
		job_follow(to->job, from, to);
	if (to->state != RECIPIENT_READY && to->state != RECIPIENT_WAITING)
		return;
	*to->prev = to;
	if (to->next)
		to->next->prev = &to->next;
	else if (to->state == RECIPIENT_READY)
		to->lane->ready_end = &to->next;
}

struct mail *mail_grow(struct mails *mails, struct mail *mail, uint32_t first, uint32_t count)
{
	uint32_t old = mail->recipient_count;
	struct mail *to = mem_new(1, sizeof *to + ((size_t)old + count) * sizeof(struct recipient));

	*to = *mail;
	for (uint32_t i = 0; i < old; i++)
		recipient_move(&mail->recipients[i], &to->recipients[i], to);
	for (uint32_t i = 0; i < count; i++) {
		to->recipients[old + i].mail = to;
		to->recipients[old + i].number = first + i;
	}
	to->recipient_count += count;
	to->open_count += count;
	mails->recipients += count;
	if (to->content)
		to->content->mail = to;
	table_remove(&mails->by_id, &mail->link);
	table_add(&mails->by_id, &to->link, table_hash_number(&mails->by_id, to->id));
	free(mail);
	return to;
}

void mail_shrink(struct mails *mails, struct mail *mail, uint32_t first)
{
	while (mail->recipient_count &&
	       mail->recipients[mail->recipient_count - 1].number >= first) {
		must(mail->recipients[mail->recipient_count - 1].state == RECIPIENT_NEW);
		mail->recipient_count--;
		mail->open_count--;
		mails->recipients--;
	}
}

void mail_free(struct mails *mails, struct mail *mail)
{
	mail_drop_content(mail);
	mails->recipients -= mail->open_count;
	for (uint32_t i = 0; i < mail->recipient_count; i++)
		mail_count_held(mails, &mail->recipients[i], false);
	table_remove(&mails->by_id, &mail->link);
	submitter_drop(mails, mail->submitter);
	free(mail);
}

/*
 * A batch's memory lives while one content of it does, so what counts is not
 * the contents' own size but how much was written since the oldest of them.
 */
static void contents_trim(struct mails *mails)
{
	while (mails->oldest && (!mails->oldest->mail ||
				 mails->written - mails->oldest->at > mails->content_max_bytes)) {
		struct content *c = mails->oldest;

		if (c->mail)
			mail_drop_content(c->mail);
		mails->oldest = c->newer;
		if (!mails->oldest)
			mails->newest_end = &mails->oldest;
		free(c);
	}
}

void mail_keep_content(struct mails *mails, struct mail *mail, struct queue_batch *batch,
		       const struct queue_placed *placed)
{
	must(!mail->content);
	struct content *c = mem_new(1, sizeof *c);

	c->mail = mail;
	c->batch = queue_batch_ref(batch);
	c->placed = *placed;
	mail->content = c;
	*mails->newest_end = c;
	mails->newest_end = &c->newer;
	c->at = mails->written;
	mails->written += placed->envelope.len + placed->prelude.len + placed->body.len;
	contents_trim(mails);
}

void mail_drop_content(struct mail *mail)
{
	struct content *c = mail->content;

	if (!c)
		return;
	queue_batch_unref(&c->batch);
	c->mail = NULL;
	mail->content = NULL;
}
