/* SPDX-License-Identifier: ISC */
/*
 * A preload shim that moves the wall clock of all who load it by the microseconds that stand in the
 * file JUMP_FILE (a macro: master passes no environment on), also while they run and are jailed.
 * The monotonic clock goes on as it is. Built with -shared -fPIC by e2e/shortages.py.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef JUMP_FILE
#define JUMP_FILE "/dev/null"
#endif

static const int64_t still;
static const volatile int64_t *jump_us = &still;
static int (*real)(clockid_t, struct timespec *);

/* The file is opened before main: a daemon that is jailed can't. */
__attribute__((constructor)) static void jump_begin(void)
{
	int fd = open(JUMP_FILE, O_RDONLY | O_CLOEXEC);

	*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	if (fd < 0)
		return;
	void *at = mmap(NULL, sizeof still, PROT_READ, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED)
		jump_us = at;
	close(fd);
}

int clock_gettime(clockid_t id, struct timespec *to)
{
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	int result = real(id, to);

	if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t ns = to->tv_nsec + *jump_us % 1000000 * 1000;

		to->tv_sec += *jump_us / 1000000 + (ns < 0 ? -1 : ns / 1000000000);
		to->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
	}
	return result;
}

time_t time(time_t *to)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (to)
		*to = now.tv_sec;
	return now.tv_sec;
}
