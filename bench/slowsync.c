/* SPDX-License-Identifier: ISC */
/*
 * A preload shim that makes each fdatasync and fsync take SLOWSYNC_MS milliseconds longer (a
 * fraction is allowed), as an ordinary disk would: LD_PRELOAD=build/bench/slowsync.so
 * SLOWSYNC_MS=5. Built with -shared -fPIC. It calls the kernel itself, so that it needs no dlsym;
 * under a seccomp filter it needs clock_nanosleep.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd);
int fsync(int fd);

static struct timespec slowsync_delay;

/* The environment is read once, before main: a daemon may be jailed or may have cleaned it by the
 * time it syncs. */
__attribute__((constructor)) static void slowsync_read(void)
{
	const char *text = getenv("SLOWSYNC_MS");
	double ms = text == NULL ? 0.0 : strtod(text, NULL);
	if (ms <= 0.0 || ms > 60000.0)
		return;
	slowsync_delay.tv_sec = (time_t)(ms / 1000.0);
	slowsync_delay.tv_nsec = (long)((ms - (double)slowsync_delay.tv_sec * 1000.0) * 1e6);
}

static int slowsync_call(long number, int fd)
{
	struct timespec left = slowsync_delay;
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		continue;
	return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
	return slowsync_call(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	return slowsync_call(SYS_fsync, fd);
}
