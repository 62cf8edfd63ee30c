/* SPDX-License-Identifier: ISC */
/* postdrop(1) as sendmail(1) uses it: a child that reads frames. */
#include "sendmail.h"

#include "bytes.h"
#include "drop.h"
#include "file.h"
#include "mem.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	/* Frames that wait until postdrop is there to read them; a pipe holds as much. */
	WAITING_MOST = 61440,
};

struct post {
	const char *maildrop;
	struct bytes waiting; /* frames that are not written yet */
	pid_t pid;	      /* of postdrop; 0: not started */
	int to, from;	      /* its standard input and output */
	int status;	      /* why it cannot be had */
	bool broken;	      /* it reads no more */
};

void post_xtext(const char *from, char *to)
{
	/* RFC 3461 4: "xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for
	 * "+" and "="". */
	for (; *from; from++)
		if (*from > ' ' && *from <= '~' && *from != '+' && *from != '=')
			*to++ = *from;
		else
			to += sprintf(to, "+%02X", (unsigned char)*from);
	*to = '\0';
}

/* Until execv(). */
static _Noreturn void become(const char *path, const char *maildrop, int in, int out)
{
	char name[] = "postdrop", option[] = "-d", folder[PATH_MAX];
	char *const plain[] = {name, NULL};
	char *const elsewhere[] = {name, option, folder, NULL};

	text_copy(folder, sizeof folder, text_of(maildrop));
	/* Ours are close-on-exec and above the first three. */
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(EX_OSERR);
	execv(path, maildrop ? elsewhere : plain);
	dprintf(STDERR_FILENO, "sendmail: %s: %s\n", path, strerror(errno));
	_exit(EX_UNAVAILABLE);
}

static bool find_postdrop(char *path, size_t size)
{
	if (program_beside("postdrop", path, size))
		return true;
	sendmail_say(EX_OSERR, "where this program lies: %s", strerror(errno));
	return false;
}

/* As a child. False: it cannot be had, which is said. */
static bool start(struct post *p)
{
	char path[PATH_MAX + 32];
	int to[2] = {-1, -1}, from[2] = {-1, -1};

	if (!find_postdrop(path, sizeof path))
		return false;
	p->pid = -1;
	if (pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0)
		p->pid = fork();
	if (p->pid == 0)
		become(path, p->maildrop, to[0], from[1]);
	if (p->pid < 0)
		sendmail_say(EX_OSERR, "postdrop: %s", strerror(errno));
	close(to[0]);
	close(from[1]);
	p->to = to[1];
	p->from = from[0];
	if (p->pid > 0)
		return true;
	p->pid = 0;
	close(p->to);
	close(p->from);
	return false;
}

/* In our place, with all frames in its pipe. Returns when that cannot be. */
static void take_place(struct post *p)
{
	char path[PATH_MAX + 32];
	size_t len = bytes_len(&p->waiting);
	int ends[2] = {-1, -1}, null;

	if (!program_beside("postdrop", path, sizeof path) || pipe2(ends, O_CLOEXEC) != 0)
		return;
	/* That of a user with very many pipes is smaller than others. */
	if (fcntl(ends[1], F_GETPIPE_SZ) >= (int)len &&
	    file_write(ends[1], bytes_at(&p->waiting), len)) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			become(path, p->maildrop, ends[0], null);
	}
	close(ends[0]);
	close(ends[1]);
}

static void flush(struct post *p)
{
	if (!p->pid && !p->broken && !start(p)) {
		p->status = EX_OSERR;
		p->broken = true;
	}
	if (!p->broken)
		p->broken = !file_write(p->to, bytes_at(&p->waiting), bytes_len(&p->waiting));
	bytes_take(&p->waiting, bytes_len(&p->waiting), SIZE_MAX);
}

static void put(struct post *p, enum drop_tag tag, const void *data, size_t len)
{
	uint8_t head[DROP_FRAME_BYTES];

	if (bytes_len(&p->waiting) + sizeof head + len > WAITING_MOST)
		flush(p);
	drop_frame_encode(head, tag, (uint32_t)len);
	bytes_add(&p->waiting, head, sizeof head);
	bytes_add(&p->waiting, data, len);
}

static void put_form(struct post *p, const struct post_form *form)
{
	put(p, DROP_BEGIN, DROP_BEGIN_TEXT, strlen(DROP_BEGIN_TEXT));
	put(p, DROP_SENDER, form->sender.data, form->sender.len);
	if (form->envid)
		put(p, DROP_ENVID, form->envid, strlen(form->envid));
	if (form->ret)
		put(p, DROP_RET, &form->ret, 1);
	for (size_t i = 0; i < form->count; i++) {
		uint8_t octets[1 + DROP_ADDRESS_MAX + 1];
		size_t len = strlen(form->recipients[i]);

		octets[0] = form->notify ? form->notify[i] : form->all_notify;
		text_copy((char *)octets + 1, sizeof octets - 1, text_of(form->recipients[i]));
		put(p, DROP_RECIPIENT, octets,
		    1 + (len < DROP_ADDRESS_MAX ? len : DROP_ADDRESS_MAX));
	}
}

struct post *post_begin(const struct post_form *form)
{
	struct post *p = mem_new(1, sizeof *p);

	*p = (struct post){.maildrop = form->maildrop, .to = -1, .from = -1};
	put_form(p, form);
	return p;
}

bool post_content(struct post *p, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len && !p->broken) {
		size_t piece = len < DROP_PIECE_MAX ? len : DROP_PIECE_MAX;

		put(p, DROP_CONTENT, at, piece);
		at += piece;
		len -= piece;
	}
	return !p->broken;
}

/* Waits for its end; its status as an exit status. */
static int post_wait(struct post **post)
{
	struct post *p = *post;
	bool started = p->pid != 0;
	int status = 0, before = p->status;

	if (started) {
		close(p->to);
		close(p->from);
	}
	while (started && waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	bytes_free(&p->waiting);
	free(p);
	*post = NULL;
	if (!started)
		return before;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return sendmail_say(EX_OSERR, "postdrop was ended by signal %d",
			    WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

/* How it calls the mail, once that is safe; SAID holds 17 bytes. */
static void read_id(struct post *p, char *id)
{
	char said[32];
	size_t len = 0;

	while (p->pid && len < sizeof said) {
		ssize_t n = read(p->from, said + len, sizeof said - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	text_copy(id, 17, (struct text){said, len < 16 ? 0 : 16});
}

int post_end(struct post **post, uint8_t flags, char *id)
{
	struct post *p = *post;
	char said[17];

	put(p, DROP_END, &flags, 1);
	if (!id && !p->pid && !p->broken)
		take_place(p);
	flush(p);
	bool broken = p->broken;

	if (p->pid)
		close(p->to);
	p->to = -1;
	read_id(p, said);
	int status = post_wait(post);

	if (id)
		memcpy(id, said, sizeof said);
	/* It ended well without having read all: that is no postdrop of ours. */
	if (status == EX_OK && (broken || !*said))
		return sendmail_say(EX_SOFTWARE, "postdrop has not taken the mail");
	return status;
}

void post_abandon(struct post **post)
{
	if (*post)
		(void)post_wait(post);
}
