/* SPDX-License-Identifier: ISC */
/*
 * A file of the maildrop, from outside in: what it is, whose it is, what its
 * head says, and only then its fields. postdrop leaves nothing else there, but
 * who has broken postdrop, or has its group in another way, can leave anything.
 */
#include "pickup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STALE_S = 86400 };

static enum drop_state foreign(struct drop_file *f, const char *why)
{
	f->complaint = why;
	return STATE_FOREIGN;
}

/* By name, before it is opened, and again by its descriptor. */
static enum drop_state look(struct drop_file *f, const char *text, const struct stat *st,
			    int64_t now_s)
{
	struct drop_name name;

	if (!S_ISREG(st->st_mode))
		return foreign(f, S_ISLNK(st->st_mode)	  ? "a symbolic link"
				  : S_ISDIR(st->st_mode)  ? "a folder"
				  : S_ISFIFO(st->st_mode) ? "a FIFO"
							  : "a device or a socket");
	if (!drop_name_parse(text_of(text), &name))
		return foreign(f, "a name that postdrop does not give");
	f->uid = name.uid;
	if (name.hatch && st->st_uid != f->ours)
		return foreign(f, "it has a name of the hatch, and is not ours");
	if (!name.hatch && name.uid != st->st_uid)
		return foreign(f, "its owner is not the user in its name");
	if (st->st_nlink != 1)
		return foreign(f, "it has another name elsewhere");
	/* Open for us, and for us alone, is what is whole. */
	if (!(st->st_mode & S_IROTH))
		return now_s - st->st_mtime > STALE_S ? STATE_STALE : STATE_LATER;
	if (st->st_size < DROP_HEAD_BYTES ||
	    st->st_size > (off_t)DROP_HEAD_BYTES + DROP_FIELDS_MAX + DROP_CONTENT_MAX)
		return foreign(f, "its size is that of no mail");
	return STATE_WHOLE;
}

static bool read_at(int fd, void *to, size_t len, off_t at)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(fd, (uint8_t *)to + done, len - done, at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static enum drop_state read_fields(struct drop_file *f, const struct stat *st)
{
	uint8_t octets[DROP_HEAD_BYTES];

	if (!read_at(f->fd, octets, sizeof octets, 0))
		return STATE_LATER;
	if (!drop_head_decode(octets, &f->head) ||
	    (uint64_t)st->st_size != DROP_HEAD_BYTES + f->head.fields + f->head.content)
		return foreign(f, "its head is that of no mail");
	bool summed = f->head.flags & DROP_SUMMED;
	/* The sum is that of all. */
	size_t len = f->head.fields + (summed ? (size_t)f->head.content : 0);

	if (!read_at(f->fd, bytes_room(&f->memory, len), len, DROP_HEAD_BYTES))
		return STATE_LATER;
	f->memory.end += len;
	if (summed && drop_sum(bytes_at(&f->memory), len) != f->head.sum)
		return foreign(f, "it is not what was written: the machine or the disk failed");
	if (!drop_fields_read((struct text){(const char *)bytes_at(&f->memory), f->head.fields},
			      &f->fields))
		return foreign(f, "its envelope cannot be read");
	return STATE_WHOLE;
}

enum drop_state drop_file_open(int folder, const char *name, int64_t now_s, struct drop_file *to)
{
	struct stat named, st;
	enum drop_state state;

	*to = (struct drop_file){.fd = -1};
	if (fstat(folder, &st) != 0)
		return STATE_LATER;
	to->ours = st.st_uid;
	if (fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) != 0)
		return STATE_LATER;
	state = look(to, name, &named, now_s);
	if (state != STATE_WHOLE)
		return state;
	/* A FIFO that took its place would make us wait for a writer. */
	to->fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (to->fd < 0 || fstat(to->fd, &st) != 0)
		return STATE_LATER;
	if (st.st_dev != named.st_dev || st.st_ino != named.st_ino)
		return STATE_LATER;
	state = look(to, name, &st, now_s);
	if (state != STATE_WHOLE)
		return state;
	/* postdrop has it locked until it has told its caller. */
	if (flock(to->fd, LOCK_SH | LOCK_NB) != 0)
		return STATE_LATER;
	return read_fields(to, &st);
}

bool drop_file_content(const struct drop_file *f, size_t most, struct bytes *to)
{
	size_t len = f->head.content < most ? (size_t)f->head.content : most;

	if (f->head.flags & DROP_SUMMED) {
		bytes_add(to, bytes_at(&f->memory) + f->head.fields, len);
		return true;
	}
	if (!read_at(f->fd, bytes_room(to, len), len, (off_t)DROP_HEAD_BYTES + f->head.fields))
		return false;
	to->end += len;
	return true;
}

void drop_file_free(struct drop_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	bytes_free(&f->memory);
}
