/* SPDX-License-Identifier: ISC */
/*
 * veredus queue import: hands what export wrote to qmgr, as new messages with
 * new IDs and with the state that their recipients had. ID.json becomes
 * ID.json.done once its message is safe in the queue, so that an import that
 * was broken off can simply be started again.
 */
#include "queue_verbs.h"

#include "control.h"
#include "import_content.h"
#include "import_envelope.h"
#include "queue_id.h"
#include "siphash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	JSON_MAX_BYTES = 32 << 20,
	AGAIN_MS = 50,	 /* while qmgr has no room for it */
	AGAIN_MAX = 600, /* times */
	WHY_BYTES = 300,
};

struct importing {
	struct control *control;
	const char *folder;
	int dir;
	uint32_t request;
	uint64_t taken, refused;
	uint64_t key; /* of the file that is imported */
	char why[WHY_BYTES];
	bool lost; /* the control socket is; that was said */
};

static void refuse(struct importing *im, const char *name, const char *why)
{
	ctl_say("%s/%s: %s", im->folder, name, why);
	im->refused++;
}

/* -- questions to qmgr ------------------------------------------------------------------- */

static void wait_a_little(void)
{
	usleep(AGAIN_MS * 1000);
}

static const char *kept(struct importing *im, struct text error)
{
	text_printable(im->why, sizeof im->why, error);
	return im->why[0] ? im->why : "refused";
}

/* The file for a large body; import_content.open. */
static int body_open(void *arg, const char **why)
{
	struct importing *im = arg;
	struct message m;

	for (int i = 0; i < AGAIN_MAX; i++) {
		struct msg_import_open open = {++im->request};

		if (!control_ask(im->control, MSG_import_open, &open, MSG_import_file, &m)) {
			im->lost = true;
			*why = "not imported";
			return -1;
		}
		if (m.fd >= 0)
			return m.fd;
		if (!m.import_file.again) {
			*why = kept(im, m.import_file.error);
			return -1;
		}
		wait_a_little();
	}
	*why = "qmgr has had no room for it for half a minute";
	return -1;
}

static void body_give_up(struct importing *im)
{
	if (!im->lost)
		im->lost = !control_tell(im->control, MSG_import_drop,
					 &(struct msg_import_drop){++im->request});
}

/* NULL: taken, with its new *ID. */
static const char *hand_in(struct importing *im, struct msg_import *m, uint64_t *id)
{
	struct message answer;

	for (int i = 0; i < AGAIN_MAX; i++) {
		m->request = ++im->request;
		if (!control_ask(im->control, MSG_import, m, MSG_imported, &answer)) {
			im->lost = true;
			return "whether it was taken is not known: look for its Message-ID in the "
			       "queue and with trace before it is imported again";
		}
		*id = answer.imported.id;
		if (*id)
			return NULL;
		if (!answer.imported.again)
			return kept(im, answer.imported.error);
		wait_a_little();
	}
	if (m->body_in_file)
		body_give_up(im);
	return "qmgr has had no room for it for half a minute";
}

/* -- one message -------------------------------------------------------------------------- */

/*
 * The same until the file is changed or renamed, for which its ctime changes,
 * too: who renames ID.json.done back means it.
 */
static uint64_t key_of(const struct stat *st)
{
	static const uint8_t fixed_key[SIPHASH_KEY_BYTES];
	const uint64_t facts[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
				  (uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec};

	return siphash(fixed_key, facts, sizeof facts) | 1;
}

static const char *read_json(struct importing *im, const char *name, json_t **to)
{
	struct bytes file = {0};
	json_error_t error;
	const char *why = NULL;
	uint64_t size = 0;
	int fd = import_file_open(im->dir, name, &size, &why);
	struct stat st;
	ssize_t n = 1;

	im->key = fd >= 0 && fstat(fd, &st) == 0 ? key_of(&st) : 0;

	if (fd >= 0 && size > JSON_MAX_BYTES)
		why = "is larger than an envelope can be";
	while (fd >= 0 && !why && n != 0) {
		n = read(fd, bytes_room(&file, 65536), 65536);
		if (n > 0)
			file.end += (size_t)n;
		else if (n < 0 && errno != EINTR)
			why = strerror(errno);
		if (bytes_len(&file) > size)
			why = "grew while it was read";
	}
	if (fd >= 0)
		close(fd);
	if (!why) {
		*to = json_loadb(bytes_len(&file) ? (const char *)bytes_at(&file) : "",
				 bytes_len(&file), JSON_REJECT_DUPLICATES, &error);
		if (!*to) {
			int at = snprintf(im->why, sizeof im->why,
					  "line %d, column %d: ", error.line, error.column);

			text_printable(im->why + at, sizeof im->why - (size_t)at,
				       text_of(error.text));
			why = im->why;
		}
	}
	bytes_free(&file);
	return why;
}

static void taken(struct importing *im, const char *name, uint64_t id)
{
	char text[QUEUE_ID_BYTES], done[300];

	im->taken++;
	printf("%.*s -> %s\n", (int)(strlen(name) - 5), name, queue_id_print(id, text));
	snprintf(done, sizeof done, "%s.done", name);
	if (renameat(im->dir, name, im->dir, done) == 0)
		return;
	ctl_say("%s/%s: was imported, but cannot be renamed: %s; stopping here, or the next import "
		"would take it twice",
		im->folder, name, strerror(errno));
	im->lost = true;
}

/* NAME is of the JSON file, EML of the other one, which is read last. */
static void import_read(struct importing *im, const char *name, const char *eml,
			struct import_envelope *e, struct import_content *c)
{
	struct msg_import m = {.origin = e->origin, .key = im->key};
	const char *why = import_content_read(c, im->dir, eml);
	uint64_t id = 0;

	if (why) {
		if (c->fd >= 0)
			body_give_up(im);
		refuse(im, eml, why);
		return;
	}
	m.envelope = bytes_text(&e->envelope);
	m.prelude = bytes_text(&c->prelude);
	m.body = bytes_text(&c->body);
	m.body_length = c->body_length;
	m.body_crc = c->body_crc;
	m.body_in_file = c->fd >= 0;
	m.states = (struct wire_list){e->state_count, bytes_text(&e->state_items)};
	why = hand_in(im, &m, &id);
	if (why)
		refuse(im, name, why);
	else
		taken(im, name, id);
}

static void import_one(struct importing *im, const char *name)
{
	struct import_envelope e = {.state_count = 0};
	struct import_content c = {.open = body_open, .arg = im, .fd = -1};
	char eml[300];
	json_t *o = NULL;
	const char *why = read_json(im, name, &o);

	snprintf(eml, sizeof eml, "%.*s.eml", (int)(strlen(name) - 5), name);
	if (!why && !import_envelope_read(o, &e, im->why, sizeof im->why))
		why = im->why;
	if (why)
		refuse(im, name, why);
	else
		import_read(im, name, eml, &e, &c);
	json_decref(o);
	import_envelope_free(&e);
	import_content_free(&c);
}

/* -- the folder --------------------------------------------------------------------------- */

static int is_envelope(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && len < 256 &&
	       strcmp(d->d_name + len - 5, ".json") == 0;
}

static int import_all(struct importing *im, struct dirent **names, int count)
{
	for (int i = 0; i < count && !im->lost; i++)
		import_one(im, names[i]->d_name);
	fsync(im->dir);
	printf("imported: %llu message%s, %llu refused%s\n", (unsigned long long)im->taken,
	       im->taken == 1 ? "" : "s", (unsigned long long)im->refused,
	       count ? "" : "; there is no ID.json left to import");
	return im->refused || im->lost ? 1 : 0;
}

/* The folder, locked, or -1 after saying why. */
static int folder_open(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
		ctl_say("%s: another import of this folder runs", folder);
		close(fd);
		return -1;
	}
	if (fd < 0)
		ctl_say("%s: %s", folder, strerror(errno));
	return fd;
}

int queue_import_verb(struct ctl *ctl)
{
	struct importing im = {.dir = -1};
	struct dirent **names = NULL;
	int status = EX_NOINPUT, count;

	if (ctl->count != 1) {
		ctl_say("usage: veredus queue import DIR");
		return EX_USAGE;
	}
	im.folder = ctl->words[0];
	im.dir = folder_open(im.folder);
	if (im.dir < 0)
		return status;
	count = scandir(im.folder, &names, is_envelope, alphasort);
	if (count < 0)
		ctl_say("%s: %s", im.folder, strerror(errno));
	else
		im.control = control_open(ctl, &status);
	if (im.control)
		status = import_all(&im, names, count);
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
	control_close(&im.control);
	close(im.dir);
	return status;
}
