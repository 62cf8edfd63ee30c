/* SPDX-License-Identifier: ISC */
/* Format 1: a magic, the content, and a checksum of both. */
#include "snapshot.h"

#include "file.h"
#include "queue.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAGIC_BYTES = 8, CHECKSUM_BYTES = 4, PIECE_BYTES = 65536 };

static const uint8_t magic[MAGIC_BYTES] = {'V', 'R', 'D', 'S', 'N', 'P', '0', '1'};

static int open_file(const char *folder, const char *name, const char *suffix, int flags)
{
	char path[320];

	snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool write_file(int fd, const struct bytes *content)
{
	struct bytes sum = {0};
	uint32_t crc = queue_crc32c(0, magic, sizeof magic);

	crc = queue_crc32c(crc, bytes_at(content), bytes_len(content));
	wire_put_u32(&sum, crc);
	bool done = file_write(fd, magic, sizeof magic) &&
		    file_write(fd, bytes_at(content), bytes_len(content)) &&
		    file_write(fd, bytes_at(&sum), bytes_len(&sum));

	bytes_free(&sum);
	return done;
}

static bool rename_file(const char *folder, const char *name)
{
	char from[320], to[320];

	snprintf(from, sizeof from, "%s/%s.new", folder, name);
	snprintf(to, sizeof to, "%s/%s", folder, name);
	return renameat(AT_FDCWD, from, AT_FDCWD, to) == 0;
}

/* So that the new name outlives a crash of the machine. */
static bool sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool done = fd >= 0 && fdatasync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return done;
}

bool snapshot_write(const char *folder, const char *name, const struct bytes *content, bool durable,
		    struct log *log)
{
	int fd = open_file(folder, name, ".new", O_WRONLY | O_CREAT | O_TRUNC);
	bool done = fd >= 0 && write_file(fd, content) && (!durable || fdatasync(fd) == 0);

	if (fd >= 0 && close(fd) != 0)
		done = false;
	done = done && rename_file(folder, name) && (!durable || sync_folder(folder));
	if (!done)
		log_warning(log, "%s can't be written: %s", name, strerror(errno));
	return done;
}

static bool read_all(int fd, size_t most, struct bytes *to)
{
	ssize_t n;

	do {
		n = read(fd, bytes_room(to, PIECE_BYTES), PIECE_BYTES);
		if (n > 0)
			to->end += (size_t)n;
	} while ((n > 0 && bytes_len(to) <= most) || (n < 0 && errno == EINTR));
	return n == 0;
}

static bool is_whole(const struct bytes *b)
{
	size_t len = bytes_len(b);

	if (len < MAGIC_BYTES + CHECKSUM_BYTES || memcmp(bytes_at(b), magic, sizeof magic) != 0)
		return false;
	struct wire_reader in =
	    wire_reader_over(bytes_at(b) + len - CHECKSUM_BYTES, CHECKSUM_BYTES);

	return wire_u32(&in) == queue_crc32c(0, bytes_at(b), len - CHECKSUM_BYTES);
}

bool snapshot_take(int fd, size_t most, struct bytes *to)
{
	struct bytes whole = {0};
	bool good = read_all(fd, most, &whole) && is_whole(&whole);

	if (good)
		bytes_add(to, bytes_at(&whole) + MAGIC_BYTES,
			  bytes_len(&whole) - MAGIC_BYTES - CHECKSUM_BYTES);
	bytes_free(&whole);
	return good;
}

bool snapshot_read(const char *folder, const char *name, size_t most, struct bytes *to)
{
	int fd = open_file(folder, name, "", O_RDONLY);
	bool good = fd >= 0 && snapshot_take(fd, most, to);

	if (fd >= 0)
		close(fd);
	return good;
}
