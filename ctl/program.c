/* SPDX-License-Identifier: ISC */
/* This program's folder. */
#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool program_folder(char *to, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", to, size - 1);

	if (n <= 0)
		return false;
	to[n] = '\0';
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
