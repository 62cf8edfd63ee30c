/* SPDX-License-Identifier: ISC */
/* Who runs, and until when. */
#include "processes.h"

#include "mem.h"
#include "must.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct process {
	struct process *next;
	pid_t pid; /* nobody else's until it is reaped, which is done here alone */
	uid_t uid;
	struct monotime until;
};

void processes_add(struct processes *all, pid_t pid, uid_t uid, struct monotime until)
{
	struct process *p = mem_new(1, sizeof *p);

	*p = (struct process){all->first, pid, uid, until};
	all->first = p;
	all->count++;
}

void processes_until(struct processes *all, pid_t pid, struct monotime until)
{
	for (struct process *p = all->first; p; p = p->next)
		if (p->pid == pid)
			p->until = until;
}

static void forget(struct processes *all, pid_t pid)
{
	for (struct process **at = &all->first, *p; (p = *at); at = &p->next)
		if (p->pid == pid) {
			*at = p->next;
			free(p);
			all->count--;
			return;
		}
}

void processes_reap(struct processes *all)
{
	for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
		forget(all, pid);
}

/*
 * kill(2) asks whose the sender is "effectively"; in its turn this process can't be stopped by him
 * meanwhile, for whom the real and the saved user count.
 */
static void end(const struct process *p)
{
	uid_t self = geteuid();

	if (kill(p->pid, SIGKILL) == 0 || !self || setresuid((uid_t)-1, p->uid, (uid_t)-1) != 0)
		return;
	(void)kill(p->pid, SIGKILL);
	must(setresuid((uid_t)-1, self, (uid_t)-1) == 0);
}

void processes_end_late(struct processes *all, struct monotime now)
{
	for (const struct process *p = all->first; p; p = p->next)
		if (now.us >= p->until.us)
			end(p);
}
