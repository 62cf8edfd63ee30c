/* SPDX-License-Identifier: ISC */
/* Checks of a configuration that need the machine it is for: folders, files, names. */
#include "address.h"
#include "aliases.h"
#include "config_row.h"
#include "config_value.h"
#include "config_virtual.h"
#include "policy_row.h"
#include "quota.h"
#include "rights.h"
#include "route_login.h"
#include "route_tls.h"
#include "sender_find.h"
#include "sts.h"
#include "tables.h"
#include "users_check.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
	const struct config *config;
	struct config_errors *errors;
};

static uint32_t line_of(const struct check *c, enum setting_block block, const char *name)
{
	for (size_t i = 0; i < setting_count; i++)
		if (setting_rows[i].block == block && strcmp(setting_rows[i].name, name) == 0)
			return c->config->lines[i];
	return 0;
}

/* The folder that PATH lies in, NUL-terminated in TO. */
static void parent_of(char *to, size_t size, struct text path)
{
	size_t n = text_copy(to, size, path);

	while (n > 1 && to[n - 1] != '/')
		n--;
	to[n > 1 ? n - 1 : 1] = '\0';
}

static bool is_folder(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return false;
	errno = ENOTDIR;
	return S_ISDIR(st.st_mode);
}

/* Master makes the queue's folder itself, but not the one that it lies in. */
static void check_queue(const struct check *c)
{
	char path[WORD_MAX_BYTES + 1], parent[WORD_MAX_BYTES + 1], name[SHOWN_BYTES];
	uint32_t line = line_of(c, BLOCK_top, "queue");
	struct stat st;

	text_copy(path, sizeof path, c->config->queue);
	parent_of(parent, sizeof parent, c->config->queue);
	shown(name, c->config->queue);
	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			config_errors_add(c->errors, false, line, 1, "queue: %s is no folder",
					  name);
		else if (access(path, W_OK | X_OK) != 0)
			config_errors_add(c->errors, false, line, 1, "queue: %s: %s", name,
					  strerror(errno));
		return;
	}
	if (errno != ENOENT)
		config_errors_add(c->errors, false, line, 1, "queue: %s: %s", name,
				  strerror(errno));
	else if (!is_folder(parent) || access(parent, W_OK | X_OK) != 0)
		config_errors_add(c->errors, false, line, 1,
				  "queue: %s cannot be made in its parent folder: %s", name,
				  strerror(errno));
}

static void check_log(const struct check *c)
{
	char path[WORD_MAX_BYTES + 1], parent[WORD_MAX_BYTES + 1], name[SHOWN_BYTES];
	uint32_t line = line_of(c, BLOCK_top, "log");

	if (c->config->log.data[0] != '/')
		return;
	text_copy(path, sizeof path, c->config->log);
	parent_of(parent, sizeof parent, c->config->log);
	shown(name, c->config->log);
	if (is_folder(path))
		config_errors_add(c->errors, false, line, 1, "log: %s is a folder", name);
	else if (access(path, F_OK) == 0 ? access(path, W_OK) != 0
					 : access(parent, W_OK | X_OK) != 0)
		config_errors_add(c->errors, false, line, 1, "log: %s cannot be written: %s", name,
				  strerror(errno));
}

/* The default may be absent; one that was asked for must be there, else nothing would be validated.
 */
static void check_trust_anchor(const struct check *c)
{
	char path[WORD_MAX_BYTES + 1], name[SHOWN_BYTES];
	uint32_t line = line_of(c, BLOCK_resolver, "trust-anchor");

	text_copy(path, sizeof path, c->config->resolver_trust_anchor);
	if (line && access(path, R_OK) != 0)
		config_errors_add(c->errors, true, line, 1,
				  "trust-anchor: %s: %s; nothing is validated",
				  shown(name, c->config->resolver_trust_anchor), strerror(errno));
}

/* Nobody is trusted then: one that was asked for must be there; of the default it is said what for.
 */
static void check_authorities(const struct check *c)
{
	const struct config *config = c->config;
	char path[WORD_MAX_BYTES + 1], name[SHOWN_BYTES];
	uint32_t line = line_of(c, BLOCK_top, "tls-authorities");

	text_copy(path, sizeof path, config->tls_authorities);
	if (access(path, R_OK) == 0)
		return;
	const char *why = strerror(errno);

	shown(name, config->tls_authorities);
	if (line) {
		config_errors_add(c->errors, false, line, 1, "tls-authorities: %s: %s", name, why);
		return;
	}
	for (size_t i = 0; i < config->route_count; i++)
		if (route_policy(&config->routes[i]) == POLICY_VERIFY) {
			config_errors_add(c->errors, true, config->routes[i].line, 1,
					  "tls = verify: tls-authorities %s: %s; nobody is trusted",
					  name, why);
			return;
		}
	if (config_asks_sts(config))
		config_errors_add(c->errors, true, 0, 0,
				  "tls-authorities %s: %s; no MTA-STS policy can be fetched, and "
				  "mail goes without (the package ca-certificates has the file)",
				  name, why);
}

static void user_wrong(void *arg, uint32_t line, size_t column, const char *why)
{
	const struct check *c = arg;
	struct text path = c->config->auth_users;

	config_errors_add(c->errors, true, line_of(c, BLOCK_auth, "users"), 1,
			  "users: %.*s:%u:%zu: %s", path.len < 150 ? (int)path.len : 150, path.data,
			  line, column, why);
}

/* Broken lines keep their users out and nobody else; the file may be made later. */
static void check_users(const struct check *c)
{
	char path[WORD_MAX_BYTES + 1];
	uint32_t line = line_of(c, BLOCK_auth, "users");
	const char *why;

	if (!c->config->auth_users.len)
		return;
	text_copy(path, sizeof path, c->config->auth_users);
	why = users_check(path, user_wrong, (void *)(uintptr_t)c);
	if (why)
		config_errors_add(c->errors, true, line, 1, "users: %.200s: %s", path, why);
}

/* Started by root, the modules run as somebody else. */
static void check_pam_user(const struct check *c)
{
	struct text user = c->config->auth_pam_user;
	char name[128], word[SHOWN_BYTES];
	uint32_t line = line_of(c, BLOCK_auth, "pam-user");

	if (!c->config->auth_pam.len || geteuid() != 0)
		return;
	if (text_copy(name, sizeof name, user) < user.len || !getpwnam(name))
		config_errors_add(c->errors, false, line ? line : line_of(c, BLOCK_auth, "pam"), 1,
				  "pam-user: there is no user %s%s", shown(word, user),
				  line ? "" : "; run make install");
	else if (text_equals(user, "root"))
		config_errors_add(c->errors, true, line, 1,
				  "pam-user: whoever takes a PAM module over is root");
}

/* Both are read elsewhere and later; what is not there now will be missed then. */
static void check_introspection(const struct check *c)
{
	const struct {
		const char *name;
		struct text path;
	} files[] = {{"introspection-secret-file", c->config->auth_introspection_secret},
		     {"introspection-ca", c->config->auth_introspection_ca}};
	char path[WORD_MAX_BYTES + 1];
	struct stat st;

	for (size_t i = 0; i < 2 && c->config->auth_introspection.len; i++) {
		uint32_t line = line_of(c, BLOCK_auth, files[i].name);

		text_copy(path, sizeof path, files[i].path);
		if (*path && access(path, R_OK) != 0)
			config_errors_add(c->errors, true,
					  line ? line : line_of(c, BLOCK_auth, "introspection"), 1,
					  "%s: %.200s: %s", files[i].name, path, strerror(errno));
		else if (*path && i == 0 && stat(path, &st) == 0 && st.st_mode & 077)
			config_errors_add(c->errors, true, line, 1,
					  "%s: %.200s can be read by others than its owner (mode "
					  "%03o)",
					  files[i].name, path, (unsigned)st.st_mode & 0777);
	}
}

/* Whether this machine has it: a restart of the network may still bring it. */
static void check_source(const struct check *c, const struct config_source *s, struct text address)
{
	struct sockaddr_storage at;
	uint8_t bytes[16];
	char word[SHOWN_BYTES], name[SHOWN_BYTES];

	if (!host_address_parse(address, bytes))
		return;
	socklen_t len = host_address_put(bytes, 0, &at);
	int fd = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0)
		config_errors_add(c->errors, true, s->line, 1,
				  "source %s: no mail can leave from %s now: %s",
				  shown(word, s->label), shown(name, address), strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void check_sources(const struct check *c)
{
	for (size_t i = 0; i < c->config->source_count; i++) {
		check_source(c, &c->config->sources[i], c->config->sources[i].ipv4);
		check_source(c, &c->config->sources[i], c->config->sources[i].ipv6);
	}
}

/* A user's own path, so that no two share a mailbox. */
static const char *mailbox_fault(struct text pattern)
{
	bool own = pattern.data[0] == '~';

	if (pattern.data[0] != '/' && !text_starts_case(pattern, "~/"))
		return "a path from / on, or from the user's home, ~/";
	for (size_t i = 0; i + 1 < pattern.len; i++) {
		if (pattern.data[i] != '%')
			continue;
		if (pattern.data[i + 1] != 'u' && pattern.data[i + 1] != 'd')
			return "behind % stands u or d";
		own |= pattern.data[i + 1] == 'u';
	}
	if (pattern.data[pattern.len - 1] == '%')
		return "behind % stands u or d";
	return own ? NULL : "without ~/ and %u all users would have one mailbox";
}

static void alias_wrong(void *owner, uint32_t line, const char *what)
{
	const struct check *c = owner;
	char name[SHOWN_BYTES];

	if (line)
		config_errors_add(c->errors, true, line_of(c, BLOCK_local, "aliases"), 1,
				  "aliases: %s:%u: %s", shown(name, c->config->local_aliases), line,
				  what);
	else
		config_errors_add(c->errors, true, line_of(c, BLOCK_local, "aliases"), 1,
				  "aliases: %s: %s", shown(name, c->config->local_aliases), what);
}

/* A broken alias keeps its own mail waiting, and nobody else's. */
static void check_aliases(const struct check *c)
{
	uint32_t line = line_of(c, BLOCK_local, "aliases");
	char name[SHOWN_BYTES];

	if (!config_has_local(c->config))
		return;
	struct text table = c->config->local_aliases;
	struct aliases *a = NULL;
	bool read;

	if (table_is_asked(table))
		read = alias_patterns_check(table, c->config->tables_size, alias_wrong,
					    (void *)(uintptr_t)c) >= 0;
	else
		read = (a = aliases_load(table, c->config->tables_size, alias_wrong,
					 (void *)(uintptr_t)c)) != NULL;
	if (!read && errno != EBADMSG && (errno != ENOENT || line))
		config_errors_add(c->errors, true, line, 1, "aliases: %s: %s", shown(name, table),
				  strerror(errno));
	aliases_free(&a);
}

static void check_local(const struct check *c)
{
	const char *fault = mailbox_fault(c->config->local_mailbox);
	char name[SHOWN_BYTES];

	if (fault)
		config_errors_add(c->errors, false, line_of(c, BLOCK_local, "mailbox"), 1,
				  "mailbox: %s: %s", shown(name, c->config->local_mailbox), fault);
	if (c->config->local_separators.len > 8)
		config_errors_add(c->errors, false, line_of(c, BLOCK_local, "separators"), 1,
				  "separators: more than 8 characters");
	check_aliases(c);
}

static void check_hostname(const struct check *c)
{
	char own[256] = "", name[SHOWN_BYTES];

	if (c->config->hostname.len)
		return;
	gethostname(own, sizeof own - 1);
	if (!strchr(own, '.'))
		config_errors_add(
		    c->errors, true, 0, 0,
		    "hostname is not set, and this machine calls itself \"%s\", which is "
		    "not fully qualified",
		    shown(name, text_of(own)));
}

/* -- tables ---------------------------------------------------------------------------- */

struct table_check {
	const struct check *c;
	const struct setting_row *row;
	uint32_t line; /* where the setting stands */
	const struct table_kind *kind;
	char path[TABLE_FILE_BYTES];
};

static void table_wrong(void *owner, uint32_t line, const char *what)
{
	struct table_check *t = owner;
	char name[SHOWN_BYTES];

	if (line)
		config_errors_add(t->c->errors, false, t->line, 1, "%s: %s:%u: %s", t->row->name,
				  shown(name, text_of(t->path)), line, what);
	else
		config_errors_add(t->c->errors, false, t->line, 1, "%s: %s: %s", t->row->name,
				  shown(name, text_of(t->path)), what);
}

/* The file's octets; false: it can't be read, which was said. */
static bool table_load(const struct table_check *t, struct bytes *to)
{
	char name[SHOWN_BYTES];
	struct stat st;
	const char *why = NULL;
	ssize_t n = 1;
	int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) != 0)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "no file";
	else if ((uint64_t)st.st_size > t->c->config->tables_size)
		why = "larger than tables { size }";
	while (!why && n > 0 && bytes_len(to) <= t->c->config->tables_size) {
		n = read(fd, bytes_room(to, 65536), 65536);
		if (n < 0)
			why = strerror(errno);
		else
			to->end += (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (why)
		config_errors_add(t->c->errors, false, t->line, 1, "%s: %s: %s", t->row->name,
				  shown(name, text_of(t->path)), why);
	return !why;
}

/* What it will be nobody knows before it is looked up. */
static bool is_made_later(const struct table_check *t, struct text value)
{
	return t->kind->substitutes && text_find(value, '$') >= 0;
}

/* What stands behind a login: a word that allows nothing was meant to. */
static void check_senders(struct table_check *t, const void *table)
{
	struct bytes value = {0};
	struct text key, word;
	unsigned faults = 0;
	char name[SHOWN_BYTES], what[160];

	for (size_t at = 0; t->kind->next(table, &at, &key, &value);) {
		struct text words = bytes_text(&value);

		while (!is_made_later(t, words) && table_word_next(&words, &word)) {
			const char *fault = rights_word_fault(word);

			if (!fault || ++faults > TABLE_FAULTS_MAX)
				continue;
			snprintf(what, sizeof what, "\"%s\" is %s", shown(name, word), fault);
			table_wrong(t, t->kind->line(table, key), what);
		}
	}
	bytes_free(&value);
}

/* What stands behind an address, of those that rewrite: others, a user, or @domain. */
static void check_addresses(struct table_check *t, const void *table)
{
	struct bytes value = {0};
	struct text key, word;
	unsigned faults = 0;
	char name[SHOWN_BYTES], what[160];
	struct address a;

	for (size_t at = 0; t->kind->next(table, &at, &key, &value);) {
		struct text words = bytes_text(&value);

		while (!is_made_later(t, words) && table_word_next(&words, &word)) {
			char text[TABLE_KEY_MAX];
			bool domain = word.data[0] == '@', user = text_find(word, '@') < 0;

			snprintf(text, sizeof text, "%s%.*s%s", domain ? "x" : "", (int)word.len,
				 word.data, user ? "@x" : "");
			if (address_read(text_of(text), &a) == ADDRESS_FINE ||
			    ++faults > TABLE_FAULTS_MAX)
				continue;
			snprintf(what, sizeof what, "\"%s\" is no address", shown(name, word));
			table_wrong(t, t->kind->line(table, key), what);
		}
	}
	bytes_free(&value);
}

/* What stands behind a domain, as it would count for mail by its MX. */
static void check_policies(struct table_check *t, const void *table)
{
	const struct config_route base = {.kind = ROUTE_HOP, .how = HOP_MX};
	struct bytes value = {0};
	struct text key;
	unsigned faults = 0;
	char why[POLICY_WHY_BYTES];

	for (size_t at = 0; t->kind->next(table, &at, &key, &value) && faults < TABLE_FAULTS_MAX;) {
		struct text words = bytes_text(&value);

		if (is_made_later(t, words))
			continue;
		struct policy_row *row = policy_row_new(&base, words, why);

		if (!row && ++faults)
			table_wrong(t, t->kind->line(table, key), why);
		policy_row_drop(&row);
	}
	bytes_free(&value);
}

/* What stands behind a sender must be there. */
static void check_sender_routes(struct table_check *t, const void *table)
{
	struct sender_choice choice;
	struct bytes value = {0};
	struct text key;
	unsigned faults = 0;
	char why[SENDER_WHY_BYTES];

	for (size_t at = 0; t->kind->next(table, &at, &key, &value) && faults < TABLE_FAULTS_MAX;) {
		struct text words = bytes_text(&value);

		if (!is_made_later(t, words) &&
		    !sender_words_read(t->c->config, words, &choice, why) && ++faults)
			table_wrong(t, t->kind->line(table, key), why);
	}
	bytes_free(&value);
}

static bool is_quotas(const struct setting_row *row)
{
	return row->block == BLOCK_local && row->offset == offsetof(struct config, local_quotas);
}

static void check_quotas(struct table_check *t, const void *table)
{
	struct bytes value = {0};
	struct text key;
	unsigned faults = 0;

	for (size_t at = 0; t->kind->next(table, &at, &key, &value) && faults < TABLE_FAULTS_MAX;) {
		struct quota quota;
		const char *fault = table_plain_fault(t->kind, bytes_text(&value));

		if (!fault)
			fault = quota_read(bytes_text(&value), &quota);
		faults += fault != NULL;
		if (fault)
			table_wrong(t, t->kind->line(table, key), fault);
	}
	bytes_free(&value);
}

static void check_table(const struct check *c, const struct setting_row *row, struct text table,
			uint32_t line)
{
	struct table_check t = {.c = c, .row = row, .line = line};
	struct bytes content = {0};
	struct text path;

	t.kind = table.len ? table_kind_of(table, &path) : NULL;
	if (t.kind && table_file(table, t.path) && table_load(&t, &content)) {
		void *read = t.kind->read(&content, table_wrong, &t);

		if (read && row->block == BLOCK_submission &&
		    row->offset == offsetof(struct config, submission_senders))
			check_senders(&t, read);
		if (read && row->block == BLOCK_top &&
		    row->offset == offsetof(struct config, tls_policies))
			check_policies(&t, read);
		if (read && row->block == BLOCK_top &&
		    row->offset == offsetof(struct config, sender_routes))
			check_sender_routes(&t, read);
		if (read && is_quotas(row))
			check_quotas(&t, read);
		if (read && row->block == BLOCK_rewrite)
			check_addresses(&t, read);
		t.kind->free(&read);
	}
	bytes_free(&content);
}

static void check_tables(const struct check *c)
{
	for (size_t i = 0; i < c->config->listen_count; i++)
		if (c->config->listens[i].role != HANDLE_LISTEN_SMTP &&
		    !c->config->submission_senders.len) {
			config_errors_add(c->errors, true, c->config->listens[i].line, 1,
					  "without submission { senders = TABLE } a login that is "
					  "no address may send from any address");
			break;
		}
	for (size_t i = 0; i < setting_count; i++) {
		const struct text *table;
		uint32_t line;

		/* Aliases and mailboxes have been read by then. */
		if (setting_rows[i].type != TYPE_TABLE && !is_quotas(&setting_rows[i]))
			continue;
		for (size_t k = 0; (table = setting_field(c->config, &setting_rows[i], k, &line));
		     k++)
			check_table(c, &setting_rows[i], *table, line);
	}
}

bool config_check_machine(const struct config *config, struct config_errors *errors)
{
	struct check c = {config, errors};
	size_t before = errors->count;

	check_hostname(&c);
	check_queue(&c);
	check_log(&c);
	check_trust_anchor(&c);
	check_authorities(&c);
	check_users(&c);
	check_pam_user(&c);
	check_introspection(&c);
	check_local(&c);
	config_virtual_check(config, errors);
	route_logins_check(config, errors);
	check_tables(&c);
	check_sources(&c);
	for (size_t i = before; i < errors->count; i++)
		if (!errors->items[i].warning)
			return false;
	return true;
}
