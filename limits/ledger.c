/* SPDX-License-Identifier: ISC */
/* Keeping the tallies on disk. */
#include "ledger.h"

#include "bytes.h"
#include "mem.h"
#include "queue.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Format 1: the header, then records. A record's checksum covers all before it. */
enum {
	HEADER_BYTES = 8 + SIPHASH_KEY_BYTES + 4,
	RECORD_BYTES = 8 + 1 + 4 * RATE_PERIODS * 5 + 4,
	PIECE_RECORDS = 1024,
	RETRY_WRITES = 60,     /* a file that can't be written is tried again after so many */
	SPARE_BYTES = 1 << 20, /* the file may have grown so far, and fourfold, beyond what lives */
};

static const char magic[8] = {'V', 'R', 'D', 'T', 'L', 'Y', '0', '1'};

struct ledger {
	struct tallies *tallies;
	struct log *log;
	char folder[256];
	uint8_t key[SIPHASH_KEY_BYTES];
	int fd;		  /* -1: there is none, or it can't be written */
	size_t size;	  /* of the file */
	unsigned skipped; /* writes since it could not be written */
	struct bytes out;
};

static void put_checksum(struct bytes *b, size_t from)
{
	wire_put_u32(b, queue_crc32c(0, b->data + from, b->end - from));
}

static void put_state(struct bytes *b, const struct tally_state *s)
{
	size_t from = b->end;

	wire_put_u64(b, s->who);
	wire_put_u8(b, s->kind);
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		wire_put_u32(b, s->window[p]);
		for (size_t i = 0; i < 2; i++) {
			wire_put_u32(b, s->messages[p][i]);
			wire_put_u32(b, s->recipients[p][i]);
		}
	}
	put_checksum(b, from);
}

static bool take_state(const uint8_t *data, struct tally_state *s)
{
	struct wire_reader in = wire_reader_over(data, RECORD_BYTES);

	s->who = wire_u64(&in);
	s->kind = wire_u8(&in);
	for (size_t p = 0; p < RATE_PERIODS; p++) {
		s->window[p] = wire_u32(&in);
		for (size_t i = 0; i < 2; i++) {
			s->messages[p][i] = wire_u32(&in);
			s->recipients[p][i] = wire_u32(&in);
		}
	}
	return wire_u32(&in) == queue_crc32c(0, data, RECORD_BYTES - 4) && wire_done(&in);
}

/* -- writing -------------------------------------------------------------------------- */

static int open_file(const struct ledger *l, const char *name, int flags)
{
	char path[320];

	snprintf(path, sizeof path, "%s/%s", l->folder, name);
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* What is gathered goes out. On failure the file is given up: the counts go on in memory. */
static bool flush(struct ledger *l)
{
	while (bytes_len(&l->out) && l->fd >= 0) {
		ssize_t n = write(l->fd, bytes_at(&l->out), bytes_len(&l->out));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log_warning(l->log,
				    "counts can't be written, and hold until a restart only: %s",
				    strerror(errno));
			close(l->fd);
			l->fd = -1;
			break;
		}
		l->size += (size_t)n;
		bytes_take(&l->out, (size_t)n, 65536);
	}
	l->out.start = l->out.end = 0;
	return l->fd >= 0;
}

static bool write_state(void *arg, const struct tally_state *state)
{
	struct ledger *l = arg;

	put_state(&l->out, state);
	return bytes_len(&l->out) < (size_t)PIECE_RECORDS * RECORD_BYTES || flush(l);
}

static bool forget_fresh(void *arg, const struct tally_state *state)
{
	(void)arg;
	(void)state;
	return true;
}

/* A file of what lives takes the place of the old one. */
static void write_anew(struct ledger *l)
{
	char from[320], to[320];

	if (l->fd >= 0)
		close(l->fd);
	l->size = 0;
	l->fd = open_file(l, "tallies.new", O_WRONLY | O_CREAT | O_TRUNC);
	if (l->fd < 0) {
		log_warning(l->log, "counts can't be written, and hold until a restart only: %s",
			    strerror(errno));
		return;
	}
	bytes_add(&l->out, magic, sizeof magic);
	bytes_add(&l->out, l->key, sizeof l->key);
	put_checksum(&l->out, 0);
	tallies_each(l->tallies, write_state, l);
	snprintf(from, sizeof from, "%s/tallies.new", l->folder);
	snprintf(to, sizeof to, "%s/tallies", l->folder);
	if (!flush(l))
		return;
	/* Else a crash might leave the new name with nothing behind it. */
	if (fdatasync(l->fd) != 0 || renameat(AT_FDCWD, from, AT_FDCWD, to) != 0) {
		log_warning(l->log, "counts can't be kept: %s", strerror(errno));
		close(l->fd);
		l->fd = -1;
	}
	tallies_fresh(l->tallies, forget_fresh, NULL);
}

void ledger_write(struct ledger *l)
{
	size_t live = HEADER_BYTES + tallies_count(l->tallies) * RECORD_BYTES;

	bool retry = l->fd < 0 && ++l->skipped >= RETRY_WRITES;

	if (retry || (l->size > SPARE_BYTES && l->size / 4 > live)) {
		l->skipped = 0;
		write_anew(l);
		return;
	}
	if (l->fd < 0)
		return;
	tallies_fresh(l->tallies, write_state, l);
	flush(l);
}

/* -- reading ---------------------------------------------------------------------------- */

static bool read_header(struct ledger *l, int fd)
{
	uint8_t header[HEADER_BYTES];
	struct wire_reader in = wire_reader_over(header + HEADER_BYTES - 4, 4);

	if (read(fd, header, sizeof header) != (ssize_t)sizeof header ||
	    memcmp(header, magic, sizeof magic) != 0 ||
	    wire_u32(&in) != queue_crc32c(0, header, HEADER_BYTES - 4))
		return false;
	memcpy(l->key, header + sizeof magic, sizeof l->key);
	return true;
}

static void read_states(struct ledger *l, int fd, int64_t now)
{
	struct bytes in = {0};
	struct tally_state state;
	const size_t piece = (size_t)PIECE_RECORDS * RECORD_BYTES;

	for (;;) {
		ssize_t n = read(fd, bytes_room(&in, piece), piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		in.end += (size_t)n;
		while (bytes_len(&in) >= RECORD_BYTES && take_state(bytes_at(&in), &state)) {
			tallies_restore(l->tallies, &state, now);
			bytes_take(&in, RECORD_BYTES, piece);
		}
		if (bytes_len(&in) >= RECORD_BYTES)
			break; /* broken: what follows can't be told from chance */
	}
	bytes_free(&in);
}

struct ledger *ledger_open(const char *folder, int64_t now, struct log *log)
{
	struct ledger *l = mem_new(1, sizeof *l);

	l->log = log;
	l->fd = -1;
	text_copy(l->folder, sizeof l->folder, text_of(folder));
	int fd = open_file(l, "tallies", O_RDONLY);
	bool known = fd >= 0 && read_header(l, fd);

	if (!known)
		siphash_key_make(l->key);
	l->tallies = tallies_new(l->key, TALLIES_MAX);
	if (known)
		read_states(l, fd, now);
	if (fd >= 0)
		close(fd);
	write_anew(l);
	return l;
}

struct tallies *ledger_tallies(struct ledger *l)
{
	return l->tallies;
}

void ledger_close(struct ledger **l)
{
	if (!*l)
		return;
	ledger_write(*l);
	if ((*l)->fd >= 0)
		close((*l)->fd);
	tallies_free(&(*l)->tallies);
	bytes_free(&(*l)->out);
	free(*l);
	*l = NULL;
}
