/* SPDX-License-Identifier: ISC */
/*
 * A message as a mailbox or a command gets it: lines end in LF, in front stand
 * Return-Path, X-Original-To and Delivered-To (RFC 5321 section 4.4), and what
 * the sender wrote of Return-Path and Content-Length is left out. Read by the
 * child that delivers; the file of a large body is read from its beginning.
 */
#ifndef LOCAL_LETTER_H
#define LOCAL_LETTER_H

#include "clock.h"
#include "text.h"

struct letter {
	struct text sender;   /* empty: null */
	struct text original; /* what the client said, when it was another address; else empty */
	struct text address;  /* whose mailbox it is */
	struct text prelude;  /* the header block with its empty line, CRLF */
	struct text body;     /* empty when it is in a file */
	int fd;		      /* of the body, or -1 */
	uint64_t body_length; /* of the file */
	struct walltime arrival;
	uint64_t id;	 /* of the message, and */
	uint32_t number; /* of its recipient */
};

enum letter_form {
	LETTER_PLAIN,	/* as it is */
	LETTER_COMMAND, /* From_ line in front */
	LETTER_MBOX,	/* From_ line in front, "From " quoted (mboxrd), an empty line behind */
};

/* Writes it all to FD at its place; false with errno. */
bool letter_write(const struct letter *l, int fd, enum letter_form form);

/*
 * The same in pieces, for who can't wait: PUT is called with each, and false from it ends the
 * writing. False also when the file can't be read, with errno.
 */
typedef bool letter_put(void *arg, const char *data, size_t len);
bool letter_each(const struct letter *l, enum letter_form form, letter_put *put, void *arg);

/* Has it been delivered to its address before (Delivered-To)? */
bool letter_loops(const struct letter *l);

#endif
