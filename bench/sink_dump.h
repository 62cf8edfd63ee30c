/* SPDX-License-Identifier: ISC */
/* Part of sink.c: what --dump writes of a message. */
#ifndef SINK_DUMP_H
#define SINK_DUMP_H

#include "sink_state.h"

static void dump_envelope(const struct conn *conn, FILE *file)
{
	fputs("{\"peer\": ", file);
	json_string(file, conn->peer, strlen(conn->peer));
	fputs(", \"helo\": ", file);
	json_string(file, buffer_head(&conn->helo), buffer_length(&conn->helo));
	fputs(", \"mail\": ", file);
	json_string(file, buffer_head(&conn->mail), buffer_length(&conn->mail));
	fputs(", \"rcpt\": [", file);
	const char *at = buffer_head(&conn->rcpt);
	for (uint64_t i = 0; i < conn->rcpts; i++) {
		const char *end = memchr(at, '\n', (size_t)(conn->rcpt.data + conn->rcpt.end - at));
		fputs(i == 0 ? "" : ", ", file);
		json_string(file, at, (size_t)(end - at));
		at = end + 1;
	}
	fprintf(file, "], \"size\": %zu}\n", buffer_length(&conn->content));
}

static FILE *dump_open(char *temporary, char *final, size_t size, const char *ending)
{
	snprintf(final, size, "%s/%08llu.%s", self.dump, (unsigned long long)self.dumped, ending);
	snprintf(temporary, size, "%s/.%08llu.%s", self.dump, (unsigned long long)self.dumped,
		 ending);
	FILE *file = fopen(temporary, "we");
	if (file == NULL)
		bench_die("%s: %s", temporary, strerror(errno));
	return file;
}

static void dump_close(FILE *file, const char *temporary, const char *final)
{
	if (fclose(file) != 0 || rename(temporary, final) != 0)
		bench_die("%s: %s", final, strerror(errno));
}

static void message_dump(const struct conn *conn)
{
	char temporary[4352];
	char final[4352];
	self.dumped++;
	FILE *file = dump_open(temporary, final, sizeof final, "eml");
	if (buffer_length(&conn->content) > 0)
		fwrite(buffer_head(&conn->content), 1, buffer_length(&conn->content), file);
	dump_close(file, temporary, final);
	file = dump_open(temporary, final, sizeof final, "json");
	dump_envelope(conn, file);
	dump_close(file, temporary, final);
}

#endif
