/* SPDX-License-Identifier: ISC */
/*
 * What the programs of bench/ share: a clock, a growing buffer with a limit, a histogram of
 * latencies, addresses, and the checksum that load.c writes into a message and sink.c verifies.
 * Nothing here comes from lib/: a yardstick that shared code with what it measures would share its
 * faults.
 *
 * A bench message carries, in this order and untouched by any relay:
 *     X-Bench-Sum: 16 hex digits             bench_hash of all that follows this line, body first
 *     X-Bench: RUN-NUMBER NANOSECONDS        its name, and CLOCK_MONOTONIC when its content was
 * sent
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BENCH_NS_PER_S UINT64_C(1000000000)
#define BENCH_NS_PER_MS UINT64_C(1000000)
#define BENCH_SUM_HEADER "X-Bench-Sum: "
#define BENCH_HEADER "X-Bench: "

/* Says why and ends the program with status 2: wrong use, or a world in which measuring makes no
 * sense. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void bench_die(const char *format,
									     ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(2);
}

static inline uint64_t bench_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * BENCH_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* realloc that never fails. */
static inline void *bench_alloc(void *old, size_t size)
{
	void *fresh = realloc(old, size);
	if (fresh == NULL)
		bench_die("out of memory");
	return fresh;
}

/* calloc of one object that never fails. */
static inline void *bench_zero(size_t size)
{
	void *fresh = calloc(1, size);
	if (fresh == NULL)
		bench_die("out of memory");
	return fresh;
}

/* Reads a decimal number up to `most`; `name` is the option it belongs to. */
static inline uint64_t bench_number(const char *name, const char *text, uint64_t most)
{
	char *end = NULL;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || value > most)
		bench_die("--%s: '%s' is no number from 0 to %llu", name, text,
			  (unsigned long long)most);
	return value;
}

/* As many descriptors as the hard limit gives. */
static inline void bench_raise_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Bytes from `start` to `end` are in use. All zero is an empty buffer. */
struct bench_buffer {
	char *data;
	size_t start;
	size_t end;
	size_t size;
};

static inline size_t buffer_length(const struct bench_buffer *buffer)
{
	return buffer->end - buffer->start;
}

static inline char *buffer_head(const struct bench_buffer *buffer)
{
	return buffer->data + buffer->start;
}

/* Makes room for `n` more bytes behind `end`. */
static inline void buffer_reserve(struct bench_buffer *buffer, size_t n)
{
	if (n <= buffer->size - buffer->end)
		return;
	if (buffer->start > 0) {
		memmove(buffer->data, buffer->data + buffer->start, buffer_length(buffer));
		buffer->end -= buffer->start;
		buffer->start = 0;
	}
	if (n <= buffer->size - buffer->end)
		return;
	size_t size = buffer->size == 0 ? 1024 : buffer->size;
	while (n > size - buffer->end)
		size *= 2;
	buffer->data = bench_alloc(buffer->data, size);
	buffer->size = size;
}

static inline void buffer_add(struct bench_buffer *buffer, const char *bytes, size_t n)
{
	if (n == 0)
		return;
	buffer_reserve(buffer, n);
	memcpy(buffer->data + buffer->end, bytes, n);
	buffer->end += n;
}

static inline void buffer_add_text(struct bench_buffer *buffer, const char *text)
{
	buffer_add(buffer, text, strlen(text));
}

static inline void buffer_consume(struct bench_buffer *buffer, size_t n)
{
	buffer->start += n;
	if (buffer->start == buffer->end) {
		buffer->start = 0;
		buffer->end = 0;
	}
}

static inline void buffer_clear(struct bench_buffer *buffer)
{
	buffer->start = 0;
	buffer->end = 0;
}

static inline void buffer_free(struct bench_buffer *buffer)
{
	free(buffer->data);
	*buffer = (struct bench_buffer){0};
}

/* Log-linear: a row an octave, in it 32 steps: a percentile is at most 3 % below the true value, in
 * 32 KB however many values are added. */
struct bench_histogram {
	uint64_t count;
	uint64_t bucket[64 * 64];
};

static inline void histogram_add(struct bench_histogram *histogram, uint64_t value)
{
	unsigned octave = 0;
	if (value >= 64)
		octave = 58u - (unsigned)__builtin_clzll(value);
	histogram->bucket[octave * 64u + (unsigned)(value >> octave)]++;
	histogram->count++;
}

/* The value that `percent` of all stay at or below; 0 of none. */
static inline uint64_t histogram_percentile(const struct bench_histogram *histogram,
					    unsigned percent)
{
	uint64_t rank = (histogram->count * percent + 99) / 100;
	uint64_t seen = 0;
	for (unsigned i = 0; i < 64 * 64 && histogram->count > 0; i++) {
		seen += histogram->bucket[i];
		if (seen >= rank && seen > 0) {
			return (uint64_t)(i % 64u) << (i / 64u);
		}
	}
	return 0;
}

struct bench_address {
	struct sockaddr_storage socket;
	socklen_t length;
};

/* Reads 127.0.0.1:25 or [::1]:25. */
static inline struct bench_address address_parse(const char *text)
{
	struct bench_address address = {0};
	char host[64];
	const char *colon = strrchr(text, ':');
	size_t length = colon == NULL ? 0 : (size_t)(colon - text);
	if (length == 0 || length >= sizeof host)
		bench_die("'%s' is no ADDRESS:PORT", text);
	memcpy(host, text, length);
	host[length] = '\0';
	uint16_t port = (uint16_t)bench_number("port", colon + 1, 65535);
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address.socket;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.socket;
	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		address.length = sizeof *v6;
		if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1)
			return address;
	} else {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		address.length = sizeof *v4;
		if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
			return address;
	}
	bench_die("'%s' is no ADDRESS:PORT", text);
}

static inline void address_print(const struct sockaddr_storage *address, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	if (address->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		snprintf(text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		snprintf(text, size, "%s:%u", host, ntohs(v4->sin_port));
	}
}

/* Latency is measured per write: no write may wait for an acknowledgement of the one before it. */
static inline void socket_no_delay(int fd)
{
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* A 64-bit checksum, eight bytes a step: it finds damage, it resists nobody. */
static inline uint64_t bench_hash(const char *bytes, size_t n, uint64_t seed)
{
	uint64_t hash = seed ^ (n * UINT64_C(0x9e3779b97f4a7c15));
	while (n > 0) {
		uint64_t word = 0;
		size_t step = n < sizeof word ? n : sizeof word;
		memcpy(&word, bytes, step);
		hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
		bytes += step;
		n -= step;
	}
	return hash;
}

/* Writes a JSON string; bytes above 127 go as they are when `text` is UTF-8. */
static inline void json_string(FILE *file, const char *text, size_t n)
{
	fputc('"', file);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\')
			fprintf(file, "\\%c", c);
		else if (c < 32 || c == 127)
			fprintf(file, "\\u%04x", c);
		else
			fputc(c, file);
	}
	fputc('"', file);
}

#endif
