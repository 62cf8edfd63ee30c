/* SPDX-License-Identifier: ISC */
/*
 * The users file: who may log in. Dovecot's passwd-file syntax, so that one
 * file can serve both:
 *
 *   name:{SCHEME}secret:uid:gid:gecos:home:shell:extra fields
 *
 * of which the first two fields are read, and of the extra fields nologin
 * (disabled) and allow_nets. Empty lines and those that begin with # are
 * nothing. The checker reads it, `veredus user` writes it.
 */
#ifndef LIB_PASSWD_FILE_H
#define LIB_PASSWD_FILE_H

#include "bytes.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LOGIN_MAX = 240,	 /* bytes of a login name; "login:NAME" is a submitter */
	PASSWD_SECRET_MAX = 384, /* CRYPT_OUTPUT_SIZE of libxcrypt */
	PASSWD_LINE_MAX = 4096,
	PASSWD_FILE_MAX = 64 * 1024 * 1024,
};

enum passwd_scheme {
	PASSWD_SCRAM, /* {SCRAM-SHA-256}, scram.h */
	PASSWD_CRYPT, /* {CRYPT}, {BLF-CRYPT}, {SHA256-CRYPT}, {SHA512-CRYPT}: crypt(5) */
};

struct passwd_user {
	struct text name;
	struct text secret;	/* behind {SCHEME}; empty when the password is locked with ! or * */
	struct text allow_nets; /* networks divided by commas, or empty: from everywhere */
	enum passwd_scheme scheme;
	bool disabled;	 /* nologin, or the password is locked */
	size_t fault_at; /* PASSWD_BROKEN: where in the line, from 0 */
};

enum passwd_kind { PASSWD_USER, PASSWD_NOTHING, PASSWD_BROKEN };

/* LINE is without its line end. Texts of USER point into it; WHY says what is wrong. */
enum passwd_kind passwd_line_read(struct text line, struct passwd_user *user, const char **why);

/* Takes the next line off CONTENT, without LF and a CR before it; false at the end. */
bool passwd_next_line(struct text *content, struct text *line);

/* NULL when a user may be called so; else what is wrong. */
const char *passwd_name_fault(struct text name);

/* Names compare without case, in ASCII, as Dovecot's default does. */
bool passwd_same_name(struct text a, struct text b);

/* Is ADDRESS (16 bytes) within a user's allow_nets? A part that is no network holds nobody. */
bool passwd_net_allows(struct text allow_nets, const uint8_t *address);

enum passwd_edit {
	PASSWD_DONE,
	PASSWD_EXISTS,	/* add: there is one of that name */
	PASSWD_MISSING, /* the others: there is none */
	PASSWD_SAME,	/* enable, disable: it is so already */
};

/* Each appends to TO the whole new content of a file that was CONTENT; all other lines stay. */
enum passwd_edit passwd_add(struct text content, struct text name, struct text password,
			    struct bytes *to);
enum passwd_edit passwd_set_password(struct text content, struct text name, struct text password,
				     struct bytes *to);
enum passwd_edit passwd_set_disabled(struct text content, struct text name, bool disabled,
				     struct bytes *to);

#endif
