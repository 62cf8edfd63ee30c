/* SPDX-License-Identifier: ISC */
/* veredus user: who may log in. The running checker sees a change at the next login. */
#include "users_file.h"

#include "frozen_logins.h"
#include "mem.h"
#include "passwd_file.h"
#include "scram.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

/* -- the password ------------------------------------------------------------------ */

/* A line from FD, byte by byte: what follows is for others. False: none, or too long. */
static bool line_read(int fd, char *to, size_t size, size_t *len)
{
	char c;
	ssize_t n;

	*len = 0;
	while ((n = read(fd, &c, 1)) == 1 && c != '\n') {
		if (*len + 1 >= size)
			return false;
		to[(*len)++] = c;
	}
	to[*len] = '\0';
	return n >= 0 && (n == 1 || *len > 0);
}

static bool prompt(int tty, const char *question, char *to, size_t size, size_t *len)
{
	struct termios before, silent;

	if (tcgetattr(tty, &before) != 0)
		return false;
	silent = before;
	silent.c_lflag &= (tcflag_t)~ECHO;
	silent.c_lflag |= ECHONL | ICANON;
	if (write(tty, question, strlen(question)) < 0 || tcsetattr(tty, TCSAFLUSH, &silent) != 0)
		return false;
	bool got = line_read(tty, to, size, len);

	tcsetattr(tty, TCSAFLUSH, &before);
	return got;
}

static bool ask_twice(char *to, size_t size, size_t *len)
{
	char again[PASSWORD_MAX + 2];
	size_t again_len = 0;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	bool got = tty >= 0 && prompt(tty, "Password: ", to, size, len) &&
		   prompt(tty, "Again: ", again, sizeof again, &again_len);

	if (got && (again_len != *len || memcmp(to, again, *len) != 0)) {
		ctl_say("the two passwords differ");
		got = false;
	}
	explicit_bzero(again, sizeof again);
	if (tty >= 0)
		close(tty);
	return got;
}

/* From the terminal without an echo, or one line of standard input. */
static bool password_get(char *to, size_t size, size_t *len)
{
	bool terminal = isatty(STDIN_FILENO);
	bool got = terminal ? ask_twice(to, size, len) : line_read(STDIN_FILENO, to, size, len);

	if (got && !terminal && *len && to[*len - 1] == '\r')
		to[--*len] = '\0';
	if (!got)
		ctl_say("no password, or one of more than %d bytes", PASSWORD_MAX);
	else if (!*len || memchr(to, '\0', *len))
		ctl_say("the password is empty or has a NUL in it");
	return got && *len && !memchr(to, '\0', *len);
}

/* The password field of a new line: "{SCRAM-SHA-256}..." */
static bool field_get(char *to, size_t size)
{
	char password[PASSWORD_MAX + 2], text[SCRAM_TEXT_BYTES];
	struct scram_verifier verifier;
	size_t len = 0;
	bool got = password_get(password, sizeof password, &len);

	if (got) {
		got = scram_make_fresh(&verifier, (struct text){password, len});
		if (!got)
			ctl_say("no random numbers: %s", strerror(errno));
	}
	if (got) {
		scram_print(&verifier, text);
		snprintf(to, size, "{SCRAM-SHA-256}%s", text);
	}
	explicit_bzero(password, sizeof password);
	explicit_bzero(&verifier, sizeof verifier);
	return got;
}

/* -- changes -------------------------------------------------------------------------- */

static const char *result_text(enum passwd_edit result)
{
	switch (result) {
	case PASSWD_EXISTS:
		return "is there already; veredus user passwd changes the password";
	case PASSWD_MISSING:
		return "is not in the users file; veredus user add makes a user";
	case PASSWD_SAME:
		return "is so already";
	case PASSWD_DONE:
		break;
	}
	return "";
}

static enum passwd_edit disable(struct text content, struct text name, struct text field,
				struct bytes *to)
{
	(void)field;
	return passwd_set_disabled(content, name, true, to);
}

static enum passwd_edit enable(struct text content, struct text name, struct text field,
			       struct bytes *to)
{
	(void)field;
	return passwd_set_disabled(content, name, false, to);
}

static bool name_get(const struct ctl *ctl, struct text *name)
{
	if (ctl->count != 1) {
		ctl_say("one name is wanted: veredus user VERB NAME");
		return false;
	}
	*name = text_of(ctl->words[0]);
	const char *fault = passwd_name_fault(*name);

	if (fault)
		ctl_say("%s", fault);
	return !fault;
}

/* Nobody types a password to hear only then that it is of no use. */
static bool is_of_use(const struct ctl *ctl, struct text name,
		      enum passwd_edit (*make)(struct text content, struct text name,
					       struct text field, struct bytes *to))
{
	struct users_file file;
	struct bytes content = {0};
	bool opened = users_file_open(&file, ctl, false);
	enum passwd_edit result = PASSWD_DONE;

	if (opened)
		result = make(bytes_text(&file.content), name, text_of("{CRYPT}!"), &content);
	if (result == PASSWD_EXISTS || result == PASSWD_MISSING)
		ctl_say("%s %s", ctl->words[0], result_text(result));
	users_file_close(&file);
	if (content.data)
		explicit_bzero(content.data, content.size);
	bytes_free(&content);
	return opened && result != PASSWD_EXISTS && result != PASSWD_MISSING;
}

/* The password is asked for before the lock is taken: nobody waits for a person. */
static int change(struct ctl *ctl, bool with_password,
		  enum passwd_edit (*make)(struct text content, struct text name, struct text field,
					   struct bytes *to))
{
	char field[SCRAM_TEXT_BYTES + 32] = "";
	struct users_file file;
	struct bytes content = {0};
	struct text name;
	int status = 1;

	if (!name_get(ctl, &name))
		return EX_USAGE;
	if (with_password && (!is_of_use(ctl, name, make) || !field_get(field, sizeof field)))
		return 1;
	if (users_file_open(&file, ctl, true)) {
		enum passwd_edit result =
		    make(bytes_text(&file.content), name, text_of(field), &content);

		if (result == PASSWD_SAME)
			status = 0;
		else if (result == PASSWD_DONE)
			status = users_file_replace(&file, &content) ? 0 : 1;
		if (result != PASSWD_DONE)
			ctl_say("%s %s", ctl->words[0], result_text(result));
	}
	users_file_close(&file);
	if (content.data)
		explicit_bzero(content.data, content.size);
	bytes_free(&content);
	return status;
}

static int add_verb(struct ctl *ctl)
{
	return change(ctl, true, passwd_add);
}

static int passwd_verb(struct ctl *ctl)
{
	struct frozen_rows rows;
	int status = change(ctl, true, passwd_set_password);

	if (status)
		return status;
	frozen_rows_read(ctl, &rows);
	const struct frozen_row *row = frozen_rows_find(&rows, text_of(ctl->words[0]));

	if (row && row->frozen)
		ctl_say("%s stays frozen until veredus user release", ctl->words[0]);
	frozen_rows_free(&rows);
	return 0;
}

static int disable_verb(struct ctl *ctl)
{
	return change(ctl, false, disable);
}

static int enable_verb(struct ctl *ctl)
{
	return change(ctl, false, enable);
}

/* -- list ------------------------------------------------------------------------------- */

static void print_user(const struct ctl *ctl, const struct passwd_user *user,
		       const struct frozen_row *frozen)
{
	const char *scheme = user->scheme == PASSWD_SCRAM ? "SCRAM-SHA-256" : "crypt";
	const char *state = user->disabled ? "disabled" : "enabled";
	char shown[4 * LOGIN_MAX + 1], why[1200];

	if (ctl->json) {
		json_t *row = json_pack("{s:s%, s:b, s:s}", "name", user->name.data, user->name.len,
					"enabled", !user->disabled, "scheme", scheme);

		frozen_row_json(frozen, row);
		json_dumpf(row, stdout, JSON_COMPACT);
		json_decref(row);
		putchar('\n');
		return;
	}
	text_printable(shown, sizeof shown, user->name);
	printf("%-40s %-8s %s", shown, state, scheme);
	if (frozen) {
		frozen_row_say(frozen, why, sizeof why);
		printf("  %s", why);
	}
	putchar('\n');
}

/* Those of another backend, or that were taken out of the file since. */
static void print_others(const struct ctl *ctl, const struct frozen_rows *rows, const bool *printed)
{
	char shown[4 * 256 + 1], why[1200];

	for (size_t i = 0; i < rows->count; i++) {
		const struct frozen_row *row = &rows->items[i];

		if (printed[i])
			continue;
		if (ctl->json) {
			json_t *o = json_pack("{s:s}", "name", row->login);

			frozen_row_json(row, o);
			json_dumpf(o, stdout, JSON_COMPACT);
			json_decref(o);
			putchar('\n');
			continue;
		}
		text_printable(shown, sizeof shown, text_of(row->login));
		frozen_row_say(row, why, sizeof why);
		printf("%-40s %-8s %s  %s\n", shown, "-", "-", why);
	}
}

static int list_verb(struct ctl *ctl)
{
	struct users_file file = {.folder_fd = -1};
	struct passwd_user user;
	struct frozen_rows rows;
	struct text line, content;
	const char *why;
	unsigned number = 0;
	int status = 0;
	bool dovecot = ctl->config->auth_dovecot.len > 0;

	if (ctl->count) {
		ctl_say("list takes no name");
		return EX_USAGE;
	}
	frozen_rows_read(ctl, &rows);
	bool *printed = mem_new(rows.count + 1, sizeof *printed);

	/* Dovecot knows who its users are. */
	if (!dovecot && !users_file_open(&file, ctl, false))
		status = 1;
	else if (!dovecot && !file.exists)
		ctl_say("%s is not there yet; veredus user add makes it", file.path);
	content = bytes_text(&file.content);
	while (!status && passwd_next_line(&content, &line)) {
		enum passwd_kind kind = passwd_line_read(line, &user, &why);

		const struct frozen_row *row =
		    kind == PASSWD_USER ? frozen_rows_find(&rows, user.name) : NULL;

		number++;
		if (row)
			printed[row - rows.items] = true;
		if (kind == PASSWD_USER)
			print_user(ctl, &user, row);
		else if (kind == PASSWD_BROKEN)
			ctl_say("%s:%u: %s", file.path, number, why);
	}
	if (!status)
		print_others(ctl, &rows, printed);
	users_file_close(&file);
	frozen_rows_free(&rows);
	free(printed);
	return status;
}

static const struct verb verbs[] = {
    {"add", add_verb, "NAME", "a new user; the password from the terminal, or a line of input"},
    {"passwd", passwd_verb, "NAME", "another password"},
    {"disable", disable_verb, "NAME", "nobody logs in by that name any more"},
    {"enable", enable_verb, "NAME", "the same password works again"},
    {"freeze", user_freeze_verb, "NAME", "it looks taken over: out with it, its mail is held"},
    {"release", user_release_verb, "NAME [--json]", "it logs in again, its held mail goes on"},
    {"purge", user_purge_verb, "NAME [--json]", "deletes the mail of a login that is frozen"},
    {"list", list_verb, "[--json]", "all users; who is frozen, since when and why"},
    {0},
};

int user_verb(struct ctl *ctl)
{
	if (ctl->help || !ctl->count) {
		verbs_help(verbs, "veredus user", ctl->help ? stdout : stderr);
		return ctl->help ? 0 : EX_USAGE;
	}
	const struct verb *verb = verb_take(ctl, verbs, "veredus user");

	if (!verb)
		return EX_USAGE;
	return ctl_config_load(ctl) ? verb->run(ctl) : 1;
}
