/* SPDX-License-Identifier: ISC */
/*
 * What the files of this folder share: the queue in memory. Not for others.
 * Fields belong to the main thread but where a line says otherwise.
 */
#ifndef QUEUE_STATE_H
#define QUEUE_STATE_H

#include "disk.h"
#include "queue.h"
#include "record.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	POOL_MAX = 64,	       /* segments in free/ and in reserve/, each */
	ABORTS_MAX = 4,	       /* failed ranges whose abort record is not durable yet */
	OUTCOMES_BYTES = 8192, /* a record of outcomes is closed above this */
	OUTCOME_WEIGHT = 128,  /* bytes that a live outcome is taken for */
	LEASE_RECORD = RECORD_HEADER + 8,
	ABORT_RECORD = (RECORD_HEADER + ABORT_BYTES + 7) & ~7,
	BATCH_PREFIX = LEASE_RECORD + ABORTS_MAX * ABORT_RECORD,
	NAME_BYTES = 32,
	CLEAN_PICK = 64, /* messages moved in one slice */
	CLEAN_BYTES = 512 << 10,
};

/* A segment that is on disk under segments/. */
struct segment {
	uint32_t generation;
	uint32_t size;
	uint64_t live;	   /* bytes of records that are their message's newest */
	uint32_t outcomes; /* newest outcomes of recipients that are not settled */
	bool sealed;	   /* nothing is written to it any more */
	bool indexed;	   /* has an index file, or needs none */
	bool stale; /* may hold older records of messages that live elsewhere: cleaned before all
		       others */
	bool damaged;
	bool unreadable; /* cleaning it failed: left alone until the next start */
};

/* A segment open for writing. */
struct head {
	int fd; /* -1: none */
	uint32_t generation, offset, size;
};

/* Segments waiting for use: guarded by queue.making. */
struct pool {
	uint32_t names[POOL_MAX];
	uint32_t count;
};

struct batch_pool;

struct queue_batch {
	uint32_t refs;
	uint8_t *data; /* records begin at BATCH_PREFIX; lease and aborts go before them */
	size_t size, used;
	size_t touched; /* the most that was used of it in former lives */
	struct batch_pool *pool;
	size_t outcomes; /* offset of the last record while it takes more outcomes, else 0 */
	size_t begin;	 /* sealed: first byte to write */
	bool mail;	 /* holds messages from outside */
	bool cleaned;	 /* holds records of the cleaner */
	uint64_t *moved; /* IDs whose record here replaces an older one */
	size_t moved_count, moved_size;
	uint64_t serial;

	/* Sealed: */
	struct head place; /* where it goes */
	uint64_t first, last;
	uint64_t lease; /* end that its lease record says, or 0 */
	struct record_abort aborts[ABORTS_MAX];
	uint32_t abort_count;
	struct head spare; /* to go on in when the write fails; A while it writes */
	bool spare_made;   /* A made it itself */
	uint64_t abort_last;
};

/* One record of a segment without content. */
struct view_entry {
	uint64_t id, sequence;
	uint32_t offset, length; /* of the record; length of the payload */
	size_t summary;		 /* where its summary lies in store */
	uint32_t summary_len;
	uint8_t type; /* enum record_type */
};

/* What a segment says, from a scan or from its index file. */
struct view {
	uint32_t generation;
	uint32_t end;	 /* one past the last valid record */
	uint32_t batch;	 /* first byte of the last commit */
	uint64_t last;	 /* highest sequence, 0 when empty */
	uint64_t lease;	 /* highest lease, 0 when none */
	uint64_t top_id; /* highest ID of a message */
	bool from_index;
	struct bytes store;
	struct view_entry *entries;
	size_t count, size;
};

enum work_kind {
	WORK_NONE,
	WORK_PREPARE,	 /* next segment, reserve */
	WORK_LOAD,	 /* view of a segment to be loaded */
	WORK_INDEX,	 /* index file of a sealed segment */
	WORK_CLEAN_VIEW, /* view of the victim */
	WORK_CLEAN_READ, /* content of its live messages, a slice */
	WORK_CLEAN_FREE, /* the victim goes to the pool */
	WORK_BODIES,	 /* names in bodies/ */
	WORK_UNLINK,	 /* orphans among them */
};

/* The worker's job: M fills it, W runs it, M takes the result. */
struct work {
	enum work_kind kind;
	bool running;
	enum queue_result result;
	bool urgent;	     /* prepare: use the reserve */
	bool need_next;	     /* prepare: there is no next segment */
	bool read_pools;     /* prepare: first see what lies in reserve/ and free/ */
	uint32_t generation; /* of the segment concerned */
	bool damaged;	     /* free: to damaged/ */
	struct head made;    /* prepare: the next segment */
	struct view view;    /* load, clean view */
	bool damage_found;   /* index */
};

/* Recovery, segment by segment from the newest. */
struct load {
	struct pending *pending;
	size_t left;  /* segments of the table that are still to be read, from the end */
	bool waits;   /* the next one can't be read now: again after queue_retry() */
	bool viewing; /* view holds a segment that is being fed */
	struct view view;
	int phase; /* 0 aborts, 1 outcomes, 2 messages */
	size_t cursor;
	bool done;
};

/* The cleaner's job. */
struct clean {
	bool active;
	uint32_t generation;
	bool viewed;
	struct view view;
	size_t cursor;		   /* in the view: outcomes, tombstones, aborts */
	uint32_t inner;		   /* outcomes of that record which are done */
	size_t message_cursor;	   /* in the view: messages */
	struct bytes content;	   /* whole records read by the worker, one after the other */
	size_t picked[CLEAN_PICK]; /* view entries that content holds, in order */
	size_t picked_count, picked_next;
	bool read;	    /* content holds what was picked */
	bool restart;	    /* clean_restart() came while the worker read */
	bool stuck;	    /* freeing failed: again after queue_retry() */
	bool waits;	    /* reading can't be done now: the same */
	bool any;	    /* records were added */
	uint64_t serial;    /* of the last batch that holds records of this job */
	uint64_t last_dead; /* a tombstone for this one was just written */
};

struct pending;

struct queue {
	const struct disk *disk; /* never changes; any thread */
	struct queue_options options;
	struct queue_owner owner;
	bool readonly;
	int dir, segments_dir, free_dir, reserve_dir, index_dir, bodies_dir, damaged_dir, lock_fd;

	struct segment *table; /* by generation */
	size_t count, size;

	struct head head, next;
	struct head resume; /* at the start: where the newest segment ended; no descriptor */
	bool
	    prepare_failed; /* no new segment could be made; queue_retry() lets it be tried again */
	bool full, broken;
	uint64_t sequence; /* of the next record */
	uint64_t next_id, lease, lease_wanted, first_id;
	struct queue_batch *filling, *flying;
	struct batch_pool *batches;
	uint64_t serial, committed;
	uint32_t durable_generation; /* segment of the last commit that succeeded */
	struct record_abort aborts[ABORTS_MAX];
	uint32_t abort_count;
	struct record_abort *voids; /* abort records found or written, while their segments exist */
	size_t void_count, void_size;

	struct work work;
	struct load load;
	struct clean clean;
	bool bodies_seen;
	uint64_t *bodies;
	size_t body_count, body_size;

	pthread_mutex_t making; /* pools and generations: W and A */
	struct pool free_pool, reserve_pool;
	uint32_t top_generation;
	atomic_uint free_left, reserve_left; /* copies for M */
	atomic_bool pools_doubt; /* a step failed: a file may lie in a pool's folder uncounted */
	bool pools_due;		 /* the pools are to be read again; queue_retry() says so */

	uint64_t commits, abort_total, cleaned, moved_bytes, damages;
};

/* ---- segment.c ---- */
void segment_name(char name[NAME_BYTES], uint32_t generation);
bool segment_name_get(const char *name, const char *suffix, uint32_t *generation);
struct segment *segment_find(struct queue *q, uint32_t generation); /* NULL: not there */
struct segment *segment_add(struct queue *q, uint32_t generation, uint32_t size);
/* A segment that was made and will not be used: closed, and left to the cleaner. */
void segment_waste(struct queue *q, struct head *made);
void segment_drop(struct queue *q, uint32_t generation);
void segment_live_add(struct queue *q, uint32_t generation, uint64_t bytes);
void segment_live_take(struct queue *q, uint32_t generation, uint64_t bytes);
void segment_outcome_add(struct queue *q, uint32_t generation);
void segment_outcome_take(struct queue *q, uint32_t generation);
/* W, A, or M at the start; takes the lock. */
enum queue_result segment_make(struct queue *q, bool from_reserve, struct head *made);
enum queue_result segment_release(struct queue *q, uint32_t generation, bool damaged);
enum queue_result segment_fill_reserve(struct queue *q);
enum queue_result file_get(const struct queue *q, int dir, const char *name, struct bytes *content);
/* Counts what lies in free/ and reserve/; what is too much goes. M at the start, W after doubt. */
enum queue_result segment_pools_read(struct queue *q);
enum queue_result result_of(int error); /* a negative errno */

/* ---- view.c ---- */
static inline const uint8_t *view_payload(const struct view *v, const struct view_entry *e)
{
	return v->store.data ? v->store.data + e->summary : (const uint8_t *)"";
}

void view_free(struct view *v);
void view_add(struct view *v, const struct record_header *h, uint32_t offset,
	      const uint8_t *payload);
void view_add_damage(struct view *v, uint32_t offset, uint32_t length, uint64_t id);
/* Reads a whole segment. GAPS: also those of the last commit (a torn write). */
enum queue_result view_scan(const struct queue *q, int fd, uint32_t generation, struct view *v);
/* From the index file when it is good, else by a scan. */
enum queue_result view_get(const struct queue *q, uint32_t generation, struct view *v);

/* ---- index.c ---- */
enum queue_result index_write(const struct queue *q, const struct view *v);
enum queue_result index_read(const struct queue *q, uint32_t generation, struct view *v);

/* ---- batch.c ---- */
uint8_t *batch_record(struct queue_batch *b, uint8_t type, uint64_t id, size_t length,
		      size_t summary);
enum queue_result batch_room(struct queue *q, size_t length, bool mail);
size_t message_summary_bytes(const struct queue_message *m, uint32_t open_count);
/* A move by the cleaner of the record H, whose payload is PAYLOAD. */
enum queue_result batch_add_move(struct queue *q, const struct record_header *h,
				 const uint8_t *payload, const struct queue_recipient *open,
				 uint32_t open_count);
enum queue_result batch_add_outcome(struct queue *q, uint8_t type, const struct record_outcome *o);
void batch_moved(struct queue_batch *b, uint64_t id);
bool batch_has_moved(const struct queue_batch *b, uint64_t id);
void batch_write_lease(uint8_t *at, uint64_t end);
void batch_write_abort(uint8_t *at, const struct record_abort *a);

/* ---- batch_pool.c: it outlives the queue while somebody holds a batch of it ---- */
struct batch_pool *batch_pool_new(void);
struct queue_batch *batch_pool_take(struct batch_pool *pool, size_t size);
void batch_pool_give(struct queue_batch *b);
void batch_pool_close(struct batch_pool **pool);

/* ---- pending.c: what recovery knows of messages whose record it has not reached ---- */

enum pending_flag {
	PENDING_DEAD = 1,    /* all that is older is void */
	PENDING_SEEN = 2,    /* a newer record was met */
	PENDING_DAMAGED = 4, /* a record about it was lost */
};

/* A recipient's newest outcome. */
struct pending_outcome {
	uint32_t number, next; /* next: of the same message, index + 1 */
	uint64_t stamp;
	struct walltime at;
	struct queue_where where;
	uint16_t attempts, code;
	uint8_t kind, flags;
};

struct pending *pending_new(void);
void pending_free(struct pending **p);
void pending_flag(struct pending *p, uint64_t id, uint8_t flags);
uint8_t pending_flags(const struct pending *p, uint64_t id);
void pending_outcome(struct pending *p, const struct record_outcome *o, struct queue_where where);
/* The first one of a message, or NULL; then those after it. */
const struct pending_outcome *pending_first(const struct pending *p, uint64_t id);
const struct pending_outcome *pending_next(const struct pending *p,
					   const struct pending_outcome *o);
/* Lets go of its outcomes; flags stay when there are any. */
void pending_forget(struct pending *p, uint64_t id);

/* ---- recover.c ---- */
bool void_covers(const struct queue *q, uint32_t generation, uint64_t sequence);
void void_add(struct queue *q, const struct record_abort *a);
void load_view_take(struct queue *q, struct view *v); /* what the worker read for load */
/* Is its file still this segment? Without the lock it may be recycled while it is read. */
bool segment_unchanged(const struct queue *q, uint32_t generation);
void queue_free(struct queue *q); /* all but waiting: for queue_close() and a failed open */

/* ---- clean.c ---- */
enum work_kind clean_work(struct queue *q); /* the cleaner's next job, or WORK_NONE */
void clean_restart(struct queue *q);	    /* the batch with its records failed */
void clean_read(struct queue *q);	    /* W */
void clean_done(struct queue *q);	    /* after one of its jobs */

/* ---- body.c ---- */
void bodies_list(struct queue *q);   /* W */
void bodies_judge(struct queue *q);  /* M */
void bodies_unlink(struct queue *q); /* W */

#endif
