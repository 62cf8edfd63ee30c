/* SPDX-License-Identifier: ISC */
/* Logins of routes. */
#include "route_login.h"

#include "config_value.h"
#include "route_tls.h"
#include "sasl.h"
#include "siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOGIN_NAME_MAX = 240, SECRET_MAX = 4096 };

/* -- which there are -------------------------------------------------------------------- */

unsigned route_logins(const struct config *config)
{
	unsigned n = 0;

	for (size_t i = 0; i < config->route_count; i++)
		n += config->routes[i].login.len > 0;
	return n;
}

const struct config_route *route_login_at(const struct config *config, unsigned index)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (config->routes[i].login.len && !index--)
			return &config->routes[i];
	return NULL;
}

unsigned route_login_of(const struct config *config, struct text label)
{
	unsigned n = 0;

	for (size_t i = 0; i < config->route_count; i++) {
		const struct config_route *r = &config->routes[i];

		if (r->login.len && text_equal(r->label, label))
			break;
		n += r->login.len > 0;
	}
	return n;
}

bool route_logins_by_token(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++)
		if (config->routes[i].token_endpoint.len)
			return true;
	return false;
}

unsigned route_login_mechanisms(const struct config_route *route)
{
	unsigned fit = route->token_endpoint.len ? SASL_TOKENS : SASL_PASSWORDS, named = 0;

	for (size_t i = 0; i < route->mechanisms.count; i++)
		named |= sasl_client_mechanism_of(route->mechanisms.items[i]);
	return route->mechanisms.count ? fit & named : fit;
}

/* -- keys -------------------------------------------------------------------------------- */

size_t route_login_key(const struct config_route *route, char *to)
{
	*to = '\0';
	if (!route->login.len)
		return 0;
	return (size_t)sprintf(to, LOGIN_KEY "%016llx", (unsigned long long)route->fingerprint);
}

struct text route_login_site(const struct config_route *route, struct text site, char *to)
{
	int n;

	if (!route->login.len)
		return site;
	if (site.len + 1 + route->login.len < ROUTE_SITE_BYTES)
		n = snprintf(to, ROUTE_SITE_BYTES, "%.*s/%.*s", (int)site.len, site.data,
			     (int)route->login.len, route->login.data);
	else /* shorter, and still no other's */
		n = snprintf(to, ROUTE_SITE_BYTES, "%.*s/%016llx",
			     site.len < 238 ? (int)site.len : 238, site.data,
			     (unsigned long long)route->fingerprint);
	return (struct text){to, (size_t)n};
}

struct text route_site_alone(struct text site)
{
	ptrdiff_t slash = text_find(site, '/');

	/* "unix:/path" is no login's. */
	if (slash <= 0 || site.data[slash - 1] == ':')
		return site;
	return (struct text){site.data, (size_t)slash};
}

static const uint8_t fixed_key[SIPHASH_KEY_BYTES];

/* It stays while the login and the server that gives its tokens stay. */
const char *route_state_name(const struct config_route *route, char *to)
{
	const struct text parts[] = {route->label, route->login, route->token_endpoint,
				     route->client_id};
	struct bytes b = {0};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		bytes_add(&b, parts[i].data, parts[i].len);
		bytes_add(&b, "", 1);
	}
	snprintf(to, ROUTE_STATE_BYTES, "token.%016llx",
		 (unsigned long long)siphash(fixed_key, bytes_at(&b), bytes_len(&b)));
	bytes_free(&b);
	return to;
}

/* Of all that the block says: two processes that have it alike mean the same. Never 0. */
static uint64_t fingerprint_of(const struct config_route *r)
{
	struct bytes b = {0};

	bytes_add(&b, r->label.data, r->label.len);
	for (size_t i = 0; i < setting_count; i++) {
		const struct setting_row *row = &setting_rows[i];
		const char *field = (const char *)r + row->offset;

		bytes_add(&b, "", 1);
		if (row->block == BLOCK_route && !value_is_unset(row, field))
			value_print(row, field, &b);
	}
	uint64_t hash = siphash(fixed_key, bytes_at(&b), bytes_len(&b));

	bytes_free(&b);
	return hash ? hash : 1;
}

/* -- what does not fit together ------------------------------------------------------------ */

static bool is_loopback(const struct config_route *r)
{
	uint8_t address[16];

	return host_address_parse(r->target, address) && host_address_is_loopback(address);
}

/* Settings that say how to log in, and no login. */
static const char *without_login(const struct config_route *r)
{
	return r->password_file.len	   ? "password-file does nothing without login"
	       : r->token_endpoint.len	   ? "token-endpoint does nothing without login"
	       : r->client_id.len	   ? "client-id does nothing without login"
	       : r->client_secret_file.len ? "client-secret-file does nothing without login"
	       : r->refresh_token_file.len ? "refresh-token-file does nothing without login"
	       : r->token_scope.len	   ? "token-scope does nothing without login"
	       : r->mechanisms.count	   ? "mechanisms does nothing without login"
					   : NULL;
}

static bool has_control(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.data[i] < ' ' || t.data[i] == 0x7f)
			return true;
	return false;
}

static const char *tokens_wrong(const struct config_route *r)
{
	bool any = r->client_id.len || r->client_secret_file.len || r->refresh_token_file.len ||
		   r->token_scope.len;

	if (!r->token_endpoint.len)
		return any ? "client-id, client-secret-file, refresh-token-file and token-scope "
			     "need token-endpoint"
			   : NULL;
	if (!r->client_id.len)
		return "token-endpoint needs client-id";
	if (!r->refresh_token_file.len && !r->client_secret_file.len)
		return "token-endpoint needs refresh-token-file, or client-secret-file for a "
		       "client "
		       "that asks in its own name";
	return NULL;
}

/* Never a password to a server that anybody could be, and never in the clear, but to this machine.
 */
static const char *safety_wrong(const struct config_route *r)
{
	if (r->tls == POLICY_DANE)
		return "login with tls = dane could send the password in the clear: verify or "
		       "dane-only";
	if (r->tls == POLICY_MAY && r->how == HOP_SMTPS)
		return "login with tls = may: smtps is always encrypted; verify, or encrypt";
	if (r->tls == POLICY_MAY && !is_loopback(r))
		return "login with tls = may could send the password in the clear, which is done "
		       "to a loopback address only";
	return NULL;
}

static const char *login_wrong(const struct config_route *r)
{
	if (r->kind != ROUTE_HOP || r->how == HOP_MX || r->how == HOP_LMTP ||
	    r->how == HOP_LMTP_UNIX)
		return "login goes with to = smtp:HOST or smtps:HOST only";
	if (r->login.len > LOGIN_NAME_MAX || has_control(r->login))
		return "login is longer than 240 octets, or not of printable characters";
	if (!r->password_file.len == !r->token_endpoint.len)
		return "login needs password-file or token-endpoint, one of them";
	for (size_t i = 0; i < r->mechanisms.count; i++)
		if (!(sasl_client_mechanism_of(r->mechanisms.items[i]) &
		      (r->token_endpoint.len ? SASL_TOKENS : SASL_PASSWORDS)))
			return r->token_endpoint.len
				   ? "mechanisms: with token-endpoint they are OAUTHBEARER and "
				     "XOAUTH2"
				   : "mechanisms: with a password they are SCRAM-SHA-256-PLUS, "
				     "SCRAM-SHA-256, SCRAM-SHA-1-PLUS, SCRAM-SHA-1, PLAIN and "
				     "LOGIN";
	const char *why = tokens_wrong(r);

	return why ? why : safety_wrong(r);
}

static void login_look(const struct config_route *r, struct config_errors *errors)
{
	char word[SHOWN_BYTES];
	const char *why = r->login.len ? login_wrong(r) : without_login(r);

	if (why) /* what does nothing harms nobody */
		config_errors_add(errors, !r->login.len, r->line, 1, "route %s: %s",
				  shown(word, r->label), why);
	if (!why && r->login.len && r->tls == POLICY_ENCRYPT)
		config_errors_add(errors, true, r->line, 1,
				  "route %s: with tls = encrypt the login goes to whoever answers; "
				  "tls = verify is the default",
				  shown(word, r->label));
}

void route_logins_finish(struct config *config, struct config_errors *errors)
{
	unsigned count = 0, tokens = 0;

	for (size_t i = 0; i < config->route_count; i++) {
		struct config_route *r = &config->routes[i];

		login_look(r, errors);
		if (!r->login.len)
			continue;
		r->fingerprint = fingerprint_of(r);
		if (++count == ROUTE_LOGINS_MAX + 1)
			config_errors_add(errors, false, r->line, 1,
					  "more than %d routes with a login", ROUTE_LOGINS_MAX);
		tokens += r->token_endpoint.len > 0;
		if (r->token_endpoint.len && tokens == ROUTE_TOKENS_MAX + 1)
			config_errors_add(errors, false, r->line, 1,
					  "more than %d routes that log in with tokens",
					  ROUTE_TOKENS_MAX);
	}
}

/* -- the files ----------------------------------------------------------------------------- */

/* Is there a line of a length that counts? */
static const char *content_wrong(int fd)
{
	char line[SECRET_MAX + 1];
	ssize_t n = pread(fd, line, sizeof line, 0);
	struct text first = {line, n > 0 ? (size_t)n : 0};
	ptrdiff_t end = text_find(first, '\n');
	const char *why = NULL;

	if (end >= 0)
		first.len = (size_t)end;
	if (n < 0)
		why = strerror(errno);
	else if (!text_trim(first).len)
		why = "its first line is empty";
	else if (first.len > SECRET_MAX)
		why = "its first line is longer than 4096 octets";
	explicit_bzero(line, sizeof line);
	return why;
}

static void file_check(const struct config_route *r, const char *setting, struct text path,
		       struct config_errors *errors)
{
	char name[4096], word[SHOWN_BYTES];
	struct stat st = {0};
	const char *why;

	if (!path.len)
		return;
	text_copy(name, sizeof name, path);
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) != 0)
		why = strerror(errno);
	else
		why = S_ISREG(st.st_mode) ? content_wrong(fd) : "not a regular file";
	if (why)
		config_errors_add(errors, true, r->line, 1, "route %s: %s %.150s: %s",
				  shown(word, r->label), setting, name, why);
	else if (st.st_mode & 077)
		config_errors_add(errors, true, r->line, 1,
				  "route %s: %s %.150s can be read by others than its owner (mode "
				  "%03o)",
				  shown(word, r->label), setting, name,
				  (unsigned)st.st_mode & 0777);
	if (fd >= 0)
		close(fd);
}

void route_logins_check(const struct config *config, struct config_errors *errors)
{
	for (size_t i = 0; i < config->route_count; i++) {
		const struct config_route *r = &config->routes[i];

		if (!r->login.len)
			continue;
		file_check(r, "password-file", r->password_file, errors);
		file_check(r, "client-secret-file", r->client_secret_file, errors);
		file_check(r, "refresh-token-file", r->refresh_token_file, errors);
	}
}
