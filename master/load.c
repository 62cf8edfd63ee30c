/* SPDX-License-Identifier: ISC */
/* Loading the configuration file. */
#include "load.h"

#include "mem.h"
#include "tls_check.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 1024 * 1024, CANONICAL_MAX = 1048576, LINE_BYTES = 4608, NAME_BYTES = 256 };

struct report {
	const char *path;
	void (*say)(void *arg, const char *line, bool warning);
	void *arg;
};

static void report_file(const struct report *r, const char *what)
{
	char line[LINE_BYTES];

	snprintf(line, sizeof line, "%.4000s: %s", r->path, what);
	r->say(r->arg, line, false);
}

static void report_errors(const struct report *r, const struct config_errors *errors)
{
	char line[LINE_BYTES];

	for (size_t i = 0; i < errors->count; i++) {
		const struct config_error *e = &errors->items[i];
		const char *kind = e->warning ? "warning: " : "";

		if (e->line)
			snprintf(line, sizeof line, "%.4000s:%u:%u: %s%s", r->path, e->line,
				 e->column, kind, e->text);
		else
			snprintf(line, sizeof line, "%.4000s: %s%s", r->path, kind, e->text);
		r->say(r->arg, line, e->warning);
	}
}

static bool file_read(const struct report *r, struct bytes *to)
{
	int fd = open(r->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = -1;

	if (fd >= 0) {
		do {
			n = read(fd, bytes_room(to, 65536), 65536);
			if (n > 0)
				to->end += (size_t)n;
		} while ((n > 0 && bytes_len(to) <= FILE_MAX) || (n < 0 && errno == EINTR));
	}
	if (n < 0)
		report_file(r, strerror(errno));
	else if (n > 0)
		report_file(r, "larger than a configuration can be");
	if (fd >= 0)
		close(fd);
	return n == 0;
}

/* RFC 5321 4.1.1.1 wants a fully qualified name in EHLO. */
static void hostname_default(struct config *config)
{
	char name[NAME_BYTES] = "";
	struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM},
			*found = NULL;
	const char *best = name;

	if (config->hostname.len)
		return;
	if (gethostname(name, sizeof name - 1) != 0 || !*name)
		snprintf(name, sizeof name, "localhost");
	if (!strchr(name, '.') && getaddrinfo(name, NULL, &hints, &found) == 0 &&
	    found->ai_canonname && strchr(found->ai_canonname, '.') &&
	    strlen(found->ai_canonname) < NAME_BYTES)
		best = found->ai_canonname;
	const char *copy = arena_copy(config->arena, best, strlen(best));

	if (copy)
		config->hostname = text_of(copy);
	if (found)
		freeaddrinfo(found);
}

struct config *load_config(const char *path, struct bytes *canonical,
			   void (*say)(void *arg, const char *line, bool warning), void *arg)
{
	const struct report report = {path, say, arg};
	struct bytes content = {0};
	struct config_errors errors = {0};
	struct config *config = NULL;

	if (!file_read(&report, &content))
		goto out;
	config = config_read(bytes_text(&content), &errors);
	if (config) {
		hostname_default(config);
		bool good = config_check_machine(config, &errors);

		if (!tls_check(config, TLS_CHECK_ALL, true, &errors) || !good)
			config_drop(&config);
	}
	report_errors(&report, &errors);
	if (!config)
		goto out;
	config_print(config, canonical);
	if (bytes_len(canonical) > CANONICAL_MAX) {
		report_file(&report, "larger than a configuration can be");
		config_drop(&config);
	}
out:
	config_errors_free(&errors);
	bytes_free(&content);
	return config;
}
