/* SPDX-License-Identifier: ISC */
/* The history's records, and its writer. */
#include "history.h"

#include "mem.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	BUFFER_MAX = 4 * 1024 * 1024, /* events are dropped above it */
	FILES_A_HISTORY = 8,	      /* the oldest eighth goes at a time */
	FILES_MAX = 4096,	      /* looked at in the folder */
	PRUNE_SECONDS = 600,
	RETRY_SECONDS = 1,
};

static const char head[8] = {'V', 'H', 'I', 'S', 'T', 0, 0, 1};
/* No UTF-8 text holds these two bytes. */
static const uint8_t mark[2] = {0xf9, 0xc1};

struct history {
	int folder, file; /* file: -1 between files */
	struct bytes buffer;
	uint64_t buffered, lost; /* events */
	uint64_t written;	 /* bytes of the file, all whole records */
	struct walltime begun, pruned, failed;
	uint64_t size;
	struct duration keep;
};

/*
 * Not cryptographic: it tells torn and rotten records from good ones, in a
 * fraction of the time that a table-driven CRC would take from each line.
 */
static uint32_t checksum(const uint8_t *p, size_t len)
{
	uint64_t h = 0x9e3779b97f4a7c15u ^ len;

	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; len; p++, len--)
		h = (h ^ *p) * 0x100000001b3u;
	h *= 0xc4ceb9fe1a85ec53u;
	return (uint32_t)(h >> 32);
}

static uint8_t *put_number(uint8_t *p, uint64_t v, size_t size)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(v >> (8 * i));
	return p + size;
}

/* Straight into memory: this runs four times a message. */
void history_encode(struct bytes *to, const struct history_event *event)
{
	size_t count = event->count < EVENT_VALUES_MAX ? event->count : EVENT_VALUES_MAX;
	uint8_t *record = bytes_room(to, HISTORY_RECORD_MAX), *p = record + 8;

	p = put_number(p, event->what, 1);
	p = put_number(p, count, 1);
	p = put_number(p, event->daemon, 2);
	p = put_number(p, event->pid, 4);
	p = put_number(p, event->id, 8);
	p = put_number(p, event->wall, 8);
	for (size_t i = 0; i < count; i++) {
		struct text t = event->values[i];
		size_t n = t.len < EVENT_VALUE_BYTES ? t.len : EVENT_VALUE_BYTES;

		p = put_number(p, n, 2);
		if (n)
			memcpy(p, t.data, n);
		p += n;
	}
	size_t len = (size_t)(p - record) - 8;

	memcpy(record, mark, sizeof mark);
	put_number(record + 2, len, 2);
	put_number(record + 4, checksum(record + 8, len), 4);
	to->end += len + 8;
}

/* How far ahead the next mark (or the end) is, as a negative number. */
static ptrdiff_t next_mark(const uint8_t *data, size_t len)
{
	const uint8_t *p = len > 1 ? memmem(data + 1, len - 1, mark, sizeof mark) : NULL;

	if (p)
		return data - p;
	/* The last byte may be the first of a mark. */
	return len > 1 && data[len - 1] == mark[0] ? 1 - (ptrdiff_t)len : -(ptrdiff_t)len;
}

ptrdiff_t history_decode(const void *bytes, size_t len, struct history_event *event)
{
	const uint8_t *data = bytes;
	struct wire_reader r;

	if (len < HISTORY_FIXED_BYTES)
		return 0;
	if (memcmp(data, mark, sizeof mark) != 0)
		return next_mark(data, len);
	size_t body = (size_t)data[2] | (size_t)data[3] << 8;

	if (body < HISTORY_FIXED_BYTES - 8 || body > HISTORY_RECORD_MAX - 8)
		return next_mark(data, len);
	if (body > len - 8)
		return 0;
	r = wire_reader_over(data + 4, body + 4);
	if (wire_u32(&r) != checksum(data + 8, body))
		return next_mark(data, len);
	event->what = wire_u8(&r);
	event->count = wire_u8(&r);
	event->daemon = wire_u16(&r);
	event->pid = wire_u32(&r);
	event->id = wire_u64(&r);
	event->wall = wire_u64(&r);
	if (event->count > EVENT_VALUES_MAX)
		return next_mark(data, len);
	for (size_t i = 0; i < event->count; i++) {
		size_t n = wire_u16(&r);

		if (r.bad || n > EVENT_VALUE_BYTES || n > (size_t)(r.end - r.at))
			return next_mark(data, len);
		event->values[i] = (struct text){(const char *)r.at, n};
		r.at += n;
	}
	return wire_done(&r) ? (ptrdiff_t)body + 8 : next_mark(data, len);
}

bool history_head_is_good(const void *data)
{
	return memcmp(data, head, sizeof head) == 0;
}

/* "00001795299900123456.history" */
bool history_name_is_good(const char *name)
{
	return strlen(name) == 28 && strspn(name, "0123456789") == 20 &&
	       strcmp(name + 20, ".history") == 0;
}

/* -- the writer ------------------------------------------------------------ */

struct history *history_new(int folder_fd)
{
	struct history *h = mem_new(1, sizeof *h);

	h->folder = folder_fd;
	h->file = -1;
	return h;
}

void history_configure(struct history *h, uint64_t size, struct duration keep)
{
	h->size = size;
	h->keep = keep;
	h->pruned = (struct walltime){0};
}

static void file_close(struct history *h)
{
	if (h->file >= 0)
		close(h->file);
	h->file = -1;
}

static void drop(struct history *h)
{
	h->lost += h->buffered;
	h->buffered = 0;
	h->buffer.start = h->buffer.end = 0;
}

void history_free(struct history **history)
{
	struct history *h = *history;

	if (!h)
		return;
	history_write(h, walltime_read());
	file_close(h);
	close(h->folder);
	bytes_free(&h->buffer);
	free(h);
	*history = NULL;
}

void history_add(struct history *h, const struct history_event *event)
{
	if (!h->keep.us)
		return;
	if (bytes_len(&h->buffer) > BUFFER_MAX) {
		h->lost++;
		return;
	}
	history_encode(&h->buffer, event);
	h->buffered++;
}

uint64_t history_lost(struct history *h)
{
	uint64_t n = h->lost;

	h->lost = 0;
	return n;
}

struct listed {
	char name[HISTORY_NAME_BYTES];
	uint64_t size;
	int64_t changed_us;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* The history's files, oldest first; their number. *LIST is the caller's to free. */
static size_t files_list(const struct history *h, struct listed **list)
{
	int fd = openat(h->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	size_t n = 0;

	*list = mem_new(FILES_MAX, sizeof **list);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	for (struct dirent *e; n < FILES_MAX && (e = readdir(dir));) {
		struct stat st;

		if (!history_name_is_good(e->d_name) ||
		    fstatat(h->folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		snprintf((*list)[n].name, sizeof(*list)[n].name, "%.*s", 28, e->d_name);
		(*list)[n].size = (uint64_t)st.st_size;
		(*list)[n].changed_us = (int64_t)st.st_mtim.tv_sec * 1000000;
		n++;
	}
	closedir(dir);
	qsort(*list, n, sizeof **list, by_name);
	return n;
}

/* Removes what is too old, and the oldest while the rest leaves no room for one more file. */
static void prune(struct history *h, struct walltime now)
{
	struct listed *list;
	size_t n = files_list(h, &list);
	uint64_t total = 0, room = h->size - h->size / FILES_A_HISTORY;

	for (size_t i = 0; i < n; i++)
		total += list[i].size;
	/* The one being written is the newest and stays. */
	if (h->file >= 0 && n)
		n--;
	for (size_t i = 0; i < n; i++) {
		if (total <= room && now.us - list[i].changed_us < h->keep.us)
			continue;
		if (unlinkat(h->folder, list[i].name, 0) == 0)
			total -= list[i].size;
	}
	free(list);
	h->pruned = now;
}

static int file_begin(struct history *h, struct walltime now)
{
	char name[HISTORY_NAME_BYTES];
	struct bytes b = {0};
	uint64_t number = now.us > 0 ? (uint64_t)now.us : 0;
	ssize_t n;

	prune(h, now);
	for (int tries = 0; tries < 100 && h->file < 0; tries++) {
		snprintf(name, sizeof name, "%020" PRIu64 ".history", number + (uint64_t)tries);
		h->file = openat(h->folder, name,
				 O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0640);
		if (h->file < 0 && errno != EEXIST)
			return errno;
	}
	if (h->file < 0)
		return EEXIST;
	bytes_add(&b, head, sizeof head);
	wire_put_u64(&b, number);
	n = write(h->file, bytes_at(&b), bytes_len(&b));
	bytes_free(&b);
	if (n != HISTORY_HEAD_BYTES) {
		int error = n < 0 ? errno : ENOSPC;

		file_close(h);
		unlinkat(h->folder, name, 0);
		return error;
	}
	h->begun = now;
	h->written = HISTORY_HEAD_BYTES;
	return 0;
}

/* A write cut short leaves a torn record: it is taken back, or the file given up. */
static int buffer_write(struct history *h)
{
	size_t len = bytes_len(&h->buffer);
	ssize_t n;

	do
		n = write(h->file, bytes_at(&h->buffer), len);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)len) {
		h->written += len;
		h->buffered = 0;
		bytes_take(&h->buffer, len, 1 << 20);
		return 0;
	}
	int error = n < 0 ? errno : ENOSPC;

	if (ftruncate(h->file, (off_t)h->written) != 0)
		file_close(h);
	return error;
}

static bool file_is_full(const struct history *h, struct walltime now)
{
	int64_t age = now.us - h->begun.us;

	return h->written >= h->size / FILES_A_HISTORY || age < 0 ||
	       age > h->keep.us / FILES_A_HISTORY;
}

int history_write(struct history *h, struct walltime now)
{
	int error = 0;

	if (!h->keep.us)
		file_close(h);
	if (now.us - h->pruned.us > PRUNE_SECONDS * INT64_C(1000000) || now.us < h->pruned.us)
		prune(h, now);
	if (!h->keep.us) {
		drop(h);
		return 0;
	}
	if (!bytes_len(&h->buffer))
		return 0;
	if (h->failed.us && now.us >= h->failed.us &&
	    now.us - h->failed.us < RETRY_SECONDS * INT64_C(1000000))
		return 0;
	if (h->file >= 0 && file_is_full(h, now))
		file_close(h);
	if (h->file < 0)
		error = file_begin(h, now);
	if (!error)
		error = buffer_write(h);
	h->failed = error ? now : (struct walltime){0};
	return error;
}
