/* SPDX-License-Identifier: ISC */
/*
 * The queue on disk: accepted mail, what became of each recipient, and the
 * way back to both after a crash. One process writes (qmgr); the veredus
 * command may read at the same time.
 *
 * FOLDERS, under the queue's own folder (a descriptor; nothing else is opened by path)
 *   format       the format number, as text; a newer number is refused
 *   lock         held with flock() by the one writer
 *   segments/    GENERATION.seg, 8 hex digits: records, in the order of writing
 *   free/        recycled segments; their records are void in their next life,
 *                since the checksum covers the generation
 *   reserve/     segments that only outcomes and the cleaner may use when the disk is full
 *   index/       GENERATION.idx: what recovery needs of a sealed segment, without content
 *   bodies/      large bodies, named by the queue ID in 16 hex digits
 *   damaged/     segments with damage, kept for a person once their mail was moved out
 *
 * WHAT EXISTS IN EACH STATE OF A MESSAGE
 *   filling      its record is in the memory of the batch being filled
 *   sealed       the record has its place; the appender writes and syncs it
 *   committed    the record is on stable storage: 250 may be said
 *   deferred, held, failed-and-owed: the same, and an outcome record a recipient; the
 *                newest one is that recipient's state
 *   moving       a second copy (MOVE) is in a batch; the first one still counts
 *                until that batch is committed, then the second one
 *   settled      each recipient has a final outcome with nothing owed; the record
 *                is dead, and while its segment exists so does a settling outcome or a
 *                tombstone in some segment
 *   gone         its segment was freed; nothing on disk names it
 *
 * THREADS. Each function names who may call it:
 *   M  the main thread, the one that owns the queue
 *   A  the appender: one thread, one batch at a time
 *   W  the worker for maintenance: one thread, one job at a time
 *   R  any thread, any number at once
 * A program without threads calls all of them from one.
 *
 * THE ROUND of qmgr's loop, all M but the write:
 *   1. the appender is through with a batch: queue_batch_done()
 *   2. queue_clean_apply(), which is allowed only here, with no batch in flight
 *   3. queue_batch_seal(); queue_batch_write() goes to the appender
 *   4. queue_work_wanted(): when it says so, queue_work_run() goes to the worker,
 *      and later queue_work_done()
 *   5. queue_add_*() into the next batch while the appender writes
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "clock.h"
#include "text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_FORMAT 1
#define QUEUE_SEGMENT_BYTES (64u << 20) /* default size of a segment */
#define QUEUE_SEGMENT_MIN (64u << 10)	/* for tests */
#define QUEUE_SEGMENT_MAX (1u << 30)
#define QUEUE_BATCH_BYTES (4u << 20) /* most that one commit writes */
#define QUEUE_ENVELOPE_MAX (1u << 20)
#define QUEUE_PRELUDE_MAX (256u << 10)
#define QUEUE_BODY_MAX (64u << 10) /* inline; larger bodies are files */
#define QUEUE_RECIPIENTS_MAX 65536u
#define QUEUE_DOMAIN_MAX 254u
#define QUEUE_SUBMITTER_MAX 512u
#define QUEUE_TEXT_MAX 512u /* of a reply that is kept; longer ones are cut */
#define QUEUE_DSN_MAX 11u

enum queue_result {
	QUEUE_OK = 0,
	QUEUE_MORE = 1,	       /* a slice is done, there is more: call again */
	QUEUE_WAIT = -1,       /* no room yet: wait for the batch in flight, or the worker's job */
	QUEUE_BATCH_FULL = -2, /* this batch takes no more of it: seal it, try with the next one */
	QUEUE_FULL = -3,       /* the disk is full for new mail: 452 4.3.1 */
	QUEUE_IO = -4, /* the disk failed or is read-only: 451 4.3.0; no reply if it was a commit */
	QUEUE_ABORTED =
	    -5, /* the commit failed and that is durable: its mail is refused with 451 */
	QUEUE_GONE =
	    -6, /* what was to be read has been freed meanwhile: ask for its location again */
	QUEUE_DAMAGED = -7, /* the checksum is wrong */
	QUEUE_CHANGED =
	    -8, /* a reader without the lock met a segment that was recycled: begin again */
	QUEUE_LOCKED = -9,   /* another process writes to this queue */
	QUEUE_TOO_NEW = -10, /* a newer Veredus made this queue */
	QUEUE_TOO_BIG = -11, /* beyond a bound above; a bug or a hostile caller */
	QUEUE_SHORT = -12,   /* no descriptor or memory now; the disk is well: try again later */
};

/* For a log line. */
const char *queue_result_text(enum queue_result result);

/* ---- what is stored ------------------------------------------------------ */

/* Where a message's newest record is. Offset and length in bytes, length with header and padding.
 */
struct queue_location {
	uint32_t generation; /* of the segment; 0: nowhere */
	uint32_t offset;
	uint32_t length;
};

/* The record that holds a recipient's newest outcome; generation 0: there is none. */
struct queue_where {
	uint32_t generation;
	uint32_t offset;
};

/* On disk as numbers: never renumber. */
enum queue_kind {
	QUEUE_WAITING = 0,   /* no outcome yet; never written as one, but part of folded state */
	QUEUE_RELAYED = 1,   /* another server took it */
	QUEUE_DELIVERED = 2, /* into a mailbox here */
	QUEUE_DEFERRED = 3,  /* to be tried again at NEXT */
	QUEUE_FAILED = 4,    /* for good: 5xx, expiry */
	QUEUE_HELD = 5,	     /* waits for a person */
	QUEUE_EXPANDED = 6, /* others took its place, in the record that carries this as a settle */
	QUEUE_RELEASED = 7, /* from held, or requeued: to be tried at NEXT */
	QUEUE_REMOVED = 8,  /* deleted by a person, with no report */
	QUEUE_KINDS = 9,
};

enum queue_flag {
	QUEUE_NOTICED = 1,	 /* the delay notice was sent */
	QUEUE_OWED_FAILURE = 2,	 /* a failure report is owed */
	QUEUE_OWED_DELAY = 4,	 /* a delay notice is owed */
	QUEUE_OWED_SUCCESS = 8,	 /* a success report is owed (NOTIFY=SUCCESS, RFC 3461 4.1) */
	QUEUE_FLAG_SPARE = 0xf0, /* qmgr's own, kept as they are */
};

/*
 * Settled means: nothing is left to do for this recipient. Relayed,
 * delivered, failed, expanded or removed, and no failure or success report
 * owed. A settled recipient never comes back: a later outcome is ignored.
 */
bool queue_settled(enum queue_kind kind, uint8_t flags);

/* One recipient's outcome. It holds the whole state, so that the newest one is the state. */
struct queue_outcome {
	uint64_t id;	    /* of the message */
	uint32_t recipient; /* its number in the envelope, from 0 */
	enum queue_kind kind;
	uint8_t flags;	      /* enum queue_flag */
	uint16_t attempts;    /* so far, this one included */
	uint16_t code;	      /* SMTP reply code, or 0 */
	struct text dsn;      /* "4.4.1", at most QUEUE_DSN_MAX */
	struct text text;     /* the reply or reason; at most QUEUE_TEXT_MAX are kept */
	struct walltime at;   /* when it happened */
	struct walltime next; /* next attempt, if deferred or released */
};

/* A message to be committed. All is copied before queue_add_message() returns. */
struct queue_message {
	uint64_t id; /* below the lease's end; not 0 */
	struct walltime arrival;
	struct text submitter; /* login, client network or local uid: stored as it is */
	struct text envelope;  /* lib/envelope.h; opaque here */
	struct text prelude;
	struct text body;     /* empty when body_in_file */
	uint64_t body_length; /* of the file; inline: ignored */
	uint32_t body_crc;    /* CRC32C of the file; inline: ignored */
	bool body_in_file;    /* bodies/ID, made with queue_body_create() and finished */
	bool replaces;	      /* a new envelope for a message that is queued already: "expanded".
				 Recipients keep their numbers, new ones follow; content is given again.
				 Only while no batch is in flight, else QUEUE_WAIT */
	uint32_t first_new;   /* replaces: recipients from this number on are new */
	uint32_t recipient_count;
	const struct text *domains; /* of each recipient, as qmgr wants them back after a restart */
	const struct queue_outcome
	    *settles;	     /* outcomes that this commit carries, in one record with it: */
	size_t settle_count; /* a bounce's recipients, the recipient that was expanded, and what an
				imported message's own recipients came with (none of it settled) */
};

/* Where a message's parts lie in the batch's memory, valid while the batch is referenced. */
struct queue_placed {
	struct text envelope, prelude, body;
};

/* ---- what the owner (qmgr) keeps ------------------------------------------ */

/* State of one recipient that is not settled. */
struct queue_recipient {
	uint32_t number;
	enum queue_kind kind; /* waiting, deferred, held, released; failed, relayed, delivered when
				 a report is owed */
	uint8_t flags;
	uint16_t attempts;
	uint16_t code;
	struct walltime next;
	struct queue_where where; /* of the newest outcome: read it with queue_read_outcome() */
	struct text domain;	  /* only in queue_entry */
};

/* A live message found by recovery. Its texts are valid during the callback. */
struct queue_entry {
	uint64_t id;
	struct queue_location location;
	struct walltime arrival;
	struct text submitter;
	uint64_t size_bytes; /* prelude and body */
	bool body_in_file;
	bool damaged;		  /* an outcome or state of it was lost to damage: hold it */
	uint32_t recipient_count; /* in the envelope, settled ones included */
	uint32_t open_count;
	const struct queue_recipient *open; /* not settled, by number */
};

/* A range of a segment that can't be read, with valid records behind it. */
struct queue_damage {
	uint32_t generation, offset, length;
	uint64_t id; /* of the message, when the broken header still names one; else 0 */
};

/*
 * What the queue asks and tells its owner; always in the thread that called
 * the queue (M). The queue keeps no message in memory: its owner does, and
 * the cleaner asks it. Callbacks must not call the queue, but for
 * queue_message_forget() and queue_outcome_forget().
 */
struct queue_owner {
	void *self;

	/* Recovery: a live message. */
	void (*entry)(void *self, const struct queue_entry *entry);

	/*
	 * Recovery: damage. With an id: hold that message, now if it is
	 * known, else when its entry comes (which then says damaged as well).
	 */
	void (*damage)(void *self, const struct queue_damage *damage);

	/*
	 * From queue_batch_done(): a message's record is durable at this place;
	 * for a new one, an expanded one or one that the cleaner moved. False
	 * when the owner no longer has the message (settled meanwhile).
	 */
	bool (*placed)(void *self, uint64_t id, const struct queue_location *location);

	/*
	 * From queue_batch_done(): an outcome is durable. MOVED is false for
	 * one that was added by queue_add_outcome() or as a settle: it is the
	 * recipient's state now. The owner stores NOW as the recipient's where
	 * and returns the where that it had before (generation 0 when none), or NOW
	 * itself if it keeps no such recipient. For a settled recipient it
	 * returns the old where and forgets the recipient.
	 * MOVED is true for a copy made by the cleaner: the owner stores NOW
	 * and returns OLD only if the recipient's where still equals OLD, else it
	 * returns NOW. outcome.text is valid during the call.
	 */
	struct queue_where (*outcome)(void *self, const struct queue_outcome *outcome,
				      struct queue_where now, bool moved, struct queue_where old);

	/* Cleaner: the message's place now; false when it is settled (or was never committed). */
	bool (*locate)(void *self, uint64_t id, struct queue_location *location);

	/* Cleaner: fills OPEN (room for MAX, at most the message's recipient_count) with the
	 * recipients that are not settled, by number; domain left empty. Returns how many. */
	uint32_t (*open)(void *self, uint64_t id, struct queue_recipient *open, uint32_t max);

	/* Cleaner: one recipient that is not settled; false when it is settled. */
	bool (*recipient)(void *self, uint64_t id, uint32_t number, struct queue_recipient *state);
};

/* ---- opening and loading --------------------------------------------------- */

struct disk;
struct queue;
struct queue_batch;

struct queue_options {
	uint32_t segment_bytes;	   /* 0: QUEUE_SEGMENT_BYTES; a multiple of 4096 */
	uint32_t reserve_segments; /* 0: 2 */
	uint32_t batch_bytes;	   /* 0: QUEUE_BATCH_BYTES; never above a quarter of a segment */
	uint32_t lease_ids;	   /* 0: 65536; IDs in a lease */
	uint64_t first_id;	   /* IDs are at least this; from the clock, so that a queue made
				      anew does not give out those of the one before it */
	uint32_t free_segments;	   /* kept for reuse before segments are unlinked; 0: 4. Disk use
				      stays under twice the live bytes, two segments, these and the
				      reserve */
};

/*
 * M, before any other, blocks. Opens or makes the queue in the folder DIR (which
 * the caller keeps open as long as the queue), scans the newest segment, cuts a
 * torn tail, makes what it found durable, makes the reserve and a fresh
 * segment: mail can be taken at once (queue_intake() says so; on a disk without any room it
 * says QUEUE_FULL, and what is queued is loaded all the same). Damage in the newest segment is
 * reported at queue_load_apply(). DISK is disk_real() but in tests.
 */
enum queue_result queue_open(struct queue **queue, const struct disk *disk, int dir,
			     const struct queue_options *options, const struct queue_owner *owner);

/* M: lets go of all; no job or batch may be under way. What is not committed is lost. Takes NULL.
 */
void queue_close(struct queue **queue);

/*
 * The rest of the queue is loaded segment by segment, newest first: the
 * worker reads one (queue_work_*, the job comes by itself), and
 * queue_load_apply() (M) hands at most MAX of its messages to
 * owner->entry. QUEUE_MORE: call again in a later turn; QUEUE_WAIT: when the
 * worker is through; QUEUE_OK: all are loaded. Nothing is cleaned before.
 */
enum queue_result queue_load_apply(struct queue *queue, uint32_t max);

/* M, blocks: all of it at once. */
enum queue_result queue_load_all(struct queue *queue);

/* ---- IDs ------------------------------------------------------------------- */

/*
 * M. Takes COUNT ids that were never given out before; *FIRST is the first.
 * QUEUE_WAIT: a lease record must be committed first; it has been put into
 * the batch being filled (seal it, then ask again). At most lease_ids.
 */
enum queue_result queue_ids_take(struct queue *queue, uint32_t count, uint64_t *first);

/* ---- writing ---------------------------------------------------------------- */

/* M. The batch being filled, never NULL; a reference of one's own with queue_batch_ref(). */
struct queue_batch *queue_batch_filling(struct queue *queue);

/* M. A batch's memory (content handed to delivery) stays while it is referenced. */
struct queue_batch *queue_batch_ref(struct queue_batch *batch);
void queue_batch_unref(struct queue_batch **batch); /* takes NULL, leaves NULL */

/* M. True when there is nothing in the batch being filled. */
bool queue_batch_empty(const struct queue *queue);
size_t queue_batch_bytes(const struct queue *queue); /* in the batch being filled */

/*
 * M. Adds a message to the batch being filled. QUEUE_OK; QUEUE_BATCH_FULL or
 * QUEUE_WAIT: keep it, try again after the next seal or job; QUEUE_FULL,
 * QUEUE_IO: refuse it; QUEUE_TOO_BIG. PLACED may be NULL.
 */
enum queue_result queue_add_message(struct queue *queue, const struct queue_message *message,
				    struct queue_placed *placed);

/* M. Adds an outcome of a committed message. QUEUE_OK, QUEUE_BATCH_FULL, QUEUE_WAIT. Never
 * QUEUE_FULL: that is what the reserve is for. */
enum queue_result queue_add_outcome(struct queue *queue, const struct queue_outcome *outcome);

/*
 * M. Lets the worker try again to make segments: once a second or so while queue_intake() says
 * QUEUE_FULL or QUEUE_IO; and to load, clean or free a segment that could not be: now and then
 * always, else the cleaner stands still.
 */
void queue_retry(struct queue *queue);

/* M. What a sender would be told now: QUEUE_OK, QUEUE_WAIT (soon), QUEUE_FULL, QUEUE_IO. */
enum queue_result queue_intake(const struct queue *queue);

/*
 * M. Gives each record of the batch being filled its sequence, segment and
 * offset, and starts a new batch to be filled. *BATCH is then for
 * queue_batch_write(), with a reference that queue_batch_done() takes away.
 * QUEUE_WAIT: a batch is in flight, or the worker prepares the next segment.
 * QUEUE_OK with *BATCH NULL: there was nothing. QUEUE_FULL: even the reserve is used
 * up, QUEUE_IO: no segment can be made; in both the batch stays, try again later.
 */
enum queue_result queue_batch_seal(struct queue *queue, struct queue_batch **batch);

/*
 * M. When it can't be sealed: takes the new messages out of the batch being filled, as if they had
 * never been added, so that they can be refused and outcomes have the room. What
 * queue_add_message() said in PLACED of them is void.
 */
void queue_batch_withdraw(struct queue *queue);

/*
 * A, blocks. Checksums, one write, one fdatasync. QUEUE_OK: durable.
 * When write or sync fails that file is never synced again; a new segment is
 * opened and an abort record for the range made durable there:
 * QUEUE_ABORTED, say 451. QUEUE_IO: that failed as well, so say nothing and
 * close; the abort record will be the first one of the next commit.
 */
enum queue_result queue_batch_write(struct queue *queue, struct queue_batch *batch);

/*
 * M, after the write, with its RESULT. On QUEUE_OK tells owner->placed and
 * owner->outcome for each record. Otherwise the batch's messages are
 * refused by the caller and the outcomes added again
 * (queue_batch_outcomes(), before the batch is given up). A recipient's outcomes count in
 * the order of their commits, so none may be added while an older one of it is in flight.
 * Takes the reference of queue_batch_seal().
 */
void queue_batch_done(struct queue *queue, struct queue_batch **batch, enum queue_result result);

/* M. Visits what queue_add_outcome() put into the batch (neither settles nor the cleaner's). */
void queue_batch_outcomes(const struct queue_batch *batch,
			  void (*visit)(void *arg, const struct queue_outcome *outcome), void *arg);

/* M. A message is settled and that is durable: its record is dead space now. */
void queue_message_forget(struct queue *queue, const struct queue_location *location);

/* M. An outcome that owner->outcome did not report as replaced is dead (the message was forgotten).
 */
void queue_outcome_forget(struct queue *queue, struct queue_where where);

/* ---- maintenance -------------------------------------------------------------- */

/*
 * M. True when there is a blocking job for the worker: preparing the next
 * segment, reading a segment to be loaded, an index file, the cleaner's
 * reading, freeing. Then run queue_work_run() in W, once, and
 * queue_work_done() in M after it. False: nothing to do, or one runs.
 */
bool queue_work_wanted(struct queue *queue);
void queue_work_run(struct queue *queue);  /* W, blocks, bounded to one segment */
void queue_work_done(struct queue *queue); /* M */

/*
 * M, only while no batch is in flight (after queue_batch_done(), before
 * queue_batch_seal()). Puts what the cleaner read into the batch being
 * filled, a slice of at most a quarter of the batch a call. Cheap when there is nothing.
 */
void queue_clean_apply(struct queue *queue);

/* ---- reading ---------------------------------------------------------------------- */

/* A message read back; freed with queue_content_free(). */
struct queue_content {
	uint8_t *data; /* holds the record */
	uint64_t id;
	struct walltime arrival;
	struct text submitter;
	struct text envelope, prelude, body;
	bool body_in_file;
	uint64_t body_length; /* inline or file */
	uint32_t body_crc;    /* of the file */
	uint32_t recipient_count;
};

/* R, blocks. QUEUE_OK, QUEUE_GONE, QUEUE_DAMAGED, QUEUE_IO. Verifies the checksum. */
enum queue_result queue_read_message(const struct queue *queue,
				     const struct queue_location *location,
				     struct queue_content *content);
void queue_content_free(struct queue_content *content);

/* An outcome read back; texts lie in the structure. */
struct queue_outcome_copy {
	struct queue_outcome outcome;
	char dsn[QUEUE_DSN_MAX + 1], text[QUEUE_TEXT_MAX + 1];
};

/* R, blocks. The outcome of recipient NUMBER of ID in the record at WHERE. */
enum queue_result queue_read_outcome(const struct queue *queue, struct queue_where where,
				     uint64_t id, uint32_t number, struct queue_outcome_copy *copy);

/* ---- large bodies --------------------------------------------------------------------- */

/* R, blocks. A fresh write-only file for the body of ID: *FD is the caller's. QUEUE_FULL, QUEUE_IO.
 */
enum queue_result queue_body_create(struct queue *queue, uint64_t id, int *fd);

/* R, blocks. Cuts the file to LENGTH, syncs it and its folder; before queue_add_message().
 * QUEUE_DAMAGED when the file is shorter than LENGTH. */
enum queue_result queue_body_finish(struct queue *queue, uint64_t id, uint64_t length);

/* R, blocks. Read-only, the caller's to close. */
enum queue_result queue_body_open(const struct queue *queue, uint64_t id, int *fd);

/* R, blocks. When its message was given up, or is settled and that is durable. */
enum queue_result queue_body_remove(struct queue *queue, uint64_t id);

/* Body files that no live message names are removed by a job of the worker once all is loaded. */

/* ---- figures -------------------------------------------------------------------------- */

struct queue_figures {
	uint32_t segments; /* with records, the head included */
	uint32_t free_segments;
	uint32_t reserve_segments; /* still unused */
	uint32_t segment_bytes;
	uint64_t live_bytes;	  /* records of live messages and their newest outcomes */
	uint64_t commits, aborts; /* since the start */
	uint64_t cleaned;	  /* segments freed since the start */
	uint64_t moved_bytes;	  /* copied by the cleaner */
	uint64_t damages;
	bool loaded, full, broken;
};
struct queue_figures queue_figures(const struct queue *queue); /* M */

/* ---- read-only access ------------------------------------------------------------------ */

/*
 * For the veredus command, with or without qmgr running. No lock, nothing
 * is written. Then queue_load_all(): QUEUE_CHANGED when the writer recycled
 * a segment meanwhile: forget what was loaded, close, open again. Of the owner
 * only entry and damage are called. queue_read_message(), queue_read_outcome()
 * and queue_body_open() work; QUEUE_GONE: the message moved or is gone.
 */
enum queue_result queue_open_readonly(struct queue **queue, const struct disk *disk, int dir,
				      const struct queue_owner *owner);

struct queue_check {
	uint64_t segments, records, bytes;
	uint64_t messages, outcomes, tombstones; /* records of each kind */
	uint64_t indexes, bad_indexes;
	uint64_t bodies, bad_bodies; /* of live messages: missing, short or another checksum */
	uint64_t damages;	     /* ranges reported */
	uint64_t live_messages, live_recipients;
};

/*
 * M, blocks, reads all of it, on a queue opened read-only and before any
 * load. Verifies each checksum; damage goes to owner->damage, live messages to
 * owner->entry. QUEUE_OK when nothing is wrong, QUEUE_DAMAGED, QUEUE_CHANGED, QUEUE_IO.
 */
enum queue_result queue_check(struct queue *queue, struct queue_check *check);

/* CRC32C (RFC 3720 B.4) over DATA, continued from CRC (0 at the start). R. */
uint32_t queue_crc32c(uint32_t crc, const void *data, size_t len);

#endif
