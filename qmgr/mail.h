/* SPDX-License-Identifier: ISC */
/*
 * All messages that are queued, by id, with their open recipients; and the
 * names of their submitters, each held once.
 */
#ifndef QMGR_MAIL_H
#define QMGR_MAIL_H

#include "frozen.h"
#include "model.h"

struct mails {
	struct table by_id;
	struct table submitters;
	struct table sources;		   /* names of sources, by name */
	struct source_name **source_names; /* the same, by number less 1 */
	uint16_t source_count;
	const struct frozen *frozen; /* NULL: none is */
	uint64_t recipients;	     /* open ones */
	uint64_t held;		     /* of these */
	/* Contents still in memory, oldest first; they go content_max_bytes of mail later. */
	struct content *oldest, **newest_end;
	uint64_t written, content_max_bytes;
};

void mails_init(struct mails *mails, uint64_t content_max_bytes);

/* With all messages; after the scheduler. */
void mails_free(struct mails *mails);

/*
 * A new message with RECIPIENTS open recipients, all RECIPIENT_NEW, numbered from 0. SUBMITTER is
 * as the queue stores it: way.h.
 */
struct mail *mail_new(struct mails *mails, uint64_t id, struct text submitter, uint32_t recipients);

struct mail *mail_find(const struct mails *mails, uint64_t id);

/* NULL when it is not open. */
struct recipient *mail_recipient(struct mail *mail, uint32_t number);

/* The recipient is settled; true when it was the last one, and the message can be freed. */
bool mail_settle(struct mails *mails, struct recipient *r);

/* The recipient is held now, or no longer: for the count alone. */
void mail_count_held(struct mails *mails, struct recipient *r, bool held);

/*
 * Room for COUNT recipients more, numbered from FIRST, RECIPIENT_NEW: MAIL and its recipients move,
 * and whoever names them is told, lanes, wheel and jobs included. Returns where it is now.
 */
struct mail *mail_grow(struct mails *mails, struct mail *mail, uint32_t first, uint32_t count);
/* Takes those from FIRST on away again; all are RECIPIENT_NEW still. */
void mail_shrink(struct mails *mails, struct mail *mail, uint32_t first);

/* All its recipients must be out of lanes, wheel and jobs. */
void mail_free(struct mails *mails, struct mail *mail);

/* Keeps the batch's memory for delivery, within bounds; forgets it again. */
void mail_keep_content(struct mails *mails, struct mail *mail, struct queue_batch *batch,
		       const struct queue_placed *placed);
void mail_drop_content(struct mail *mail);

/*
 * Names of sources have numbers, which mails bear. A name that was never said to be known has none:
 * 0. They stay as long as MAILS; there are few, all from configurations.
 */
void mails_know_source(struct mails *mails, struct text name);
uint16_t mails_source(const struct mails *mails, struct text name);
struct text mails_source_name(const struct mails *mails, uint16_t number);
/* Of a route's name, which has a number among them even when no configuration has it. */
uint16_t mails_route(struct mails *mails, struct text name);

struct submitter *submitter_get(struct mails *mails, struct text name);
void submitter_drop(struct mails *mails, struct submitter *s);

#endif
