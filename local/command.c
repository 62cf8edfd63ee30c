/* SPDX-License-Identifier: ISC */
/* Commands: environment, the way there, time and exit codes. */
#include "command.h"

#include "envelope.h"
#include "user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum {
	WORDS_MAX = 64,
	SAID_MAX = 400, /* of its output, in the report */
	VALUE_BYTES = 400,
	VARIABLES_MAX = 12,
	TICK_MS = 200, /* how soon the end of local, or of the time, is seen */
	KILL_AFTER_TICKS = 25,
	ENV_BYTES = 12000,
};

static const char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
/* Whoever uses one of these wants a shell. */
static const char shell_characters[] = "$&;|<>()[]{}*?\"'`\\~#!^=\n";

/* -- the environment ------------------------------------------------------------------------ */

struct environment {
	char text[ENV_BYTES];
	size_t len, count;
	char *list[VARIABLES_MAX + 1];
};

/* No shell, and nothing that reads a variable as code, finds anything here. */
static bool is_harmless(char c)
{
	return ascii_is_alnum(c) || (c && strchr("!@%-_+:,./=", c));
}

static void env_put(struct environment *e, const char *name, struct text value, bool clean)
{
	char *at = e->text + e->len;
	size_t len = strlen(name), n = value.len < VALUE_BYTES ? value.len : VALUE_BYTES;

	if (e->count == VARIABLES_MAX || len + n + 2 > sizeof e->text - e->len)
		return;
	memcpy(at, name, len);
	at[len] = '=';
	for (size_t i = 0; i < n; i++)
		at[len + 1 + i] = clean && !is_harmless(value.data[i]) ? '_' : value.data[i];
	at[len + 1 + n] = '\0';
	e->len += len + n + 2;
	e->list[e->count++] = at;
	e->list[e->count] = NULL;
}

static void env_make(struct environment *e, const struct command *c, const struct letter *l)
{
	struct text domain = address_domain(l->address);
	struct text local = {l->address.data, l->address.len - domain.len - (domain.len > 0)};

	e->len = e->count = 0;
	env_put(e, "PATH", text_of(path + 5), false);
	env_put(e, "HOME", text_of(c->user->home), false);
	env_put(e, "USER", text_of(c->user->name), false);
	env_put(e, "LOGNAME", text_of(c->user->name), false);
	env_put(e, "SHELL", text_of("/bin/sh"), false);
	env_put(e, "SENDER", l->sender, true);
	env_put(e, "RECIPIENT", l->address, true);
	env_put(e, "ORIGINAL_RECIPIENT", l->original.len ? l->original : l->address, true);
	env_put(e, "LOCAL", local, true);
	env_put(e, "DOMAIN", domain, true);
}

/* -- the command's own process -------------------------------------------------------------- */

/* No shell where there is nothing for one: the words, as blanks part them. */
static void exec_words(char *line, char **environment)
{
	char *words[WORDS_MAX + 1];
	size_t count = 0;

	for (char *save = NULL, *w = strtok_r(line, " \t", &save); w && count < WORDS_MAX;
	     w = strtok_r(NULL, " \t", &save))
		words[count++] = w;
	words[count] = NULL;
	if (count)
		execvpe(words[0], words, environment);
	fprintf(stderr, "%s: %s\n", count ? words[0] : "", strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static _Noreturn void command_become(const struct command *c, const struct letter *l, int in,
				     int out)
{
	static struct environment e;
	char line[1024];

	env_make(&e, c, l);
	setpgid(0, 0);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(c->folder) != 0)
		_exit(EX_TEMPFAIL);
	close_range(3, ~0u, 0);
	for (int s = 1; s < 32; s++)
		signal(s, SIG_DFL);
	alarm(0);
	umask(077);
	setenv("PATH", path + 5, 1); /* where execvpe looks */
	text_copy(line, sizeof line, text_of(c->line));
	if (!strpbrk(line, shell_characters) && strspn(line, " \t") < strlen(line))
		exec_words(line, e.list);
	execle("/bin/sh", "sh", "-c", line, (char *)NULL, e.list);
	_exit(126);
}

/* -- its input and output --------------------------------------------------------------------- */

struct running {
	const struct command *c;
	pid_t pid;
	int in, out; /* its standard input, what it prints; -1: closed */
	struct monotime until;
	bool late, unwanted;
	char said[SAID_MAX + 1];
	size_t len;
};

static void take_output(struct running *x)
{
	char block[4096];
	ssize_t n = read(x->out, block, sizeof block);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close(x->out);
		x->out = -1;
		return;
	}
	for (ssize_t i = 0; i < n && x->len < SAID_MAX; i++)
		x->said[x->len++] = block[i] == '\n' || block[i] == '\0' ? ' ' : block[i];
}

/* Waits a moment for either; false: it has gone on for too long, or nobody wants it any more. */
static bool running_wait(struct running *x, bool writes)
{
	struct pollfd p[2] = {{x->out, POLLIN, 0}, {writes ? x->in : -1, POLLOUT, 0}};

	poll(p, 2, TICK_MS);
	if (x->out >= 0 && p[0].revents)
		take_output(x);
	x->late = monotime_read().us >= x->until.us;
	x->unwanted = !x->c->still_wanted(NULL);
	return !x->late && !x->unwanted;
}

/* Who reads no more may have read enough. */
static bool give(void *arg, const char *data, size_t len)
{
	struct running *x = arg;

	while (len && x->in >= 0) {
		ssize_t n = write(x->in, data, len);

		if (n > 0) {
			data += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (!running_wait(x, true))
				return false;
		} else if (n < 0 && errno != EINTR) {
			close(x->in);
			x->in = -1;
		}
	}
	return true;
}

/* It and what it has started, politely and then not. */
static void running_end(struct running *x, int *status)
{
	for (int i = 0; i < KILL_AFTER_TICKS; i++) {
		kill(-x->pid, i ? 0 : SIGTERM);
		if (waitpid(x->pid, status, WNOHANG) == x->pid) {
			kill(-x->pid, SIGKILL);
			return;
		}
		poll(NULL, 0, TICK_MS);
	}
	kill(-x->pid, SIGKILL);
	waitpid(x->pid, status, 0);
}

/* Its status, or -1 when it was ended. */
static int running_finish(struct running *x)
{
	int status = 0;

	while (!x->late && !x->unwanted) {
		if (waitpid(x->pid, &status, WNOHANG) == x->pid)
			break;
		running_wait(x, false);
	}
	if (x->late || x->unwanted) {
		running_end(x, &status);
		return -1;
	}
	/* What it left running may hold its output open: what is there by now counts. */
	if (x->out >= 0)
		take_output(x);
	return status;
}

/* -- what came of it -------------------------------------------------------------------------- */

struct meaning {
	int code;
	const char *dsn, *text;
};

/* As sysexits.h has them, and the shell. */
static const struct meaning meanings[] = {
    {EX_TEMPFAIL, "4.3.0", "temporary failure"},
    {EX_OSERR, "4.3.0", "system resource problem"},
    {126, "4.3.5", "the command can't be run"},
    {127, "4.3.5", "the command is not there"},
    {EX_USAGE, "5.3.0", "command line usage error"},
    {EX_DATAERR, "5.6.0", "data format error"},
    {EX_NOINPUT, "5.3.0", "cannot open input"},
    {EX_NOUSER, "5.1.1", "user unknown"},
    {EX_NOHOST, "5.1.2", "host name unknown"},
    {EX_UNAVAILABLE, "5.3.0", "service unavailable"},
    {EX_SOFTWARE, "5.3.0", "internal software error"},
    {EX_OSFILE, "5.3.5", "system file missing"},
    {EX_CANTCREAT, "5.2.0", "can't create user output file"},
    {EX_IOERR, "5.3.0", "input/output error"},
    {EX_PROTOCOL, "5.5.0", "remote error in protocol"},
    {EX_NOPERM, "5.7.0", "permission denied"},
    {EX_CONFIG, "5.3.5", "local configuration error"},
};

static void settle_code(struct result *r, int code, const char *said)
{
	struct meaning m = {code, "5.3.0", "it failed"};

	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
		if (meanings[i].code == code)
			m = meanings[i];
	bool later = m.dsn[0] == '4';

	result_set(r, later ? OUTCOME_DEFERRED : OUTCOME_FAILED, later ? 0 : 554, m.dsn,
		   "the command ended with %d (%s)%s%s", code, m.text, *said ? ": " : "", said);
}

static void settle(struct running *x, int status, struct result *r)
{
	x->said[x->len] = '\0';
	while (x->len && x->said[x->len - 1] == ' ')
		x->said[--x->len] = '\0';
	if (x->unwanted)
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.2", "the delivery was interrupted");
	else if (x->late)
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0",
			   "the command took longer than %lld s, and was ended",
			   (long long)seconds_of(x->c->limit));
	else if (WIFSIGNALED(status))
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", "the command died of signal %d%s%s",
			   WTERMSIG(status), x->len ? ": " : "", x->said);
	else if (WEXITSTATUS(status) == 0)
		result_set(r, OUTCOME_DELIVERED, 250, "2.0.0", "delivered to command: %.300s",
			   x->c->line);
	else
		settle_code(r, WEXITSTATUS(status), x->said);
}

static bool start(struct running *x, const struct letter *l)
{
	int in[2], out[2] = {-1, -1};

	if (pipe2(in, O_CLOEXEC) != 0)
		return false;
	if (pipe2(out, O_CLOEXEC) == 0)
		x->pid = fork();
	if (x->pid == 0)
		command_become(x->c, l, in[0], out[1]);
	int error = errno;

	close(in[0]);
	if (out[1] >= 0)
		close(out[1]);
	x->in = in[1];
	x->out = out[0];
	errno = error;
	if (x->pid < 0)
		return false;
	setpgid(x->pid, x->pid);
	fcntl(x->in, F_SETFL, O_NONBLOCK);
	fcntl(x->out, F_SETFL, O_NONBLOCK);
	return true;
}

void command_run(const struct command *c, const struct letter *l, struct result *r)
{
	struct running x = {.c = c,
			    .pid = -1,
			    .in = -1,
			    .out = -1,
			    .until = monotime_add(monotime_read(), c->limit)};

	signal(SIGPIPE, SIG_IGN);
	alarm(0); /* the time is seen to here */
	if (!start(&x, l)) {
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", "no process for the command: %s",
			   strerror(errno));
		return;
	}
	bool whole = letter_each(l, LETTER_COMMAND, give, &x);

	if (x.in >= 0)
		close(x.in);
	if (!whole && !x.late && !x.unwanted) {
		int status;

		running_end(&x, &status);
		result_set(r, OUTCOME_DEFERRED, 0, "4.3.0", "the message can't be read: %s",
			   strerror(errno));
		return;
	}
	settle(&x, running_finish(&x), r);
}
