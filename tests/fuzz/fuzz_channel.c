/* SPDX-License-Identifier: ISC */
/*
 * A channel with a hostile peer at the other end of a socketpair. The first
 * byte chooses who we are and who the peer is; what follows is a list of
 * deeds of both sides (enum deed). Only what the schema and the table allow
 * reaches a handler, and only behind the hello; the end is told once; no
 * descriptor is left over.
 */
#include "channel.h"
#include "message_sample.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum deed {
	PEER_SAYS_HELLO,  /* a right one */
	PEER_SAYS_SAMPLE, /* u8 type, u8 flags, u8 length, bytes that a right message is made of */
	PEER_SAYS_FRAME,  /* u8 type, u8 flags, u16 length, payload */
	PEER_SAYS_BYTES,  /* u8 length, bytes */
	PEER_PASSES_FDS,  /* u8 how many go with what it says next, up to 16; with 32: sockets, not
			     files */
	PEER_READS,
	PEER_CLOSES,
	WE_TURN,
	WE_SEND, /* u8 what */
	WE_PAUSE,
	WE_RESUME,
	WE_WAIT_DRAINED,
	WE_END,
	WE_FREE,
	DEEDS
};

enum { FD_WATCHED = 512, DEEDS_MAX = 300, PASSED_MAX = 16 };

struct play {
	struct wire_reader in;
	struct loop *loop;
	struct channel *channel; /* NULL: gone */
	uint8_t how;
	int peer;	   /* our hand on the other end, -1: closed */
	const int *passed; /* a file and a pipe */
	unsigned passes;   /* descriptors that go with its next words */
	bool passes_pipe;
	bool opened, was_gone;
};

static void on_opened(struct channel *c, const struct msg_hello *hello)
{
	struct play *p = channel_owner(c);

	must(!p->opened && hello->schema == message_schema());
	must(channel_peer_pid(c) == hello->pid);
	p->opened = true;
}

static void on_gone(struct channel *c, const char *why)
{
	struct play *p = channel_owner(c);

	must(p->channel == c && !p->was_gone && *why);
	p->was_gone = true;
	p->channel = NULL;
}

static void on_drained(struct channel *c)
{
	must(channel_backlog(c) <= 4096);
}

static void on_message(struct channel *c, const struct message *m)
{
	struct play *p = channel_owner(c);
	const struct message_rule *rule = message_rule(m->type);

	must(p->channel == c && p->opened && !p->was_gone);
	must(rule && (rule->from & channel_peer(c)) && m->type != MSG_hello);
	must(m->fd >= 0 ? rule->fd != FD_NEVER : rule->fd != FD_ALWAYS);
	must(m->fd < 0 || fcntl(m->fd, F_GETFD) == FD_CLOEXEC);
	if (m->fd >= 0)
		close(m->fd);
	if (m->type == MSG_drain)
		channel_pause(c);
	if (m->type == MSG_ping && m->ping.number == 7)
		channel_end(c, "asked for it");
	if (m->type == MSG_ping)
		channel_send_pong(c, &(struct msg_pong){m->ping.number});
}

static const struct serve serves[] = {
    {MSG_config, PEER_MASTER, on_message},   {MSG_peer, PEER_MASTER, on_message},
    {MSG_handle, PEER_MASTER, on_message},   {MSG_drain, PEER_MASTER, on_message},
    {MSG_ping, PEER_MASTER, on_message},     {MSG_settled, PEER_QMGR, on_message},
    {MSG_body_file, PEER_QMGR, on_message},  {MSG_submit, PEER_SMTPD, on_message},
    {MSG_body_open, PEER_SMTPD, on_message}, {MSG_ready, PEER_SMTPD, on_message},
    {MSG_want_peer, PEER_SMTPD, on_message}, {MSG_NONE, 0, NULL},
};

/* Who we are, who the peer is. */
static const unsigned roles[][2] = {{PEER_SMTPD, PEER_MASTER},
				    {PEER_SMTPD, PEER_QMGR},
				    {PEER_MASTER, PEER_SMTPD},
				    {PEER_QMGR, PEER_SMTPD}};

/* As much as the socket takes, with the descriptors that were promised. */
static void peer_says(struct play *p, const void *data, size_t len)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * PASSED_MAX)];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[PASSED_MAX];

	if (p->peer < 0 || !len)
		return;
	if (p->passes) {
		size_t bytes = p->passes * sizeof(int);

		for (unsigned i = 0; i < p->passes; i++)
			fds[i] = p->passed[p->passes_pipe];
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(bytes);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(&control.header), fds, bytes);
	}
	(void)sendmsg(p->peer, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	p->passes = 0;
}

static void peer_says_frame(struct play *p, unsigned type, unsigned flags, const void *payload,
			    size_t len)
{
	struct bytes b = {0};

	wire_put_u32(&b, (uint32_t)len);
	wire_put_u16(&b, (uint16_t)type);
	wire_put_u16(&b, (uint16_t)flags);
	bytes_add(&b, payload, len);
	peer_says(p, bytes_at(&b), bytes_len(&b));
	bytes_free(&b);
}

static void peer_says_hello(struct play *p)
{
	struct msg_hello hello = {.schema = message_schema(), .pid = 42};
	struct bytes b = {0};

	message_encode(&b, MSG_hello, &hello);
	peer_says_frame(p, MSG_hello, 0, bytes_at(&b), bytes_len(&b));
	bytes_free(&b);
}

static struct text take(struct wire_reader *in, size_t len)
{
	size_t left = (size_t)(in->end - in->at);
	struct text t = {(const char *)in->at, len < left ? len : left};

	in->at += t.len;
	return t;
}

static void peer_says_sample(struct play *p)
{
	unsigned type = wire_u8(&p->in), flags = wire_u8(&p->in);
	struct text t = take(&p->in, wire_u8(&p->in));
	struct bytes b = {0};

	if (message_rule(type))
		message_sample(&b, type, t.data, t.len);
	peer_says_frame(p, type, flags, bytes_at(&b), bytes_len(&b));
	bytes_free(&b);
}

static void peer_says_other(struct play *p, enum deed deed)
{
	if (deed == PEER_SAYS_FRAME) {
		unsigned type = wire_u8(&p->in), flags = wire_u8(&p->in);
		size_t len = wire_u16(&p->in);
		struct text t = take(&p->in, len);

		peer_says_frame(p, type, flags, t.data, t.len);
	} else {
		struct text t = take(&p->in, wire_u8(&p->in));

		peer_says(p, t.data, t.len);
	}
}

static void peer_reads(struct play *p)
{
	char away[16384];

	for (int i = 0; p->peer >= 0 && i < 100; i++)
		if (recv(p->peer, away, sizeof away, MSG_DONTWAIT) <= 0)
			return;
}

static void peer_closes(struct play *p)
{
	if (p->peer >= 0)
		close(p->peer);
	p->peer = -1;
}

/* What our role may say: small, with a descriptor, or more than the socket holds. */
static void we_send(struct play *p, uint8_t what)
{
	static char much[65536];
	struct channel *c = p->channel;
	int fd = what & 4 ? dup(STDERR_FILENO) : -1;

	if (p->how == 0) {
		channel_send_pong(c, &(struct msg_pong){what});
	} else if (p->how == 1) {
		struct msg_submit m = {.id = what, .body = {much, what & 8 ? sizeof much : 0}};

		channel_send_submit(c, &m);
	} else if (p->how == 3) {
		channel_send(c, MSG_body_file, &(struct msg_body_file){.id = what}, fd);
		return;
	} else if (fd >= 0) {
		channel_send(c, MSG_peer, &(struct msg_peer){PEER_QMGR, what}, fd);
		return;
	} else {
		channel_send_config(c, &(struct msg_config){what, {much, sizeof much}});
	}
	if (fd >= 0)
		close(fd);
}

static void peer_passes_fds(struct play *p, uint8_t what)
{
	p->passes = (what & 31) <= PASSED_MAX ? what & 31 : PASSED_MAX;
	p->passes_pipe = (what & 32) != 0;
}

static void peer_does(struct play *p, enum deed deed)
{
	if (deed == PEER_SAYS_HELLO)
		peer_says_hello(p);
	else if (deed == PEER_SAYS_SAMPLE)
		peer_says_sample(p);
	else if (deed == PEER_PASSES_FDS)
		peer_passes_fds(p, wire_u8(&p->in));
	else if (deed == PEER_READS)
		peer_reads(p);
	else if (deed == PEER_CLOSES)
		peer_closes(p);
	else
		peer_says_other(p, deed);
}

static void we_do(struct play *p, enum deed deed)
{
	if (deed == WE_TURN)
		loop_turn(p->loop, (struct duration){0});
	if (!p->channel)
		return;
	if (deed == WE_SEND)
		we_send(p, wire_u8(&p->in));
	else if (deed == WE_PAUSE)
		channel_pause(p->channel);
	else if (deed == WE_RESUME)
		channel_resume(p->channel);
	else if (deed == WE_WAIT_DRAINED)
		channel_when_drained(p->channel, 4096, on_drained);
	else if (deed == WE_END)
		channel_end(p->channel, "had enough");
	else if (deed == WE_FREE)
		channel_free(&p->channel);
}

static void open_fds(bool is_open[FD_WATCHED])
{
	for (int fd = 0; fd < FD_WATCHED; fd++)
		is_open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static void play_begin(struct play *p)
{
	int pair[2];
	struct channel_config config = {.loop = p->loop,
					.self_kind = roles[p->how][0],
					.serves = serves,
					.gone = on_gone,
					.opened = on_opened,
					.hello = {.schema = message_schema(), .pid = 1}};

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	p->peer = pair[1];
	p->channel = channel_new(&config, pair[0], roles[p->how][1], 3, NULL);
	channel_set_owner(p->channel, p);
	must(channel_peer(p->channel) == roles[p->how][1] && channel_instance(p->channel) == 3);
}

/* The peer goes; what it said before is read, and then the end is seen. */
static void play_end(struct play *p)
{
	if (p->channel)
		channel_resume(p->channel);
	peer_reads(p);
	peer_closes(p);
	for (int i = 0; i < 64 && p->channel; i++) {
		channel_resume(p->channel);
		loop_turn(p->loop, (struct duration){0});
	}
	must(!p->channel);
	loop_turn(p->loop, (struct duration){0});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool before[FD_WATCHED], after[FD_WATCHED];
	static struct loop *loop;
	static int passed[3];
	struct play p = {.in = wire_reader_over(data, size)};

	if (!loop) {
		loop = loop_new();
		passed[0] = memfd_create("passed", MFD_CLOEXEC);
		must(passed[0] >= 0 && pipe2(passed + 1, O_CLOEXEC) == 0);
	}
	p.loop = loop;
	p.passed = passed;
	p.how = wire_u8(&p.in) % 4;
	open_fds(before);
	play_begin(&p);
	for (int n = 0; n < DEEDS_MAX && p.in.at < p.in.end && !p.in.bad; n++) {
		enum deed deed = (enum deed)(wire_u8(&p.in) % DEEDS);

		if (deed < WE_TURN)
			peer_does(&p, deed);
		else
			we_do(&p, deed);
	}
	play_end(&p);
	open_fds(after);
	must(memcmp(before, after, sizeof before) == 0);
	return 0;
}
