/* SPDX-License-Identifier: ISC */
/*
 * Refresh tokens that came in the place of what refresh-token-file says: some
 * servers give a new one with each access token, and take the old one no
 * more. The file of the route is the administrator's; ours lies beside the
 * queue. Two places in it are written by turns, so that a crash leaves the
 * one before. A place counts only while the administrator's file is the one
 * that it descends from: who puts another token there means it.
 */
#include "relay.h"

#include "wire.h"

#include <errno.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

enum {
	PLACE_BYTES = 8192,
	PLACE_MAGIC = 0x56544b31, /* "VTK1" */
	ORIGIN_BYTES = SHA256_DIGEST_LENGTH,
};

static void origin_of(const struct relay *r, uint8_t *to)
{
	SHA256(bytes_at(&r->refresh_file), bytes_len(&r->refresh_file), to);
}

/* Of all but the digest at its end. */
static void place_put(struct bytes *to, const struct relay *r, uint64_t number)
{
	uint8_t origin[ORIGIN_BYTES], digest[ORIGIN_BYTES];

	bytes_room(to, PLACE_BYTES);
	origin_of(r, origin);
	wire_put_u32(to, PLACE_MAGIC);
	wire_put_u64(to, number);
	wire_put_text(to, (struct text){(const char *)origin, sizeof origin});
	wire_put_text(to, bytes_text(&r->refresh));
	SHA256(bytes_at(to), bytes_len(to), digest);
	wire_put_text(to, (struct text){(const char *)digest, sizeof digest});
}

/* The token in the place that DATA holds; false: none that counts. */
static bool place_read(const struct relay *r, const uint8_t *data, size_t len, uint64_t *number,
		       struct text *token)
{
	struct wire_reader in = wire_reader_over(data, len);
	uint8_t origin[ORIGIN_BYTES], digest[ORIGIN_BYTES];

	origin_of(r, origin);
	if (wire_u32(&in) != PLACE_MAGIC)
		return false;
	*number = wire_u64(&in);
	struct text from = wire_text(&in, ORIGIN_BYTES);

	*token = wire_text(&in, REFRESH_MAX);
	size_t covered = in.bad ? 0 : (size_t)(in.at - data);
	struct text written = wire_text(&in, ORIGIN_BYTES);

	if (in.bad || !token->len || from.len != sizeof origin || written.len != sizeof digest ||
	    memcmp(from.data, origin, sizeof origin) != 0)
		return false;
	SHA256(data, covered, digest);
	return memcmp(written.data, digest, sizeof digest) == 0;
}

void relay_state_read(struct relay *r)
{
	uint8_t data[PLACE_BYTES];
	uint64_t number;
	struct text token;

	r->state_number = 0;
	for (int i = 0; r->state >= 0 && bytes_len(&r->refresh_file) && i < 2; i++) {
		ssize_t n = pread(r->state, data, sizeof data, (off_t)i * PLACE_BYTES);

		if (n <= 0 || !place_read(r, data, (size_t)n, &number, &token) ||
		    number <= r->state_number)
			continue;
		r->state_number = number;
		relay_wipe(&r->refresh);
		bytes_add(&r->refresh, token.data, token.len);
	}
	explicit_bzero(data, sizeof data);
}

void relay_state_open(struct relay *r, int fd)
{
	if (r->state >= 0)
		close(r->state);
	r->state = fd;
	/* What has come meanwhile is newer than any file. */
	if (text_equal(bytes_text(&r->refresh), bytes_text(&r->refresh_file)))
		relay_state_read(r);
}

void relay_state_keep(struct relays *all, struct relay *r)
{
	struct bytes place = {0};
	uint64_t number = r->state_number + 1;
	off_t at = (off_t)(number % 2) * PLACE_BYTES;

	if (!r->route->refresh_token_file.len)
		return;
	place_put(&place, r, number);
	errno = EBADF;
	if (bytes_len(&place) > PLACE_BYTES || r->state < 0 ||
	    pwrite(r->state, bytes_at(&place), bytes_len(&place), at) !=
		(ssize_t)bytes_len(&place) ||
	    fdatasync(r->state) != 0)
		log_error(all->checker->d->log,
			  "route %s: the server gave another refresh token, which cannot be kept "
			  "on disk: %s; after a restart the old one is used",
			  r->label, strerror(errno));
	else
		log_notice(all->checker->d->log,
			   "route %s: the server gave another refresh token; it is kept beside the "
			   "queue, and used while refresh-token-file stays as it is",
			   r->label);
	r->state_number = number;
	relay_wipe(&place);
}
