/* SPDX-License-Identifier: ISC */
/* Frames into files. */
#include "drop_taker.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	ROOM_SHARE = 20, /* of the file system, that is left to others: one in so many blocks, */
	ROOM_MOST = 64 * 1024 * 1024, /* but no more than this */
	ROOM_FILES = 10000,	      /* and so many files, by the same share */
	ROOM_EVERY = 1024 * 1024,     /* octets written, it is looked at again */
};

bool drop_has_room(int fd)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) != 0 || !fs.f_frsize)
		return true;
	uint64_t share = fs.f_blocks / ROOM_SHARE, most = ROOM_MOST / fs.f_frsize;
	uint64_t files = fs.f_files / ROOM_SHARE; /* 0: it makes as many as are wanted */

	return fs.f_bavail >= (share < most ? share : most) &&
	       fs.f_favail >= (files < ROOM_FILES ? files : ROOM_FILES);
}

int drop_file_make(int folder, bool hatch, uint32_t uid, uint32_t tries, char name[DROP_NAME_BYTES])
{
	uint32_t first = 0;

	if (getrandom(&first, sizeof first, 0) != (ssize_t)sizeof first)
		return -1;
	errno = EEXIST;
	for (uint32_t i = 0; i < tries && errno == EEXIST; i++) {
		drop_name_print(name, &(struct drop_name){hatch, uid, (first + i) % DROP_SLOTS});
		int fd =
		    openat(folder, name,
			   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);

		if (fd >= 0)
			return fd;
	}
	return -1;
}

/* -- the file ------------------------------------------------------------------------------ */

static bool broken(struct drop_taker *t)
{
	t->error = errno ? errno : EIO;
	return false;
}

static bool write_all(struct drop_taker *t, const uint8_t *from, size_t len)
{
	while (len) {
		ssize_t n = write(t->file, from, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return broken(t);
		from += n;
		len -= (size_t)n;
		t->unseen += (size_t)n;
	}
	if (t->unseen < ROOM_EVERY)
		return true;
	t->unseen = 0;
	errno = ENOSPC;
	return drop_has_room(t->file) || broken(t);
}

static bool flush(struct drop_taker *t)
{
	size_t len = t->out_len;

	t->out_len = 0;
	t->written = true;
	return write_all(t, t->out, len);
}

static bool put(struct drop_taker *t, const uint8_t *data, size_t len)
{
	if (len > sizeof t->out - t->out_len && !flush(t))
		return false;
	if (len > sizeof t->out)
		return write_all(t, data, len);
	memcpy(t->out + t->out_len, data, len);
	t->out_len += len;
	return true;
}

/*
 * One write and one sync: a crash may leave a head without its content, but then the sum is not
 * that of the content.
 */
static bool finish_summed(struct drop_taker *t)
{
	t->head.flags |= DROP_SUMMED;
	t->head.sum = drop_sum(t->out + DROP_HEAD_BYTES, t->out_len - DROP_HEAD_BYTES);
	drop_head_encode(t->out, &t->head);
	return write_all(t, t->out, t->out_len) && (fchmod(t->file, 0404) == 0 || broken(t));
}

/* Content first, then the head, so that a crash leaves no head without its content. */
static bool finish_in_order(struct drop_taker *t)
{
	uint8_t octets[DROP_HEAD_BYTES];

	if (!flush(t))
		return false;
	drop_head_encode(octets, &t->head);
	if (fsync(t->file) != 0 ||
	    pwrite(t->file, octets, sizeof octets, 0) != (ssize_t)sizeof octets ||
	    fchmod(t->file, 0404) != 0)
		return broken(t);
	return true;
}

/*
 * The sync of a new file brings its name to the disk as well, with ext4, XFS and btrfs; the folder
 * itself can't be opened by postdrop, since its group may not read it.
 */
bool drop_finish(struct drop_taker *t, uint64_t wall, uint64_t token)
{
	struct stat st;

	t->head.wall = wall;
	t->head.token = token;
	t->head.fields = t->scan.fields_bytes;
	t->head.content = t->scan.content_bytes;
	if (!(t->written ? finish_in_order(t) : finish_summed(t)))
		return false;
	if (fsync(t->file) != 0 || fstat(t->file, &st) != 0)
		return broken(t);
	/* One that took days may have been cleaned away. */
	errno = ESTALE;
	return st.st_nlink == 1 || broken(t);
}

/* -- frames --------------------------------------------------------------------------------- */

static bool refused(struct drop_taker *t, enum drop_fault fault)
{
	t->fault = fault;
	return false;
}

/* A whole frame that is no content; of content its head. */
static bool take_frame(struct drop_taker *t, uint8_t tag, uint32_t length)
{
	const uint8_t *value = t->frame + DROP_FRAME_BYTES;
	enum drop_fault fault = drop_check_value(tag, value, length);

	t->frame_len = 0;
	if (fault != DROP_FINE)
		return refused(t, fault);
	if (tag == DROP_END)
		t->head.flags = value[0];
	return !drop_is_field(tag) || put(t, t->frame, DROP_FRAME_BYTES + length);
}

/* What is missing of the frame's head, or of its value, or is content; how many octets of DATA
 * that took. */
static bool take_some(struct drop_taker *t, const uint8_t *data, size_t len, size_t *used)
{
	uint32_t length = 0;
	uint8_t tag = 0;
	size_t want = DROP_FRAME_BYTES;

	if (t->piece) {
		*used = len < t->piece ? len : t->piece;
		t->piece -= (uint32_t)*used;
		return put(t, data, *used);
	}
	if (t->frame_len >= DROP_FRAME_BYTES) {
		drop_frame_decode(t->frame, &tag, &length);
		want += length;
	}
	*used = len < want - t->frame_len ? len : want - t->frame_len;
	memcpy(t->frame + t->frame_len, data, *used);
	t->frame_len += *used;
	if (t->frame_len < want)
		return true;
	if (want > DROP_FRAME_BYTES)
		return take_frame(t, tag, length);
	drop_frame_decode(t->frame, &tag, &length);
	enum drop_fault fault = drop_scan_frame(&t->scan, tag, length);

	if (fault != DROP_FINE)
		return refused(t, fault);
	if (tag == DROP_CONTENT) {
		t->piece = length;
		t->frame_len = 0;
		return true;
	}
	return length || take_frame(t, tag, length);
}

void drop_taker_begin(struct drop_taker *t, int file)
{
	/* Not all of the buffer, which is large. */
	memset(t, 0, offsetof(struct drop_taker, out));
	memset(t->out, 0, DROP_HEAD_BYTES);
	t->file = file;
	t->out_len = DROP_HEAD_BYTES;
}

bool drop_take(struct drop_taker *t, const uint8_t *data, size_t len)
{
	while (len) {
		size_t used;

		if (t->scan.last == DROP_END && !t->frame_len)
			return refused(t, DROP_BEHIND);
		if (!take_some(t, data, len, &used))
			return false;
		data += used;
		len -= used;
	}
	return true;
}

bool drop_is_whole(struct drop_taker *t)
{
	if (t->scan.last == DROP_END && !t->frame_len)
		return true;
	return refused(t, t->scan.last || t->frame_len ? DROP_HALF : DROP_NONE);
}

const char *drop_why(const struct drop_taker *t, int *status)
{
	*status = t->fault != DROP_FINE ? EX_DATAERR
		  : t->error == EFBIG	? EX_UNAVAILABLE
					: EX_TEMPFAIL;
	if (t->fault != DROP_FINE)
		return drop_fault_text(t->fault);
	return t->error == ESTALE ? "the mail was taken away, since it took too long" : "writing";
}
