/* SPDX-License-Identifier: ISC */
/*
 * A table that is a plain text file, read as it is: a line is a key, blanks,
 * and a value; a line that begins with blanks goes on with the value before;
 * empty lines and lines whose first character is # are skipped. Keys compare
 * without case; of a key that stands several times the values are joined. It
 * is the text beside Postfix's .db files. Held whole in memory: the file's
 * octets and eight more a key.
 */
#ifndef LIB_TABLE_TEXT_H
#define LIB_TABLE_TEXT_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>

enum {
	TABLE_KEY_MAX = 512,
	TABLE_VALUE_MAX = 16384, /* of a key, all its lines together */
};

/* Called for each line that is broken, from 1; at most TABLE_FAULTS_MAX. */
enum { TABLE_FAULTS_MAX = 20 };
typedef void table_fault(void *owner, uint32_t line, const char *what);

struct table_text;

/*
 * Reads CONTENT, whose memory is taken over and which is left empty. NULL when
 * a line is broken: half a table is none.
 */
struct table_text *table_text_read(struct bytes *content, table_fault *fault, void *owner);
void table_text_free(struct table_text **table);

/* Appends the value to *VALUE, its words a blank apart; false: there is no such key. */
bool table_text_find(const struct table_text *table, struct text key, struct bytes *value);

size_t table_text_count(const struct table_text *table); /* lines with a key */

/* The next entry in the order of keys, from *AT = 0 on: for checks of values. False at the end. */
bool table_text_next(const struct table_text *table, size_t *at, struct text *key,
		     struct bytes *value);

/* Where KEY, which table_text_next() gave, stands in the file. Reads it from the beginning. */
uint32_t table_text_line(const struct table_text *table, struct text key);

/* The next word of VALUE, which blanks and commas part; false at its end. */
bool table_word_next(struct text *value, struct text *word);

#endif
