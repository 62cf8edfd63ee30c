/* SPDX-License-Identifier: ISC */
/* What a terminal or a JSON reader gets, without a byte that could hurt it. */
#include "print.h"

#include "mem.h"
#include "must.h"

#include <stdlib.h>
#include <time.h>

json_t *json_text(struct text t)
{
	json_t *value;

	if (text_is_utf8(t)) {
		value = json_stringn(t.len ? t.data : "", t.len);
	} else {
		char *copy = mem_new(t.len + 1, 4);
		size_t n = text_printable(copy, t.len * 4 + 1, t);

		value = json_stringn(copy, n);
		free(copy);
	}
	must(value);
	return value;
}

json_t *json_u64(uint64_t n)
{
	return json_integer((json_int_t)n);
}

void json_print(json_t *object, FILE *to)
{
	json_dumpf(object, to, JSON_COMPACT);
	fputc('\n', to);
	json_decref(object);
}

void print_text(struct text t, FILE *to)
{
	char part[1024];

	/* Cut between characters: a UTF-8 character has at most three bytes behind its first. */
	while (t.len) {
		size_t n = t.len < 200 ? t.len : 200;

		while (n < t.len && n > 197 && ((unsigned char)t.data[n] & 0xc0) == 0x80)
			n--;
		text_printable(part, sizeof part, (struct text){t.data, n});
		fputs(part, to);
		t = (struct text){t.data + n, t.len - n};
	}
}

char *print_age(char *to, struct duration age)
{
	long long s = seconds_of(age);

	if (s < 0)
		s = 0;
	if (s < 60)
		snprintf(to, SHORT_BYTES, "%llds", s);
	else if (s < 3600)
		snprintf(to, SHORT_BYTES, "%lldm%02llds", s / 60, s % 60);
	else if (s < 86400)
		snprintf(to, SHORT_BYTES, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else
		snprintf(to, SHORT_BYTES, "%lldd%02lldh", s / 86400, s / 3600 % 24);
	return to;
}

char *print_size(char *to, uint64_t bytes)
{
	static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
	double n = (double)bytes;
	size_t unit = 0;

	for (; n >= 1024 && unit < 4; unit++)
		n /= 1024;
	snprintf(to, SHORT_BYTES, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
	return to;
}

char *print_local(char *to, struct walltime when)
{
	time_t t = (time_t)(when.us / 1000000);
	struct tm tm = {0};

	localtime_r(&t, &tm);
	strftime(to, SHORT_BYTES, "%a %b %e %H:%M:%S", &tm);
	return to;
}
