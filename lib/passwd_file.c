/* SPDX-License-Identifier: ISC */
/* Reading the lines of the users file, and changing one. */
#include "passwd_file.h"

#include "config.h"
#include "scram.h"

#include <string.h>

enum { FIELDS = 8, FIELD_NAME = 0, FIELD_PASSWORD = 1, FIELD_EXTRA = 7 };

/* The last one is the rest of the line, colons included. */
struct fields {
	struct text at[FIELDS];
	size_t count;
};

static struct text from(struct text t, size_t at)
{
	return at ? (struct text){t.data + at, t.len - at} : t;
}

static void fields_split(struct text line, struct fields *f)
{
	*f = (struct fields){.count = 0};
	while (f->count < FIELDS - 1) {
		ptrdiff_t colon = text_find(line, ':');

		if (colon < 0)
			break;
		f->at[f->count++] = (struct text){line.data, (size_t)colon};
		line = from(line, (size_t)colon + 1);
	}
	f->at[f->count++] = line;
}

bool passwd_same_name(struct text a, struct text b)
{
	return text_equal_case(a, b);
}

const char *passwd_name_fault(struct text name)
{
	if (!name.len)
		return "the name is empty";
	if (name.len > LOGIN_MAX)
		return "the name is too long";
	if (!text_is_utf8(name))
		return "the name is not UTF-8";
	if (name.data[0] == '#' || name.data[0] == '-')
		return "a name cannot begin with # or -";
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.data[i];

		/* What would end a field, a line of the log or a word of a header. */
		if (c <= ' ' || c == 127 || strchr(":,;\"\\<>()", c))
			return "a name has no blanks, control characters or : , ; \" \\ < > ( )";
	}
	return NULL;
}

/* -- the password field ---------------------------------------------------------- */

static const struct {
	const char *name;
	enum passwd_scheme scheme;
} schemes[] = {
    {"SCRAM-SHA-256", PASSWD_SCRAM}, {"CRYPT", PASSWD_CRYPT},	     {"BLF-CRYPT", PASSWD_CRYPT},
    {"SHA256-CRYPT", PASSWD_CRYPT},  {"SHA512-CRYPT", PASSWD_CRYPT},
};

/* yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512, SHA-256: what crypt(5) does not advise against.
 */
static bool crypt_is_strong(struct text secret)
{
	static const char *const prefixes[] = {"$y$",  "$gy$", "$7$", "$2b$",
					       "$2y$", "$2a$", "$6$", "$5$"};

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
		if (secret.len > strlen(prefixes[i]) + 8 &&
		    memcmp(secret.data, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static const char *secret_read(struct text field, struct passwd_user *user)
{
	struct scram_verifier verifier;
	ptrdiff_t brace = text_find(field, '}');
	struct text scheme = TEXT("CRYPT");
	size_t i = 0, count = sizeof schemes / sizeof *schemes;

	user->secret = field;
	if (field.len && field.data[0] == '{' && brace > 0) {
		scheme = (struct text){field.data + 1, (size_t)brace - 1};
		user->secret = from(field, (size_t)brace + 1);
	}
	while (i < count && !text_equal_case(scheme, text_of(schemes[i].name)))
		i++;
	if (i == count)
		return "its password scheme is none of SCRAM-SHA-256, CRYPT, BLF-CRYPT, "
		       "SHA256-CRYPT, SHA512-CRYPT";
	user->scheme = schemes[i].scheme;
	/* As in shadow(5): no password fits. */
	if (user->secret.len && strchr("!*", user->secret.data[0])) {
		user->disabled = true;
		user->secret.len = 0;
		return NULL;
	}
	if (user->secret.len > PASSWD_SECRET_MAX)
		return "its password is too long";
	if (user->scheme == PASSWD_SCRAM && !scram_read(user->secret, &verifier))
		return "its SCRAM verifier is not ITERATIONS,SALT,STORED KEY,SERVER KEY";
	if (user->scheme == PASSWD_CRYPT && !crypt_is_strong(user->secret))
		return "its password is no hash of yescrypt, scrypt, bcrypt, SHA-512 or SHA-256 "
		       "(crypt(5))";
	return NULL;
}

/* -- extra fields ------------------------------------------------------------------- */

static bool next_extra(struct text *extra, struct text *word)
{
	*extra = text_trim(*extra);
	ptrdiff_t blank = text_find(*extra, ' ');

	*word = (struct text){extra->data, blank < 0 ? extra->len : (size_t)blank};
	*extra = from(*extra, word->len);
	return word->len > 0;
}

static bool extra_is(struct text word, const char *name, struct text *value)
{
	size_t n = strlen(name);

	if (!text_starts_case(word, name) || (word.len > n && word.data[n] != '='))
		return false;
	*value = word.len > n ? from(word, n + 1) : (struct text){word.data + n, 0};
	return true;
}

static void extras_read(struct text extra, struct passwd_user *user)
{
	struct text word, value;

	while (next_extra(&extra, &word)) {
		/* Dovecot reads nologin by its presence, whatever its value. */
		if (extra_is(word, "nologin", &value))
			user->disabled = true;
		else if (extra_is(word, "allow_nets", &value))
			user->allow_nets = value;
	}
}

bool passwd_net_allows(struct text nets, const uint8_t *address)
{
	while (nets.len) {
		ptrdiff_t comma = text_find(nets, ',');
		struct text one = {nets.data, comma < 0 ? nets.len : (size_t)comma};
		ptrdiff_t slash = text_find(one, '/');
		struct text host = {one.data, slash < 0 ? one.len : (size_t)slash};
		struct network net;
		uint64_t bits = 128;

		nets = comma < 0 ? (struct text){NULL, 0} : from(nets, (size_t)comma + 1);
		if (!host_address_parse(host, net.address))
			continue;
		unsigned before = text_find(host, ':') < 0 ? 96 : 0;

		if (slash >= 0 && !text_number(from(one, (size_t)slash + 1), 128 - before, &bits))
			continue;
		net.bits = (uint8_t)(slash >= 0 ? bits + before : 128);
		if (networks_contain(&(struct networks){&net, 1}, address))
			return true;
	}
	return false;
}

/* -- lines ---------------------------------------------------------------------------- */

bool passwd_next_line(struct text *content, struct text *line)
{
	if (!content->len)
		return false;
	ptrdiff_t lf = text_find(*content, '\n');

	*line = (struct text){content->data, lf < 0 ? content->len : (size_t)lf};
	*content = lf < 0 ? (struct text){NULL, 0} : from(*content, (size_t)lf + 1);
	if (line->len && line->data[line->len - 1] == '\r')
		line->len--;
	return true;
}

enum passwd_kind passwd_line_read(struct text line, struct passwd_user *user, const char **why)
{
	struct fields f;

	*user = (struct passwd_user){.disabled = false};
	*why = NULL;
	if (!text_trim(line).len || line.data[0] == '#')
		return PASSWD_NOTHING;
	fields_split(line, &f);
	user->name = f.at[FIELD_NAME];
	if (line.len > PASSWD_LINE_MAX)
		*why = "the line is too long";
	else if (f.count < 2)
		*why = "it is not name:{SCHEME}secret";
	else
		*why = passwd_name_fault(user->name);
	if (!*why) {
		*why = secret_read(f.at[FIELD_PASSWORD], user);
		user->fault_at = *why ? (size_t)(f.at[FIELD_PASSWORD].data - line.data) : 0;
	}
	if (!*why && f.count == FIELDS)
		extras_read(f.at[FIELD_EXTRA], user);
	return *why ? PASSWD_BROKEN : PASSWD_USER;
}

/* -- changing --------------------------------------------------------------------------- */

/* Also of a broken line: its name is taken all the same. */
static bool line_is_of(struct text line, struct text name)
{
	struct fields f;

	if (!line.len || line.data[0] == '#')
		return false;
	fields_split(line, &f);
	return f.count > 1 && passwd_same_name(f.at[FIELD_NAME], name);
}

static bool content_has(struct text content, struct text name)
{
	struct text line;

	while (passwd_next_line(&content, &line))
		if (line_is_of(line, name))
			return true;
	return false;
}

enum passwd_edit passwd_add(struct text content, struct text name, struct text password,
			    struct bytes *to)
{
	if (content_has(content, name))
		return PASSWD_EXISTS;
	bytes_add_text(to, content);
	if (content.len && content.data[content.len - 1] != '\n')
		bytes_add_text(to, text_of("\n"));
	bytes_add_text(to, name);
	bytes_add_text(to, text_of(":"));
	bytes_add_text(to, password);
	bytes_add_text(to, text_of("\n"));
	return PASSWD_DONE;
}

/* Every line of NAME is written by CHANGE, since a broken one may stand before the one that counts;
 * the others go as they are. */
static enum passwd_edit edit(struct text content, struct text name, struct bytes *to,
			     enum passwd_edit (*change)(const struct fields *f, const void *arg,
							struct bytes *to),
			     const void *arg)
{
	enum passwd_edit result = PASSWD_MISSING;
	struct text line;

	while (content.len) {
		const char *begin = content.data;

		passwd_next_line(&content, &line);
		/* With its line end as it is, or with none. */
		size_t whole = content.data ? (size_t)(content.data - begin)
					    : (size_t)(line.data - begin) + line.len;

		if (!line_is_of(line, name)) {
			bytes_add(to, begin, whole);
			continue;
		}
		struct fields f;

		fields_split(line, &f);
		enum passwd_edit one = change(&f, arg, to);

		if (result != PASSWD_DONE)
			result = one;
		bytes_add_text(to, text_of("\n"));
	}
	return result;
}

static void put_fields(const struct fields *f, size_t count, struct bytes *to)
{
	for (size_t i = 0; i < count; i++) {
		bytes_add_text(to, text_of(i ? ":" : ""));
		bytes_add_text(to, i < f->count ? f->at[i] : (struct text){NULL, 0});
	}
}

static enum passwd_edit change_password(const struct fields *f, const void *arg, struct bytes *to)
{
	struct fields changed = *f;

	changed.at[FIELD_PASSWORD] = *(const struct text *)arg;
	put_fields(&changed, f->count, to);
	return PASSWD_DONE;
}

enum passwd_edit passwd_set_password(struct text content, struct text name, struct text password,
				     struct bytes *to)
{
	return edit(content, name, to, change_password, &password);
}

static enum passwd_edit change_disabled(const struct fields *f, const void *arg, struct bytes *to)
{
	bool disabled = *(const bool *)arg, was = false, first = true;
	struct text extra = f->count == FIELDS ? f->at[FIELD_EXTRA] : (struct text){NULL, 0};
	struct text word, value;
	size_t count = f->count == FIELDS || disabled ? FIELDS - 1 : f->count;
	struct bytes extras = {0};

	while (next_extra(&extra, &word)) {
		if (extra_is(word, "nologin", &value)) {
			was = true;
			continue;
		}
		bytes_add_text(&extras, text_of(first ? "" : " "));
		bytes_add_text(&extras, word);
		first = false;
	}
	if (disabled)
		bytes_add_text(&extras, text_of(first ? "nologin=y" : " nologin=y"));
	put_fields(f, count, to);
	if (count == FIELDS - 1) {
		bytes_add_text(to, text_of(":"));
		bytes_add_text(to, bytes_text(&extras));
	}
	bytes_free(&extras);
	return was == disabled ? PASSWD_SAME : PASSWD_DONE;
}

enum passwd_edit passwd_set_disabled(struct text content, struct text name, bool disabled,
				     struct bytes *to)
{
	return edit(content, name, to, change_disabled, &disabled);
}
