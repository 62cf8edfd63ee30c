/* SPDX-License-Identifier: ISC */
/*
 * Frames (drop.h) on their way into a file of the maildrop: what postdrop(1)
 * does itself, and pickup(8) for those at its hatch. Each is checked before any of it is written.
 * Takes no memory.
 */
#ifndef PICKUP_DROP_TAKER_H
#define PICKUP_DROP_TAKER_H

#include "drop.h"

struct drop_taker {
	int file;
	/* What went wrong: an errno, or a fault of the frames; neither: nothing. */
	int error;
	enum drop_fault fault;
	struct drop_scan scan;
	struct drop_head head;
	uint32_t piece;	  /* octets of a CONTENT frame that are still to come */
	size_t frame_len; /* of a frame of another kind, of which a part has come */
	uint8_t frame[DROP_FRAME_BYTES + 1 + DROP_ADDRESS_MAX];
	bool written;  /* some of it is in the file already */
	size_t unseen; /* octets written since there was seen to be room */
	size_t out_len;
	uint8_t out[DROP_HEAD_BYTES + DROP_SUMMED_MAX];
};

/*
 * A new file in FOLDER, of mode 0600, under one of UID's names (drop.h): of a first random
 * slot and the next ones, TRIES in all. Its descriptor, and its name in NAME; -1 with errno, EEXIST
 * when none was free. A link, a FIFO or whatever lies there is never opened.
 */
int drop_file_make(int folder, bool hatch, uint32_t uid, uint32_t tries,
		   char name[DROP_NAME_BYTES]);

/* False: the disk is left to others, to the queue for one. Of a folder, or of a file on its way. */
bool drop_has_room(int fd);

/* FILE is new and stays the caller's, as does its name when anything fails. */
void drop_taker_begin(struct drop_taker *t, int file);

/* The next octets; all of them. False: it is no mail, or cannot be written. */
bool drop_take(struct drop_taker *t, const uint8_t *data, size_t len);

/* There are no more. Was that a mail? */
bool drop_is_whole(struct drop_taker *t);

/*
 * A whole mail becomes one for pickup, by its mode, and is on the disk, its name too, when this
 * returns true. WALL: the time in us.
 */
bool drop_finish(struct drop_taker *t, uint64_t wall, uint64_t token);

/* What went wrong, in words (the errno's are added to them), and as an exit status. */
const char *drop_why(const struct drop_taker *t, int *status);

#endif
