/* SPDX-License-Identifier: ISC */
/*
 * veredus queue export: for each message ID.eml, the bytes as they would be
 * sent, and then ID.json, the envelope with the recipients that are still
 * open. A message counts as exported when its JSON file stands there.
 */
#include "queue_verbs.h"

#include "message.h"
#include "queue_id.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { TRIES = 5, NAME_BYTES = QUEUE_ID_BYTES + 16 };

struct exporting {
	struct view *view;
	uint64_t written;
	int dir;
	bool failed;
};

/* What is empty or 0 is left out: import takes it so. */
static void set_text(json_t *o, const char *name, struct text value)
{
	if (value.len)
		json_object_set_new(o, name, json_text(value));
}

static void set_number(json_t *o, const char *name, uint64_t value)
{
	if (value)
		json_object_set_new(o, name, json_u64(value));
}

static void set_words(json_t *o, const char *name, enum word_set set, uint8_t bits)
{
	if (bits)
		json_object_set_new(o, name, words_json(set, bits));
}

/* As it stands on disk: what waits only for its site is ready. */
static void set_state(json_t *o, const struct hit_recipient *r)
{
	const struct queue_recipient *s = r->state;
	const char *state = word_of(WORD_STATE, s->kind);

	json_object_set_new(o, "state", json_string(state));
	if (strcmp(state, "report") == 0)
		json_object_set_new(o, "outcome", json_string(word_of(WORD_OUTCOME, s->kind)));
	set_words(o, "owed", WORDS_OWED, s->flags);
	json_object_set_new(o, "attempts", json_u64(s->attempts));
	if (s->flags & QUEUE_NOTICED)
		json_object_set_new(o, "noticed", json_true());
	set_number(o, "code", s->code);
	set_text(o, "dsn", r->dsn);
	set_text(o, "reply", r->reply);
	set_number(o, "last_attempt_us", r->at.us > 0 ? (uint64_t)r->at.us : 0);
	if (s->kind == QUEUE_DEFERRED)
		set_number(o, "next_attempt_us", s->next.us > 0 ? (uint64_t)s->next.us : 0);
}

static json_t *recipients_json(const struct hit *hit)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < hit->count; i++) {
		const struct hit_recipient *r = &hit->recipients[i];

		if (!r->matches)
			continue;
		json_t *o = json_object();

		json_object_set_new(o, "address", json_text(r->envelope.address));
		set_text(o, "original", r->envelope.original);
		set_text(o, "orcpt", r->envelope.orcpt);
		set_text(o, "sender", r->envelope.sender);
		set_words(o, "notify", WORDS_NOTIFY, r->envelope.notify);
		set_state(o, r);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *envelope_json(const struct hit *hit)
{
	const struct envelope *e = &hit->envelope;
	json_t *o = json_object();
	char id[QUEUE_ID_BYTES];

	json_object_set_new(o, "queue_id", json_string(queue_id_print(hit->message->id, id)));
	json_object_set_new(
	    o, "arrival_us",
	    json_u64(e->arrival_wall ? e->arrival_wall : (uint64_t)hit->message->arrival.us));
	json_object_set_new(o, "sender", json_text(e->sender));
	set_text(o, "submitter", e->submitter);
	set_text(o, "login", e->login);
	set_text(o, "client", e->client);
	set_text(o, "helo", e->helo);
	set_text(o, "protocol", e->protocol);
	set_text(o, "envid", e->envid);
	set_text(o, "message_id", e->message_id);
	set_text(o, "ret", text_of(word_of(WORD_RET, e->ret)));
	json_object_set_new(o, "body", json_string(word_of(WORD_BODY, e->body_type)));
	json_object_set_new(o, "smtputf8", json_boolean(e->smtputf8));
	set_text(o, "tls", text_of(word_of(WORD_TLS, e->tls)));
	set_text(o, "source", e->source);
	set_text(o, "route", e->route);
	json_object_set_new(o, "recipients", recipients_json(hit));
	return o;
}

/* The body file, copied and its checksum verified. */
static bool copy_body(struct exporting *x, const struct hit *hit, FILE *to)
{
	char buffer[65536];
	uint64_t left = hit->content->body_length;
	uint32_t crc = 0;
	int fd;

	if (!hit->content->body_in_file)
		return true;
	if (queue_body_open(view_queue(x->view), hit->message->id, &fd) != QUEUE_OK)
		return false;
	while (left) {
		ssize_t n = read(fd, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer);

		if (n <= 0)
			break;
		crc = queue_crc32c(crc, buffer, (size_t)n);
		left -= (uint64_t)n;
		if (fwrite(buffer, 1, (size_t)n, to) != (size_t)n)
			break;
	}
	close(fd);
	return !left && crc == hit->content->body_crc;
}

static FILE *create(struct exporting *x, const char *name)
{
	int fd = openat(x->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd >= 0 ? fdopen(fd, "w") : NULL;
}

/* On stable storage before it is said to be exported; false leaves errno. */
static bool finish(FILE *f, bool good)
{
	good = good && fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
	return fclose(f) == 0 && good;
}

static bool write_eml(struct exporting *x, const struct hit *hit, const char *name)
{
	FILE *f = create(x, name);
	struct text prelude = hit->content->prelude, body = hit->content->body;

	if (!f)
		return false;
	if (prelude.len)
		fwrite(prelude.data, 1, prelude.len, f);
	if (body.len)
		fwrite(body.data, 1, body.len, f);
	return finish(f, copy_body(x, hit, f));
}

static bool write_json(struct exporting *x, const struct hit *hit, const char *name)
{
	char part[NAME_BYTES + 8];
	json_t *o = envelope_json(hit);

	snprintf(part, sizeof part, "%s.part", name);
	FILE *f = create(x, part);
	bool good = f && json_dumpf(o, f, JSON_INDENT(2)) == 0 && fputc('\n', f) != EOF;

	json_decref(o);
	if (!f)
		return false;
	return finish(f, good) && renameat(x->dir, part, x->dir, name) == 0;
}

static bool export_one(void *arg, const struct hit *hit)
{
	struct exporting *x = arg;
	char id[QUEUE_ID_BYTES], eml[NAME_BYTES], json[NAME_BYTES];

	queue_id_print(hit->message->id, id);
	snprintf(eml, sizeof eml, "%s.eml", id);
	snprintf(json, sizeof json, "%s.json", id);
	errno = 0;
	if (!write_eml(x, hit, eml) || !write_json(x, hit, json)) {
		ctl_say("%s: %s", eml, errno ? strerror(errno) : "its body is damaged");
		x->failed = true;
		return errno != ENOSPC && errno != EDQUOT;
	}
	x->written++;
	return true;
}

int queue_export_verb(struct ctl *ctl)
{
	struct exporting x = {.dir = -1};
	struct filter filter;
	int status;

	if (!ctl->count || strchr(ctl->words[0], '=')) {
		ctl_say("usage: veredus queue export DIR [FILTER]");
		return EX_USAGE;
	}
	if (!queue_filter(ctl, 1, &filter))
		return EX_USAGE;
	if (mkdir(ctl->words[0], 0700) != 0 && errno != EEXIST) {
		ctl_say("%s: %s", ctl->words[0], strerror(errno));
		return EX_CANTCREAT;
	}
	x.dir = open(ctl->words[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (x.dir < 0) {
		ctl_say("%s: %s", ctl->words[0], strerror(errno));
		return EX_CANTCREAT;
	}
	x.view = view_open(ctl, &status);
	if (x.view) {
		bool good =
		    view_each(x.view, &filter, VIEW_ENVELOPE | VIEW_REPLIES, export_one, &x);

		fsync(x.dir);
		printf("exported: %llu message%s\n", (unsigned long long)x.written,
		       x.written == 1 ? "" : "s");
		status = good && !x.failed ? 0 : 1;
	}
	view_close(&x.view);
	close(x.dir);
	return status;
}
