/* SPDX-License-Identifier: ISC */
/* Entering the jail: root folder, user, capabilities, system calls. */
#include "jail.h"

#include "drop.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

/* What glibc, the event loop, the channels, the log and must() need. Files, sockets and processes
 * are not here. */
static const char common_calls[] =
    "read write readv writev recvmsg sendmsg recvfrom sendto shutdown close "
    "epoll_wait epoll_pwait epoll_pwait2 epoll_ctl "
    "munmap mremap brk madvise "
    "clock_gettime clock_getres gettimeofday time nanosleep clock_nanosleep "
    "futex getrandom getpid gettid rt_sigreturn rt_sigprocmask rt_sigaction sigaltstack "
    "restart_syscall sched_yield sched_getaffinity exit exit_group fstat";

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifdef SANITIZED
#include <sanitizer/lsan_interface.h>

/* A sanitizer's own calls: its reports read /proc, its allocator maps. */
static const char sanitizer_calls[] =
    "openat readlink readlinkat newfstatat stat prctl lseek getrlimit "
    "prlimit64 getuid geteuid uname sysinfo mincore fcntl ioctl dup";

/* The leak check stops all threads with ptrace, which the jail kills; leaks are looked for in unit
 * tests. */
static int jailed;

int __lsan_is_turned_off(void)
{
	return jailed;
}
#else
static const char sanitizer_calls[] = "";
static int jailed;
#endif

const char *jail_root_name(enum jail_root root)
{
	switch (root) {
	case JAIL_EMPTY:
		return "empty";
	case JAIL_QUEUE:
		return "queue";
	case JAIL_LIMITS:
		return "limits";
	case JAIL_MAILDROP:
		return DROP_FOLDER;
	case JAIL_FETCHER:
		return "fetcher";
	case JAIL_NONE:
		break;
	}
	return NULL;
}

static _Noreturn void jail_fail(const struct daemon_row *row, const char *what, int error)
{
	fprintf(stderr, "veredus/%s: cannot enter the jail: %s: %s\n", row->name, what,
		strerror(error));
	_exit(EX_OSERR);
}

#define need(row, cond, what) ((cond) ? (void)0 : jail_fail((row), (what), errno))

static void enter_root(const struct daemon_row *row, struct text queue, bool privileged)
{
	const char *name = jail_root_name(row->root);
	char path[PATH_MAX];

	if (!name)
		return;
	int n = snprintf(path, sizeof path, "%.*s/%s", (int)queue.len, queue.data, name);

	if (n < 0 || (size_t)n >= sizeof path)
		jail_fail(row, "queue folder", ENAMETOOLONG);
	need(row, chdir(path) == 0, path);
	if (privileged) {
		need(row, chroot(".") == 0, path);
		need(row, chdir("/") == 0, "chdir /");
	}
}

/* Bears on execve alone, which the filter forbids; so where CAP_SETPCAP is missing (a container) it
 * may stay. */
static void bounding_set_empty(void)
{
	for (cap_value_t c = 0; c <= CAP_LAST_CAP; c++)
		(void)!cap_drop_bound(c);
}

static void become_user(const struct daemon_row *row, const struct passwd *user)
{
	bounding_set_empty();
	/* Kept until capabilities_keep() cuts down to what the row names. */
	need(row, prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0, "keepcaps");
	need(row, setgroups(0, NULL) == 0, "setgroups");
	need(row, setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0, "setresgid");
	need(row, setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0, "setresuid");
}

static void capabilities_keep(const struct daemon_row *row, bool privileged)
{
	cap_t kept = cap_from_text(privileged && *row->capabilities ? row->capabilities : "=");

	need(row, kept != NULL, "capabilities of its row");
	need(row, cap_reset_ambient() == 0, "ambient capabilities");
	need(row, cap_set_proc(kept) == 0, "capabilities");
	cap_free(kept);
	need(row, prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0, "keepcaps");
}

static void allow(const struct daemon_row *row, scmp_filter_ctx filter, const char *name,
		  unsigned conditions, const struct scmp_arg_cmp *condition)
{
	int number = seccomp_syscall_resolve_name(name);
	int error;

	if (number == __NR_SCMP_ERROR)
		jail_fail(row, name, ENOSYS);
	if (number < 0) /* of another architecture */
		return;
	error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, conditions, condition);
	if (error != 0 && error != -EEXIST)
		jail_fail(row, name, -error);
}

static void allow_names(const struct daemon_row *row, scmp_filter_ctx filter, const char *names)
{
	char name[64];

	while (*names) {
		size_t len = strcspn(names, " \n\t");

		if (len >= sizeof name)
			jail_fail(row, names, EINVAL);
		memcpy(name, names, len);
		name[len] = '\0';
		if (len)
			allow(row, filter, name, 0, NULL);
		names += len + strspn(names + len, " \n\t");
	}
}

/* Calls that are harmless with some arguments only. */
static void allow_common_limited(const struct daemon_row *row, scmp_filter_ctx filter)
{
	static const int fcntls[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL};
	const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	/* No memory ever becomes code here. */
	allow(row, filter, "mmap", 1, &no_exec);
	allow(row, filter, "mprotect", 1, &no_exec);
	for (size_t i = 0; i < sizeof fcntls / sizeof *fcntls; i++)
		allow(row, filter, "fcntl", 1,
		      &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)fcntls[i]));
	/* stdio asks whether it writes to a terminal. */
	allow(row, filter, "ioctl", 1, &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCGWINSZ));
	allow(row, filter, "ioctl", 1,
	      &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, 0x5401 /* TCGETS */));
	allow(row, filter, "ioctl", 1, &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, FIONREAD));
	/* fstat() is newfstatat() of an empty path here. */
	allow(row, filter, "newfstatat", 1,
	      &SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
	/* abort() of must() signals this process and no other. */
	allow(row, filter, "tgkill", 1,
	      &SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)getpid()));
}

static void filter_load(const struct daemon_row *row)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int error;

	need(row, filter != NULL, "seccomp");
	if (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0 ||
	    seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) != 0)
		jail_fail(row, "seccomp attributes", EINVAL);
	/* A binary tree instead of a list; older libraries do without. */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* The row's own first: a call that it names is allowed whole. */
	allow_names(row, filter, row->system_calls);
	allow_names(row, filter, common_calls);
	allow_names(row, filter, sanitizer_calls);
	allow_common_limited(row, filter);
	error = seccomp_load(filter);
	if (error != 0)
		jail_fail(row, "seccomp_load", -error);
	seccomp_release(filter);
}

/* -- for modules -------------------------------------------------------------------- */

/* By number, whose registers hold it, wherever root is asked for: a process that may become
 * anybody must not become root. */
static void deny_root(const struct daemon_row *row, scmp_filter_ctx filter)
{
	static const struct {
		const char *name;
		unsigned arguments;
	} calls[] = {{"setuid", 1},    {"setgid", 1},	 {"setreuid", 2}, {"setregid", 2},
		     {"setresuid", 3}, {"setresgid", 3}, {"setfsuid", 1}, {"setfsgid", 1}};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		for (unsigned arg = 0; arg < calls[i].arguments; arg++) {
			const struct scmp_arg_cmp zero = {arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, 0};
			int error = seccomp_rule_add_array(
			    filter, SCMP_ACT_ERRNO(EPERM),
			    seccomp_syscall_resolve_name(calls[i].name), 1, &zero);

			if (error != 0)
				jail_fail(row, calls[i].name, -error);
		}
	/* A user namespace has a root of its own. What clone3 is asked for lies in memory; without
	 * it the C library takes clone. */
	const struct scmp_arg_cmp new_user = {0, SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER};
	int error =
	    seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, &new_user);

	if (error == 0)
		error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (error != 0)
		jail_fail(row, "clone", -error);
}

static void denials_load(const struct daemon_row *row, bool never_root)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	char names[] = JAIL_DENIED;
	int error;

	need(row, filter != NULL, "seccomp");
	for (char *save = NULL, *name = strtok_r(names, " ", &save); name;
	     name = strtok_r(NULL, " ", &save)) {
		int number = seccomp_syscall_resolve_name(name);

		/* Those that this library does not know the kernel's jail would not, either. */
		if (number < 0)
			continue;
		error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
		if (error != 0)
			jail_fail(row, name, -error);
	}
	if (never_root)
		deny_root(row, filter);
	error = seccomp_load(filter);
	if (error != 0)
		jail_fail(row, "seccomp_load", -error);
	seccomp_release(filter);
}

/* Does this process have what ROW would keep? */
static bool has_capabilities(const struct daemon_row *row)
{
	cap_t wanted = cap_from_text(row->capabilities), now = cap_get_proc();
	bool has = wanted && now;

	for (cap_value_t c = 0; has && c <= CAP_LAST_CAP; c++) {
		cap_flag_value_t wants = CAP_CLEAR, is = CAP_CLEAR;

		if (cap_get_flag(wanted, c, CAP_PERMITTED, &wants) == 0 && wants == CAP_SET)
			has = cap_get_flag(now, c, CAP_PERMITTED, &is) == 0 && is == CAP_SET;
	}
	cap_free(wanted);
	cap_free(now);
	return has;
}

void jail_enter_for_modules(const struct daemon_row *row, const char *name)
{
	bool privileged = geteuid() == 0;
	struct passwd *user = privileged ? getpwnam(name) : NULL;

	if (privileged && !user)
		jail_fail(row, name, ENOENT);
	if (privileged) {
		bounding_set_empty();
		/* Its groups as well: who may read the modules' files is told by them. */
		need(row, initgroups(name, user->pw_gid) == 0, "initgroups");
		need(row, setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0, "setresgid");
		need(row, setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0, "setresuid");
	}
	/* libpam tells the kernel's audit what it did, and for root alone calls it a failure if it
	 * may not (_pam_audit_end()). A container may have taken it away. */
	capabilities_keep(row, privileged && user->pw_uid == 0 && has_capabilities(row));
	need(row, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	need(row, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "dumpable");
	denials_load(row, false);
}

void jail_enter(const struct daemon_row *row, struct text queue)
{
	bool privileged = geteuid() == 0;
	struct passwd *user = NULL;

	if (privileged) {
		errno = 0;
		user = getpwnam(row->user);
		if (!user)
			jail_fail(row, row->user, errno ? errno : ENOENT);
		if (user->pw_uid == 0 || user->pw_gid == 0)
			jail_fail(row, row->user, EPERM);
	}
	enter_root(row, queue, privileged);
	if (privileged)
		become_user(row, user);
	capabilities_keep(row, privileged);
	need(row, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	need(row, prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "dumpable");
	if (privileged && !*row->capabilities && (setuid(0) == 0 || setgid(0) == 0))
		jail_fail(row, "root could be had back", EPERM);
	if (row->system_calls[0] == '!')
		denials_load(row, true);
	else
		filter_load(row);
	jailed = 1;
	(void)jailed;
}
