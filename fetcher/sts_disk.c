/* SPDX-License-Identifier: ISC */
/* Policies on disk. */
#include "sts_disk.h"

#include "snapshot.h"

void sts_disk_load(struct sts_store *store, const char *folder, int64_t now_s)
{
	struct bytes content = {0};

	if (snapshot_read(folder, STS_FILE_NAME, STS_FILE_BYTES_MAX, &content))
		(void)sts_store_decode(store, bytes_text(&content), now_s);
	bytes_free(&content);
}

bool sts_disk_save(struct sts_store *store, const char *folder, struct log *log)
{
	struct bytes content = {0};

	sts_store_encode(store, &content);
	bool saved = snapshot_write(folder, STS_FILE_NAME, &content, true, log);

	bytes_free(&content);
	if (saved)
		sts_store_saved(store);
	return saved;
}
