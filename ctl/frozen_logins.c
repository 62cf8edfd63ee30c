/* SPDX-License-Identifier: ISC */
/* Asking about frozen logins, and settling them. */
#include "frozen_logins.h"

#include "mem.h"
#include "passwd_file.h"
#include "print.h"
#include "queue_verbs.h"
#include "users_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { ASK_SECONDS = 3 };

bool frozen_rows_ask(struct control *control, struct frozen_rows *rows)
{
	struct msg_logins_ask ask = {.request = 1};
	struct rec_frozen_login r;
	struct message m;

	*rows = (struct frozen_rows){0};
	if (!control_ask(control, MSG_logins_ask, &ask, MSG_logins_are, &m))
		return false;
	struct wire_list list = m.logins_are.logins;

	rows->known = m.logins_are.known != 0;
	rows->items = mem_new(list.count + 1, sizeof *rows->items);
	while (list_next_frozen_login(&list, &r)) {
		struct frozen_row *row = &rows->items[rows->count++];

		text_copy(row->login, sizeof row->login, r.login);
		text_copy(row->why, sizeof row->why, r.why);
		row->since.us = (int64_t)r.since_wall;
		row->frozen = r.frozen != 0;
	}
	return true;
}

void frozen_rows_read(const struct ctl *ctl, struct frozen_rows *rows)
{
	struct control *control = control_try(ctl, ASK_SECONDS);

	*rows = (struct frozen_rows){0};
	if (control)
		(void)frozen_rows_ask(control, rows);
	control_close(&control);
}

void frozen_rows_free(struct frozen_rows *rows)
{
	free(rows->items);
	*rows = (struct frozen_rows){0};
}

const struct frozen_row *frozen_rows_find(const struct frozen_rows *rows, struct text login)
{
	for (size_t i = 0; i < rows->count; i++)
		if (text_equal_case(text_of(rows->items[i].login), login))
			return &rows->items[i];
	return NULL;
}

void frozen_row_say(const struct frozen_row *row, char *to, size_t size)
{
	char when[WALLTIME_TEXT_BYTES], why[4 * sizeof row->why];

	walltime_rfc3339(row->since, when);
	text_printable(why, sizeof why, text_of(row->why));
	/* Without the fraction of the second. */
	snprintf(to, size, "%s since %.19s%s: %s", row->frozen ? "frozen" : "looks taken over",
		 when, when + strlen(when) - strlen("+00:00"), why);
}

void frozen_row_json(const struct frozen_row *row, json_t *to)
{
	json_object_set_new(to, "frozen", json_boolean(row && row->frozen));
	json_object_set_new(to, "suspect", json_boolean(row != NULL));
	if (!row)
		return;
	json_object_set_new(to, "why", json_text(text_of(row->why)));
	json_object_set_new(to, "since", json_u64((uint64_t)row->since.us / 1000000));
}

/* -- verbs -------------------------------------------------------------------------------- */

static const char *result_text(uint8_t result)
{
	switch ((enum login_result)result) {
	case LOGIN_CHANGED:
	case LOGIN_SAME:
		return NULL;
	case LOGIN_FULL:
		return "so many logins are frozen that there is no room for one more";
	case LOGIN_AWAY:
		return "limits can't be asked now, try again";
	}
	return "an answer of another version";
}

/* NULL when the words are no login. */
static const char *login_of(const struct ctl *ctl)
{
	if (ctl->count == 1 && *ctl->words[0] && strlen(ctl->words[0]) <= 255)
		return ctl->words[0];
	ctl_say("one name is wanted: veredus user VERB NAME");
	return NULL;
}

/* 0, or an exit status. *SAME: it was so already. */
static int settle(const struct ctl *ctl, const char *login, enum login_action action, bool *same)
{
	struct msg_login_act act = {
	    .request = 1, .action = (uint8_t)action, .login = text_of(login)};
	struct message m;
	int status;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	status = EX_UNAVAILABLE;
	if (control_ask(control, MSG_login_act, &act, MSG_login_acted, &m)) {
		const char *fault = result_text(m.login_acted.result);

		*same = m.login_acted.result == LOGIN_SAME;
		status = fault ? 1 : 0;
		if (fault)
			ctl_say("%s", fault);
	}
	control_close(&control);
	return status;
}

static void say_done(const struct ctl *ctl, const char *login, const char *text)
{
	char shown[4 * 255 + 1];

	text_printable(shown, sizeof shown, text_of(login));
	if (!ctl->json)
		printf("%s %s\n", shown, text);
}

/* A name that nobody has is a mistake; what other backends know is not known here. */
static bool is_user(const struct ctl *ctl, const char *login)
{
	struct users_file file;
	struct passwd_user user;
	struct text content, line;
	const char *why;
	bool found = ctl->config->auth_users.len == 0;

	if (found)
		return true;
	if (users_file_open(&file, ctl, false)) {
		content = bytes_text(&file.content);
		while (!found && passwd_next_line(&content, &line))
			found = passwd_line_read(line, &user, &why) == PASSWD_USER &&
				passwd_same_name(user.name, text_of(login));
		if (!found)
			ctl_say("%s is not in the users file", login);
	}
	users_file_close(&file);
	return found;
}

int user_freeze_verb(struct ctl *ctl)
{
	const char *login = login_of(ctl);
	bool same = false;

	if (!login)
		return EX_USAGE;
	if (!is_user(ctl, login))
		return 1;
	int status = settle(ctl, login, LOGIN_FREEZE, &same);

	if (!status)
		say_done(ctl, login, same ? "is frozen already" : "is frozen, its mail is held");
	return status;
}

int user_release_verb(struct ctl *ctl)
{
	const char *login = login_of(ctl);
	bool same = false;

	if (!login)
		return EX_USAGE;
	int status = settle(ctl, login, LOGIN_RELEASE, &same);

	if (status)
		return status;
	/* Its mail goes on in any case: the last call may have ended between the two. */
	say_done(ctl, login, same ? "is not frozen" : "is released");
	return queue_act_on_login(ctl, login, ACTION_RELEASE);
}

int user_purge_verb(struct ctl *ctl)
{
	const char *login = login_of(ctl);
	struct frozen_rows rows;
	int status;

	if (!login)
		return EX_USAGE;
	struct control *control = control_open(ctl, &status);

	if (!control)
		return status;
	bool asked = frozen_rows_ask(control, &rows);
	const struct frozen_row *row = asked ? frozen_rows_find(&rows, text_of(login)) : NULL;
	bool frozen = row && row->frozen;

	frozen_rows_free(&rows);
	control_close(&control);
	if (!asked)
		return EX_UNAVAILABLE;
	if (!frozen) {
		/* Of one that goes on sending it would be gone at once. */
		ctl_say("it is not frozen, and nothing was deleted: veredus user freeze NAME");
		return 1;
	}
	return queue_act_on_login(ctl, login, ACTION_DELETE);
}
