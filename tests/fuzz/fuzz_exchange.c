/* SPDX-License-Identifier: ISC */
/*
 * The checker's exchanges, from the messages to GNU SASL and back, with a
 * users file of which nobody here knows a password. Deeds: a kind, an
 * exchange, for a beginning a mechanism and what goes with it, a length and
 * bytes. Each question has one answer, and no input logs anybody in but by
 * his certificate. With 2 in the first byte Dovecot is asked in place of the
 * file, and says what the last kind of deed has it say, the number of what it
 * was asked last in place of #.
 */
#include "checker.h"
#include "mem.h"
#include "must.h"
#include "scram.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { EXCHANGES = 8, DEEDS_MAX = 60, WAITS_MAX = 200 };

enum state { FREE, ASKED, CHALLENGED };

struct play {
	struct checker *checker;
	struct channel *channel;
	int peer, dovecot; /* our ends; -1: no Dovecot in this run */
	char number[16];   /* of what Dovecot was asked last */
	enum state states[EXCHANGES];
	bool external[EXCHANGES];
};

static struct play play;

static char paths[2][32] = {"/tmp/fuzz_exchange.XXXXXX", "/tmp/fuzz_exchange.XXXXXX"};

static void jail(void *arg)
{
	(void)arg;
}

static void withered(void *arg)
{
	(void)arg;
	must(false);
}

static void gone(struct channel *c, const char *why)
{
	(void)c;
	(void)why;
	must(false); /* no rule was broken */
}

/* A SCRAM user, one disabled, one elsewhere, and, in the other file, one with a slower hash. */
static void users_make(bool crypt)
{
	char password[32], text[SCRAM_TEXT_BYTES], file[2048];
	uint8_t salt[16] = "0123456789abcdef";
	struct scram_verifier v;

	must(getrandom(password, sizeof password, 0) == (ssize_t)sizeof password);
	for (size_t i = 0; i < sizeof password; i++)
		password[i] = (char)('a' + (password[i] & 15));
	scram_make(&v, (struct text){password, sizeof password}, SCRAM_ITERATIONS_LEAST, salt, 16);
	scram_print(&v, text);
	int n =
	    snprintf(file, sizeof file,
		     "user:{SCRAM-SHA-256}%s\nbob:{SCRAM-SHA-256}%s::::::nologin\n"
		     "near:{SCRAM-SHA-256}%s::::::allow_nets=192.0.2.0/24\nlocked:!x\nbroken\n%s",
		     text, text, text,
		     crypt ? "carl:$5$rounds=1000$0123456789$nothing.hashes.to.this.\n" : "");

	int fd = mkstemp(paths[crypt]);

	must(fd >= 0 && write(fd, file, (size_t)n) == n && close(fd) == 0);
}

static void files_remove(void)
{
	unlink(paths[0]);
	unlink(paths[1]);
}

static void freeze(struct checker *self, const char *login)
{
	struct bytes items = {0};

	rec_frozen_login_encode(&items,
				&(struct rec_frozen_login){.login = text_of(login), .frozen = 1});
	frozen_take(self->frozen, (struct wire_list){1, bytes_text(&items)});
	bytes_free(&items);
}

static void begin_once(void)
{
	static const char text[] = "hostname = mx.test\nauth { users = /u }\n";
	struct config_errors errors = {0};
	struct checker *self = mem_new(1, sizeof *self);
	struct daemon *d = mem_new(1, sizeof *d);
	struct channel_config config = {.self_kind = PEER_CHECKER, .gone = gone};
	static const struct serve nothing[] = {{MSG_NONE, 0, NULL}};
	int pair[2], log_pair[2];

	users_make(false);
	users_make(true);
	atexit(files_remove);

	d->config = config_read(text_of(text), &errors);
	d->loop = loop_new();
	d->log = log_new(d->loop, "fuzz");
	d->self = self;
	self->d = d;
	self->users_fd = -1;
	self->users_stat = mem_new(1, sizeof *self->users_stat);
	self->awaiting_last = &self->awaiting;
	self->memory = memory_new();
	self->frozen = frozen_new();
	freeze(self, "eve");
	static const struct pool_work hashing = {jail, pool_hash};

	self->pool = pool_new(d->loop, 1, &hashing, withered, NULL);
	must(gsasl_init(&self->sasl) == GSASL_OK);
	self->backend = &file_backend;
	file_init(self);
	dovecot_init(self);
	token_init(self);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, log_pair) == 0);
	config.loop = d->loop;
	config.serves = nothing;
	play.channel = channel_new(&config, pair[0], PEER_SMTPD, 0, NULL);
	play.peer = pair[1];
	/* A log that had a logger once keeps its lines to itself. */
	struct channel *logger = channel_new(&config, log_pair[0], PEER_LOGGER, 0, NULL);

	log_set_channel(d->log, logger);
	log_set_channel(d->log, NULL);
	/* Master, who is asked for things and never answers. */
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, log_pair) == 0);
	d->master = channel_new(&config, log_pair[0], PEER_MASTER, 0, NULL);
	play.checker = self;
	offer_peer(self, play.channel);
	config_errors_free(&errors);
}

/* -- what it answers ------------------------------------------------------------------- */

static void answered(const struct message *m)
{
	uint64_t id;

	if (m->type == MSG_hello || m->type == MSG_auth_offer)
		return;
	must(m->type == MSG_auth_done || m->type == MSG_auth_challenge);
	id = m->type == MSG_auth_done ? m->auth_done.exchange : m->auth_challenge.exchange;
	must(id < EXCHANGES && play.states[id] == ASKED);
	play.states[id] = m->type == MSG_auth_done ? FREE : CHALLENGED;
	if (m->type == MSG_auth_done && m->auth_done.verdict == AUTH_GOOD && play.dovecot >= 0)
		must(!passwd_name_fault(m->auth_done.login));
	else if (m->type == MSG_auth_done && m->auth_done.verdict == AUTH_GOOD)
		must(play.external[id] && text_equals(m->auth_done.login, "user"));
	else if (m->type == MSG_auth_done)
		must(m->auth_done.verdict < AUTH_VERDICTS && !m->auth_done.login.len);
}

/* What Dovecot is asked: "AUTH", a tab, the number. */
static void listen_as_dovecot(void)
{
	static char in[65536];
	ssize_t n = play.dovecot < 0 ? 0 : recv(play.dovecot, in, sizeof in, MSG_DONTWAIT);
	struct text said = {in, n > 0 ? (size_t)n : 0};

	for (size_t i = 0; i + 5 < said.len; i++) {
		size_t digits = 0;

		if (memcmp(in + i, "AUTH\t", 5) != 0)
			continue;
		while (i + 5 + digits < said.len && in[i + 5 + digits] != '\t')
			digits++;
		text_copy(play.number, sizeof play.number, (struct text){in + i + 5, digits});
	}
}

static void speak_as_dovecot(struct text words)
{
	struct bytes out = {0};

	for (size_t i = 0; i < words.len; i++) {
		if (words.data[i] == '#')
			bytes_add(&out, play.number, strlen(play.number));
		else
			bytes_add(&out, &words.data[i], 1);
	}
	if (bytes_len(&out))
		(void)!send(play.dovecot, bytes_at(&out), bytes_len(&out),
			    MSG_DONTWAIT | MSG_NOSIGNAL);
	bytes_free(&out);
}

static void turn(int64_t wait_ms)
{
	static uint8_t in[65536];
	size_t at = 0;
	struct message m;

	loop_turn(play.checker->d->loop, MILLISECONDS(wait_ms));
	ssize_t n = recv(play.peer, in, sizeof in, MSG_DONTWAIT);

	while (n > 0 && at < (size_t)n) {
		struct wire_reader r = wire_reader_over(in + at, FRAME_HEADER_BYTES);
		uint32_t len = wire_u32(&r);
		uint16_t type = wire_u16(&r);

		must((size_t)n - at >= FRAME_HEADER_BYTES + len);
		must(message_decode(in + at + FRAME_HEADER_BYTES, len, type, &m));
		answered(&m);
		at += FRAME_HEADER_BYTES + len;
	}
	listen_as_dovecot();
}

/* -- what it is asked ---------------------------------------------------------------------- */

static void begin(struct wire_reader *r, uint8_t id)
{
	static const char address[16] = {[10] = '\xff', '\xff', 10, 0, 0, 1};
	uint8_t mechanism = (uint8_t)(1 << wire_u8(r) % 7), how = wire_u8(r);
	struct msg_auth_begin m = {.exchange = id,
				   .mechanism = mechanism,
				   .has_initial = how & 1,
				   .tls = (how & 2) != 0,
				   .address = {address, sizeof address}};

	m.initial = wire_text(r, SASL_MESSAGE_MAX);
	if (!m.has_initial)
		m.initial.len = 0;
	if (how & 4)
		m.binding = text_of("0123456789abcdef0123456789abcdef");
	if (how & 8)
		m.identity = text_of(how & 16 ? "user" : how & 32 ? "bob" : "nobody");
	if (r->bad || play.states[id] != FREE)
		return;
	play.states[id] = ASKED;
	play.external[id] = mechanism == SASL_EXTERNAL && (how & 24) == 24;
	exchange_begin(play.checker, play.channel, &m);
}

static void deed(struct wire_reader *r)
{
	uint8_t what = wire_u8(r), id = wire_u8(r) % EXCHANGES;
	struct text response;

	switch (what % 4) {
	case 0:
		begin(r, id);
		break;
	case 1:
		response = wire_text(r, SASL_MESSAGE_MAX);
		if (r->bad || play.states[id] != CHALLENGED)
			return;
		play.states[id] = ASKED;
		exchange_step(play.checker, play.channel, &(struct msg_auth_step){id, response});
		break;
	case 2:
		exchange_cancel(play.checker, play.channel, id);
		/* Its answer may be on the way. */
		turn(0);
		play.states[id] = FREE;
		break;
	default:
		response = wire_text(r, SASL_MESSAGE_MAX);
		if (!r->bad && play.dovecot >= 0)
			speak_as_dovecot(response);
		break;
	}
	turn(0);
}

/* A fresh connection to it, or the file. */
static void backend_begin(bool crypt, bool dovecot)
{
	struct checker *self = play.checker;
	int pair[2];

	play.dovecot = -1;
	play.number[0] = '\0';
	self->backend = dovecot ? &dovecot_backend : &file_backend;
	if (!dovecot) {
		file_arrived(self, open(paths[crypt], O_RDONLY | O_CLOEXEC));
		return;
	}
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	play.dovecot = pair[1];
	dovecot_arrived(self, pair[0], text_of("/dovecot"));
	checker_offer(self, SASL_ALL);
}

static void backend_end(void)
{
	if (play.dovecot < 0)
		return;
	close(play.dovecot);
	turn(1);
	turn(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_reader r = wire_reader_over(data, size);
	uint8_t key[SIPHASH_KEY_BYTES] = {1};
	uint8_t how = wire_u8(&r);

	if (!play.checker)
		begin_once();
	play.checker->guesses = guesses_new(key);
	turn(0);
	backend_begin(how & 1, (how & 2) != 0);
	for (int i = 0; i < DEEDS_MAX && r.at < r.end && !r.bad; i++)
		deed(&r);
	/* Hashes come; who waits for his turn waits for longer than we do. */
	for (int i = 0; i < WAITS_MAX && pool_waiting(play.checker->pool); i++)
		turn(5);
	turn(1);
	for (uint64_t id = 0; id < EXCHANGES; id++)
		exchange_cancel(play.checker, play.channel, id);
	must(*offer_count(play.checker, play.channel) == 0);
	turn(0);
	backend_end();
	memset(play.states, 0, sizeof play.states);
	guesses_free(&play.checker->guesses);
	return 0;
}
