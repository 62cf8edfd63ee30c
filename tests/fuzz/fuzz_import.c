/* SPDX-License-Identifier: ISC */
/*
 * veredus queue import over a folder with one message: the input is its
 * JSON, a NUL and its mail. What is handed to qmgr (here: a function) is a
 * message that decodes, with an envelope that decodes and content of CRLF
 * lines; the file is renamed when it was taken, and only then.
 */
#include "../../ctl/control.h"

#include "../../ctl/queue_verbs.h"
#include "envelope.h"
#include "must.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* qmgr as the command sees it: it refuses inputs of an odd length. */
struct control {
	size_t asked;
	bool refuses;
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

bool control_ask(struct control *control, enum message_type type, const void *m,
		 enum message_type answer, struct message *reply)
{
	struct bytes payload = {0};
	struct message sent;
	struct envelope e;

	must(type == MSG_import && answer == MSG_imported);
	message_encode(&payload, type, m);
	must(message_decode(bytes_at(&payload), bytes_len(&payload), type, &sent));
	must(envelope_decode(sent.import.envelope, &e));
	must(sent.import.prelude.len >= 2);
	check_lines(sent.import.prelude);
	check_lines(sent.import.body);
	bytes_free(&payload);
	control->asked++;
	*reply = (struct message){.type = answer, .fd = -1};
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *null;
	FILE *out = stdout;
	const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
	size_t json = nul ? (size_t)(nul - data) : size;
	char *words[] = {path};
	struct ctl ctl = {.words = words, .count = 1};

	if (folder < 0) {
		null = fopen("/dev/null", "w");
		must(null && mkdtemp(path));
		folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(folder >= 0 && atexit(folder_remove) == 0);
	}
	folder_empty();
	file_write("a.json", data, json);
	if (nul)
		file_write("a.eml", nul + 1, size - json - 1);
	qmgr = (struct control){.refuses = size % 2 != 0};
	/* What it prints for people is not looked at. */
	stdout = null;
	int status = queue_import_verb(&ctl);

	stdout = out;

	must((status == 0) == (qmgr.asked == 1 && !qmgr.refuses));
	must((faccessat(folder, "a.json.done", F_OK, 0) == 0) == (status == 0));
	return 0;
}
