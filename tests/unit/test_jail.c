/* SPDX-License-Identifier: ISC */
/*
 * Walls: a child enters the jail by the daemons' own function, with each
 * shape of row, and then does what is forbidden. It must die of SIGSYS; and
 * what is allowed must work.
 */
#include "jail.h"
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

/* The narrowest row; "nobody" stands for the daemons' users. */
static const struct daemon_row bare = {.name = "bare",
				       .kind = PEER_BOUNCE,
				       .user = "nobody",
				       .root = JAIL_EMPTY,
				       .capabilities = "",
				       .system_calls = ""};

/* What each daemon may do of the attempts below, at most: what its room may touch. Its row is read
 * from itself. */
static const struct wall {
	const char *name, *may;
} walls[] = {
    {"smtpd", ""},
    {"submission", ""},
    {"keeper", ""},
    {"qmgr", "openat"},
    {"bounce", ""},
    {"resolver", "socket connect"},
    {"smtp-client", "socket connect"},
    {"limits", "openat"},		  /* its counts, in a folder of its own */
    {"fetcher", "socket connect openat"}, /* servers; the policies, likewise */
    {"table", ""},
    {"pickup", "openat"},	  /* the maildrop */
    {"logger", "openat connect"}, /* connect to syslog again, on a socket that master made */
};

static char queue_folder[] = "/tmp/veredus-jail-XXXXXX";

static void try_open(void)
{
	syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY);
}
static void try_execve(void)
{
	execl("/bin/true", "true", (char *)NULL);
}
static void try_ptrace(void)
{
	ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}
static void try_connect(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};

	connect(0, (struct sockaddr *)&to, sizeof to);
}
static void try_socket(void)
{
	socket(AF_INET, SOCK_STREAM, 0);
}
static void try_fork(void)
{
	syscall(SYS_fork);
}
static void try_kill(void)
{
	kill(1, 0);
}
static void try_tgkill_other(void)
{
	syscall(SYS_tgkill, 1, 1, 0);
}
static void try_code_map(void)
{
	mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void try_code_protect(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(p, 4096, PROT_READ | PROT_EXEC);
}
static void try_chroot(void)
{
	syscall(SYS_chroot, "/");
}
static void try_unshare(void)
{
	syscall(SYS_unshare, 0x10000000);
}
static void try_bpf(void)
{
	syscall(SYS_bpf, 0, NULL, 0);
}
static void try_memory_of_others(void)
{
	syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}
#ifdef __x86_64__
static void try_other_abi(void)
{
	/* getpid of the x32 interface: harmless, but a filter that lets it through checks the wrong
	 * numbers. */
	syscall(0x40000000 + SYS_getpid);
}
#endif

struct attempt {
	const char *call; /* as walls name it */
	void (*try)(void);
};
static const struct attempt attempts[] = {
    {"openat", try_open},
    {"execve", try_execve},
    {"ptrace", try_ptrace},
    {"connect", try_connect},
    {"socket", try_socket},
    {"fork", try_fork},
    {"kill", try_kill},
    {"tgkill", try_tgkill_other},
    {"mmap-exec", try_code_map},
    {"mprotect-exec", try_code_protect},
    {"chroot", try_chroot},
    {"unshare", try_unshare},
    {"bpf", try_bpf},
    {"process_vm_readv", try_memory_of_others},
#ifdef __x86_64__
    {"x32", try_other_abi},
#endif
};

static bool words_have(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = words; (at = strstr(at, word)); at += len)
		if ((at == words || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return true;
	return false;
}

/* The row of the program NAME as it says itself; texts live as long as LINES. */
static struct daemon_row row_of(const char *name, char lines[6][2048])
{
	static const char *const fields[6] = {"name ",	       "user ",		"root ",
					      "capabilities ", "system-calls ", "peers "};
	const char *build = getenv("VEREDUS_BUILD");
	struct daemon_row row = {.user = "nobody", .root = JAIL_NONE};
	char command[PATH_MAX];

	snprintf(command, sizeof command, "%s/%s --privileges", build ? build : "build", name);
	FILE *from = popen(command, "r");

	assert_non_null(from);
	for (size_t i = 0; i < 6; i++) {
		if (!fgets(lines[i], sizeof lines[i], from))
			fail_msg("%s says nothing: is it built?", command);
		lines[i][strcspn(lines[i], "\n")] = '\0';
		if (i < 5) /* peers may be none at all */
			assert_memory_equal(lines[i], fields[i], strlen(fields[i]));
	}
	assert_int_equal(pclose(from), 0);
	row.name = lines[0] + strlen(fields[0]);
	assert_string_equal(row.name, name);
	for (int root = JAIL_EMPTY; root < JAIL_NONE; root++)
		if (strcmp(lines[2] + strlen(fields[2]), jail_root_name((enum jail_root)root)) == 0)
			row.root = (enum jail_root)root;
	row.capabilities = lines[3] + strlen(fields[3]);
	row.system_calls = lines[4] + strlen(fields[4]);
	return row;
}

static void warm_up(void)
{
	time_t now = time(NULL);
	struct tm tm;

	tzset();
	localtime_r(&now, &tm);
}

/* A child that enters the jail and runs TRY; its wait status. ORDINARY: not as root. */
static int jailed_run(const struct daemon_row *row, void (*try)(void), bool ordinary)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (ordinary && getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(99);
		warm_up();
		jail_enter(row, text_of(queue_folder));
		try();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool may(const struct wall *wall, const char *call)
{
#ifdef __SANITIZE_ADDRESS__
	if (strcmp(call, "openat") == 0) /* of its extra row */
		return true;
#endif
	return words_have(wall->may, call);
}

static void forbidden_kills(bool ordinary)
{
	static char lines[6][2048];

	for (size_t w = 0; w < sizeof walls / sizeof *walls; w++) {
		const struct daemon_row row = row_of(walls[w].name, lines);

		assert_string_equal(row.capabilities, "");
		for (size_t a = 0; a < sizeof attempts / sizeof *attempts; a++) {
			int status;

			if (may(&walls[w], attempts[a].call))
				continue;
			status = jailed_run(&row, attempts[a].try, ordinary);
			if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
				fail_msg("%s in the jail of %s: status %#x", attempts[a].call,
					 walls[w].name, (unsigned)status);
		}
	}
}

static void test_forbidden_ordinary(void **state)
{
	(void)state;
	forbidden_kills(true);
}

static void test_forbidden_root(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip();
	forbidden_kills(false);
}

static int everyday_pair[2];
static struct loop *everyday_loop;
static struct timer everyday_timer;

static void everyday_fired(void *arg)
{
	(void)arg;
	loop_stop(everyday_loop);
}

/* What each daemon does all day. */
static void everyday(void)
{
	char *block;
	struct tm tm;
	time_t now = time(NULL);
	char line[128];

	for (size_t size = 16; size < 32 * 1024 * 1024; size *= 2) {
		block = mem_new(1, size);
		block = mem_resize(block, 2, size);
		free(block);
	}
	localtime_r(&now, &tm);
	strftime(line, sizeof line, "%H:%M", &tm);
	fcntl(everyday_pair[0], F_SETFL, O_NONBLOCK);
	if (send(everyday_pair[0], "x", 1, MSG_NOSIGNAL) != 1)
		_exit(2);
	fprintf(stderr, "%s", line + strlen(line));
	printf("%s", line + strlen(line));
	/* A watched descriptor wakes the loop, a timer too. */
	timer_init(&everyday_timer, everyday_loop, everyday_fired, NULL);
	timer_set(&everyday_timer, MILLISECONDS(1));
	loop_run(everyday_loop);
}

static void test_everyday(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, everyday_pair), 0);
	everyday_loop = loop_new();
	assert_int_equal(jailed_run(&bare, everyday, true), 0);
	loop_free(&everyday_loop);
	close(everyday_pair[0]);
	close(everyday_pair[1]);
}

static void test_abort_is_abort(void **state)
{
	int status = jailed_run(&bare, abort, true);

	(void)state;
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* /proc tells from outside what a jailed process still is. */
static void jailed_status(const struct daemon_row *row, char *text, size_t size, char *root)
{
	int ready[2], hold[2];
	char path[64], byte;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(hold), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(hold[1]);
		jail_enter(row, text_of(queue_folder));
		if (write(ready[1], "r", 1) == 1 && read(hold[0], &byte, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	ssize_t n = read(fd, text, size - 1);

	assert_true(n > 0);
	text[n] = '\0';
	close(fd);
	snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
	n = readlink(path, root, PATH_MAX - 1);
	root[n > 0 ? n : 0] = '\0';
	close(hold[1]);
	waitpid(pid, NULL, 0);
	close(ready[0]);
	close(hold[0]);
}

static void test_root_gives_up_everything(void **state)
{
	char text[8192], root[PATH_MAX], wanted[PATH_MAX];

	(void)state;
	if (getuid() != 0)
		skip();
	jailed_status(&bare, text, sizeof text, root);
	snprintf(wanted, sizeof wanted, "%s/empty", queue_folder);
	assert_string_equal(root, wanted);
	assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "Gid:\t65534\t65534\t65534\t65534\n"));
	assert_non_null(strstr(text, "Groups:\t \n"));
	assert_non_null(strstr(text, "CapPrm:\t0000000000000000\n"));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000\n"));
	assert_non_null(strstr(text, "CapBnd:\t0000000000000000\n"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1\n"));
	assert_non_null(strstr(text, "Seccomp:\t2\n"));
}

/* Only local keeps any; here is what keeping means. */
static void test_root_keeps_what_is_named(void **state)
{
	char text[8192], root[PATH_MAX];
	struct daemon_row keeping = bare;

	(void)state;
	if (getuid() != 0)
		skip();
	keeping.capabilities = "cap_setuid,cap_setgid=ep";
	jailed_status(&keeping, text, sizeof text, root);
	assert_non_null(strstr(text, "CapEff:\t00000000000000c0\n"));
	assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534\n"));
}

static void refused(long result, int number)
{
	if (result != -1 || errno != EPERM)
		_exit(number);
}

/* local's: anybody, but for root. */
static void never_root(void)
{
	const long user = 12345, same = -1;
	int number = 10;

	refused(syscall(SYS_setuid, 0L), number++);
	refused(syscall(SYS_setgid, 0L), number++);
	refused(syscall(SYS_setreuid, 0L, same), number++);
	refused(syscall(SYS_setreuid, same, 0L), number++);
	refused(syscall(SYS_setregid, 0L, user), number++);
	refused(syscall(SYS_setresuid, 0L, user, user), number++);
	refused(syscall(SYS_setresuid, user, 0L, user), number++);
	refused(syscall(SYS_setresuid, user, user, 0L), number++);
	refused(syscall(SYS_setresuid, 1L << 32, user, user), number++);
	refused(syscall(SYS_setresgid, user, user, 0L), number++);
	refused(syscall(SYS_setfsuid, 0L), number++);
	refused(syscall(SYS_unshare, 0x10000000L), number++);
	refused(syscall(SYS_clone, 0x10000000L | SIGCHLD, 0L, 0L, 0L, 0L), number++);
	refused(syscall(SYS_mount, "x", "/", "tmpfs", 0L, NULL), number++);
	refused(syscall(SYS_chroot, "/"), number++);
	refused(syscall(SYS_ptrace, (long)PTRACE_ATTACH, (long)getppid(), NULL, NULL), number++);
	refused(syscall(SYS_bpf, 0L, NULL, 0L), number++);
	if (syscall(SYS_clone3, NULL, 0L) != -1 || errno != ENOSYS)
		_exit(number);
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		_exit(number + 1);
	/* What it is there for. */
	if (syscall(SYS_setresgid, user, user, user) != 0 ||
	    syscall(SYS_setresuid, user, user, user) != 0)
		_exit(1);
}

static void test_never_root(void **state)
{
	static char lines[6][2048];
	struct daemon_row row = row_of("local", lines);

	(void)state;
	assert_string_equal(row.capabilities, "cap_setuid,cap_setgid=ep");
	assert_int_equal(row.system_calls[0], '!');
	/* An ordinary user can be nobody else. */
	assert_int_equal(WEXITSTATUS(jailed_run(&row, never_root, true)), 1);
	if (getuid() == 0)
		assert_int_equal(jailed_run(&row, never_root, false), 0);
}

static void nothing(void)
{
}

static void test_half_a_jail_is_none(void **state)
{
	struct daemon_row broken = bare;
	int status;

	(void)state;
	broken.system_calls = "read no_such_call";
	status = jailed_run(&broken, nothing, true);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 0);
	if (getuid() != 0)
		return;
	broken = bare;
	broken.user = "no-such-user-here";
	status = jailed_run(&broken, nothing, false);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 0);
	broken.user = "root";
	status = jailed_run(&broken, nothing, false);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 0);
}

static int folders_make(void **state)
{
	char path[PATH_MAX];

	(void)state;
	if (!mkdtemp(queue_folder) || chmod(queue_folder, 0755) != 0)
		return -1;
	for (int root = JAIL_EMPTY; root < JAIL_NONE; root++) {
		snprintf(path, sizeof path, "%s/%s", queue_folder,
			 jail_root_name((enum jail_root)root));
		if (mkdir(path, 0755) != 0)
			return -1;
	}
	return 0;
}

static int folders_remove(void **state)
{
	char path[PATH_MAX];

	(void)state;
	for (int root = JAIL_EMPTY; root < JAIL_NONE; root++) {
		snprintf(path, sizeof path, "%s/%s", queue_folder,
			 jail_root_name((enum jail_root)root));
		rmdir(path);
	}
	return rmdir(queue_folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_forbidden_ordinary),
	    cmocka_unit_test(test_forbidden_root),
	    cmocka_unit_test(test_everyday),
	    cmocka_unit_test(test_abort_is_abort),
	    cmocka_unit_test(test_root_gives_up_everything),
	    cmocka_unit_test(test_root_keeps_what_is_named),
	    cmocka_unit_test(test_never_root),
	    cmocka_unit_test(test_half_a_jail_is_none),
	};

	return cmocka_run_group_tests(tests, folders_make, folders_remove);
}
