/* SPDX-License-Identifier: ISC */
/*
 * veredus queue import over a folder with one message: the input is its
 * JSON, a NUL and its mail. What is handed to qmgr (here: a function) is a
 * message that decodes, with an envelope that decodes, states of its
 * recipients, and content of CRLF lines, a large body in the file that was
 * given for it and as long as said; the JSON file is renamed when the message
 * was taken, and only then. A first byte below 8 is no JSON, but what else
 * befalls: enum mood.
 */
#include "../../ctl/control.h"

#include "../../ctl/queue_verbs.h"
#include "envelope.h"
#include "must.h"
#include "queue.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum mood {
	MOOD_AGAIN = 1,	  /* qmgr has no room at first */
	MOOD_LOST = 2,	  /* it goes away before it answers */
	MOOD_NO_FILE = 4, /* it has none for a large body */
};

/* qmgr as the command sees it: it refuses inputs of an odd length. */
struct control {
	size_t asked;
	int file;
	bool refuses;
	uint8_t mood;
};

static struct control qmgr;

struct control *control_open(const struct ctl *ctl, int *status)
{
	(void)ctl;
	*status = 0;
	return &qmgr;
}

void control_close(struct control **control)
{
	*control = NULL;
}

static void check_lines(struct text t)
{
	for (size_t i = 0; i < t.len; i++) {
		must(t.data[i] != '\0');
		must(t.data[i] != '\n' || (i > 0 && t.data[i - 1] == '\r'));
		must(t.data[i] != '\r' || (i + 1 < t.len && t.data[i + 1] == '\n'));
	}
	must(!t.len || t.data[t.len - 1] == '\n');
}

static void check_states(struct wire_list states, uint32_t recipients)
{
	struct rec_import_state s;
	uint32_t next = 0;

	while (list_next_import_state(&states, &s)) {
		must(s.number >= next && s.number < recipients);
		must(s.kind > QUEUE_WAITING && s.kind <= QUEUE_HELD);
		must(!queue_settled((enum queue_kind)s.kind, s.flags));
		next = s.number + 1;
	}
}

static void check_file(struct control *control, const struct msg_import *m)
{
	uint8_t data[4096];
	uint64_t length = 0;
	uint32_t crc = 0;
	ssize_t n;

	must(control->file >= 0 && !m->body.len && lseek(control->file, 0, SEEK_SET) == 0);
	while ((n = read(control->file, data, sizeof data)) > 0) {
		crc = queue_crc32c(crc, data, (size_t)n);
		length += (uint64_t)n;
	}
	must(length == m->body_length && crc == m->body_crc);
}

static void file_close(struct control *control)
{
	if (control->file >= 0)
		close(control->file);
	control->file = -1;
}

/* Says that there is no room, once. */
static bool is_busy(struct control *control)
{
	bool busy = (control->mood & MOOD_AGAIN) != 0;

	control->mood &= (uint8_t)~MOOD_AGAIN;
	return busy;
}

static bool give_file(struct control *control, struct message *reply)
{
	*reply = (struct message){.type = MSG_import_file, .fd = -1};
	reply->import_file.error = text_of("no\nfile");
	reply->import_file.again = is_busy(control);
	if (reply->import_file.again || (control->mood & MOOD_NO_FILE))
		return true;
	if (control->mood & MOOD_LOST)
		return false;
	control->file = memfd_create("body", MFD_CLOEXEC);
	must(control->file >= 0);
	*reply = (struct message){.type = MSG_import_file, .fd = dup(control->file)};
	return true;
}

bool control_tell(struct control *control, enum message_type type, const void *m)
{
	(void)m;
	must(type == MSG_import_drop && control->file >= 0);
	file_close(control);
	return true;
}

bool control_ask(struct control *control, enum message_type type, const void *m,
		 enum message_type answer, struct message *reply)
{
	struct bytes payload = {0};
	struct message sent;
	struct envelope e;

	if (type == MSG_import_open && answer == MSG_import_file)
		return give_file(control, reply);
	must(type == MSG_import && answer == MSG_imported);
	message_encode(&payload, type, m);
	must(bytes_len(&payload) <= FRAME_MAX_BYTES);
	must(message_decode(bytes_at(&payload), bytes_len(&payload), type, &sent));
	must(envelope_decode(sent.import.envelope, &e));
	check_states(sent.import.states, e.recipient_count);
	must(sent.import.prelude.len >= 2);
	check_lines(sent.import.prelude);
	check_lines(sent.import.body);
	must((control->file >= 0) == sent.import.body_in_file);
	if (sent.import.body_in_file)
		check_file(control, &sent.import);
	bytes_free(&payload);
	*reply = (struct message){.type = answer, .fd = -1};
	reply->imported.again = is_busy(control);
	if (reply->imported.again)
		return true;
	file_close(control);
	if (control->mood & MOOD_LOST)
		return false;
	control->asked++;
	reply->imported.id = control->refuses ? 0 : 36;
	return true;
}

void ctl_say(const char *format, ...)
{
	char text[4096];
	va_list args;

	va_start(args, format);
	must(vsnprintf(text, sizeof text, format, args) > 0);
	va_end(args);
}

static char path[] = "/tmp/fuzz_import.XXXXXX";
static int folder = -1;

static void folder_empty(void)
{
	unlinkat(folder, "a.json", 0);
	unlinkat(folder, "a.eml", 0);
	unlinkat(folder, "a.json.done", 0);
}

static void folder_remove(void)
{
	folder_empty();
	rmdir(path);
}

static void file_write(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

/* The folder that is imported; before it is there, it can't be. */
static void folder_make(struct ctl *ctl)
{
	must(queue_import_verb(&(struct ctl){.count = 0}) == EX_USAGE);
	must(queue_import_verb(ctl) == EX_NOINPUT);
	must(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(folder >= 0 && atexit(folder_remove) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *null;
	FILE *out = stdout;
	uint8_t mood = size && data[0] < 8 ? data[0] : 0;
	char *words[] = {path};
	struct ctl ctl = {.words = words, .count = 1};

	if (folder < 0) {
		null = fopen("/dev/null", "w");
		must(null);
		folder_make(&ctl);
	}
	folder_empty();
	if (mood) {
		data++;
		size--;
	}
	const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
	size_t json = nul ? (size_t)(nul - data) : size;

	file_write("a.json", data, json);
	if (nul)
		file_write("a.eml", nul + 1, size - json - 1);
	qmgr = (struct control){.refuses = size % 2 != 0, .file = -1, .mood = mood};
	/* What it prints for people is not looked at. */
	stdout = null;
	int status = queue_import_verb(&ctl);

	stdout = out;

	must(qmgr.file < 0);
	must((status == 0) == (qmgr.asked == 1 && !qmgr.refuses));
	must((faccessat(folder, "a.json.done", F_OK, 0) == 0) == (status == 0));
	return 0;
}
