/* SPDX-License-Identifier: ISC */
/* Part of sink.c: the command line, and the rules of behaviour that it sets. */
#ifndef SINK_OPTIONS_H
#define SINK_OPTIONS_H

#include "sink_state.h"

static struct bench_address listen_address(const char *text)
{
	struct bench_address address = {.length = sizeof(struct sockaddr_un)};
	struct sockaddr_un *local = (struct sockaddr_un *)&address.socket;
	if (text[0] != '/')
		return address_parse(text);
	if (strlen(text) >= sizeof local->sun_path)
		bench_die("%s: too long", text);
	local->sun_family = AF_UNIX;
	strcpy(local->sun_path, text);
	return address;
}

static void sink_listen(const char *text)
{
	struct bench_address address = listen_address(text);
	int on = 1;
	if (self.listener_count == SINK_LISTENERS)
		bench_die("too many --listen");
	struct conn *listener = &self.listeners[self.listener_count++];
	listener->listener = true;
	listener->fd =
	    socket(address.socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener->fd, (struct sockaddr *)&address.socket, address.length) != 0 ||
	    listen(listener->fd, 4096) != 0)
		bench_die("%s: %s", text, strerror(errno));
}

/* "450 4.7.1 a text" or hang, reset, close. */
static void rule_add(enum sink_stage stage, const char *address, const char *text)
{
	if (self.rule_count == SINK_RULES)
		bench_die("too many rules");
	struct sink_rule *rule = &self.rules[self.rule_count++];
	rule->stage = stage;
	rule->address = address;
	rule->text = text;
	rule->left = UINT64_MAX;
	if (strcmp(text, "hang") == 0)
		rule->action = ACTION_HANG;
	else if (strcmp(text, "reset") == 0)
		rule->action = ACTION_RESET;
	else if (strcmp(text, "close") == 0)
		rule->action = ACTION_CLOSE;
	else if (strlen(text) >= 3 && text[0] >= '2' && text[0] <= '5')
		rule->action = ACTION_REPLY;
	else
		bench_die("'%s' is neither a reply nor hang, reset or close", text);
}

/* The stage whose name is the first `n` octets, or SINK_STAGES. */
static unsigned stage_find(const char *name, size_t n)
{
	unsigned i = 0;
	while (i < SINK_STAGES &&
	       (strlen(sink_stages[i]) != n || strncmp(name, sink_stages[i], n) != 0))
		i++;
	return i;
}

/* STAGE=ACTION, as one argument. */
static void rule_add_pair(const char *pair)
{
	size_t n = strcspn(pair, "=");
	unsigned stage = stage_find(pair, n);
	if (stage == SINK_STAGES || pair[n] != '=')
		bench_die("--behaviour %s: STAGE=ACTION, the stages are greeting ehlo mail rcpt "
			  "data dot rset quit",
			  pair);
	rule_add((enum sink_stage)stage, NULL, pair + n + 1);
}

/* The option reply-STAGE. */
static void rule_add_reply(const char *option, const char *text)
{
	const char *name = option + strlen("reply-");
	rule_add((enum sink_stage)stage_find(name, strlen(name)), NULL, text);
}

/* ADDRESS=ACTION: the answer to RCPT for that address. */
static void rule_add_for(char *pair)
{
	char *equals = strrchr(pair, '=');
	if (equals == NULL)
		bench_die("--reply-for %s: ADDRESS=ACTION", pair);
	*equals = '\0';
	rule_add(STAGE_RCPT, pair, equals + 1);
}

static void extensions_change(char *list, bool on)
{
	for (char *save = NULL, *name = strtok_r(list, ",", &save); name != NULL;
	     name = strtok_r(NULL, ",", &save)) {
		size_t i = 0;
		while (i < SINK_EXTENSIONS && strcasecmp(name, sink_extensions[i].name) != 0)
			i++;
		if (i == SINK_EXTENSIONS)
			bench_die("no extension '%s'", name);
		self.extensions = on ? self.extensions | sink_extensions[i].bit
				     : self.extensions & ~sink_extensions[i].bit;
	}
}

enum sink_option {
	OPTION_LISTEN,
	OPTION_DELAY,
	OPTION_AWAY,
	OPTION_EXPECT,
	OPTION_TIMEOUT,
	OPTION_LINGER,
	OPTION_BEHAVIOUR,
	OPTION_REPLY_FOR,
	OPTION_REPLY,
	OPTION_FAIL_FIRST,
	OPTION_DUMP,
	OPTION_MAX,
	OPTION_SIZE_LIMIT,
	OPTION_WITH,
	OPTION_WITHOUT,
	OPTION_READY,
	OPTION_ARRIVED,
	OPTION_CERTIFICATE,
	OPTION_KEY,
	OPTION_LMTP
};

static const struct option sink_options[] = {
    {"listen", 1, NULL, OPTION_LISTEN},
    {"delay-ms", 1, NULL, OPTION_DELAY},
    {"away-ms", 1, NULL, OPTION_AWAY},
    {"expect", 1, NULL, OPTION_EXPECT},
    {"timeout", 1, NULL, OPTION_TIMEOUT},
    {"linger-ms", 1, NULL, OPTION_LINGER},
    {"behaviour", 1, NULL, OPTION_BEHAVIOUR},
    {"reply-for", 1, NULL, OPTION_REPLY_FOR},
    {"reply-mail", 1, NULL, OPTION_REPLY},
    {"reply-rcpt", 1, NULL, OPTION_REPLY},
    {"reply-data", 1, NULL, OPTION_REPLY},
    {"reply-dot", 1, NULL, OPTION_REPLY},
    {"fail-first", 1, NULL, OPTION_FAIL_FIRST},
    {"dump", 1, NULL, OPTION_DUMP},
    {"max-connections", 1, NULL, OPTION_MAX},
    {"size-limit", 1, NULL, OPTION_SIZE_LIMIT},
    {"with", 1, NULL, OPTION_WITH},
    {"without", 1, NULL, OPTION_WITHOUT},
    {"ready-file", 1, NULL, OPTION_READY},
    {"arrived-list", 1, NULL, OPTION_ARRIVED},
    {"certificate", 1, NULL, OPTION_CERTIFICATE},
    {"key", 1, NULL, OPTION_KEY},
    {"lmtp", 0, NULL, OPTION_LMTP},
    {NULL, 0, NULL, 0},
};

struct sink_number {
	uint64_t *value;
	uint64_t most;
	uint64_t unit;
};

static const struct sink_number sink_numbers[] = {
    [OPTION_AWAY] = {&self.delay_ns, 3600000, BENCH_NS_PER_MS},
    [OPTION_DELAY] = {&self.delay_ns, 3600000, BENCH_NS_PER_MS},
    [OPTION_EXPECT] = {&self.expect, SINK_NUMBER_MOST, 1},
    [OPTION_TIMEOUT] = {&self.timeout_s, 1000000, 1},
    [OPTION_LINGER] = {&self.linger_ns, 3600000, BENCH_NS_PER_MS},
    [OPTION_FAIL_FIRST] = {&self.fail_first, UINT64_MAX - 1, 1},
    [OPTION_MAX] = {&self.max_connections, 1000000, 1},
    [OPTION_SIZE_LIMIT] = {&self.size_limit, UINT64_C(1) << 32, 1},
};

static void number_set(const struct sink_number *number, const char *name)
{
	*number->value = bench_number(name, optarg, number->most) * number->unit;
}

static void sink_option_set(int option, const char *name)
{
	switch ((enum sink_option)option) {
	case OPTION_LISTEN:
		sink_listen(optarg);
		break;
	case OPTION_AWAY:
		self.away = true;
		number_set(&sink_numbers[option], name);
		break;
	case OPTION_DELAY:
	case OPTION_EXPECT:
	case OPTION_TIMEOUT:
	case OPTION_LINGER:
	case OPTION_FAIL_FIRST:
	case OPTION_MAX:
	case OPTION_SIZE_LIMIT:
		number_set(&sink_numbers[option], name);
		break;
	case OPTION_BEHAVIOUR:
		rule_add_pair(optarg);
		break;
	case OPTION_REPLY_FOR:
		rule_add_for(optarg);
		break;
	case OPTION_REPLY:
		rule_add_reply(name, optarg);
		break;
	case OPTION_DUMP:
		self.dump = optarg;
		break;
	case OPTION_WITH:
		extensions_change(optarg, true);
		break;
	case OPTION_WITHOUT:
		extensions_change(optarg, false);
		break;
	case OPTION_READY:
		self.ready_file = optarg;
		break;
	case OPTION_CERTIFICATE:
		self.certificate = optarg;
		break;
	case OPTION_KEY:
		self.key = optarg;
		break;
	case OPTION_LMTP:
		self.lmtp = true;
		break;
	case OPTION_ARRIVED:
		self.arrived_list = fopen(optarg, "we");
		if (self.arrived_list == NULL)
			bench_die("%s: %s", optarg, strerror(errno));
		break;
	}
}

static void sink_arguments(int argc, char **argv)
{
	for (;;) {
		int index = 0;
		int option = getopt_long(argc, argv, "", sink_options, &index);
		if (option < 0)
			break;
		if (option == '?') {
			for (const struct option *row = sink_options; row->name != NULL; row++)
				fprintf(stderr, "  --%s\n", row->name);
			bench_die("(the comment that begins bench/sink.c explains them)");
		}
		sink_option_set(option, sink_options[index].name);
	}
	if (self.listener_count == 0 || optind != argc)
		bench_die("usage: sink --listen ADDRESS:PORT|/PATH [...]");
	if (self.fail_first > 0) {
		for (unsigned i = 0; i < self.rule_count; i++)
			self.rules[i].left = self.fail_first;
	}
	if (self.dump != NULL &&
	    (strlen(self.dump) > 4096 || (mkdir(self.dump, 0755) != 0 && errno != EEXIST)))
		bench_die("%s: %s", self.dump, strerror(errno));
}

#endif
