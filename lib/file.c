/* SPDX-License-Identifier: ISC */
/* Reading and writing whole files. */
#include "file.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool file_take(int fd, size_t most, struct bytes *to)
{
	uint8_t *room = bytes_room(to, most + 1);
	size_t have = 0;
	ssize_t n;

	do {
		n = pread(fd, room + have, most + 1 - have, (off_t)have);
		if (n > 0)
			have += (size_t)n;
	} while ((n > 0 && have <= most) || (n < 0 && errno == EINTR));
	close(fd);
	if (n == 0 && have) {
		to->end += have;
		return true;
	}
	explicit_bzero(room, have);
	bytes_free(to);
	return false;
}

bool file_write(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool file_is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}
