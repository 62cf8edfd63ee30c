/* SPDX-License-Identifier: ISC */
/*
 * A channel: framed messages (message.h) over a stream socketpair to one
 * peer process. All frames of a loop turn leave in one write. The peer is
 * held to be hostile: what is unknown, over-long, out of phase, not its to
 * send or without its descriptor ends the channel, and only that.
 */
#ifndef LIB_CHANNEL_H
#define LIB_CHANNEL_H

#include "loop.h"
#include "message.h"

struct channel;

/* What a daemon serves, from whom, and since when: a row a message. */
struct serve {
	enum message_type type;
	unsigned from; /* set of peer kinds; must be within the schema's own set */
	/*
	 * Owns m->fd from here on. Texts of M live until it returns. The
	 * channel may be ended in here with channel_end(), never freed.
	 */
	void (*handler)(struct channel *c, const struct message *m);
};

struct channel_config {
	struct loop *loop;
	unsigned self_kind;	    /* ours */
	const struct serve *serves; /* ends with type MSG_NONE */
	/*
	 * The channel ended: the peer closed or broke it, broke a rule, or
	 * channel_end() was called. Called once, at the end of a turn; after
	 * it the channel is gone. WHY is for the log ("closed", "sent submit
	 * out of phase", ...).
	 */
	void (*gone)(struct channel *c, const char *why);
	/* The hello arrived and fits; may be NULL. */
	void (*opened)(struct channel *c, const struct msg_hello *hello);
	struct msg_hello hello; /* what we say first */
};

/* Takes over FD (non-blocking from here on) and says hello. CONFIG is copied. */
struct channel *channel_new(const struct channel_config *config, int fd, unsigned peer_kind,
			    unsigned instance, void *owner);

unsigned channel_peer(const struct channel *c); /* kind */
unsigned channel_instance(const struct channel *c);
void *channel_owner(const struct channel *c);
void channel_set_owner(struct channel *c, void *owner);
uint32_t channel_peer_pid(const struct channel *c); /* from its hello; 0 before */

/*
 * Queues a message; M is its struct msg_NAME, FD goes along (the channel
 * closes it after sending) or is -1. Harmless on a channel that ended.
 * A peer with 800 descriptors that it has not taken is ended: who sends
 * many looks at channel_descriptors() first.
 */
void channel_send(struct channel *c, enum message_type type, const void *m, int fd);

/* Ends it; WHY goes to gone(). What is queued is still tried once. */
void channel_end(struct channel *c, const char *why);

/* Ends and frees it now, without gone(). */
void channel_free(struct channel **c);

/* Bytes queued that the peer has not taken. Above a bound of its own choice the owner stops
 * producing. */
size_t channel_backlog(const struct channel *c);
size_t channel_descriptors(const struct channel *c); /* queued with them */
/* Calls DRAINED once when the backlog has fallen below LOW bytes. */
void channel_when_drained(struct channel *c, size_t low, void (*drained)(struct channel *c));

/* Stops and resumes taking frames: a full stage stops reading from the one before it. */
void channel_pause(struct channel *c);
void channel_resume(struct channel *c);

/* channel_send_NAME(c, &(struct msg_NAME){...}), one a message, type-checked. */
#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE(n, from, to, fd)                                                                   \
	static inline void channel_send_##n(struct channel *c, const struct msg_##n *m)            \
	{                                                                                          \
		channel_send(c, MSG_##n, m, -1);                                                   \
	}
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#include "messages.def"

#endif
