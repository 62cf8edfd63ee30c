/* SPDX-License-Identifier: ISC */
/* A channel under test, and the raw end from which its peer speaks, well or not. */
#ifndef TESTS_UNIT_CHANNEL_LINE_H
#define TESTS_UNIT_CHANNEL_LINE_H

#include "channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What a channel under test saw. */
struct seen {
	unsigned leases, submits, handles, files, with_fd, fd_lost;
	unsigned opened, gone, drained;
	uint32_t last_count;
	size_t body_len;
	char why[96];
};

/* A channel and the raw descriptor by which its peer speaks. */
struct line {
	struct channel *channel; /* NULL once gone */
	int raw;
	struct seen seen;
};

extern struct loop *loop; /* from loop_begin() to loop_end() */
int loop_begin(void **state);
int loop_end(void **state);
void turns(unsigned count);

void line_open(struct line *line, unsigned self, unsigned peer);
void line_close(struct line *line);
/* The channel's end where both sides keep to the rules. */
struct channel_config honest_end(unsigned self);
unsigned descriptors_open(void);

/* What the other end sends; bytes are freed by send_all(). */
void raw_send(struct line *line, const void *data, size_t len);
void raw_send_fds_of(struct line *line, const void *data, size_t len, unsigned fds,
		     const char *path);
void raw_send_fds(struct line *line, const void *data, size_t len, unsigned fds);
void frame_head(struct bytes *to, uint32_t len, uint16_t type, uint16_t flags);
void frame(struct bytes *to, enum message_type type, const void *m, uint16_t flags);
void frame_hello(struct bytes *to);
void send_all(struct line *line, struct bytes *b);
void send_hello(struct line *line);

#endif
