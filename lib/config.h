/* SPDX-License-Identifier: ISC */
/*
 * The configuration: read from one file by master and `veredus check`, carried
 * to the daemons as canonical text (config_print) and read again there.
 * Everything hangs in one arena; a struct config never changes once read, and
 * a session keeps the one it began with (config_keep, config_drop).
 */
#ifndef LIB_CONFIG_H
#define LIB_CONFIG_H

#include "clock.h"
#include "host_address.h"
#include "message.h"
#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum newline_word { NEWLINE_REFUSE, NEWLINE_NORMALISE };
enum log_word { LOG_TEXT, LOG_JSON };
enum clear_word { CLEAR_NEVER, CLEAR_LOOPBACK };
enum rule_word { RULE_REPAIR, RULE_REFUSE, RULE_KEEP };
enum refuse_word { REFUSE_REFUSE, REFUSE_KEEP };
enum family_word { FAMILY_BOTH, FAMILY_IPV4, FAMILY_IPV6, FAMILY_IPV4_ONLY, FAMILY_IPV6_ONLY };

enum tls_word { TLS_MINIMUM_1_2, TLS_MINIMUM_1_3 };

/* What a route asks of TLS (route_tls.h). */
enum tls_policy {
	POLICY_DEFAULT, /* nothing was said */
	POLICY_MAY,
	POLICY_ENCRYPT,
	POLICY_VERIFY,
	POLICY_DANE,
	POLICY_DANE_ONLY,
	POLICY_FINGERPRINT,
};

struct network {
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint8_t bits;	     /* 0 to 128 */
};
struct networks {
	struct network *items;
	size_t count;
};
struct texts {
	struct text *items;
	size_t count;
};
/* ADDRESS:PORT of listen, ADDRESS@PORT of resolver. */
struct endpoint {
	uint8_t address[16];
	uint16_t port;
	bool any; /* "*": all addresses of both families */
};
struct endpoints {
	struct endpoint *items;
	size_t count;
};

struct config_listen {
	struct text label; /* "smtp" */
	uint32_t line;	   /* where the block begins in the file */
	enum handle_role role;
	struct endpoints address;
};

struct config_tls {
	struct text label; /* a host name, or *.NAME */
	uint32_t line;
	struct text certificate, key;
	struct text client_ca; /* empty: clients are asked for no certificate */
	uint8_t minimum;
};

/* config_source.h */
struct config_source {
	struct text label;
	uint32_t line;
	struct text ipv4, ipv6; /* empty: none of that family */
	struct text helo;	/* empty: hostname */
};
struct source_share {
	struct text name;
	uint32_t weight;
	const struct config_source *source;
};
struct source_shares {
	struct source_share *items;
	size_t count;
};
struct config_pool {
	struct text label;
	uint32_t line;
	struct source_shares sources;
};
/* One of both. */
struct source_named {
	struct text name;
	const struct config_source *source;
	const struct config_pool *pool;
	uint32_t line;
};
struct config_sender {
	struct text label; /* an address, a domain, .domain, login:NAME, <> or *, in lower case */
	uint32_t line;
	struct text source; /* of a source or a pool; empty: none */
	struct text route;  /* "@big"; empty: none */
};

enum route_to { ROUTE_HOP, ROUTE_REJECT, ROUTE_DISCARD, ROUTE_LOCAL };

struct config_route {
	struct text label; /* pattern: a domain, .domain, or *; or "@NAME", for senders to name */
	uint32_t line;
	struct text to; /* as written; several next hops with ", " between them */
	enum route_to kind;
	/* ROUTE_HOP */
	enum hop_how how;
	struct text target; /* host, address without brackets, several (next_hops.h); empty for mx
			     */
	uint16_t port;	    /* 25 unless said; of several the first one's */
	struct text source; /* of a source or a pool, or empty */
	uint8_t tls;	    /* enum tls_policy, as written: route_policy() */
	uint8_t sts;	    /* are MTA-STS policies obeyed? */
	struct texts tls_names;		      /* "mx.example" or "*.example" */
	struct texts tls_fingerprints;	      /* 64 hexadecimal digits in lower case */
	struct text tls_certificate, tls_key; /* ours; both or neither */
	/* ROUTE_REJECT */
	struct text reject;
	/* route_login.h; login is empty where nobody logs in */
	struct text login, password_file;
	struct text token_endpoint, client_id, client_secret_file, refresh_token_file, token_scope;
	struct texts mechanisms;
	uint64_t fingerprint; /* of all that the block says, with a login; else 0 */
};

/* What is done to mail that comes in one way (rewrite.h). */
struct config_header {
	struct text label;
	uint32_t line;
	enum handle_role role; /* of its listeners; 0: mail of this machine */
	struct texts masquerade, masquerade_except, remove, add;
};

/* config_virtual.h */
struct config_virtual {
	struct text label; /* a domain */
	uint32_t line;
	struct text mailboxes, root, user;
	uint64_t quota, quota_messages;
};

struct config_site {
	struct text label;
	uint32_t line;
	struct texts mx; /* "mx.example" or "*.example" */
	uint64_t connections, rate;
};

enum rate_period { PER_MINUTE, PER_HOUR, PER_DAY, RATE_PERIODS };
enum rate_action { ABOVE_DEFER, ABOVE_HOLD, ABOVE_REFUSE };
/* Whose rate it is: the labels of the blocks. */
enum rate_who { RATE_LOGIN, RATE_NETWORK, RATE_STRANGER, RATE_KINDS };

struct rate {
	uint64_t count;
	uint8_t period; /* enum rate_period */
};
struct rate_list {
	struct rate *items;
	size_t count;
};

enum takeover_word { TAKEOVER_OFF, TAKEOVER_TELL, TAKEOVER_FREEZE };
enum { TAKEOVER_NETWORKS_MOST = 60 };

struct config_rate {
	struct text label; /* "login" */
	uint32_t line;
	struct rate_list messages, recipients;
	uint8_t action; /* enum rate_action */
};

/*
 * The scalar settings stand under their field names of settings.def; rows of
 * blocks that stand several times are in the arrays.
 */
struct config {
	uint32_t generation;
	uint32_t holders; /* config_keep() */
	struct arena *arena;
	const uint32_t *lines; /* by row of settings.def: where it was set, 0: the default */
	const struct config_route **by_name; /* the routes, sorted by label */
	struct text hostname, postmaster, queue, tls_authorities, tls_policies, sender_routes, log;
	uint64_t queue_limit;
	struct networks relay_from;
	struct texts relay_to;
	uint8_t bare_newline, log_format, log_connections, heed_tls_required;
	struct text submission_senders, submission_aliases, submission_domain;
	uint8_t submission_unqualified, submission_date, submission_message_id, submission_from,
	    submission_addresses, submission_duplicates, submission_eight_bit_header,
	    submission_add_sender, submission_show_client;
	struct text rewrite_canonical, rewrite_canonical_senders, rewrite_canonical_recipients,
	    rewrite_virtual, rewrite_bcc, rewrite_bcc_senders, rewrite_bcc_recipients;
	struct texts rewrite_virtual_domains; /* sorted */
	struct config_header *headers;
	size_t header_count;
	bool rewrites; /* something of these was set */
	uint64_t tables_size;
	struct config_listen *listens;
	size_t listen_count;
	struct text auth_users, auth_dovecot, auth_pam; /* at most one of them is set */
	struct text auth_pam_folder, auth_pam_user;
	struct text auth_introspection, auth_introspection_client, auth_introspection_secret,
	    auth_introspection_ca, auth_introspection_login, auth_introspection_scope,
	    auth_introspection_audience;
	uint8_t auth_clear, auth_smtp;
	uint64_t auth_workers;
	struct duration auth_remember;
	struct config_tls *tls;
	size_t tls_count;
	struct config_tls *shown; /* what routes show to receivers: each pair of files once, its
				     label "route LABEL" with that of the first of them */
	size_t shown_count;
	struct endpoints resolver_forward;
	struct text resolver_trust_anchor;
	struct duration resolver_timeout;
	uint8_t resolver_prefer, resolver_client_names;
	struct config_route *routes;
	size_t route_count;
	struct text local_mailbox, local_separators, local_aliases, local_user;
	struct texts local_commands, local_files; /* config_local.h */
	struct duration local_command_time;
	uint8_t local_forward, local_owners, local_expand_owners, local_quota_waits, local_folders;
	uint64_t local_quota, local_quota_messages;
	struct text local_quotas;
	uint64_t local_deliveries;
	struct config_virtual *virtuals; /* sorted by label */
	size_t virtual_count;
	struct config_site *sites;
	size_t site_count;
	struct config_source *sources;
	size_t source_count;
	struct config_pool *pools;
	size_t pool_count;
	const struct source_named *sources_by_name; /* sources and pools, sorted by name */
	size_t source_name_count;
	struct config_sender *senders;
	size_t sender_count;
	const struct config_sender **senders_by_name; /* sorted by label */
	struct config_rate *rates;
	size_t rate_count;
	const struct config_rate *rate_of[RATE_KINDS]; /* NULL: no limit */
	uint64_t limit_message, limit_header, limit_line, limit_recipients, limit_received,
	    limit_memory, limit_connections, limit_per_client, limit_errors, limit_idle_commands,
	    limit_site_connections, limit_site_messages, limit_deliveries, limit_return_body;
	uint8_t takeover_then; /* enum takeover_word */
	struct rate_list takeover_limits, takeover_networks, takeover_refused;
	uint64_t takeover_share, takeover_rise, takeover_rise_least, takeover_most;
	struct texts takeover_exempt;
	struct networks takeover_exempt_from;
	struct text tlsrpt_contact, tlsrpt_organization, tlsrpt_sender; /* contact empty: off */
	uint8_t tlsrpt_internal_hosts;
	struct duration retry_first, retry_longest, retry_expire, retry_notice;
	struct duration timeout_command, timeout_handshake, timeout_transaction, timeout_connect,
	    timeout_greeting, timeout_mail, timeout_data, timeout_block, timeout_dot, timeout_drain,
	    timeout_drain_dot;
	struct duration history_keep;
	uint64_t history_size;
	uint64_t workers_smtpd, workers_smtp_client;
	uint64_t segment_size, segment_reserve;
};

/* One thing that is wrong, for `FILE:LINE:COLUMN: text`. */
struct config_error {
	uint32_t line, column; /* from 1; 0: the file as a whole */
	char text[320];	       /* what is wrong, and what was probably meant */
	bool warning;	       /* works, but look at it */
};
struct config_errors {
	struct config_error *items; /* owned; config_errors_free() */
	size_t count;
};

/*
 * Reads the file's CONTENT. All errors at once go to *ERRORS (never more than
 * 200). Returns the configuration (one holder), or NULL when an error that is
 * no warning was found. Touches no file and no name server.
 */
struct config *config_read(struct text content, struct config_errors *errors);
void config_errors_free(struct config_errors *errors);

/* Adds one, its text as printf gives it; harmless above the 200. */
void config_errors_add(struct config_errors *errors, bool warning, uint32_t line, uint32_t column,
		       const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Checks that need the machine: folders, files, users. Adds to *ERRORS; false when one is no
 * warning. */
bool config_check_machine(const struct config *config, struct config_errors *errors);

/* Appends the canonical text: what config_read() of it gives is equal. */
void config_print(const struct config *config, struct bytes *to);

/* What was set, or ALL values, each with where it came from ("# line 3", "# default"). */
void config_show(const struct config *config, bool all, FILE *to);

struct config *config_keep(const struct config *config);
void config_drop(struct config **config); /* the last holder frees; takes NULL, leaves NULL */

/* The route of a domain: its own name, then the longest .suffix, then *, then mx. Never NULL. */
const struct config_route *config_route(const struct config *config, struct text domain);

/*
 * The route of mail for DOMAIN whose sender's block chose the one called CHOSEN ("@big"; empty:
 * none did). What is said of the domain itself goes first, and what is local stays; so CHOSEN
 * takes the place of route * alone. Never NULL: where there is none of that name it is one that
 * route_is_lost().
 */
const struct config_route *config_route_of(const struct config *config, struct text domain,
					   struct text chosen);
/* No mail may go by it: neither where its sender wanted it, nor somewhere else. */
bool route_is_lost(const struct config_route *route);

/* Is it one that senders name? */
bool route_is_named(const struct config_route *route);

/* The route of that name ("@big"); NULL: there is none. */
const struct config_route *config_route_named(const struct config *config, struct text name);

/* The tls blocks, and behind them what routes show: what the keeper has keys of. */
size_t config_certificates(const struct config *config);
const struct config_tls *config_certificate(const struct config *config, size_t index);

/* The label of what ROUTE shows to receivers; empty: nothing. */
struct text config_shown(const struct config *config, const struct config_route *route);

/* May this client relay to anywhere (relay-from)? ADDRESS is 16 bytes. */
bool config_relays_from(const struct config *config, const uint8_t *address);

/* Is there anybody who can log in (users, dovecot, pam, introspection)? */
bool config_has_logins(const struct config *config);

/* Is there a route to local? */
bool config_has_local(const struct config *config);

/* Behind names without a domain: that of `submission`, else our own name. */
struct text config_own_domain(const struct config *config);

/* Where double bounces and notices go: the setting, else postmaster at our own name. */
void config_postmaster(const struct config *config, char *to, size_t size);

/* Is mail for this domain taken from anyone (relay-to, or a route to local)? */
bool config_relays_to(const struct config *config, struct text domain);

/* Are all addresses of this domain those that rewrite { virtual } has (virtual-domains)? */
bool config_rewrites_all_of(const struct config *config, struct text domain);

/* The header block of a listener's kind; NULL: none. */
const struct config_header *config_header(const struct config *config, enum handle_role role);

/* Does NAME match PATTERN ("name", ".suffix", "*.suffix", "*")? ASCII, without case. */
bool domain_matches(struct text pattern, struct text name);

bool networks_contain(const struct networks *networks, const uint8_t *address);

#endif
