/* SPDX-License-Identifier: ISC */
/*
 * ID.eml of an export, read as what it is: a file from somewhere. It becomes
 * CRLF lines, split into header block and body; a bare CR or a NUL is
 * refused, since what leaves must hold nothing that another server takes for
 * an end of line (RFC 5321 2.3.8). A body that is too large for a message to
 * qmgr goes piece by piece into a file that the caller opens.
 */
#ifndef CTL_IMPORT_CONTENT_H
#define CTL_IMPORT_CONTENT_H

#include "bytes.h"
#include "text.h"

struct import_content {
	/* Where a large body goes: a descriptor that is ours to close, or -1 with *WHY. */
	int (*open)(void *arg, const char **why);
	void *arg;

	struct bytes prelude, body; /* body: inline, or what is not written yet */
	uint64_t body_length;
	uint32_t body_crc; /* CRC32C of a body in a file */
	int fd;		   /* of the file, or -1 */

	/* while reading */
	struct bytes piece;
	uint64_t taken;
	size_t looked; /* bytes of the prelude without its end */
	bool in_body, after_cr;
	char last;
};

/* Reads NAME in the folder DIR. NULL: fine, else why not. The caller frees C in any case. */
const char *import_content_read(struct import_content *c, int dir, const char *name);
void import_content_free(struct import_content *c);

/* A plain file, and no link, FIFO or device, opened for reading; -1 with *WHY. SIZE: its bytes. */
int import_file_open(int dir, const char *name, uint64_t *size, const char **why);

#endif
