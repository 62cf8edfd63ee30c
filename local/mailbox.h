/* SPDX-License-Identifier: ISC */
/*
 * Putting a letter into a mailbox. Called in a child that has become the
 * mailbox's owner: what the owner's folders hold (links, FIFOs, devices) can
 * lead it to nothing that the owner could not write himself.
 */
#ifndef LOCAL_MAILBOX_H
#define LOCAL_MAILBOX_H

#include "letter.h"
#include "quota.h"
#include "result.h"

/* A path that ends in "/" is a Maildir, any other an mbox file. */
bool mailbox_is_maildir(const char *path);

/*
 * Asked right before the letter is there for readers: false when whoever would
 * hear of it is gone, so that it is not delivered twice.
 */
struct mailbox_face {
	bool (*still_wanted)(void *arg);
	void *arg;
};

/* How much a mailbox may hold, and what becomes of mail for which there is no room. */
struct room {
	struct quota quota;
	bool waits; /* for room, rather than fail */
};

/* One of the letters that go into Maildirs together. */
struct maildir_letter {
	const struct letter *letter;
	const char *path;
	const char *folder; /* of the Maildir, if it is there: ".lists"; NULL, empty: itself */
	struct room room;
	struct result *result; /* what came of it */
};

enum {
	MAILDIR_LETTERS_MAX = 32
}; /* at once; once in a process's life, which it may hold up at its end */

/*
 * maildir.c. Up to MAILDIR_LETTERS_MAX of them: all written to tmp/, all synced, then linked into
 * new/, whose folders are synced, each once; no letter counts as delivered before its folder has
 * been. A name follows from message and recipient: a second attempt after a crash finds the first
 * one's file, and makes no other. Folders are made if need be. Where a quota is set, or stands in
 * a maildirsize, that is kept (maildirsize.h).
 */
void maildir_deliver(struct maildir_letter *letters, uint32_t count, const char *host,
		     const struct mailbox_face *face);

/*
 * mbox.c. PATH.lock (if the folder can be written) and fcntl(2), then appended and
 * synced; cut back to where it ended when it can't be written whole.
 */
void mbox_deliver(const struct letter *l, const char *path, const struct room *room,
		  const struct mailbox_face *face, struct result *r);

/*
 * Makes the folders of PATH that are behind its first ROOT octets and in front of its last name,
 * and syncs those that have a new one. The root itself is never made: where its file system is
 * not mounted, mail waits. False with errno.
 */
bool mailbox_folders(const char *path, size_t root);

/* Makes the name of what has just been made at PATH last. */
void mailbox_parent_sync(const char *path);

/* There is no room. */
void mailbox_full(struct result *r, const struct room *room);

/* What ERRNO means for a delivery: deferred, with the status that says why. */
void mailbox_failed(struct result *r, int error, const char *what);

#endif
