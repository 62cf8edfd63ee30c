/* SPDX-License-Identifier: ISC */
/* The words that queue show, export and import have for what an envelope and the queue keep as
 * numbers. */
#ifndef CTL_WORDS_H
#define CTL_WORDS_H

#include "text.h"

#include <jansson.h>

enum word_kind {
	WORD_RET,     /* enum dsn_ret; "" is unset */
	WORD_BODY,    /* enum body_type */
	WORD_TLS,     /* enum mail_tls; "" is what most mail has */
	WORD_OUTCOME, /* enum queue_kind: what a report is owed for */
	WORD_STATE,   /* of a recipient on disk: enum queue_kind */
};

/* The word for VALUE; "?" when it has none. */
const char *word_of(enum word_kind kind, unsigned value);

/* False: no such word. */
bool word_read(enum word_kind kind, struct text word, uint8_t *value);

enum word_set {
	WORDS_NOTIFY, /* enum dsn_notify */
	WORDS_OWED,   /* of enum queue_flag: the reports that are owed */
};

/* A list of words, ["FAILURE", "DELAY"]; an empty one for 0. */
json_t *words_json(enum word_set set, uint8_t bits);

/* False: no list of such words. */
bool words_read(enum word_set set, const json_t *list, uint8_t *bits);

#endif
