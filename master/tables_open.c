/* SPDX-License-Identifier: ISC */
/* Opening the files of tables. */
#include "tables_open.h"

#include "state.h"
#include "tables.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A regular file; a FIFO or a device would hold up who reads it. */
static int open_file(const char *name, int *error)
{
	struct stat st;
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	*error = fd < 0 ? errno : 0;
	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
		*error = EINVAL;
		close(fd);
		fd = -1;
	}
	return fd;
}

bool tables_open(struct child *child, struct text table)
{
	struct table_use tables[TABLES_MAX];
	char path[TABLE_FILE_BYTES];
	size_t count = config_tables(child->master->config, tables), i = 0;
	int error;

	while (i < count && !text_equal(tables[i].table, table))
		i++;
	if (i == count || !table_file(table, path))
		return false;
	int fd = open_file(path, &error);

	if (fd < 0)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		child_post(child, MSG_handle,
			   &(struct msg_handle){HANDLE_TABLE, (uint16_t)error, table}, fd);
	return true;
}
