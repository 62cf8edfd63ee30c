/* SPDX-License-Identifier: ISC */
/*
 * Walls. jail_enter() gives up everything that the row does not keep:
 * chroot, user, groups, capabilities, no_new_privs, system calls. It is the
 * one function by which daemons and the jail tests do it.
 */
#ifndef LIB_JAIL_H
#define LIB_JAIL_H

#include "daemon.h"

/*
 * QUEUE is the configured queue folder. As an ordinary user there is no
 * chroot and no change of user; the rest holds. Ends the process with a
 * message on standard error when anything fails: nobody serves half-jailed.
 */
void jail_enter(const struct daemon_row *row, struct text queue);

/*
 * For processes that run other people's modules (PAM), of which nobody knows
 * what they open: no chroot and no list of calls that are allowed, but one of those that
 * are not (mounts, modules of the kernel, tracing, other clocks ...), which fail with EPERM. USER
 * in place of ROW's; root keeps its number, and of the capabilities those of ROW.
 */
void jail_enter_for_modules(const struct daemon_row *row, const char *user);

/* What no daemon and nothing that it runs has a use for; a row whose system calls begin with "!" is
 * refused these (EPERM), and to be root, and is allowed all others. */
#define JAIL_DENIED                                                                                \
	"ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd bpf perf_event_open "          \
	"userfaultfd io_uring_setup io_uring_enter io_uring_register "                             \
	"mount umount2 pivot_root chroot move_mount open_tree fsopen fsconfig fsmount fspick "     \
	"mount_setattr open_by_handle_at name_to_handle_at unshare setns "                         \
	"init_module finit_module delete_module kexec_load kexec_file_load reboot "                \
	"swapon swapoff acct quotactl quotactl_fd settimeofday clock_settime clock_adjtime "       \
	"adjtimex sethostname setdomainname iopl ioperm vhangup nfsservctl lookup_dcookie "        \
	"personality mknod mknodat syslog"

/* The folder below the queue folder that is a row's root, e.g. "empty"; NULL for JAIL_NONE. */
const char *jail_root_name(enum jail_root root);

#endif
