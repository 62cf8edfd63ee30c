/* SPDX-License-Identifier: ISC */
/* What the command says to people. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>

void ctl_say(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("veredus: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}
