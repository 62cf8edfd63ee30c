/* SPDX-License-Identifier: ISC */
/*
 * What pickup is made of: the door to submission, the folder, and the mails
 * that are at the door. A mail's file stays until the door has said that the
 * mail is in the queue; so whatever dies, it is there to be brought again.
 */
#ifndef PICKUP_PICKUP_H
#define PICKUP_PICKUP_H

#include "daemon.h"
#include "drop.h"

#include <dirent.h>
#include <sys/queue.h>

enum {
	AT_DOOR_MAX = 16,    /* mails at the door at once; after a crash so many may come twice */
	DOOR_LIMIT_S = 300,  /* for its answer */
	LOOK_EVERY_S = 60,   /* without being woken */
	KEPT_S = 3600,	     /* until what can be neither sent nor moved is tried again */
	PAUSE_S = 1,	     /* when the door takes nothing now */
	INLINE_MAX = 65536,  /* content above it travels as the file itself */
	COMPLAINTS_MAX = 10, /* lines about what is no mail, each time the folder is read */
};

/* A mail at the door. */
struct dropped {
	TAILQ_ENTRY(dropped) line;
	struct pickup *self;
	struct timer limit;
	char name[DROP_NAME_BYTES];
	uint32_t uid;
	uint64_t token;	 /* ours, for the door */
	uint64_t number; /* its head's, for people */
	uint64_t wall;	 /* when it was dropped, us */
	char sender[DROP_ADDRESS_MAX + 1];
	char reply[520]; /* why it was refused */
	bool returned;	 /* what is at the door is the report of its refusal */
	bool taken;	 /* nothing is left to do but to remove it */
	bool settled;	 /* taken, or to stay for now, or on its way out: no answer is awaited */
};

struct hatch;

struct pickup {
	struct daemon *d;
	struct hatch *hatch;  /* NULL: none yet */
	int hatch_fd;	      /* of which nothing could be made so far, or -1 */
	struct channel *door; /* NULL while there is none */
	TAILQ_HEAD(, dropped) at_door;
	size_t count; /* of those that wait for an answer */
	uint64_t last_token;
	int folder, corrupt; /* -1: cannot be had */
	int bell;	     /* inotify; -1: there is none */
	DIR *reading;	     /* NULL: the folder is not being read */
	unsigned complaints;
	bool again;	      /* something came while it was read */
	bool paused, drained; /* the door takes nothing now; no more is brought */
	struct watch rung;
	struct timer look;
};

/* Something lies in the folder: collects it. */
void pickup_look(struct pickup *self);

/* What drop_file_open() finds. */
enum drop_state {
	STATE_WHOLE,
	STATE_LATER, /* being written, or gone */
	STATE_STALE, /* begun a day ago or more, and never finished */
	STATE_FOREIGN,
};

struct drop_file {
	int fd;
	uint32_t uid;  /* whose mail it is, as the kernel had it */
	uint32_t ours; /* the owner of the folder, who is pickup */
	struct drop_head head;
	struct drop_fields fields;
	struct bytes
	    memory; /* of the fields, and of the content behind them if that has a sum; owned */
	const char *complaint; /* STATE_FOREIGN: why */
};

/*
 * drop_file.c: opens NAME, believing nothing of it. What is no regular file with one link whose
 * owner's name it has is not even opened. The caller frees TO, whatever is returned; NOW_S is the
 * time.
 */
enum drop_state drop_file_open(int folder, const char *name, int64_t now_s, struct drop_file *to);
void drop_file_free(struct drop_file *f);
/* The whole content, or its first MOST octets; false when it cannot be read. */
bool drop_file_content(const struct drop_file *f, size_t most, struct bytes *to);

/* returned.c: the report of a refusal: what is brought to the door in its place. */
void returned_write(const struct config *config, const struct drop_file *f, struct text reply,
		    struct walltime now, struct bytes *to);

#endif
