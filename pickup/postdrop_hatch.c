/* SPDX-License-Identifier: ISC */
/* A mail to the hatch. */
#include "postdrop_hatch.h"

#include "drop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	WAIT_S = 300, /* for the other side, each time */
	/* Frames of a largest mail: its pieces may be small. */
	STREAM_MAX = DROP_FIELDS_MAX + 2 * DROP_CONTENT_MAX,
};

static uint8_t octets[65536];

static int told(char *said, size_t size, int status, const char *what)
{
	snprintf(said, size, "%s", what);
	return status;
}

/* Octets from FROM to TO until FROM has no more; false with errno. */
static bool copy(int from, int to, size_t most)
{
	for (size_t total = 0;;) {
		ssize_t n = read(from, octets, sizeof octets), done = 0, m;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		errno = EFBIG;
		if ((size_t)n > most - total)
			return false;
		total += (size_t)n;
		for (; done<n; done += m> 0 ? m : 0) {
			m = write(to, octets + done, (size_t)(n - done));
			if (m <= 0 && (m == 0 || errno != EINTR))
				return false;
		}
	}
}

/*
 * All of it before anybody waits for it: who writes a mail may take hours, and a
 * guest has seconds. It is this process's memory, as much as the caller allows it.
 */
static int input_keep(int *error)
{
	int fd = memfd_create("mail", MFD_CLOEXEC);

	if (fd >= 0 && copy(STDIN_FILENO, fd, STREAM_MAX) && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	*error = errno;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int hatch_connect(const char *path)
{
	static const struct timeval wait = {.tv_sec = WAIT_S};
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	errno = fd < 0 ? errno : ENAMETOOLONG;
	if (fd < 0 || strlen(path) >= sizeof to.sun_path)
		goto failed;
	strcpy(to.sun_path, path);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
failed:
	if (fd >= 0) {
		int error = errno;

		close(fd);
		errno = error;
	}
	return -1;
}

/* "75 text\n" */
static int read_answer(int fd, char *said, size_t size)
{
	char line[256], *end;
	size_t have = 0;
	ssize_t n;

	do {
		n = read(fd, line + have, sizeof line - 1 - have);
		if (n > 0)
			have += (size_t)n;
	} while ((n > 0 && have < sizeof line - 1) || (n < 0 && errno == EINTR));
	line[have] = '\0';
	line[strcspn(line, "\n")] = '\0';
	long status = strtol(line, &end, 10);

	if (end == line || *end != ' ' || status < 0 || status > EX__MAX)
		return told(said, size, EX_TEMPFAIL, "pickup has not taken the mail");
	return told(said, size, (int)status, end + 1);
}

int hatch_pass(const char *path, char *said, size_t size, int *error)
{
	int mail, fd, status;

	*error = 0;
	mail = input_keep(error);
	if (mail < 0)
		return told(said, size, EX_NOINPUT, "standard input");
	fd = hatch_connect(path);
	if (fd < 0) {
		*error = errno;
		close(mail);
		return told(said, size, EX_TEMPFAIL,
			    "the maildrop is closed to this process, and pickup, which would take "
			    "the mail, is not there");
	}
	/* Who has heard enough says so, and reads no more. */
	if (copy(mail, fd, STREAM_MAX))
		shutdown(fd, SHUT_WR);
	close(mail);
	status = read_answer(fd, said, size);
	close(fd);
	return status;
}
