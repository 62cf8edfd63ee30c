/* SPDX-License-Identifier: ISC */
/*
 * The quota of a Maildir, as Maildir++ has it and Courier and Dovecot keep it:
 * the file maildirsize says in its first line how much there may be
 * ("50000000S,1000C") and then, a line a change, what there is ("2048 1").
 * When it is too long, has another quota, says nonsense or seems exceeded and
 * is not new, all is counted anew, Trash and what is marked as deleted aside.
 *
 * The file is the user's: nothing is believed of it but numbers, and nothing
 * else is opened in its place. All of it is done by a process that is the user.
 */
#ifndef LOCAL_MAILDIRSIZE_H
#define LOCAL_MAILDIRSIZE_H

#include "quota.h"

struct maildirsize {
	struct quota quota;	 /* its first line; none when that makes no sense */
	int64_t bytes, messages; /* what there is */
	unsigned lines;		 /* behind the first */
	bool fine;		 /* all of it makes sense */
};

/* What TEXT, the file's beginning, says. */
void maildirsize_read(struct text text, struct maildirsize *to);

enum quota_verdict {
	QUOTA_FITS,
	QUOTA_OVER,
	QUOTA_FAILED, /* it can't be counted, with errno */
};

/*
 * May a letter of SIZE octets come into the Maildir whose folder is ROOT, a descriptor? LIMIT is
 * what is set for it; when nothing is, and no table says that there is none, what its maildirsize
 * says counts. Only one process that delivers asks at a time: the next one waits until
 * maildirsize_unlock(), for a while.
 */
enum quota_verdict maildirsize_look(int root, const struct quota *limit, uint64_t size);

/* Behind maildirsize_look() and _add(). */
void maildirsize_unlock(int root);

/* It has come, or (negative) has not come after all. A file that is not there is not made. */
void maildirsize_add(int root, int64_t bytes, int64_t messages);

#endif
