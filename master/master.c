/* SPDX-License-Identifier: ISC */
/*
 * master: reads and checks the configuration, binds ports, opens files,
 * starts the daemons, makes the channels between them, starts again what
 * dies. Parses nothing from the network. Here is its main: what must be in
 * place before the first daemon.
 */
#include "authorities.h"
#include "certificates.h"
#include "load.h"
#include "mem.h"
#include "must.h"
#include "places.h"
#include "reload.h"
#include "state.h"
#include "stop.h"
#include "supervise.h"
#include "links.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* What master keeps as root; daemons get no more than this before their jail takes it away. */
static const cap_value_t kept[] = {
    CAP_SETUID,	      CAP_SETGID, CAP_SETPCAP, CAP_SYS_CHROOT,	CAP_KILL, CAP_NET_BIND_SERVICE,
    CAP_DAC_OVERRIDE, CAP_CHOWN,  CAP_FOWNER,  CAP_AUDIT_WRITE, /* for a PAM that runs as root */
};

static const char default_path[] = "/etc/veredus/veredus.conf";

static _Noreturn void master_refuse(const char *why)
{
	fprintf(stderr, "veredus/master: %s\n", why);
	exit(EXIT_FAILURE);
}

static void say(void *arg, const char *line, bool warning)
{
	(void)arg;
	(void)warning;
	fprintf(stderr, "%s\n", line);
}

/* 0, 1 and 2 exist, so that no socket ever takes their place. */
static void standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			exit(EX_OSERR);
}

static void limits_raise(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static void capabilities_cut(void)
{
	cap_t now = cap_get_proc(), wanted = cap_init();
	cap_flag_value_t has;

	if (!now || !wanted)
		master_refuse("cannot read capabilities");
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		/* A container may have taken some away already. */
		if (cap_get_flag(now, kept[i], CAP_PERMITTED, &has) != 0 || has != CAP_SET)
			continue;
		cap_set_flag(wanted, CAP_PERMITTED, 1, &kept[i], CAP_SET);
		cap_set_flag(wanted, CAP_EFFECTIVE, 1, &kept[i], CAP_SET);
	}
	for (cap_value_t c = 0; c <= CAP_LAST_CAP; c++)
		if (cap_get_flag(wanted, c, CAP_PERMITTED, &has) == 0 && has != CAP_SET)
			(void)!cap_drop_bound(c);
	if (cap_reset_ambient() != 0 || cap_set_proc(wanted) != 0)
		master_refuse("cannot give up capabilities");
	cap_free(now);
	cap_free(wanted);
}

static void program_folder_find(struct master *master)
{
	char path[PATH_MAX + 32];
	ssize_t n =
	    readlink("/proc/self/exe", master->program_folder, sizeof master->program_folder - 1);

	if (n <= 0)
		master_refuse("cannot read /proc/self/exe");
	master->program_folder[n] = '\0';
	char *slash = strrchr(master->program_folder, '/');

	if (slash)
		*slash = '\0';
	for (const struct kind_row *row = kind_rows; row->kind; row++) {
		snprintf(path, sizeof path, "%s/%s", master->program_folder, peer_name(row->kind));
		if (access(path, X_OK) == 0)
			continue;
		fprintf(stderr, "veredus/master: %s: %s\n", path, strerror(errno));
		exit(EXIT_FAILURE);
	}
}

static void configuration_begin(struct master *master)
{
	master->config = load_config(master->config_path, &master->config_text, say, NULL);
	if (!master->config)
		exit(EXIT_FAILURE);
	master->config->generation = 1;
}

/* All that may fail does so before anything is started. */
static void places_begin(struct master *master)
{
	char why[WHY_BYTES];

	if (!master->unprivileged && !places_check_users(why))
		master_refuse(why);
	if (!places_make(master->config, master->unprivileged, why))
		master_refuse(why);
	master->lock_fd = places_lock(master->config, why);
	if (master->lock_fd < 0)
		master_refuse(why);
	listeners_inherit(&master->listeners);
	if (!listeners_apply(&master->listeners, master->config, why, sizeof why) ||
	    !listeners_open_unix(&master->listeners, master->config, why, sizeof why))
		master_refuse(why);
	if (listeners_close_unmatched(&master->listeners))
		fprintf(stderr, "veredus/master: sockets were passed that no listen block names; "
				"they are closed\n");
	master->log_fd = places_open_log(master->config, why);
	if (master->log_fd < 0)
		master_refuse(why);
	master->history_fd = places_open_history(master->config, why);
	if (master->history_fd < 0)
		master_refuse(why);
}

static void logger_retry(void *arg)
{
	links_make_ours(arg);
}

static void loop_begin(struct master *master)
{
	master->loop = loop_new();
	master->log = log_new(master->loop, "master");
	must(getrandom(&master->epoch, sizeof master->epoch, 0) == (ssize_t)sizeof master->epoch);
	notify_open(&master->notify, master->loop);
	timer_init(&master->logger_retry, master->loop, logger_retry, master);
	loop_signal(master->loop, SIGCHLD, supervise_reap, master);
	loop_signal(master->loop, SIGTERM, stop_begin, master);
	loop_signal(master->loop, SIGINT, stop_begin, master);
	loop_signal(master->loop, SIGHUP, reload_begin, master);
	supervise_watch(master);
}

static const char *arguments_path(int argc, char **argv)
{
	const char *path = default_path;
	int option;

	while ((option = getopt(argc, argv, "c:")) != -1) {
		if (option != 'c')
			exit(EX_USAGE);
		path = optarg;
	}
	if (optind != argc) {
		fprintf(stderr, "usage: master [-c FILE]\n");
		exit(EX_USAGE);
	}
	return path;
}

int main(int argc, char **argv)
{
	struct master *master = mem_new(1, sizeof *master);

	signal(SIGPIPE, SIG_IGN);
	umask(022);
	standard_descriptors();
	master->config_path = arguments_path(argc, argv);
	master->unprivileged = geteuid() != 0;
	limits_raise();
	configuration_begin(master);
	program_folder_find(master);
	places_begin(master);
	if (!master->unprivileged)
		capabilities_cut();
	loop_begin(master);
	reload_workers(master);
	certificates_watch(master);
	authorities_watch(master);
	loop_run(master->loop);
	return EXIT_SUCCESS;
}
