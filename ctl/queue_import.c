/* SPDX-License-Identifier: ISC */
/*
 * veredus queue import: hands what export wrote to qmgr, as new messages with
 * new IDs. ID.json becomes ID.json.done once its message is safe in the
 * queue, so that an import that was broken off can simply be started again.
 * What was held is held again, by an action that follows the import: between
 * the two qmgr may begin to deliver it.
 */
#include "queue_verbs.h"

#include "control.h"
#include "queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	JSON_MAX_BYTES = 8 << 20,
	EML_MAX_BYTES = PRELUDE_MAX + INLINE_BODY_MAX,
	TARGETS_AT_ONCE = 1000
};

struct importing {
	struct control *control;
	const char *folder;
	int dir;
	uint32_t request;
	uint64_t taken, refused, unheld; /* unheld: recipients */
	bool warned;
};

static bool refuse(struct importing *im, const char *name, const char *why)
{
	ctl_say("%s/%s: %s", im->folder, name, why);
	im->refused++;
	return false;
}

/* All of a file of at most MAX bytes; NULL: fine, else why not. */
static const char *read_whole(int dir, const char *name, size_t max, struct bytes *to)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	const char *why = NULL;
	struct stat st;

	if (fd < 0)
		return strerror(errno);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		why = "is no plain file";
	else if ((uint64_t)st.st_size > max)
		why = "is larger than can be imported: hand it in by SMTP";
	while (!why) {
		ssize_t n = read(fd, bytes_room(to, 65536), 65536);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			why = strerror(errno);
		else if (n > 0)
			to->end += (size_t)n;
		if (bytes_len(to) > max)
			why = "grew while it was read";
	}
	close(fd);
	return why;
}

/* -- the envelope ------------------------------------------------------------------------ */

/* A text member; empty when it is missing. Control characters have no place in an envelope. */
static bool member(const json_t *o, const char *name, struct text *to)
{
	const json_t *value = json_object_get(o, name);

	*to = (struct text){"", 0};
	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value))
		return false;
	*to = (struct text){json_string_value(value), json_string_length(value)};
	for (size_t i = 0; i < to->len; i++)
		if ((unsigned char)to->data[i] < 0x20 || to->data[i] == 0x7f)
			return false;
	return true;
}

static bool number(const json_t *o, const char *name, uint64_t max, uint64_t *to)
{
	const json_t *value = json_object_get(o, name);

	*to = 0;
	if (!value)
		return true;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*to = (uint64_t)json_integer_value(value);
	return *to <= max;
}

static bool put_recipients(const json_t *list, struct bytes *to)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *o = json_array_get(list, i);
		struct envelope_recipient r = {0};
		struct text state;
		uint64_t notify;

		if (!json_is_object(o) || !member(o, "state", &state) ||
		    !member(o, "address", &r.address) || !r.address.len ||
		    !member(o, "original", &r.original) || !member(o, "orcpt", &r.orcpt) ||
		    !number(o, "notify", 15, &notify) || r.address.len > ADDRESS_MAX ||
		    r.original.len > ADDRESS_MAX || r.orcpt.len > ORCPT_MAX ||
		    !address_domain(r.address).len || bytes_len(to) > ENVELOPE_MAX)
			return false;
		r.notify = (uint8_t)notify;
		envelope_put_recipient(to, &r);
	}
	return json_array_size(list) > 0 && json_array_size(list) <= RECIPIENTS_MAX;
}

static bool put_envelope(const json_t *o, struct bytes *to)
{
	struct envelope e = {0}, again;
	uint64_t ret, body_type, smtputf8;

	if (!json_is_object(o) || !member(o, "sender", &e.sender) ||
	    !member(o, "submitter", &e.submitter) || !member(o, "login", &e.login) ||
	    !member(o, "client", &e.client) || !member(o, "helo", &e.helo) ||
	    !member(o, "protocol", &e.protocol) || !member(o, "envid", &e.envid) ||
	    !member(o, "message_id", &e.message_id) || !number(o, "ret", RET_HDRS, &ret) ||
	    !number(o, "body_type", BODY_8BITMIME, &body_type) ||
	    !number(o, "smtputf8", 1, &smtputf8) ||
	    !number(o, "arrival_us", INT64_MAX, &e.arrival_wall))
		return false;
	e.ret = (uint8_t)ret;
	e.body_type = (uint8_t)body_type;
	e.smtputf8 = (uint8_t)smtputf8;
	if (!e.submitter.len)
		e.submitter = text_of("import");
	if (!e.arrival_wall)
		e.arrival_wall = (uint64_t)walltime_read().us;
	envelope_put_head(to, &e);
	if (!put_recipients(json_object_get(o, "recipients"), to) || bytes_len(to) > ENVELOPE_MAX)
		return false;
	return envelope_decode((struct text){(const char *)bytes_at(to), bytes_len(to)}, &again);
}

/* -- the content ------------------------------------------------------------------------- */

/*
 * To CRLF lines. A bare CR or a NUL is refused: what leaves must hold nothing
 * that another server takes for an end of line (RFC 5321 2.3.8).
 */
static const char *to_crlf(const struct bytes *from, struct bytes *to)
{
	const char *data = (const char *)bytes_at(from);
	size_t len = bytes_len(from);

	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\0')
			return "holds a NUL";
		if (data[i] == '\r' && (i + 1 == len || data[i + 1] != '\n'))
			return "holds a bare CR";
		if (data[i] == '\n' && (!i || data[i - 1] != '\r'))
			bytes_add(to, "\r", 1);
		bytes_add(to, &data[i], 1);
	}
	if (len && data[len - 1] != '\n')
		bytes_add(to, "\r\n", 2);
	return NULL;
}

/* Header block with its empty line, and the rest. */
static void split(struct bytes *content, struct text *prelude, struct text *body)
{
	const char *data = (const char *)bytes_at(content);
	size_t len = bytes_len(content);
	const char *end = NULL;

	if (len >= 2 && memcmp(data, "\r\n", 2) == 0)
		end = data - 2;
	else if (len > 0)
		end = memmem(data, len, "\r\n\r\n", 4);
	if (!end) {
		bytes_add(content, "\r\n", 2);
		*prelude = (struct text){(const char *)bytes_at(content), bytes_len(content)};
		*body = (struct text){"", 0};
		return;
	}
	size_t head = (size_t)(end - data) + 4;

	*prelude = (struct text){data, head};
	*body = (struct text){data + head, len - head};
}

/* -- one message -------------------------------------------------------------------------- */

/* Recipients are numbered as they stand in the envelope, which is the order of LIST. */
static uint32_t put_held(const json_t *list, uint64_t id, size_t *from, struct bytes *to)
{
	uint32_t count = 0;

	for (; *from < json_array_size(list) && count < TARGETS_AT_ONCE; ++*from) {
		const json_t *state = json_object_get(json_array_get(list, *from), "state");

		if (!json_is_string(state) ||
		    strcmp(json_string_value(state), filter_state_text(STATE_HELD)) != 0)
			continue;
		rec_target_encode(to, &(struct rec_target){id, (uint32_t)*from});
		count++;
	}
	return count;
}

static void warn_of_gap(struct importing *im)
{
	if (!im->warned)
		ctl_say("warning: held mail is imported and then held again; what is delivered "
			"between the two stays delivered");
	im->warned = true;
}

/* Holds again what was held. False: the socket is lost. */
static bool hold_again(struct importing *im, const char *name, const json_t *list, uint64_t id)
{
	uint64_t missed = 0;
	bool good = true;

	for (size_t from = 0; good;) {
		struct bytes targets = {0};
		struct message answer;
		uint32_t count = put_held(list, id, &from, &targets);
		struct msg_act act = {
		    .request = ++im->request,
		    .action = ACTION_HOLD,
		    .targets = {count, {(const char *)bytes_at(&targets), bytes_len(&targets)}}};

		if (!count) {
			bytes_free(&targets);
			break;
		}
		warn_of_gap(im);
		good = control_ask(im->control, MSG_act, &act, MSG_acted, &answer);
		uint32_t changed = good ? answer.acted.changed : 0;

		missed += changed < count ? count - changed : 0;
		bytes_free(&targets);
	}
	if (missed)
		ctl_say("%s/%s: imported, but %llu recipient%s could not be held again", im->folder,
			name, (unsigned long long)missed, missed == 1 ? "" : "s");
	im->unheld += missed;
	return good;
}

static bool hand_in(struct importing *im, const char *name, const json_t *recipients,
		    struct msg_import *m)
{
	struct message answer;
	char id[QUEUE_ID_BYTES], shown[300], done[300];

	m->request = ++im->request;
	if (!control_ask(im->control, MSG_import, m, MSG_imported, &answer)) {
		im->refused++;
		return false;
	}
	if (!answer.imported.id) {
		text_printable(shown, sizeof shown, answer.imported.error);
		refuse(im, name, shown[0] ? shown : "refused");
		return true;
	}
	uint64_t new_id = answer.imported.id;
	bool good = hold_again(im, name, recipients, new_id);

	im->taken++;
	snprintf(done, sizeof done, "%s.done", name);
	if (renameat(im->dir, name, im->dir, done) != 0) {
		refuse(im, name, "was imported, but cannot be renamed: stopping here");
		return false;
	}
	printf("%.*s -> %s\n", (int)(strlen(name) - 5), name, queue_id_print(new_id, id));
	return good;
}

/* False: the rest would fail as well. */
static bool import_one(struct importing *im, const char *name)
{
	struct bytes file = {0}, envelope = {0}, raw = {0}, content = {0};
	struct msg_import m = {0};
	char eml[300];
	json_t *o = NULL;
	json_error_t error;
	const char *why;
	bool more = true;

	snprintf(eml, sizeof eml, "%.*s.eml", (int)(strlen(name) - 5), name);
	why = read_whole(im->dir, name, JSON_MAX_BYTES, &file);
	if (!why) {
		o = json_loadb((const char *)bytes_at(&file), bytes_len(&file), 0, &error);
		why = o ? NULL : error.text;
	}
	if (!why && !put_envelope(o, &envelope))
		why = "is no envelope: a member is missing, too long or of another kind";
	if (!why) {
		why = read_whole(im->dir, eml, EML_MAX_BYTES, &raw);
		why = why ? why : to_crlf(&raw, &content);
		if (why)
			name = eml;
	}
	if (why) {
		refuse(im, name, why);
		goto out;
	}
	split(&content, &m.prelude, &m.body);
	m.envelope = (struct text){(const char *)bytes_at(&envelope), bytes_len(&envelope)};
	if (m.prelude.len > PRELUDE_MAX || m.body.len > INLINE_BODY_MAX)
		refuse(im, eml, "is larger than can be imported: hand it in by SMTP");
	else
		more = hand_in(im, name, json_object_get(o, "recipients"), &m);
out:
	json_decref(o);
	bytes_free(&file);
	bytes_free(&envelope);
	bytes_free(&raw);
	bytes_free(&content);
	return more;
}

static int is_envelope(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && len < 256 &&
	       strcmp(d->d_name + len - 5, ".json") == 0;
}

int queue_import_verb(struct ctl *ctl)
{
	struct importing im = {.dir = -1};
	struct dirent **names = NULL;
	int status = EX_NOINPUT;

	if (ctl->count != 1) {
		ctl_say("usage: veredus queue import DIR");
		return EX_USAGE;
	}
	im.folder = ctl->words[0];
	im.dir = open(im.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int count = im.dir < 0 ? -1 : scandir(im.folder, &names, is_envelope, alphasort);

	if (count < 0) {
		ctl_say("%s: %s", im.folder, strerror(errno));
		goto out;
	}
	im.control = control_open(ctl, &status);
	bool more = im.control != NULL;

	for (int i = 0; i < count; i++) {
		if (more)
			more = import_one(&im, names[i]->d_name);
		free(names[i]);
	}
	if (im.control) {
		printf("imported: %llu message%s, %llu refused\n", (unsigned long long)im.taken,
		       im.taken == 1 ? "" : "s", (unsigned long long)im.refused);
		status = im.refused || im.unheld || !more ? 1 : 0;
	}
out:
	free(names);
	control_close(&im.control);
	if (im.dir >= 0)
		close(im.dir);
	return status;
}
