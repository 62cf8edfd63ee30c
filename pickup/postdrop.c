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
 * It reads no configuration and no environment, keeps no descriptor but the
 * first three, runs nothing, connects to nothing and knows nobody's name. The
 * file belongs to the real user because the kernel says so. It is readable for
 * pickup, by mode 0404, only once it is whole; this program's own group reads
 * nobody's mail.
 *
 * -d FOLDER is for servers of ordinary users, whose maildrop lies elsewhere:
 * refused as soon as this process has any right that its caller has not.
 */
#include "drop.h"

#include <errno.h>
#include <fcntl.h>
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
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#ifndef VEREDUS_SPOOL
#define VEREDUS_SPOOL "/var/spool/veredus"
#endif

enum {
	ROOM_SHARE = 20, /* of the file system, that is left to others: one in so many blocks, */
	ROOM_MOST = 64 * 1024 * 1024, /* but no more than this */
};

static struct {
	/* What a signal's handler has to know. */
	char name[DROP_NAME_BYTES];
	volatile sig_atomic_t made; /* the file is there, and not whole */
	int folder;
	int file;
	/* The frame that is being read; not on a stack that the caller may have made small. */
	uint8_t frame[DROP_FRAME_BYTES + DROP_PIECE_MAX];
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

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	/* Writing then says EPIPE and EFBIG. */
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
		if (getrlimit(kinds[i], &limit) == 0) {
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

/* Others write to that disk as well: the queue, for one. */
static void look_for_room(void)
{
	struct statvfs fs;

	if (fstatvfs(self.folder, &fs) != 0 || !fs.f_frsize)
		return;
	uint64_t share = fs.f_blocks / ROOM_SHARE, most = ROOM_MOST / fs.f_frsize;

	if (fs.f_bavail < (share < most ? share : most))
		fail(EX_TEMPFAIL, "no room for mail", ENOSPC);
}

static void folder_open(const char *path)
{
	/* Who may only write there cannot open it for reading. */
	self.folder = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (self.folder < 0)
		fail(EX_OSFILE, path, errno);
	look_for_room();
}

/* One of the user's names that is free. A link, a FIFO or whatever lies there is never opened. */
static void file_make(void)
{
	uint32_t first = 0;

	if (getrandom(&first, sizeof first, 0) != (ssize_t)sizeof first)
		fail(EX_OSERR, "random numbers", errno);
	for (uint32_t i = 0; i < DROP_SLOTS; i++) {
		drop_name_print(self.name, getuid(), (first + i) % DROP_SLOTS);
		self.file =
		    openat(self.folder, self.name,
			   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
		if (self.file >= 0) {
			self.made = 1;
			/* Held to the end of this process: until then pickup leaves it alone. */
			if (flock(self.file, LOCK_EX | LOCK_NB) != 0)
				fail(EX_OSERR, "lock", errno);
			return;
		}
		if (errno != EEXIST)
			fail(errno == ENOSPC || errno == EDQUOT ? EX_TEMPFAIL : EX_CANTCREAT,
			     "the maildrop", errno);
	}
	fail(EX_TEMPFAIL, "too many mails of yours wait already", 0);
}

static void file_write(const void *data, size_t len, off_t at)
{
	const uint8_t *from = data;

	while (len) {
		ssize_t n = at < 0 ? write(self.file, from, len) : pwrite(self.file, from, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail(errno == EFBIG ? EX_UNAVAILABLE : EX_TEMPFAIL, "writing", errno);
		from += n;
		len -= (size_t)n;
		at += at < 0 ? 0 : n;
	}
}

/*
 * Content first, then the head, so that a crash leaves no head without its
 * content. The sync of a new file brings its name to the disk as well, with
 * ext4, XFS and btrfs; the folder itself can't be opened, since the group may
 * not read it.
 */
static void file_finish(struct drop_head *head)
{
	uint8_t octets[DROP_HEAD_BYTES];
	struct timespec now;
	struct stat st;
	sigset_t all;

	/* Ended from here on it might be called a failure, and be sent. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	clock_gettime(CLOCK_REALTIME, &now);
	head->wall = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (getrandom(&head->token, sizeof head->token, 0) != (ssize_t)sizeof head->token)
		fail(EX_OSERR, "random numbers", errno);
	drop_head_encode(octets, head);
	if (fsync(self.file) != 0)
		fail(EX_TEMPFAIL, "writing", errno);
	file_write(octets, sizeof octets, 0);
	if (fchmod(self.file, 0404) != 0 || fsync(self.file) != 0)
		fail(EX_TEMPFAIL, "writing", errno);
	/* One that took days may have been cleaned away. */
	if (fstat(self.file, &st) != 0 || st.st_nlink != 1)
		fail(EX_TEMPFAIL, "the mail was taken away, since it took too long", 0);
	self.made = 0;
}

/* -- what comes in ----------------------------------------------------------------------- */

/* False at the end before the first octet; an end behind it is an error. */
static bool input_read(uint8_t *to, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(STDIN_FILENO, to + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail(EX_NOINPUT, "standard input", errno);
		if (n == 0 && done == 0)
			return false;
		if (n == 0)
			fail(EX_DATAERR, "the mail breaks off", 0);
		done += (size_t)n;
	}
	return true;
}

/* One frame into the file; false: it was the last one. */
static bool take_frame(struct drop_scan *scan, uint32_t *flags)
{
	uint8_t *octets = self.frame, *value = octets + DROP_FRAME_BYTES, tag;
	uint32_t length;
	enum drop_fault fault;

	if (!input_read(octets, DROP_FRAME_BYTES))
		fail(EX_DATAERR, scan->last ? "the mail breaks off" : "there is no mail", 0);
	drop_frame_decode(octets, &tag, &length);
	fault = drop_scan_frame(scan, tag, length);
	if (fault == DROP_FINE && length && !input_read(value, length))
		fail(EX_DATAERR, "the mail breaks off", 0);
	if (fault == DROP_FINE)
		fault = drop_check_value(tag, value, length);
	if (fault != DROP_FINE)
		fail(EX_DATAERR, drop_fault_text(fault), 0);
	if (drop_is_field(tag))
		file_write(octets, DROP_FRAME_BYTES + length, -1);
	else if (tag == DROP_CONTENT)
		file_write(value, length, -1);
	else if (tag == DROP_END)
		*flags = value[0];
	return tag != DROP_END;
}

static void take_mail(void)
{
	static const uint8_t no_head[DROP_HEAD_BYTES];
	struct drop_scan scan = {.last = 0};
	struct drop_head head = {.fields = 0};
	uint8_t more;

	file_write(no_head, sizeof no_head, -1);
	while (take_frame(&scan, &head.flags))
		;
	if (input_read(&more, 1))
		fail(EX_DATAERR, "there is something behind the mail", 0);
	head.fields = scan.fields_bytes;
	head.content = scan.content_bytes;
	file_finish(&head);
	dprintf(STDOUT_FILENO, "%016llx\n", (unsigned long long)head.token);
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
	folder_open(elsewhere ? argv[2] : folder);
	file_make();
	take_mail();
	_exit(EX_OK);
}
