/* SPDX-License-Identifier: ISC */
/* What routes log in with, as master hands it over: a line a file. */
#include "relay.h"

#include "file.h"
#include "route_login.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct relay *relay_at(const struct relays *all, unsigned index)
{
	struct relay *r = all->list;

	while (r && r->index != index)
		r = r->next;
	return r;
}

/* Where the file of that role lies: a path, or its name beside the queue; empty: there is none. */
static struct text file_of(const struct relay *r, unsigned role, char *state)
{
	struct text name = role == HANDLE_RELAY_PASSWORD	? r->route->password_file
			   : role == HANDLE_RELAY_CLIENT_SECRET ? r->route->client_secret_file
								: r->route->refresh_token_file;

	return name.len && role == HANDLE_RELAY_STATE ? text_of(route_state_name(r->route, state))
						      : name;
}

/* Master's word about that number was for another configuration's route: it says nothing of this
 * one, and who waits for the file comes again. */
static void relay_mixed_up(struct relays *all, struct relay *r)
{
	static const char why[] = "the configuration has changed meanwhile";

	r->asked = false;
	relay_go_on(r, all, WAIT_SECRET, "4.3.0", why);
	relay_go_on(r, all, WAIT_ANOTHER, NULL, NULL);
}

void relay_ask_files(struct relays *all, struct relay *r)
{
	struct channel *master = all->checker->d->master;

	if (r->asked)
		return;
	r->asked = true;
	if (r->route->password_file.len)
		channel_send_handle_ask(
		    master, &(struct msg_handle_ask){HANDLE_RELAY_PASSWORD, (uint16_t)r->index});
	if (r->route->client_secret_file.len)
		channel_send_handle_ask(master, &(struct msg_handle_ask){HANDLE_RELAY_CLIENT_SECRET,
									 (uint16_t)r->index});
	if (r->route->refresh_token_file.len)
		channel_send_handle_ask(master, &(struct msg_handle_ask){HANDLE_RELAY_REFRESH_TOKEN,
									 (uint16_t)r->index});
}

/* The first line of the file, without what surrounds it. False: WHY. */
static bool line_take(int fd, struct bytes *to, const char **why)
{
	struct bytes content = {0};

	*why = NULL;
	if (!file_take(fd, RELAY_SECRET_MAX + 2, &content)) {
		*why = "it cannot be read, is empty, or is larger than 4096 octets";
		relay_wipe(&content);
		return false;
	}
	struct text line = bytes_text(&content);
	ptrdiff_t end = text_find(line, '\n');

	if (end >= 0)
		line.len = (size_t)end;
	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	if (!line.len)
		*why = "its first line is empty";
	else if (memchr(line.data, '\0', line.len))
		*why = "its first line holds a NUL";
	else
		bytes_add(to, line.data, line.len);
	relay_wipe(&content);
	return !*why;
}

/* Takes LINE in the place of what is at TO. True when it is another. */
static bool secret_set(struct bytes *to, struct bytes *line)
{
	bool other = !text_equal(bytes_text(to), bytes_text(line));

	relay_wipe(to);
	*to = *line;
	return other;
}

static void password_arrived(struct relays *all, struct relay *r, struct bytes *line)
{
	if (secret_set(&r->password, line)) {
		r->serial++;
		OPENSSL_cleanse(&r->salted, sizeof r->salted);
	}
	relay_go_on(r, all, WAIT_SECRET, NULL, NULL);
	relay_go_on(r, all, WAIT_ANOTHER, NULL, NULL);
}

static void password_missing(struct relays *all, struct relay *r, const char *why)
{
	char name[120];

	text_printable(name, sizeof name, r->route->password_file);
	snprintf(r->fault, sizeof r->fault, "there is no password: %s: %s", name, why);
	relay_go_on(r, all, WAIT_SECRET, "4.7.0", r->fault);
	relay_go_on(r, all, WAIT_ANOTHER, NULL, NULL);
}

/* Another one than the file had: what was got by the old one counts no more. */
static void token_secret_arrived_at(struct relay *r, unsigned role, struct bytes *line)
{
	bool refresh = role == HANDLE_RELAY_REFRESH_TOKEN;

	if (!secret_set(refresh ? &r->refresh_file : &r->client_secret, line))
		return;
	r->not_before.us = 0;
	if (!refresh)
		return;
	relay_wipe(&r->refresh);
	bytes_add(&r->refresh, bytes_at(&r->refresh_file), bytes_len(&r->refresh_file));
	relay_token_drop(r, r->serial);
	relay_state_read(r);
}

/* A name is cut to what the message holds. */
static bool handle_is_of(const struct relay *r, const struct msg_handle *m)
{
	char state[ROUTE_STATE_BYTES];
	struct text want = file_of(r, m->role, state);

	if (want.len > HANDLE_NAME_MAX)
		want.len = HANDLE_NAME_MAX;
	return want.len && text_equal(want, m->name);
}

void relays_handle(struct relays *all, const struct msg_handle *m, int fd)
{
	struct bytes line = {0};
	const char *why;
	unsigned role = m->role;

	relays_follow(all);
	struct relay *r = relay_at(all, m->index);

	if (!r || !handle_is_of(r, m)) { /* of another configuration */
		close(fd);
		if (r)
			relay_mixed_up(all, r);
		return;
	}
	if (role == HANDLE_RELAY_STATE) {
		relay_state_open(r, fd);
		return;
	}
	r->asked = false;
	if (line_take(fd, &line, &why)) {
		if (role == HANDLE_RELAY_PASSWORD)
			password_arrived(all, r, &line);
		else
			token_secret_arrived_at(r, role, &line);
	} else if (role == HANDLE_RELAY_PASSWORD) {
		password_missing(all, r, why);
	} else {
		log_warning(all->checker->d->log, "route %s: %s: %s", r->label,
			    role == HANDLE_RELAY_CLIENT_SECRET ? "client-secret-file"
							       : "refresh-token-file",
			    why);
	}
}

void relays_handle_none(struct relays *all, unsigned role, unsigned index, struct text why)
{
	struct relay *r = relay_at(all, index);
	char text[160], state[ROUTE_STATE_BYTES];

	if (!r)
		return;
	/* Master's words begin with the path. */
	struct text path = file_of(r, role, state);

	if (!path.len || why.len <= path.len || why.data[path.len] != ':' ||
	    !text_equal((struct text){why.data, path.len}, path)) {
		relay_mixed_up(all, r);
		return;
	}
	r->asked = false;
	text_printable(text, sizeof text,
		       text_trim((struct text){why.data + path.len + 1, why.len - path.len - 1}));
	if (role == HANDLE_RELAY_PASSWORD)
		password_missing(all, r, text);
}
