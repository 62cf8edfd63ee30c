/* SPDX-License-Identifier: ISC */
/* Ends a process in which a bug showed itself. */
#include "must.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void must_failed(const char *what, const char *file, int line)
{
	char text[256];
	int n = snprintf(text, sizeof text, "bug: %s at %s:%d\n", what, file, line);

	if (n > 0) {
		ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
		(void)ignored;
	}
	abort();
}
