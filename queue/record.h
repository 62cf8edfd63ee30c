/* SPDX-License-Identifier: ISC */
/*
 * Records: what a segment is made of. No I/O. All numbers little endian.
 *
 * THE HEADER, RECORD_HEADER bytes, at an offset divisible by RECORD_ALIGN
 *   u32 magic        RECORD_MAGIC
 *   u32 crc          CRC32C over the segment's generation and the record's offset (u32 each),
 *                    then the header from `generation` on, then the payload
 *   u32 generation   of the segment
 *   u32 length       of the payload in bytes; the next record begins at the next aligned offset
 *   u64 sequence     counts all records of the queue, for good
 *   u64 id           of the message that it is about, else 0
 *   u32 batch        offset of the first record of the same commit
 *   u32 summary      bytes at the payload's start that recovery needs (and an index file holds)
 *   u8  type         enum record_type
 *   u8  flags        0
 *   u16 u32          0
 *
 * THE PAYLOADS
 *   message, move    u64 arrival us; u64 folded (outcomes of a lower sequence are part of what
 *                    `open` says; 0 in a new message); u64 body length; u32 body crc; u8 flags
 * (enum message_flag); text submitter; u32 recipients; for each: u8 length of its domain and the
 *                    domain, or RECORD_SAME alone; u32 open (RECORD_ALL_OPEN in a new message), for
 * each: u32 number, u8 kind, u8 flags, u16 attempts, u16 code, u64 next us, u32 generation and u32
 * offset of its newest outcome; u32 settles, for each an outcome; u32 lengths of envelope, prelude,
 *                    body; here the summary ends; envelope, prelude, body
 *   outcomes, state  outcomes, one after the other, to the end
 *   an outcome       u64 id; u64 stamp (0: the record's sequence; in a copy that of the first
 *                    record); u64 at us; u64 next us; u32 home (generation of the message's
 * record); u32 recipient; u32 generation and u32 offset of the original (copies); u16 attempts; u16
 * code; u8 kind; u8 flags; u8 length of dsn; u8 0; u16 length of text; dsn; text tombstone u32
 * home: no record of this message counts any more; needed while segment home exists abort u32
 * generation; u32 from, u32 to: offsets; u64 first, u64 last: sequences. What lies there never
 * happened lease            u64 end: IDs below it may have been given out pad anything; fills a
 * hole that a torn write left
 *
 * A segment begins with a page of SEGMENT_HEADER bytes: u32 magic SEGMENT_MAGIC, u32 crc of what
 * follows, u32 format, u32 generation, u32 size in bytes; zeros.
 */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "queue.h"
#include "wire.h"

enum {
	RECORD_MAGIC = 0x31525156,  /* "VQR1" */
	SEGMENT_MAGIC = 0x31535156, /* "VQS1" */
	RECORD_ALIGN = 8,
	RECORD_HEADER = 48,
	SEGMENT_HEADER = 4096,
	RECORD_SAME = 255,  /* the domain of the recipient before */
	OUTCOME_FIXED = 58, /* bytes of an outcome without its texts */
	OPEN_FIXED = 26,    /* bytes of an open recipient */
	ABORT_BYTES = 28,
};
#define RECORD_ALL_OPEN UINT32_MAX

enum record_type {
	RECORD_MESSAGE = 1,
	RECORD_OUTCOMES = 2,
	RECORD_STATE = 3,
	RECORD_TOMBSTONE = 4,
	RECORD_ABORT = 5,
	RECORD_LEASE = 6,
	RECORD_MOVE = 7,
	RECORD_PAD = 8,
	RECORD_TYPES = 9,
	RECORD_DAMAGE = 255, /* never on disk in a segment: stands for a range in a view */
};

enum message_flag {
	MESSAGE_BODY_IN_FILE = 1,
};

struct record_header {
	uint32_t crc, generation, length;
	uint64_t sequence, id;
	uint32_t batch, summary;
	uint8_t type;
};

static inline uint32_t record_padded(uint32_t length)
{
	return (RECORD_HEADER + length + RECORD_ALIGN - 1) & ~(uint32_t)(RECORD_ALIGN - 1);
}

/* Reads a header; false when it cannot be one of GENERATION with ROOM bytes from its start. */
bool record_header_get(const uint8_t *at, size_t room, uint32_t generation,
		       struct record_header *h);

/* Writes all but the checksum. */
void record_header_put(uint8_t *at, const struct record_header *h);

/* Checksum of the record at AT, whose header says LENGTH. */
uint32_t record_crc(const uint8_t *at, uint32_t generation, uint32_t offset, uint32_t length);
void record_crc_put(uint8_t *at, uint32_t crc);

void segment_header_put(uint8_t page[static SEGMENT_HEADER], uint32_t generation, uint32_t size);
/* QUEUE_OK, QUEUE_TOO_NEW or QUEUE_DAMAGED. */
enum queue_result segment_header_get(const uint8_t page[static SEGMENT_HEADER],
				     uint32_t *generation, uint32_t *size);

/* An outcome as it is stored. */
struct record_outcome {
	struct queue_outcome outcome; /* texts point into the record */
	uint64_t stamp;
	uint32_t home;
	struct queue_where old;
	uint32_t at; /* offset of its first byte within the payload */
};

size_t record_outcome_bytes(const struct queue_outcome *o); /* encoded, texts cut to their bounds */
uint8_t *record_outcome_put(uint8_t *to, const struct record_outcome *o);
/* False at the end, or when the rest is no outcome (then r->bad). */
bool record_outcome_get(struct wire_reader *r, struct record_outcome *o);
/* Overwrites the home of the outcome that starts at TO. */
void record_outcome_home(uint8_t *to, uint32_t home);

/* A message's summary, read. */
struct record_message {
	struct walltime arrival;
	uint64_t folded;
	uint64_t body_length;
	uint32_t body_crc;
	uint8_t flags;
	struct text submitter;
	uint32_t recipients;
	struct wire_reader domains; /* for record_domain_get() */
	uint32_t open_count;	    /* or RECORD_ALL_OPEN */
	struct wire_reader open;    /* for record_open_get() */
	uint32_t settle_count;
	struct wire_reader settles; /* for record_outcome_get() */
	uint32_t envelope, prelude, body;
};

/* Checks all of it: after true the readers inside can be run without a fault. */
bool record_message_get(const uint8_t *payload, size_t summary, size_t length,
			struct record_message *m);

/* Sets `folded` in a summary, when the batch is sealed. */
void record_folded_put(uint8_t *payload, uint64_t folded);

/* The next recipient's domain; PREVIOUS is the one before (empty at first). */
struct text record_domain_get(struct wire_reader *r, struct text previous);
void record_open_get(struct wire_reader *r, struct queue_recipient *open);

struct record_abort {
	uint32_t generation, from, to;
	uint64_t first, last;
};
bool record_abort_get(const uint8_t *payload, size_t length, struct record_abort *a);
void record_abort_put(uint8_t *to, const struct record_abort *a);

uint8_t *put_u8(uint8_t *to, uint8_t v);
uint8_t *put_u16(uint8_t *to, uint16_t v);
uint8_t *put_u32(uint8_t *to, uint32_t v);
uint8_t *put_u64(uint8_t *to, uint64_t v);
uint8_t *put_data(uint8_t *to, const void *data, size_t len);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);

#endif
