/* SPDX-License-Identifier: ISC */
/*
 * Messages between processes: the structs, and their strict codecs, all from
 * messages.def. Texts and lists of a decoded message point into the frame
 * they came in and live as long as it does.
 */
#ifndef LIB_MESSAGE_H
#define LIB_MESSAGE_H

#include "bytes.h"
#include "peer.h"
#include "text.h"
#include "wire.h"

#include <stdio.h>

/* A frame: u32 length of what follows the header, u16 type, u16 flags. */
enum {
	FRAME_HEADER_BYTES = 8,
	FRAME_MAX_BYTES = 2 * 1024 * 1024, /* payload; above it the peer ends */
	FRAME_FLAG_FD = 1,
};

enum { INLINE_BODY_MAX = 65536, PRELUDE_MAX = 262144, ENVELOPE_MAX = 1048576 };
enum { SIGN_TEXT_MAX = 65536 };
/* Of a slot of smtp-client, under way or ahead; one of local has two. */
enum { SLOT_JOBS_MAX = 8, LOCAL_SLOT_JOBS_MAX = 2 };

enum fd_rule { FD_NEVER, FD_ALWAYS, FD_MAYBE };

enum { HANDLE_NAME_MAX = 512 };

enum handle_role {
	HANDLE_LISTEN_SMTP = 1,	   /* smtpd */
	HANDLE_LISTEN_SUBMISSION,  /* submission */
	HANDLE_LISTEN_SUBMISSIONS, /* submission */
	HANDLE_LISTEN_CONTROL,	   /* qmgr */
	HANDLE_LOG,		   /* logger: where lines go */
	HANDLE_HISTORY,		   /* logger: the folder of the history */
	HANDLE_USERS = 12,	   /* checker: the users file */
	HANDLE_DOVECOT = 13,	   /* checker: a connection to Dovecot's auth socket */
	/* keeper: files of the tls block that the index counts; the key comes last */
	HANDLE_TLS_CERTIFICATE,
	HANDLE_TLS_CLIENT_CA,
	HANDLE_TLS_KEY,
	HANDLE_TABLE = 20,	     /* table: a file, in answer to table_look */
	HANDLE_TLS_AUTHORITIES = 21, /* smtp-client: tls-authorities */
	HANDLE_TOKEN_SECRET = 22,    /* checker: what introspection is asked with */
	HANDLE_CHECKER_KEY = 23,     /* checker: its own random key, which outlives it */
	/* checker: what a route logs in with; index as route_login_at() has it */
	HANDLE_RELAY_PASSWORD = 24,
	HANDLE_RELAY_CLIENT_SECRET = 25,
	HANDLE_RELAY_REFRESH_TOKEN = 26,
	HANDLE_RELAY_STATE = 27,  /* to be written: refresh tokens that came later */
	HANDLE_LMTP_SOCKET = 28,  /* smtp-client: a connection, in answer to socket_ask */
	HANDLE_POLICIES = 29,	  /* qmgr: fetcher's file of MTA-STS policies, read-only */
	HANDLE_LISTEN_HATCH = 30, /* pickup */
};

enum intake_state {
	INTAKE_OPEN,   /* mail is taken */
	INTAKE_FULL,   /* 452 4.3.1: no room on disk */
	INTAKE_LIMIT,  /* 452 4.3.1: queue-limit reached */
	INTAKE_BROKEN, /* 451 4.3.0: the disk cannot be written */
	INTAKE_CLOSED, /* 451 4.3.2: starting, or draining */
};

/* How a route reaches its next hop. */
enum hop_how {
	HOP_MX,	       /* the MX of a domain, its own addresses without MX */
	HOP_HOST,      /* the addresses of a host */
	HOP_LITERAL,   /* an address */
	HOP_LMTP,      /* LMTP to a host's address */
	HOP_LMTP_UNIX, /* LMTP to a UNIX socket */
	HOP_LOCAL,     /* a mailbox of this machine */
	HOP_SMTPS,     /* a host's address, or an address; TLS from the first octet */
};

static inline bool hop_is_lmtp(unsigned how)
{
	return how == HOP_LMTP || how == HOP_LMTP_UNIX;
}

enum hop_verdict {
	HOP_FOUND,
	HOP_TEMPORARY, /* try again: SERVFAIL, time-out, bogus */
	HOP_PERMANENT, /* no such domain, null MX, loops to ourselves */
};

enum dnssec_state {
	DNSSEC_INSECURE, /* not signed, or not validated */
	DNSSEC_SECURE,
	DNSSEC_BOGUS,
};

/* What a host's TLSA records demand of a delivery (RFC 7672 section 2.2). */
enum tlsa_state {
	TLSA_NONE,     /* proven not to be there, or DANE does not apply */
	TLSA_USABLE,   /* TLS, authenticated by one of them */
	TLSA_UNUSABLE, /* there are some, none of use: TLS, not authenticated */
	TLSA_FAILED,   /* not known (bogus, an error, too late): no mail to this host now */
};

/* What is wrong with a TLSA record (RFC 6698 section 4.1, RFC 7672 section 3.1). */
enum tlsa_fault {
	TLSA_FAULT_NONE,
	TLSA_FAULT_PKIX,     /* usage 0 or 1, which are not for SMTP */
	TLSA_FAULT_USAGE,    /* unknown */
	TLSA_FAULT_SELECTOR, /* unknown */
	TLSA_FAULT_MATCHING, /* unknown */
	TLSA_FAULT_DATA,     /* no digest of that kind, or no DER */
	TLSA_FAULT_LARGE,    /* more than is held */
};

/* What becomes of a mail host, for people to see. */
enum host_use {
	HOST_USED,
	HOST_OURS,	 /* ourselves, or not preferred to ourselves */
	HOST_NO_ADDRESS, /* it has none */
	HOST_FAILED,	 /* its addresses are not known: a lookup failed, or time was up */
	HOST_UNSEEN,	 /* another failure came first */
};

/* What a host did when it was tried. */
enum probe_result {
	PROBE_FINE,	   /* it would take mail; with TLS, if TLS is told of */
	PROBE_CLEAR,	   /* TLS fails there, and mail would go in the clear */
	PROBE_TLS_FAILED,  /* it does not do what the TLS policy wants: no mail */
	PROBE_REFUSED,	   /* it answered, and would serve nobody */
	PROBE_UNREACHABLE, /* no connection */
	PROBE_UNTRIED,
};

/* Where hosts come from. */
enum path_origin {
	ORIGIN_MX,
	ORIGIN_IMPLICIT, /* there is no MX: the domain itself (RFC 5321 section 5.1) */
	ORIGIN_ROUTE,	 /* the route names it */
};

enum count_verdict { COUNT_FINE, COUNT_DEFER, COUNT_HOLD, COUNT_REFUSE };

enum login_action { LOGIN_FREEZE = 1, LOGIN_RELEASE };
enum login_result {
	LOGIN_CHANGED,
	LOGIN_SAME, /* it was so already */
	LOGIN_FULL, /* so many logins are frozen that there is no room for one more */
	LOGIN_AWAY, /* limits can't be asked now */
};
enum { FROZEN_MOST = 1000 };

enum table_verdict {
	TABLE_FOUND,
	TABLE_ABSENT, /* there is no such key */
	TABLE_FAILED, /* not known now: 451 4.3.5 */
};

/* Under which policy a session with a receiver was (RFC 8460 section 4.4); on disk, too. */
enum tls_found { TLS_FOUND_NONE, TLS_FOUND_TLSA, TLS_FOUND_STS, TLS_FOUND_KINDS };

/* What became of it: fine, or one of the failures of RFC 8460 section 4.3; on disk, too. */
enum tls_result_type {
	TLS_RESULT_FINE,
	TLS_RESULT_NO_STARTTLS,	  /* starttls-not-supported */
	TLS_RESULT_HOST_MISMATCH, /* certificate-host-mismatch */
	TLS_RESULT_EXPIRED,	  /* certificate-expired */
	TLS_RESULT_NOT_TRUSTED,	  /* certificate-not-trusted */
	TLS_RESULT_VALIDATION,	  /* validation-failure: none of the others */
	TLS_RESULT_TLSA_INVALID,
	TLS_RESULT_DNSSEC_INVALID,
	TLS_RESULT_DANE_REQUIRED,
	TLS_RESULT_STS_FETCH, /* sts-policy-fetch-error */
	TLS_RESULT_STS_INVALID,
	TLS_RESULT_STS_WEBPKI,
	TLS_RESULT_TYPES
};

enum tls_counts_state {
	TLS_COUNTS_FINE,
	TLS_COUNTS_OFF,	 /* the configuration names no contact */
	TLS_COUNTS_NONE, /* of that domain nothing was counted today */
	TLS_COUNTS_AWAY, /* limits can't be asked now */
};

/* What a request is for: who may make it, where to, and who may have signed the server's name. */
enum fetch_purpose { FETCH_INTROSPECTION, FETCH_TOKEN, FETCH_TLS_REPORT, FETCH_PURPOSES };
enum fetch_method { FETCH_GET, FETCH_POST };
enum fetch_outcome {
	FETCH_ANSWERED,	 /* status, type and body are there */
	FETCH_REFUSED,	 /* not for this asker, or not as the configuration has it */
	FETCH_BUSY,	 /* too many at once */
	FETCH_NO_HOST,	 /* its name leads nowhere */
	FETCH_NO_SERVER, /* no connection, or it broke */
	FETCH_TLS,	 /* the handshake failed, or the certificate does not prove the name */
	FETCH_TIMEOUT,
	FETCH_TOO_LARGE, /* the answer is larger than was wanted */
	FETCH_OUTCOMES
};

/* What a domain's MTA-STS policy asks for (RFC 8461 section 5). */
enum sts_mode {
	STS_NONE,    /* nothing, or there is no policy */
	STS_TESTING, /* deliver as without it, and tell what would have failed */
	STS_ENFORCE, /* no mail to a host that is not named, or does not prove that it is that */
};

/* Why a policy could not be had; the kinds that TLS reports tell apart (RFC 8460 section 4.3.2.2).
 */
enum sts_fault {
	STS_FAULT_NONE,
	STS_FAULT_FETCH,   /* sts-policy-fetch-error */
	STS_FAULT_INVALID, /* sts-policy-invalid */
	STS_FAULT_WEBPKI,  /* sts-webpki-invalid */
};

enum body_type { BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };
/* What the sender asked of TLS on the way (RFC 8689). */
enum mail_tls {
	MAIL_TLS_ANY,	   /* nothing: as routes and receivers' domains have it */
	MAIL_TLS_REQUIRED, /* REQUIRETLS */
	MAIL_TLS_OPTIONAL, /* TLS-Required: No */
};
enum dsn_ret { RET_UNSET, RET_FULL, RET_HDRS };
enum dsn_notify {
	NOTIFY_UNSET = 0,
	NOTIFY_NEVER = 1,
	NOTIFY_SUCCESS = 2,
	NOTIFY_FAILURE = 4,
	NOTIFY_DELAY = 8
};

enum failure_scope {
	SCOPE_NONE,	 /* no failure */
	SCOPE_RECIPIENT, /* those recipients alone */
	SCOPE_MESSAGE,	 /* this message at this site */
	SCOPE_SITE,	 /* nobody is served there now: the site backs off */
	SCOPE_DOMAIN,	 /* this domain alone: TLS policy, DNS of its own */
	SCOPE_NOBODY, /* ours: it says nothing of the site, is no attempt, and is tried again soon
		       */
};

/* What became of a recipient; also the kinds on disk, so numbers never change. */
enum outcome_kind {
	OUTCOME_RELAYED = 1,   /* handed to the next hop */
	OUTCOME_DELIVERED = 2, /* in a mailbox of this machine */
	OUTCOME_DEFERRED = 3,
	OUTCOME_FAILED = 4,
	OUTCOME_HELD = 5,
	OUTCOME_EXPANDED = 6, /* closed, and others added in its place */
	OUTCOME_RELEASED = 7, /* from held back to ready */
};

enum report_action {
	REPORT_FAILED = 1,
	REPORT_DELAYED,
	REPORT_RELAYED,
	REPORT_DELIVERED,
	REPORT_EXPANDED
};

enum queue_action {
	ACTION_HOLD = 1,
	ACTION_RELEASE,
	ACTION_REQUEUE,
	ACTION_DELETE,
	ACTION_FLUSH,
	ACTION_BOUNCE
};
#define RECIPIENT_ALL UINT32_MAX

/* A list inside a message: its items one after the other, already validated when decoded. */
struct wire_list {
	uint32_t count;
	struct text items;
};

enum message_type {
	MSG_NONE,
#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE(n, from, to, fd) MSG_##n,
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#include "messages.def"
	MSG_COUNT
};

/* struct rec_NAME and struct msg_NAME */
#define RECORD(n) struct rec_##n {
#define RECORD_END(n)                                                                              \
	}                                                                                          \
	;                                                                                          \
	/* Appends one item; the caller counts it in the wire_list. */                             \
	void rec_##n##_encode(struct bytes *w, const struct rec_##n *m);                           \
	/* Takes the next item off; false at the end. */                                           \
	bool list_next_##n(struct wire_list *list, struct rec_##n *item);
#define MESSAGE(n, from, to, fd) struct msg_##n {
#define MESSAGE_END(n)                                                                             \
	}                                                                                          \
	;
#define U8(f) uint8_t f;
#define U16(f) uint16_t f;
#define U32(f) uint32_t f;
#define U64(f) uint64_t f;
#define TEXTF(f, max) struct text f;
#define LIST(r, f, max) struct wire_list f;
#include "messages.def"

/* Any message. */
struct message {
	enum message_type type;
	int fd;	      /* -1, or a descriptor that the handler now owns */
	bool fd_lost; /* fd is -1, since this process had no descriptor left to take it */
	union {
#define RECORD(n)
#define RECORD_END(n)
#define MESSAGE(n, from, to, fd) struct msg_##n n;
#define MESSAGE_END(n)
#define U8(f)
#define U16(f)
#define U32(f)
#define U64(f)
#define TEXTF(f, max)
#define LIST(r, f, max)
#include "messages.def"
	};
};

struct message_rule {
	const char *name;
	unsigned from, to; /* sets of peer kinds */
	enum fd_rule fd;
};

/*
 * What hello carries: differs when any row of messages.def does. Who speaks
 * another one is of another build, and is refused before its frames are misread.
 */
uint32_t message_schema(void);

/* The permission row of a type; NULL for what is no type. */
const struct message_rule *message_rule(unsigned type);

/* Appends the payload of message TYPE; M is its struct msg_NAME. */
void message_encode(struct bytes *w, enum message_type type, const void *m);

/* Strict: every bound held, nothing left over. False: the sender is broken or hostile. */
bool message_decode(const void *payload, size_t len, unsigned type, struct message *m);

/* For people: name and fields, texts printable and shortened. */
void message_print(FILE *to, const struct message *m);

#endif
