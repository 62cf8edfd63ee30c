/* SPDX-License-Identifier: ISC */
/* Part of sink.c: judges a message that has arrived: which one it is, whether it is new and
 * unchanged. */
#ifndef SINK_MESSAGE_H
#define SINK_MESSAGE_H

#include "sink_state.h"

static struct sink_run *run_find(const char *name, size_t n)
{
	if (n == 0 || n >= sizeof self.runs[0].name)
		return NULL;
	for (unsigned i = 0; i < self.run_count; i++) {
		if (strncmp(self.runs[i].name, name, n) == 0 && self.runs[i].name[n] == '\0')
			return &self.runs[i];
	}
	if (self.run_count == SINK_RUNS)
		return NULL;
	struct sink_run *run = &self.runs[self.run_count++];
	memcpy(run->name, name, n);
	return run;
}

/* Returns whether this number is new in its run. */
static bool run_mark(struct sink_run *run, uint64_t number)
{
	uint64_t byte = number / 8;
	uint8_t bit = (uint8_t)(1u << (number % 8));
	if (byte >= run->size) {
		uint64_t size = byte + byte / 2 + 4096;
		run->seen = bench_alloc(run->seen, (size_t)size);
		memset(run->seen + run->size, 0, (size_t)(size - run->size));
		run->size = size;
	}
	bool fresh = (run->seen[byte] & bit) == 0;
	run->seen[byte] |= bit;
	return fresh;
}

static void message_count(const char *run_name, size_t run_length, uint64_t number,
			  uint64_t sent_ns, uint64_t now)
{
	struct sink_run *run = run_find(run_name, run_length);
	if (run == NULL || number > SINK_NUMBER_MOST) {
		self.corrupt++;
		return;
	}
	if (!run_mark(run, number)) {
		self.duplicates++;
		return;
	}
	self.arrived++;
	if (sent_ns <= now)
		histogram_add(&self.latency, now - sent_ns);
	if (self.arrived_list != NULL)
		fprintf(self.arrived_list, "%s-%llu\n", run->name, (unsigned long long)number);
}

/* Where the header block has a line that begins with the checksum's header; NULL if it has none. */
static const char *message_sum_line(const char *head, size_t n)
{
	const size_t length = sizeof BENCH_SUM_HEADER - 1;
	for (const char *at = head; at != NULL; at++) {
		at = memmem(at, n - (size_t)(at - head), BENCH_SUM_HEADER, length);
		if (at == NULL || at == head || at[-1] == '\n')
			return at;
	}
	return NULL;
}

/* Parses "X-Bench: RUN-NUMBER NS" and checks the sum; counts it as what it is. */
static void message_verify(const char *content, size_t n, uint64_t now)
{
	const char *blank = memmem(content, n, "\r\n\r\n", 4);
	size_t head_length = blank == NULL ? n : (size_t)(blank - content) + 4;
	const char *line = message_sum_line(content, head_length);
	if (line == NULL) {
		self.other++;
		return;
	}
	const char *named = line + sizeof BENCH_SUM_HEADER - 1 + 16 + 2;
	const char *end = content + head_length;
	if (end - named < 64 || memcmp(named, BENCH_HEADER, sizeof BENCH_HEADER - 1) != 0) {
		self.corrupt++;
		return;
	}
	unsigned long long sum = strtoull(line + sizeof BENCH_SUM_HEADER - 1, NULL, 16);
	uint64_t hash = bench_hash(content + head_length, n - head_length, 0);
	hash = bench_hash(named, (size_t)(end - named), hash);
	const char *run = named + sizeof BENCH_HEADER - 1;
	const char *dash = memchr(run, '-', (size_t)(end - run));
	if (hash != sum || dash == NULL) {
		self.corrupt++;
		return;
	}
	char *rest = NULL;
	uint64_t number = strtoull(dash + 1, &rest, 10);
	uint64_t sent_ns = strtoull(rest, NULL, 10);
	message_count(run, (size_t)(dash - run), number, sent_ns, now);
}

#endif
