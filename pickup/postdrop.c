/* SPDX-License-Identifier: ISC */
/*
 * postdrop(1): puts one mail into the maildrop. The one program of Veredus
 * that runs with a right that its caller has not, the group of the maildrop;
 * so this is all it may do:
 *
 *   - read frames (drop.h) from standard input, each checked, all bounded;
 *   - create one file in that folder, under a name that belongs to the real
 *     user, and write into it;
 *   - say on standard output how the mail is called, on standard error what
 *     went wrong, and end with a status of sysexits.h.
 *
 * Where the maildrop is closed to it all the same (no_new_privs, a read-only
 * view of the disk), it passes the mail to pickup's socket beside the maildrop,
 * having given up its group first.
 *
 * It reads no configuration and no environment, keeps no descriptor but the
 * first three, runs nothing, connects to nothing else and knows nobody's name. The
 * file belongs to the real user because the kernel says so. It is readable for
 * pickup, by mode 0404, only once it is whole; this program's own group reads
 * nobody's mail.
 *
 * -d FOLDER is for servers of ordinary users, whose maildrop lies elsewhere:
 * refused as soon as this process has any right that its caller has not.
 */
#include "drop_taker.h"
#include "postdrop_hatch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#ifndef VEREDUS_SPOOL
#define VEREDUS_SPOOL "/var/spool/veredus"
#endif

static struct {
	/* What a signal's handler has to know. */
	char name[DROP_NAME_BYTES];
	volatile sig_atomic_t made; /* the file is there, and not whole */
	int folder;
	int file;
	/* Not on a stack that the caller may have made small. */
	struct drop_taker taker;
	uint8_t input[65536];
} self = {.folder = -1, .file = -1};

/* Takes back what was begun. Only calls that a signal's handler may make. */
static void take_back(void)
{
	if (self.made)
		unlinkat(self.folder, self.name, 0);
	self.made = 0;
}

static _Noreturn void fail(int status, const char *what, int error)
{
	take_back();
	dprintf(STDERR_FILENO, "postdrop: %s%s%s\n", what, error ? ": " : "",
		error ? strerror(error) : "");
	_exit(status);
}

static void interrupted(int number)
{
	take_back();
	_exit(number == SIGTERM || number == SIGHUP || number == SIGINT ? EX_TEMPFAIL : EX_OSERR);
}

/* -- what the caller left us ------------------------------------------------------------- */

/* A file of ours must never become descriptor 2, to which messages go. */
static void settle_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(EX_OSERR);
	close_range(STDERR_FILENO + 1, ~0u, 0);
}

static void settle_signals(void)
{
	static const int ending[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGALRM,
				     SIGUSR1, SIGUSR2, SIGXCPU, SIGPROF, SIGVTALRM};
	static const struct itimerval never;
	sigset_t none;

	/* Handlers end with execve(2). Of what the caller may have had ignored only these matter;
	 * writing says EPIPE and EFBIG. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
		signal(ending[i], interrupted);
	setitimer(ITIMER_REAL, &never, NULL);
	setitimer(ITIMER_VIRTUAL, &never, NULL);
	setitimer(ITIMER_PROF, &never, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void settle_limits(void)
{
	static const __rlimit_resource_t kinds[] = {RLIMIT_FSIZE, RLIMIT_CPU,  RLIMIT_NOFILE,
						    RLIMIT_STACK, RLIMIT_DATA, RLIMIT_AS};
	struct rlimit limit;

	/* What a hard limit forbids is then an error of a call, or takes the file away. */
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (getrlimit(kinds[i], &limit) == 0 && limit.rlim_cur != limit.rlim_max) {
			limit.rlim_cur = limit.rlim_max;
			setrlimit(kinds[i], &limit);
		}
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

/* Has this process a right that its caller has not? */
static bool is_secure(void)
{
	return getauxval(AT_SECURE) != 0 || getegid() != getgid() || geteuid() != getuid();
}

/* -- the file ------------------------------------------------------------------------------ */

static void folder_open(const char *path)
{
	/* Who may only write there cannot open it for reading. */
	self.folder = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (self.folder < 0)
		fail(EX_OSFILE, path, errno);
}

/* HOW: SIG_BLOCK or SIG_UNBLOCK. */
static void hold_signals(int how)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(how, &all, NULL);
}

/* False: it is no folder of this process's. */
static bool file_make(void)
{
	/* Ended between the two it would leave the name behind. */
	hold_signals(SIG_BLOCK);
	self.file = drop_file_make(self.folder, false, getuid(), DROP_SLOTS, self.name);
	self.made = self.file >= 0;
	int error = errno;

	hold_signals(SIG_UNBLOCK);
	errno = error;
	if (self.file < 0 && (errno == EACCES || errno == EPERM || errno == EROFS))
		return false;
	if (self.file < 0 && errno == EEXIST)
		fail(EX_TEMPFAIL, "too many mails of yours wait already", 0);
	if (self.file < 0)
		fail(errno == ENOSPC || errno == EDQUOT ? EX_TEMPFAIL : EX_CANTCREAT,
		     "the maildrop", errno);
	/* Held to the end of this process: until then pickup leaves it alone. */
	if (flock(self.file, LOCK_EX | LOCK_NB) != 0)
		fail(EX_OSERR, "lock", errno);
	if (!drop_has_room(self.folder))
		fail(EX_TEMPFAIL, "no room for mail", ENOSPC);
	return true;
}

/* -- the mail ------------------------------------------------------------------------------ */

static _Noreturn void fail_taking(void)
{
	int status, error = self.taker.error == ESTALE ? 0 : self.taker.error;
	const char *why = drop_why(&self.taker, &status);

	fail(status, why, error);
}

static void take_mail(void)
{
	ssize_t n;

	drop_taker_begin(&self.taker, self.file);
	for (;;) {
		n = read(STDIN_FILENO, self.input, sizeof self.input);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail(EX_NOINPUT, "standard input", errno);
		if (n == 0)
			break;
		if (!drop_take(&self.taker, self.input, (size_t)n))
			fail_taking();
	}
	if (!drop_is_whole(&self.taker))
		fail_taking();
}

static void say_number(const char *number)
{
	char line[32];
	int n = snprintf(line, sizeof line, "%.16s\n", number);

	(void)!write(STDOUT_FILENO, line, (size_t)n);
}

/* Beside FOLDER; as the caller, whom its other side sees. */
static _Noreturn void pass_mail(const char *folder)
{
	char path[PATH_MAX + 16], said[256];
	int status, error;

	if (setresgid(getgid(), getgid(), getgid()) != 0)
		fail(EX_OSERR, "group", errno);
	/* By text: the folder may not even be passed through. */
	const char *slash = strrchr(folder, '/');
	int len = slash ? (int)(slash + 1 - folder) : 0;

	snprintf(path, sizeof path, "%.*s" DROP_HATCH, len, folder);
	status = hatch_pass(path, said, sizeof said, &error);
	if (status != EX_OK)
		fail(status, said, error);
	say_number(said);
	_exit(EX_OK);
}

static void finish_mail(void)
{
	struct timespec now;
	uint64_t token;
	char said[24];

	/* Ended from here on it might be called a failure, and be sent. */
	hold_signals(SIG_BLOCK);
	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(&token, sizeof token, 0) != (ssize_t)sizeof token)
		fail(EX_OSERR, "random numbers", errno);
	if (!drop_finish(&self.taker, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
			 token))
		fail_taking();
	self.made = 0;
	snprintf(said, sizeof said, "%016llx", (unsigned long long)token);
	say_number(said);
}

int main(int argc, char **argv)
{
	const char *folder = VEREDUS_SPOOL "/maildrop";
	bool elsewhere = argc == 3 && strcmp(argv[1], "-d") == 0;

	settle_descriptors();
	settle_signals();
	settle_limits();
	clearenv();
	umask(077);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (elsewhere && is_secure())
		fail(EX_NOPERM, "-d is for servers of ordinary users, and this is no such program",
		     0);
	if (argc != 1 && !elsewhere)
		fail(EX_USAGE, "usage: postdrop < FRAMES; it is sendmail(1) that people call", 0);
	/* Called by a setuid program it is the user who is asked for, and nobody else. */
	if (geteuid() != getuid() && setresuid(getuid(), getuid(), getuid()) != 0)
		fail(EX_OSERR, "user", errno);
	if (elsewhere)
		folder = argv[2];
	folder_open(folder);
	if (!file_make())
		pass_mail(folder);
	take_mail();
	finish_mail();
	_exit(EX_OK);
}
