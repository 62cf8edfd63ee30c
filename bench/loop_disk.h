/* SPDX-License-Identifier: ISC */
/* Part of loop.c: its state, and the thread that makes messages durable. */
#ifndef LOOP_DISK_H
#define LOOP_DISK_H

#include "bench.h"

#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/uio.h>

#define LOOP_BATCH 1000
#define LOOP_HOPS_MOST 1000u
#define LOOP_LINE_MOST 4096u
#define LOOP_ENVELOPE_MOST 262144u

enum loop_kind { KIND_LISTENER, KIND_SIGNALS, KIND_SYNCED, KIND_SESSION, KIND_HOP };

/* data: MAIL, RCPT and DATA lines (envelope_length), then the content as it goes over the wire, dot
 * and all. */
struct message {
	struct message *next;
	struct session *session; /* waits for its 250; NULL once told or gone */
	uint64_t length;	 /* written to the file together with data */
	uint32_t envelope_length;
	uint32_t replies; /* that the envelope will bring */
	char data[];
};

struct message_list {
	struct message *first;
	struct message *last;
	uint64_t count;
};

struct endpoint {
	enum loop_kind kind;
	int fd;
};

struct session {
	struct endpoint end;
	bool content;
	bool closing;
	bool want_write;
	bool dead;
	size_t scanned; /* of the content: no end of data begins before it */
	uint32_t rcpts;
	struct message *waits_for;
	struct session *next_dead;
	struct bench_buffer in;
	struct bench_buffer out;
	struct bench_buffer envelope;
};

enum hop_step { HOP_GREETING, HOP_EHLO, HOP_IDLE, HOP_ENVELOPE, HOP_DOT };

struct hop {
	struct endpoint end;
	enum hop_step step;
	uint32_t replies_left;
	bool want_write;
	struct message *message;
	const char *rest; /* of what is being sent; lies in message or is constant */
	size_t rest_length;
	struct bench_buffer in;
	struct hop *next_idle;
};

static struct loop {
	struct endpoint listener;
	struct endpoint signals;
	struct endpoint synced;
	struct bench_address next_hop;
	uint64_t hop_count;
	uint64_t message_most;
	uint64_t ready_most;
	uint64_t ready_bytes_most;
	uint64_t file_size;
	uint64_t offset;
	const char *file_name;
	int file;
	int poll;
	bool stop;
	struct hop *idle;
	struct session *dead;
	struct message_list fresh;   /* received, not yet handed to the sync thread */
	struct message_list durable; /* synced, their 250 not yet said */
	struct message_list ready;   /* to be sent on */
	uint64_t ready_bytes;
	uint64_t accepted;
	uint64_t delivered;
	uint64_t batches; /* the sync thread's, read after it is done */
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool syncing;		   /* under lock: the thread has a batch */
	struct message_list batch; /* under lock: for the thread, then from it */
} self;

static void list_add(struct message_list *list, struct message *message)
{
	message->next = NULL;
	*(list->last == NULL ? &list->first : &list->last->next) = message;
	list->last = message;
	list->count++;
}

static struct message *list_take(struct message_list *list)
{
	struct message *message = list->first;
	if (message == NULL)
		return NULL;
	list->first = message->next;
	if (list->first == NULL)
		list->last = NULL;
	list->count--;
	return message;
}

static void list_move(struct message_list *to, struct message_list *from)
{
	if (from->first == NULL)
		return;
	*(to->last == NULL ? &to->first : &to->last->next) = from->first;
	to->last = from->last;
	to->count += from->count;
	*from = (struct message_list){0};
}

static void endpoint_watch(struct endpoint *end, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = end};
	if (epoll_ctl(self.poll, operation, end->fd, &event) != 0)
		bench_die("epoll_ctl: %s", strerror(errno));
}

/* ---- the disk ---- */

static void file_write(struct iovec *parts, int count, uint64_t bytes)
{
	if (bytes > self.file_size - self.offset)
		self.offset = 0;
	if (bytes > self.file_size)
		bench_die("a batch of %llu bytes is larger than the file",
			  (unsigned long long)bytes);
	while (bytes > 0) {
		ssize_t n = pwritev(self.file, parts, count, (off_t)self.offset);
		if (n <= 0)
			bench_die("%s: %s", self.file_name, strerror(errno));
		self.offset += (uint64_t)n;
		bytes -= (uint64_t)n;
		size_t done = (size_t)n;
		while (count > 0 && done >= parts->iov_len) {
			done -= parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0) {
			parts->iov_base = (char *)parts->iov_base + done;
			parts->iov_len -= done;
		}
	}
}

/* Each record is the message's length and data; lengths precede data in memory, so one piece of
 * iovec is enough. */
static void batch_sync(const struct message_list *batch)
{
	struct iovec parts[LOOP_BATCH];
	uint64_t bytes = 0;
	int count = 0;
	for (struct message *message = batch->first; message != NULL; message = message->next) {
		parts[count].iov_base = &message->length;
		parts[count].iov_len = offsetof(struct message, data) -
				       offsetof(struct message, length) + message->length;
		bytes += parts[count].iov_len;
		count++;
		if (count == LOOP_BATCH || message->next == NULL) {
			file_write(parts, count, bytes);
			count = 0;
			bytes = 0;
		}
	}
	if (fdatasync(self.file) != 0)
		bench_die("fdatasync: %s", strerror(errno));
}

static void *sync_main(void *unused)
{
	const uint64_t one = 1;
	(void)unused;
	pthread_mutex_lock(&self.lock);
	for (;;) {
		while (!self.syncing)
			pthread_cond_wait(&self.work, &self.lock);
		struct message_list batch = self.batch;
		pthread_mutex_unlock(&self.lock);
		batch_sync(&batch);
		self.batches++;
		pthread_mutex_lock(&self.lock);
		self.syncing =
		    false; /* before main is told: it may answer with the next batch at once */
		if (write(self.synced.fd, &one, sizeof one) != (ssize_t)sizeof one)
			bench_die("eventfd: %s", strerror(errno));
	}
	return NULL;
}

/* Gives the thread what came while it was busy. Main alone sets batch_out, so that it never waits
 * for the thread. */
static void sync_start(bool *batch_out)
{
	if (*batch_out || self.fresh.first == NULL)
		return;
	*batch_out = true;
	pthread_mutex_lock(&self.lock);
	self.batch = self.fresh;
	self.syncing = true;
	pthread_cond_signal(&self.work);
	pthread_mutex_unlock(&self.lock);
	self.fresh = (struct message_list){0};
}

#endif
