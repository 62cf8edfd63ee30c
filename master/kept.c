/* SPDX-License-Identifier: ISC */
/* Opening what another daemon keeps. */
#include "kept.h"

#include "places.h"
#include "state.h"
#include "sts_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder is fetcher's: what it has put there instead of the file must not lead elsewhere or
 * stop us. */
static int policies_open(const struct config *config, int *error)
{
	char folder[PATH_MAX];
	struct stat st;
	int queue, dir, fd;

	text_copy(folder, sizeof folder, config->queue);
	queue = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = openat(queue, STS_FOLDER_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = openat(dir, STS_FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	*error = fd < 0 ? errno : 0;
	if (dir >= 0)
		close(dir);
	if (queue >= 0)
		close(queue);
	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	close(fd);
	*error = EINVAL;
	return -1;
}

void kept_send_policies(struct child *child)
{
	int error, fd = policies_open(child->master->config, &error);

	if (fd < 0)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		child_post(
		    child, MSG_handle,
		    &(struct msg_handle){HANDLE_POLICIES, (uint16_t)error, text_of(STS_FILE_NAME)},
		    fd);
}
