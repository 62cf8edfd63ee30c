/* SPDX-License-Identifier: ISC */
/* Making a .db file. */
#include "table_file.h"

#include <db.h>

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CACHE_BYTES = 16 * 1024 * 1024 };

static bool become_owner(const struct stat *source)
{
	if (geteuid() != 0 || source->st_uid == 0)
		return true;
	return setgroups(0, NULL) == 0 &&
	       setresgid(source->st_gid, source->st_gid, source->st_gid) == 0 &&
	       setresuid(source->st_uid, source->st_uid, source->st_uid) == 0;
}

/* With the NUL that Postfix puts behind both. */
static int put(DB *db, struct bytes *key, struct bytes *value)
{
	DBT k = {0}, v = {0};

	bytes_add(key, "", 1);
	bytes_add(value, "", 1);
	k.data = bytes_at(key);
	k.size = (u_int32_t)bytes_len(key);
	v.data = bytes_at(value);
	v.size = (u_int32_t)bytes_len(value);
	return db->put(db, NULL, &k, &v, 0);
}

/* Keys in lower case, as Postfix looks them up. */
static int put_all(DB *db, table_source *source, void *self, ptrdiff_t *count)
{
	struct bytes key = {0}, value = {0};
	struct text at_key, at_value;
	int error = 0;

	while (!error && source(self, &at_key, &at_value)) {
		key.start = key.end = value.start = value.end = 0;
		for (size_t i = 0; i < at_key.len; i++) {
			char c = ascii_lower(at_key.data[i]);

			bytes_add(&key, &c, 1);
		}
		bytes_add(&value, at_value.data, at_value.len);
		error = put(db, &key, &value);
		++*count;
	}
	bytes_free(&key);
	bytes_free(&value);
	return error;
}

static int write_db(const char *path, enum table_type type, table_source *source, void *self,
		    ptrdiff_t *count)
{
	DB *db = NULL;
	int error = db_create(&db, NULL, 0);

	if (error)
		return error;
	/* Its own words on standard error would be said twice. */
	db->set_errfile(db, NULL);
	error = db->set_cachesize(db, 0, CACHE_BYTES, 1);
	if (!error)
		error = db->open(db, NULL, path, NULL, type == TABLE_HASH ? DB_HASH : DB_BTREE,
				 DB_CREATE | DB_TRUNCATE, 0600);
	if (!error)
		error = put_all(db, source, self, count);
	int closed = db->close(db, 0);

	return error ? error : closed;
}

ptrdiff_t table_file_write(const char *path, enum table_type type, table_source *source, void *self,
			   const struct stat *st, char *what, size_t size)
{
	char fresh[TABLE_FILE_BYTES + 8];
	ptrdiff_t count = 0;

	snprintf(fresh, sizeof fresh, "%s.XXXXXX", path);
	int fd = become_owner(st) ? mkstemp(fresh) : -1;

	if (fd < 0) {
		snprintf(what, size, "%s: a new file beside it: %s", path, strerror(errno));
		return -1;
	}
	int error = write_db(fresh, type, source, self, &count);

	if (!error && (fchmod(fd, st->st_mode & 0666) != 0 || fsync(fd) != 0))
		error = errno;
	close(fd);
	if (!error && rename(fresh, path) != 0)
		error = errno;
	if (!error)
		return count;
	unlink(fresh);
	snprintf(what, size, "%s: %s", path, db_strerror(error));
	return -1;
}
