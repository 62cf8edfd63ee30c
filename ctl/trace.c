/* SPDX-License-Identifier: ISC */
/* veredus trace: a message's story, from the logger's history. */
#include "ctl.h"

#include "history_trace.h"
#include "print.h"
#include "queue_id.h"

#include <fcntl.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* Calls for each {name} of an event's line, with its number, or for the plain text between them. */
static void each_part(const char *line, const struct history_event *e,
		      void (*plain)(struct text t, void *arg),
		      void (*value)(struct text name, struct text t, void *arg), void *arg)
{
	size_t number = 0;

	while (*line) {
		const char *open = strchr(line, '{');
		const char *close = open ? strchr(open, '}') : NULL;

		if (!close) {
			plain(text_of(line), arg);
			return;
		}
		plain((struct text){line, (size_t)(open - line)}, arg);
		value((struct text){open + 1, (size_t)(close - open) - 1},
		      number < e->count ? e->values[number] : (struct text){"", 0}, arg);
		number++;
		line = close + 1;
	}
}

static void plain_text(struct text t, void *arg)
{
	(void)arg;
	fwrite(t.data, 1, t.len, stdout);
}

static void value_text(struct text name, struct text t, void *arg)
{
	(void)name;
	(void)arg;
	print_text(t, stdout);
}

static void no_plain(struct text t, void *arg)
{
	(void)t;
	(void)arg;
}

static void value_json(struct text name, struct text t, void *arg)
{
	char key[64];

	text_copy(key, sizeof key, name);
	json_object_set_new(arg, key, json_text(t));
}

static void event_text(const struct history_event *e)
{
	const struct event_row *row = event_row(e->what);
	char when[WALLTIME_TEXT_BYTES], id[QUEUE_ID_BYTES];

	walltime_rfc3339((struct walltime){(int64_t)e->wall}, when);
	printf("%s %s", when, peer_name(e->daemon));
	if (e->id)
		printf(" %s:", queue_id_print(e->id, id));
	putchar(' ');
	if (row)
		each_part(row->line, e, plain_text, value_text, NULL);
	else
		printf("event %u of a newer version", e->what);
	putchar('\n');
}

static void event_json(const struct history_event *e)
{
	const struct event_row *row = event_row(e->what);
	json_t *o = json_object();
	char when[WALLTIME_TEXT_BYTES], id[QUEUE_ID_BYTES];

	walltime_rfc3339((struct walltime){(int64_t)e->wall}, when);
	json_object_set_new(o, "time", json_string(when));
	json_object_set_new(o, "daemon", json_string(peer_name(e->daemon)));
	json_object_set_new(o, "pid", json_u64(e->pid));
	json_object_set_new(o, "event", json_string(row ? row->name : "?"));
	if (e->id)
		json_object_set_new(o, "queue_id", json_string(queue_id_print(e->id, id)));
	if (row)
		each_part(row->line, e, no_plain, value_json, o);
	json_print(o, stdout);
}

static int print_trace(const struct ctl *ctl, const struct trace *t)
{
	for (size_t i = 0; i < t->count; i++)
		(ctl->json ? event_json : event_text)(&t->events[i]);
	if (t->damaged)
		ctl_say("%llu damaged places of the history were skipped",
			(unsigned long long)t->damaged);
	if (t->cut)
		ctl_say("there is more than is shown: ask for less, by queue ID");
	if (t->count)
		return 0;
	ctl_say("the history knows nothing of it; it goes back %lld days at most",
		(long long)seconds_of(ctl->config->history_keep) / 86400);
	return 1;
}

int trace_verb(struct ctl *ctl)
{
	struct trace trace = {0};
	char path[4200];
	int status;

	if (ctl->count != 1 || !*ctl->words[0]) {
		ctl_say("usage: veredus trace ID|MESSAGE-ID|ADDRESS|LOGIN [--json]");
		return EX_USAGE;
	}
	if (!ctl_config_load(ctl))
		return 1;
	ctl_path(ctl, "history", path, sizeof path);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return ctl_say_path(path);
	int error = trace_read(fd, text_of(ctl->words[0]), &trace);

	if (error) {
		ctl_say("%s: %s", path, strerror(error));
		status = EX_IOERR;
	} else {
		status = print_trace(ctl, &trace);
	}
	trace_free(&trace);
	close(fd);
	return status;
}
