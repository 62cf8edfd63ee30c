/* SPDX-License-Identifier: ISC */
/*
 * The mailboxes: counts what is delivered to Maildirs, and verifies it.
 *
 *   boxes --ready-file PATH --expect 20000 --timeout 60 ROOT
 *
 * Each folder new/ below ROOT (ROOT/NAME/new, ROOT/NAME/Maildir/new) is watched by inotify, so that
 * counting costs those who deliver next to nothing. When --expect files are there, or at --timeout
 * or SIGTERM, all of them are read, their line ends are made CRLF again, and judged as sink.c
 * judges what it receives: of load.c's messages each must be there exactly once and unchanged. Ends
 * with the same JSON; the time of an arrival is the file's ctime, to which its last link was made.
 */
#include "sink_message.h"

#include <dirent.h>
#include <sys/inotify.h>

#define BOXES_MOST 100000u
#define BOXES_LINGER_NS (300 * BENCH_NS_PER_MS)

static struct boxes {
	char **folders;
	unsigned count;
	int watch;
	uint64_t came;
	uint64_t last_ns;
	int64_t to_monotonic_ns;
} boxes;

static void folder_add(const char *path)
{
	struct stat facts;
	if (stat(path, &facts) != 0 || !S_ISDIR(facts.st_mode))
		return;
	if (boxes.count == BOXES_MOST)
		bench_die("too many mailboxes");
	if (inotify_add_watch(boxes.watch, path, IN_CREATE | IN_MOVED_TO) < 0)
		bench_die("%s: %s", path, strerror(errno));
	boxes.folders = bench_alloc(boxes.folders, (boxes.count + 1) * sizeof *boxes.folders);
	boxes.folders[boxes.count++] = strdup(path);
}

static void folders_find(const char *root)
{
	char path[4096];
	DIR *all = opendir(root);
	if (all == NULL)
		bench_die("%s: %s", root, strerror(errno));
	for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s/new", root, entry->d_name);
		folder_add(path);
		snprintf(path, sizeof path, "%s/%s/Maildir/new", root, entry->d_name);
		folder_add(path);
	}
	closedir(all);
}

/* Takes what the kernel has to tell. */
static void arrivals_count(void)
{
	static char events[65536] __attribute__((aligned(8)));
	ssize_t n = read(boxes.watch, events, sizeof events);
	const struct inotify_event *event;
	for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof *event + event->len)) {
		event = (const struct inotify_event *)(events + at);
		if ((event->mask & IN_Q_OVERFLOW) != 0)
			bench_die("inotify: events were lost; see fs.inotify.max_queued_events");
		boxes.came++;
	}
	if (n > 0)
		boxes.last_ns = bench_now_ns();
}

static void arrivals_wait(void)
{
	struct epoll_event event;
	uint64_t start = bench_now_ns();
	while (bench_now_ns() < self.end_ns) {
		if (epoll_wait(self.poll, &event, 1, 100) == 1) {
			if (event.data.fd == self.signals)
				return;
			arrivals_count();
			/* Gathered a while, so that this program is seldom woken. */
			nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
		}
		uint64_t now = bench_now_ns();
		if (self.expect > 0 && boxes.came >= self.expect &&
		    now - (boxes.last_ns > 0 ? boxes.last_ns : start) > BOXES_LINGER_NS)
			return;
	}
}

static void letter_judge(int folder, const char *name)
{
	static char text[1 << 20];
	static struct bench_buffer wire;
	struct stat facts;
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
	if (n < 0 || fstat(fd, &facts) != 0)
		bench_die("%s: %s", name, strerror(errno));
	close(fd);
	buffer_clear(&wire);
	for (char *at = text, *end = text + n; at < end;) {
		char *newline = memchr(at, '\n', (size_t)(end - at));
		char *stop = newline == NULL ? end : newline;
		buffer_add(&wire, at, (size_t)(stop - at));
		buffer_add(&wire, "\r\n", 2);
		at = stop + 1;
	}
	int64_t arrived = (int64_t)facts.st_ctim.tv_sec * (int64_t)BENCH_NS_PER_S +
			  facts.st_ctim.tv_nsec + boxes.to_monotonic_ns;
	message_verify(n > 0 ? buffer_head(&wire) : "", buffer_length(&wire), (uint64_t)arrived);
	self.first_ns = self.first_ns == 0 || (uint64_t)arrived < self.first_ns ? (uint64_t)arrived
										: self.first_ns;
	self.last_ns = (uint64_t)arrived > self.last_ns ? (uint64_t)arrived : self.last_ns;
}

static void letters_judge(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *all = fd < 0 ? NULL : fdopendir(fd);
	if (all == NULL)
		bench_die("%s: %s", path, strerror(errno));
	for (struct dirent *entry; (entry = readdir(all)) != NULL;)
		if (entry->d_name[0] != '.')
			letter_judge(dirfd(all), entry->d_name);
	closedir(all);
}

static const struct option boxes_options[] = {{"expect", 1, NULL, 'e'},
					      {"timeout", 1, NULL, 't'},
					      {"ready-file", 1, NULL, 'r'},
					      {NULL, 0, NULL, 0}};

static const char *boxes_arguments(int argc, char **argv)
{
	for (int option; (option = getopt_long(argc, argv, "", boxes_options, NULL)) >= 0;) {
		if (option == 'e')
			self.expect = bench_number("expect", optarg, SINK_NUMBER_MOST);
		else if (option == 't')
			self.timeout_s = bench_number("timeout", optarg, 1000000);
		else if (option == 'r')
			self.ready_file = optarg;
		else
			bench_die("(the comment that begins bench/boxes.c explains them)");
	}
	if (optind + 1 != argc)
		bench_die("usage: boxes [...] ROOT");
	return argv[optind];
}

static void boxes_start(const char *root)
{
	struct timespec wall;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	clock_gettime(CLOCK_REALTIME, &wall);
	boxes.to_monotonic_ns = (int64_t)bench_now_ns() -
				((int64_t)wall.tv_sec * (int64_t)BENCH_NS_PER_S + wall.tv_nsec);
	self.end_ns =
	    self.timeout_s == 0 ? UINT64_MAX : bench_now_ns() + self.timeout_s * BENCH_NS_PER_S;
	self.poll = epoll_create1(EPOLL_CLOEXEC);
	self.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	boxes.watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	for (int i = 0; i < 2; i++) {
		int fd = i == 0 ? self.signals : boxes.watch;
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
		if (epoll_ctl(self.poll, EPOLL_CTL_ADD, fd, &event) != 0)
			bench_die("epoll: %s", strerror(errno));
	}
	folders_find(root);
	if (boxes.count == 0)
		bench_die("%s: no mailboxes", root);
}

int main(int argc, char **argv)
{
	const char *root = boxes_arguments(argc, argv);
	boxes_start(root);
	if (self.ready_file != NULL) {
		FILE *file = fopen(self.ready_file, "we");
		if (file == NULL || fclose(file) != 0)
			bench_die("%s: %s", self.ready_file, strerror(errno));
	}
	arrivals_wait();
	for (unsigned i = 0; i < boxes.count; i++)
		letters_judge(boxes.folders[i]);
	sink_report();
	return self.expect > self.arrived || self.duplicates > 0 || self.corrupt > 0 ? 1 : 0;
}
