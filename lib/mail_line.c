/* SPDX-License-Identifier: ISC */
#include "mail_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void mail_line(struct bytes *to, const char *format, ...)
{
	char line[MAIL_LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	bytes_add(to, line, strlen(line));
	bytes_add(to, "\r\n", 2);
}

const char *mail_plain(char *to, size_t size, struct text t)
{
	text_printable(to, size, t);
	for (char *c = to; *c; c++)
		if (*c & 0x80)
			*c = '?';
	return to;
}
