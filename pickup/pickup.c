/* SPDX-License-Identifier: ISC */
/*
 * pickup: collects what postdrop(1) leaves in the maildrop, and brings each
 * mail to submission's door as a session of its own whose login is the user
 * that the file belongs to. It is woken by the kernel when a file is closed
 * there, reads the folder when it starts, and once a minute. It never runs
 * anything, and has no root folder but the maildrop.
 */
#include "hatch.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct daemon_row row = {
    .name = "pickup",
    .kind = PEER_PICKUP,
    .user = "veredus-pickup",
    .root = JAIL_MAILDROP,
    .capabilities = "",
    .system_calls = "openat mkdirat getdents64 newfstatat fstat pread64 lseek flock unlinkat "
		    "renameat2 pwrite64 fchmod fsync fstatfs accept4 getsockopt",
    .peers = PEER_SUBMISSION,
};

/* Below the maildrop: what is no mail, and what nobody could be told of. */
static const char corrupt_name[] = "corrupt";

static struct pickup *pickup_of(struct daemon *d)
{
	if (!d->self) {
		struct pickup *self = mem_new(1, sizeof *self);

		TAILQ_INIT(&self->at_door);
		self->d = d;
		self->folder = self->corrupt = self->bell = self->hatch_fd = -1;
		d->self = self;
	}
	return d->self;
}

static void go_on(struct pickup *self);

static int64_t now_s(const struct pickup *self)
{
	return loop_wall(self->d->loop).us / 1000000;
}

static void look_in(struct pickup *self, unsigned seconds)
{
	timer_set(&self->look, SECONDS(seconds));
}

/* -- files that are done with ------------------------------------------------------------- */

/* Out of the way, for a person to look at. False: it could not be moved. */
static bool put_aside(struct pickup *self, const char *name)
{
	uint64_t random = 0;
	char to[96];

	(void)!getrandom(&random, sizeof random, 0);
	snprintf(to, sizeof to, "%016llx", (unsigned long long)random);
	return self->corrupt >= 0 &&
	       renameat2(self->folder, name, self->corrupt, to, RENAME_NOREPLACE) == 0;
}

static void complain(struct pickup *self, const char *name, const char *what)
{
	bool moved = put_aside(self, name);

	if (self->complaints++ < COMPLAINTS_MAX)
		LOG(self->d->log, maildrop_foreign, 0, text_of(name), text_of(what),
		    text_of(moved ? "moved to the folder corrupt" : "left where it is"));
}

/* Nothing of it is awaited any more: it makes room for another one at the door. */
static void dropped_settle(struct dropped *m)
{
	m->self->count -= !m->settled;
	m->settled = true;
}

static void dropped_free(struct dropped *m)
{
	dropped_settle(m);
	timer_clear(&m->limit);
	TAILQ_REMOVE(&m->self->at_door, m, line);
	free(m);
}

/* The mail is in the queue. A file that stays would bring it a second time: it keeps its place. */
static void dropped_remove(struct dropped *m)
{
	m->taken = true;
	dropped_settle(m);
	if (unlinkat(m->self->folder, m->name, 0) == 0 || errno == ENOENT) {
		dropped_free(m);
		return;
	}
	log_error(m->self->d->log, "cannot remove %s from the maildrop: %s", m->name,
		  strerror(errno));
	timer_set(&m->limit, SECONDS(LOOK_EVERY_S));
}

/* -- the door ----------------------------------------------------------------------------- */

static void dropped_expired(void *arg)
{
	struct dropped *m = arg;
	struct pickup *self = m->self;

	/* Without an answer it stays, and is brought again; that may be a second time. */
	if (m->taken)
		dropped_remove(m);
	else
		dropped_free(m);
	go_on(self);
}

static void bring(struct dropped *m, const struct msg_handin *handin, int fd)
{
	timer_set(&m->limit, SECONDS(DOOR_LIMIT_S));
	channel_send(m->self->door, MSG_handin, handin, fd);
}

static struct wire_list recipients_of(const struct drop_fields *fields, struct bytes *to)
{
	struct text rest = fields->recipients, address;
	uint32_t count = 0;
	uint8_t notify;

	while (drop_recipient_next(&rest, &address, &notify)) {
		rec_handin_recipient_encode(to, &(struct rec_handin_recipient){address, notify});
		count++;
	}
	return (struct wire_list){count, bytes_text(to)};
}

/* False: its content cannot be read now. */
static bool bring_mail(struct dropped *m, struct drop_file *f)
{
	struct bytes content = {0}, recipients = {0};
	char login[24];
	bool whole = f->head.content <= INLINE_MAX, fine;
	int fd = -1;

	snprintf(login, sizeof login, "uid:%u", (unsigned)m->uid);
	if (whole)
		fine = drop_file_content(f, INLINE_MAX, &content);
	else
		fine = lseek(f->fd, (off_t)DROP_HEAD_BYTES + f->head.fields, SEEK_SET) >= 0;
	if (fine && !whole) {
		fd = f->fd; /* the channel's from here on */
		f->fd = -1;
	}
	m->token = ++m->self->last_token;
	if (fine)
		bring(m,
		      &(struct msg_handin){
			  .token = m->token,
			  .login = text_of(login),
			  .sender = f->fields.sender,
			  .smtputf8 = (f->head.flags & DROP_UTF8) != 0,
			  .body_type = f->head.flags & DROP_EIGHT_BIT ? BODY_8BITMIME : BODY_7BIT,
			  .recipients = recipients_of(&f->fields, &recipients),
			  .content = bytes_text(&content),
			  .content_length = f->head.content,
			  .envid = f->fields.envid,
			  .ret = f->fields.ret,
			  .number = f->head.token,
		      },
		      fd);
	bytes_free(&content);
	bytes_free(&recipients);
	return fine;
}

static struct dropped *dropped_new(struct pickup *self, const char *name, const struct drop_file *f)
{
	struct dropped *m = mem_new(1, sizeof *m);

	*m = (struct dropped){
	    .self = self, .uid = f->uid, .number = f->head.token, .wall = f->head.wall};
	text_copy(m->name, sizeof m->name, text_of(name));
	text_copy(m->sender, sizeof m->sender, f->fields.sender);
	timer_init(&m->limit, self->d->loop, dropped_expired, m);
	TAILQ_INSERT_TAIL(&self->at_door, m, line);
	self->count++;
	return m;
}

/* -- refusals ------------------------------------------------------------------------------ */

static void say_refused(const struct dropped *m, const char *then)
{
	char number[24], uid[16];

	snprintf(number, sizeof number, "%016llx", (unsigned long long)m->number);
	snprintf(uid, sizeof uid, "%u", (unsigned)m->uid);
	LOG(m->self->d->log, picked_up_refused, 0, text_of(number), text_of(uid),
	    text_of(m->sender), text_of(m->reply), text_of(then));
}

/* Nobody can be told: it stays for a person. */
static void dropped_bury(struct dropped *m)
{
	bool moved = put_aside(m->self, m->name);

	say_refused(m, moved ? "moved to the folder corrupt" : "left where it is");
	if (moved) {
		dropped_free(m);
		return;
	}
	/* Not brought again and again. */
	dropped_settle(m);
	timer_set(&m->limit, SECONDS(KEPT_S));
}

/* Writes to its sender. False: the file has gone, or cannot be read now. */
static bool bring_return(struct dropped *m)
{
	struct pickup *self = m->self;
	struct bytes content = {0}, recipients = {0};
	struct drop_file f;
	char login[24];
	bool fine = drop_file_open(self->folder, m->name, now_s(self), &f) == STATE_WHOLE;

	if (fine) {
		returned_write(self->d->config, &f, text_of(m->reply), loop_wall(self->d->loop),
			       &content);
		/* RFC 3461 section 6.1: nobody is told of its failure. */
		rec_handin_recipient_encode(
		    &recipients, &(struct rec_handin_recipient){text_of(m->sender), NOTIFY_NEVER});
		snprintf(login, sizeof login, "uid:%u", (unsigned)m->uid);
		m->token = ++self->last_token;
		m->returned = true;
		bring(m,
		      &(struct msg_handin){
			  .token = m->token,
			  .login = text_of(login),
			  .smtputf8 = !text_is_ascii(text_of(m->sender)),
			  .body_type = BODY_8BITMIME,
			  .recipients = {1, bytes_text(&recipients)},
			  .content = bytes_text(&content),
			  .content_length = bytes_len(&content),
		      },
		      -1);
	}
	drop_file_free(&f);
	bytes_free(&content);
	bytes_free(&recipients);
	return fine;
}

/* Does the door take nothing at all for now? What concerns one user alone is tried in a minute. */
static bool is_closed(const struct msg_handed *h)
{
	return h->code < 500 && text_starts_case(h->reply, "4.3.");
}

static bool is_too_old(const struct dropped *m)
{
	struct pickup *self = m->self;

	return loop_wall(self->d->loop).us - (int64_t)m->wall > self->d->config->retry_expire.us;
}

static void dropped_refused(struct dropped *m, const struct msg_handed *h)
{
	struct pickup *self = m->self;

	if (is_closed(h)) {
		self->paused = true;
		look_in(self, PAUSE_S);
	}
	if (h->code < 500 && (m->returned || !is_too_old(m))) {
		dropped_free(m); /* its file stays */
		return;
	}
	if (!m->returned) {
		int n = snprintf(m->reply, sizeof m->reply, "%u ", h->code);

		text_copy(m->reply + n, sizeof m->reply - (size_t)n, h->reply);
	}
	if (m->returned || !*m->sender)
		dropped_bury(m);
	else if (!bring_return(m))
		dropped_free(m);
}

static void on_handed(struct channel *c, const struct message *msg)
{
	struct pickup *self = pickup_of(daemon_of(c));
	const struct msg_handed *h = &msg->handed;
	struct dropped *m;

	TAILQ_FOREACH(m, &self->at_door, line)
	{
		if (m->token == h->token && !m->settled)
			break;
	}
	if (!m) /* one that was given up */
		return;
	if (!h->taken) {
		dropped_refused(m, h);
	} else {
		char uid[16], number[24];

		snprintf(uid, sizeof uid, "%u", (unsigned)m->uid);
		snprintf(number, sizeof number, "%016llx", (unsigned long long)m->number);
		if (m->returned)
			say_refused(m, "returned to its sender");
		else
			LOG(self->d->log, picked_up, h->id, text_of(uid), text_of(m->sender),
			    text_of(number));
		dropped_remove(m);
	}
	go_on(self);
}

/* -- the folder ---------------------------------------------------------------------------- */

static bool is_at_door(const struct pickup *self, const char *name)
{
	const struct dropped *m;

	TAILQ_FOREACH(m, &self->at_door, line)
	{
		if (strcmp(m->name, name) == 0)
			return true;
	}
	return false;
}

static void take(struct pickup *self, const char *name)
{
	struct drop_file f;

	switch (drop_file_open(self->folder, name, now_s(self), &f)) {
	case STATE_WHOLE: {
		struct dropped *m = dropped_new(self, name, &f);

		if (!bring_mail(m, &f))
			dropped_free(m);
		break;
	}
	case STATE_STALE:
		if (unlinkat(self->folder, name, 0) == 0)
			log_notice(self->d->log,
				   "removed %s from the maildrop: it was begun more "
				   "than a day ago and never finished",
				   name);
		break;
	case STATE_FOREIGN:
		complain(self, name, f.complaint);
		break;
	case STATE_LATER:
		break;
	}
	drop_file_free(&f);
}

/* What waits for an answer is waited for: else it would come a second time. */
static void drain_settle(struct pickup *self)
{
	if (self->drained && !self->count)
		daemon_drained(self->d, 0);
}

static bool reading_begin(struct pickup *self)
{
	int fd;

	if (self->reading)
		return true;
	if (!self->again)
		return false;
	fd = openat(self->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	self->reading = fd >= 0 ? fdopendir(fd) : NULL;
	if (!self->reading) {
		if (fd >= 0)
			close(fd);
		return false; /* until the next look */
	}
	self->again = false;
	self->complaints = 0;
	return true;
}

/* Brings as many as may be at the door. */
static void go_on(struct pickup *self)
{
	const struct dirent *entry;

	while (self->door && !self->paused && !self->drained && self->count < AT_DOOR_MAX &&
	       reading_begin(self)) {
		entry = readdir(self->reading);
		if (!entry) {
			closedir(self->reading);
			self->reading = NULL;
			continue;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, corrupt_name) != 0 && !is_at_door(self, entry->d_name))
			take(self, entry->d_name);
	}
	drain_settle(self);
}

void pickup_look(struct pickup *self)
{
	self->again = true;
	go_on(self);
}

static void look_fired(void *arg)
{
	struct pickup *self = arg;

	self->paused = false;
	look_in(self, LOOK_EVERY_S);
	pickup_look(self);
}

static void bell_rung(void *arg, bool readable, bool writable)
{
	struct pickup *self = arg;
	uint8_t events[4096];

	(void)readable;
	(void)writable;
	/* Which files they are about is seen in the folder. */
	while (read(self->bell, events, sizeof events) > 0)
		;
	pickup_look(self);
}

/* -- coming and going ------------------------------------------------------------------------ */

/* Its bell may be had outside alone, where the folder has its whole name. */
static void pickup_warm_up(struct daemon *d)
{
	struct pickup *self = pickup_of(d);
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%.*s/" DROP_FOLDER, (int)d->config->queue.len,
			 d->config->queue.data);

	self->bell = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (self->bell >= 0 && n > 0 && (size_t)n < sizeof path &&
	    inotify_add_watch(self->bell, path,
			      IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW) >= 0)
		return;
	log_warning(d->log, "no news of the maildrop: %s; it is looked at once a minute",
		    strerror(errno));
	if (self->bell >= 0)
		close(self->bell);
	self->bell = -1;
}

static void corrupt_open(struct pickup *self)
{
	struct stat st, ours;

	(void)!mkdirat(self->folder, corrupt_name, 0700);
	self->corrupt =
	    openat(self->folder, corrupt_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* Somebody else's folder is no place for mail. */
	if (self->corrupt >= 0 && fstat(self->corrupt, &st) == 0 &&
	    fstat(self->folder, &ours) == 0 && st.st_uid == ours.st_uid && !(st.st_mode & 0077))
		return;
	log_error(self->d->log, "the folder corrupt of the maildrop is not ours to use");
	if (self->corrupt >= 0)
		close(self->corrupt);
	self->corrupt = -1;
}

static void pickup_start(struct daemon *d)
{
	struct pickup *self = pickup_of(d);

	timer_init(&self->look, d->loop, look_fired, self);
	self->folder = openat(AT_FDCWD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (self->folder < 0) {
		log_error(d->log, "the maildrop cannot be opened: %s", strerror(errno));
		exit(1);
	}
	corrupt_open(self);
	if (self->bell >= 0) {
		watch_add(&self->rung, d->loop, self->bell, bell_rung, self);
		watch_want(&self->rung, true, false);
	}
	if (self->hatch_fd >= 0)
		hatch_open(self, self->hatch_fd);
	self->hatch_fd = -1;
	look_fired(self);
}

static void pickup_handle(struct daemon *d, const struct msg_handle *m, int fd)
{
	struct pickup *self = pickup_of(d);

	if (m->role != HANDLE_LISTEN_HATCH) {
		close(fd);
	} else if (self->folder >= 0) {
		hatch_open(self, fd);
	} else {
		if (self->hatch_fd >= 0)
			close(self->hatch_fd);
		self->hatch_fd = fd;
	}
}

static void pickup_peer(struct daemon *d, struct channel *c)
{
	struct pickup *self = pickup_of(d);

	self->door = c;
	self->again = true;
	if (self->folder >= 0)
		go_on(self);
}

/* What the old one had and did not answer for is brought to the new one. */
static void pickup_gone(struct daemon *d, struct channel *c)
{
	struct pickup *self = pickup_of(d);
	struct dropped *m, *next;

	if (c != self->door)
		return;
	self->door = NULL;
	for (m = TAILQ_FIRST(&self->at_door); m; m = next) {
		next = TAILQ_NEXT(m, line);
		if (!m->settled)
			dropped_free(m);
	}
	self->again = true;
	drain_settle(self);
}

static void pickup_drain(struct daemon *d, struct duration limit)
{
	struct pickup *self = pickup_of(d);

	(void)limit;
	self->drained = true;
	hatch_close(self);
	go_on(self);
}

static const struct serve serves[] = {
    {MSG_handed, PEER_SUBMISSION, on_handed},
    {MSG_NONE, 0, NULL},
};

static const struct daemon_face face = {
    .warm_up = pickup_warm_up,
    .start = pickup_start,
    .handle = pickup_handle,
    .peer = pickup_peer,
    .gone = pickup_gone,
    .drain = pickup_drain,
    .serves = serves,
};

int main(int argc, char **argv)
{
	return daemon_main(argc, argv, &row, &face);
}
