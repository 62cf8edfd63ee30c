/* SPDX-License-Identifier: ISC */
/* This program's folder. */
#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* The kernel's word for it; a chroot without /proc has only what execve(2) was given. */
static bool program_path(char *to, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", to, size - 1);
	const char *given = (const char *)getauxval(AT_EXECFN);
	char whole[PATH_MAX];

	if (n > 0) {
		to[n] = '\0';
		return true;
	}
	if (!given || !realpath(given, whole))
		return false;
	int len = snprintf(to, size, "%s", whole);

	errno = ENAMETOOLONG;
	return len > 0 && (size_t)len < size;
}

bool program_folder(char *to, size_t size)
{
	if (!program_path(to, size))
		return false;
	char *slash = strrchr(to, '/');

	errno = ENOENT;
	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

bool program_beside(const char *name, char *to, size_t size)
{
	char folder[PATH_MAX];

	if (!program_folder(folder, sizeof folder))
		return false;
	int n = snprintf(to, size, "%s/%s", folder, name);

	errno = ENAMETOOLONG;
	return n > 0 && (size_t)n < size;
}
