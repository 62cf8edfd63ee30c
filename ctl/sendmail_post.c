/* SPDX-License-Identifier: ISC */
/* postdrop(1) as sendmail(1) uses it: a child that reads frames. */
#include "sendmail.h"

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

struct post {
	pid_t pid;
	int to, from; /* its standard input and output */
	bool broken;  /* it reads no more */
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

static void put(struct post *p, enum drop_tag tag, const void *data, size_t len)
{
	uint8_t head[DROP_FRAME_BYTES];

	drop_frame_encode(head, tag, (uint32_t)len);
	if (p->broken)
		return;
	p->broken = !file_write(p->to, head, sizeof head) || (len && !file_write(p->to, data, len));
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

/* In the child, until execv(). */
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

struct post *post_begin(const struct post_form *form, int *status)
{
	char path[PATH_MAX + 32];
	int to[2] = {-1, -1}, from[2] = {-1, -1};
	pid_t pid = -1;

	*status = EX_OSERR;
	if (!program_beside("postdrop", path, sizeof path)) {
		sendmail_say(EX_OSERR, "/proc/self/exe: %s", strerror(errno));
		return NULL;
	}
	if (pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0)
		pid = fork();
	if (pid == 0)
		become(path, form->maildrop, to[0], from[1]);
	if (pid < 0)
		sendmail_say(EX_OSERR, "postdrop: %s", strerror(errno));
	close(to[0]);
	close(from[1]);
	if (pid < 0) {
		close(to[1]);
		close(from[0]);
		return NULL;
	}
	struct post *p = mem_new(1, sizeof *p);

	*p = (struct post){.pid = pid, .to = to[1], .from = from[0]};
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
	int status = 0;

	close(p->to);
	close(p->from);
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	free(p);
	*post = NULL;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	return sendmail_say(EX_OSERR, "postdrop was ended by signal %d",
			    WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int post_end(struct post **post, uint8_t flags, char *id)
{
	struct post *p = *post;
	char said[32];
	size_t len = 0;

	put(p, DROP_END, &flags, 1);
	bool broken = p->broken;

	close(p->to);
	p->to = -1;
	while (len < sizeof said) {
		ssize_t n = read(p->from, said + len, sizeof said - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	int status = post_wait(post);

	text_copy(id, 17, (struct text){said, len < 16 ? 0 : 16});
	/* It ended well without having read all: that is no postdrop of ours. */
	if (status == EX_OK && (broken || !*id))
		return sendmail_say(EX_SOFTWARE, "postdrop has not taken the mail");
	return status;
}

void post_abandon(struct post **post)
{
	if (*post)
		(void)post_wait(post);
}
