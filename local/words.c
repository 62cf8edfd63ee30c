/* SPDX-License-Identifier: ISC */
/* A child's words, one result after the other. */
#include "words.h"

enum { HEAD_BYTES = 8 };

void words_put(struct bytes *to, uint32_t number, const struct result *r)
{
	struct bytes one = {0};

	result_encode(&one, r);
	wire_put_u32(to, number);
	wire_put_u32(to, (uint32_t)bytes_len(&one));
	bytes_add(to, bytes_at(&one), bytes_len(&one));
	bytes_free(&one);
}

enum words_verdict words_take(struct bytes *said, uint32_t count, uint32_t *number,
			      struct result *r)
{
	const char *at = (const char *)bytes_at(said);

	if (bytes_len(said) < HEAD_BYTES)
		return WORDS_MORE;
	struct wire_reader in = wire_reader_over(at, HEAD_BYTES);

	*number = wire_u32(&in);
	uint32_t len = wire_u32(&in);

	if (*number >= count || len > RESULT_BYTES_MAX)
		return WORDS_BROKEN;
	if (len > bytes_len(said) - HEAD_BYTES)
		return WORDS_MORE;
	if (!result_decode((struct text){at + HEAD_BYTES, len}, r)) {
		result_free(r);
		*r = (struct result){0};
		return WORDS_BROKEN;
	}
	bytes_take(said, HEAD_BYTES + len, 0);
	return WORDS_ONE;
}
