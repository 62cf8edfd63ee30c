/* SPDX-License-Identifier: ISC */
/*
 * A mail on its way through the maildrop: the frames in which sendmail(1)
 * gives it to postdrop(1), and the file that postdrop leaves for pickup(8).
 * Used by the setgid program: nothing here takes memory, does I/O or knows
 * more than lengths.
 *
 * Frame: a tag, a little-endian u32 length, that many octets. In this order:
 *   BEGIN      DROP_BEGIN_TEXT: which format this is
 *   SENDER     the reverse-path without brackets; empty is null
 *   ENVID      RFC 3461 4.4, xtext; may be missing
 *   RET        one octet, enum dsn_ret; may be missing
 *   RECIPIENT  an octet of enum dsn_notify, the address; 1 to DROP_RECIPIENTS_MAX of them
 *   CONTENT    octets of the mail, CRLF lines; any number of them
 *   END        an octet of enum drop_flag; without it there was no mail
 * File: the head, the frames SENDER to RECIPIENT as they came, the content.
 */
#ifndef LIB_DROP_H
#define LIB_DROP_H

#include "text.h"

enum drop_tag {
	DROP_BEGIN = 'B',
	DROP_SENDER = 'S',
	DROP_ENVID = 'V',
	DROP_RET = 'H',
	DROP_RECIPIENT = 'R',
	DROP_CONTENT = 'C',
	DROP_END = 'E',
};

#define DROP_BEGIN_TEXT "veredus 1"

/* The folder's name below the queue's, and the group that may create files in it. */
#define DROP_FOLDER "maildrop"
/* The socket beside it, for whom the folder is closed. */
#define DROP_HATCH "hatch"
#define DROP_GROUP "veredus-postdrop"

enum {
	DROP_FRAME_BYTES = 5, /* tag and length */
	DROP_ADDRESS_MAX = 320,
	DROP_ENVID_MAX = 100,
	DROP_RECIPIENTS_MAX = 1000,
	DROP_PIECE_MAX = 65536, /* of CONTENT */
	/* All fields together: sender, ENVID, RET and as many recipients as there may be. */
	DROP_FIELDS_MAX = (DROP_RECIPIENTS_MAX + 3) * (DROP_FRAME_BYTES + 1 + DROP_ADDRESS_MAX),
	DROP_CONTENT_MAX = 512 * 1024 * 1024, /* whatever a mail may have, submission says */
	DROP_HEAD_BYTES = 40,
	DROP_NAME_BYTES = 32,	 /* "m-4294967295-4095" and a NUL */
	DROP_SLOTS = 4096,	 /* mails of one user that wait, at most */
	DROP_SUMMED_MAX = 65536, /* fields and content of a file that has a sum */
};

enum drop_flag {
	DROP_EIGHT_BIT = 1, /* an octet of the content is not ASCII */
	DROP_UTF8 = 2,	    /* an address or the header is UTF-8 (RFC 6531, 6532) */
	/* Of a file alone: its head has the sum of what is behind it. */
	DROP_SUMMED = 4,
};

enum drop_fault {
	DROP_FINE,
	DROP_ORDER,  /* a frame that does not belong here, or is none */
	DROP_LENGTH, /* too long, or empty */
	DROP_VALUE,  /* octets that cannot stand there */
	DROP_MANY,   /* recipients above DROP_RECIPIENTS_MAX */
	DROP_LARGE,  /* content above DROP_CONTENT_MAX */
	DROP_NONE,   /* nothing at all */
	DROP_HALF,   /* it ends too early */
	DROP_BEHIND, /* something follows its end */
};

/* Where a stream of frames stands; begins as zeros. */
struct drop_scan {
	uint8_t last; /* tag of the last frame; 0: none so far */
	uint32_t recipients, fields_bytes;
	uint64_t content_bytes;
};

void drop_frame_encode(uint8_t to[DROP_FRAME_BYTES], enum drop_tag tag, uint32_t length);
void drop_frame_decode(const uint8_t from[DROP_FRAME_BYTES], uint8_t *tag, uint32_t *length);

/* May a frame come now that has this tag and length? If so it counts as seen. */
enum drop_fault drop_scan_frame(struct drop_scan *scan, uint8_t tag, uint32_t length);

/* Is this what a frame of that tag may hold? Its length has been looked at. */
enum drop_fault drop_check_value(uint8_t tag, const uint8_t *data, uint32_t length);

/* A field: not BEGIN, CONTENT or END. */
bool drop_is_field(uint8_t tag);

const char *drop_fault_text(enum drop_fault fault);

/* The head of a file: what postdrop writes last. */
struct drop_head {
	uint32_t fields; /* octets */
	uint32_t flags;	 /* enum drop_flag */
	uint64_t content;
	uint64_t wall;	/* us; when it was whole */
	uint64_t token; /* random; names the mail in log lines */
	uint32_t sum;	/* with DROP_SUMMED; else 0 */
};

/* Of all that is behind a head: whether what is there is what was written, in case of a crash. */
uint32_t drop_sum(const uint8_t *data, size_t len);

void drop_head_encode(uint8_t to[DROP_HEAD_BYTES], const struct drop_head *head);
/* False: no head, or lengths that nobody may have. */
bool drop_head_decode(const uint8_t from[DROP_HEAD_BYTES], struct drop_head *head);

/* The fields of a file. Texts point into what was read. */
struct drop_fields {
	struct text sender, envid, recipients; /* recipients: for drop_recipient_next() */
	uint32_t recipient_count;
	uint8_t ret;
};

bool drop_fields_read(struct text from, struct drop_fields *to);
bool drop_recipient_next(struct text *recipients, struct text *address, uint8_t *notify);

/*
 * "m-UID-SLOT": a file that the user made, by postdrop, and that is his. "h-UID-SLOT": one that
 * pickup made for him, at the hatch, and that is pickup's. At most DROP_SLOTS names of each kind
 * are a user's, so that nobody fills the folder for others.
 */
struct drop_name {
	bool hatch;
	uint32_t uid, slot;
};

void drop_name_print(char to[DROP_NAME_BYTES], const struct drop_name *name);
bool drop_name_parse(struct text from, struct drop_name *name);

#endif
