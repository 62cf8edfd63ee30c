/* SPDX-License-Identifier: ISC */
/* Plans that need what the process table knows: what is asked for, and what comes of it. */
#include "plan.h"
#include "table_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *rows(struct text table, const char *key, char *room, size_t size)
{
	static const struct {
		const char *table, *key, *value;
	} all[] = {
	    {"pcre:/b", "ann@b.example", "ann/"},
	    {"pcre:/b", "out@b.example", "../out/"},
	    {"pcre:/b", "slow@b.example", "!"},
	    {"cidr:/c", "192.0.2.1", "c/"},
	    {"pcre:/a", "team", "bob, carol+x, team2, dave@else.example"},
	    {"pcre:/a", "team2", "\\eve, team, bob"},
	    {"pcre:/a", "owner-team", "boss"},
	    {"pcre:/a", "run", "\"|/bin/true\""},
	    {"pcre:/a", "file", "ann, /dev/null"},
	    {"pcre:/a", "list", ":include:/etc/passwd"},
	    {"pcre:/a", "broken", "a@@b"},
	    {"pcre:/a", "partly", "bob, slow"},
	    {"pcre:/a", "slow", "!"},
	    {"pcre:/a", "many", "many1, many2, many3"},
	};
	unsigned long n;

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (text_equals(table, all[i].table) && strcmp(all[i].key, key) == 0)
			return all[i].value;
	if (!text_equals(table, "pcre:/a"))
		return NULL;
	if (sscanf(key, "deep%lu", &n) == 1) {
		snprintf(room, size, "deep%lu", n + 1);
		return room;
	}
	if (sscanf(key, "many%lu", &n) != 1)
		return NULL;
	*room = '\0';
	for (size_t at = 0; at + 10 < size; at += 7)
		snprintf(room + at, size - at, "x%lu%04zu,", n, at / 7);
	return room;
}

static struct config *config_make(void)
{
	struct config_errors errors = {0};
	struct config *c = config_read(
	    text_of("hostname = here.example\nroute * { to = local }\nlocal { aliases = pcre:/a }\n"
		    "virtual b.example { mailboxes = pcre:/b root = /r user = u }\n"
		    "virtual c.example { mailboxes = cidr:/c root = /r user = u }\n"),
	    &errors);

	config_errors_free(&errors);
	assert_non_null(c);
	return c;
}

static void ready(void *owner)
{
	++*(unsigned *)owner;
}

struct world {
	struct loop *loop;
	struct config *config;
	struct table_play table;
	struct planner planner;
	struct answers *answers;
	unsigned ready;
};

static void world_begin(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->loop = loop_new();
	w->config = config_make();
	w->table.says = rows;
	table_play_begin(&w->table, w->loop);
	w->planner.aliases.log = w->planner.tables.log = log_new(w->loop, "test");
	w->planner.aliases.tables = &w->planner.tables;
	w->answers = answers_new(w->table.lookups, ready, &w->ready);
}

static void world_end(struct world *w)
{
	answers_free(&w->answers);
	table_play_end(&w->table);
	users_free(&w->planner.users);
	log_free(&w->planner.tables.log);
	config_drop(&w->config);
	loop_free(&w->loop);
}

static void until_ready(struct world *w, unsigned count)
{
	for (int i = 0; w->ready < count && i < 1000; i++)
		loop_turn(w->loop, MILLISECONDS(10));
	assert_int_equal(w->ready, count);
}

static void test_answers(void **state)
{
	static const struct text a = TEXT("pcre:/a"), b = TEXT("pcre:/b");
	struct text value;
	struct world w;

	(void)state;
	world_begin(&w);
	assert_int_equal(answers_find(NULL, a, text_of("team"), &value), TABLE_FAILED);
	assert_false(answers_lack(NULL));
	assert_false(answers_lack(w.answers));
	assert_int_equal(answers_find(w.answers, a, text_of("owner-team"), &value), TABLE_FAILED);
	assert_int_equal(answers_find(w.answers, b, text_of("owner-team"), &value), TABLE_FAILED);
	assert_int_equal(answers_find(w.answers, b, text_of("slow@b.example"), &value),
			 TABLE_FAILED);
	assert_true(answers_lack(w.answers));
	assert_false(answers_ask(w.answers));
	assert_false(answers_lack(w.answers));
	until_ready(&w, 1);
	assert_int_equal(w.table.asked, 3);
	assert_int_equal(answers_find(w.answers, a, text_of("owner-team"), &value), TABLE_FOUND);
	assert_true(text_equals(value, "boss"));
	assert_int_equal(answers_find(w.answers, b, text_of("owner-team"), &value), TABLE_ABSENT);
	assert_int_equal(answers_find(w.answers, b, text_of("slow@b.example"), &value),
			 TABLE_FAILED);
	assert_false(answers_lack(w.answers));
	/* What is wanted no more is told to nobody. */
	w.table.silent = true;
	answers_find(w.answers, a, text_of("bob"), &value);
	assert_false(answers_ask(w.answers));
	for (int i = 0; !w.table.later && i < 100; i++)
		loop_turn(w.loop, MILLISECONDS(10));
	answers_free(&w.answers);
	table_play_speak(&w.table, "x");
	for (int i = 0; i < 10; i++)
		loop_turn(w.loop, MILLISECONDS(1));
	assert_int_equal(w.ready, 1);
	/* Nobody there: it is known at once that nothing can be known. */
	w.answers = answers_new(w.table.lookups, ready, &w.ready);
	table_play_close(&w.table);
	answers_find(w.answers, a, text_of("team"), &value);
	assert_true(answers_ask(w.answers));
	assert_int_equal(answers_find(w.answers, a, text_of("team"), &value), TABLE_FAILED);
	assert_false(answers_lack(w.answers));
	assert_int_equal(w.ready, 1);
	world_end(&w);
}

/* As many as there may be, and no more; nor more octets. */
static void test_answers_bounds(void **state)
{
	struct text table = TEXT("pcre:/a"), value;
	char key[TABLE_KEY_MAX + 1];
	struct world w;

	(void)state;
	world_begin(&w);
	for (unsigned i = 0; i < ANSWERS_MAX; i++) {
		snprintf(key, sizeof key, "x%u", i);
		answers_find(w.answers, table, text_of(key), &value);
	}
	assert_false(answers_are_too_many(w.answers));
	answers_find(w.answers, table, text_of("one more"), &value);
	assert_true(answers_are_too_many(w.answers));
	answers_free(&w.answers);
	w.answers = answers_new(w.table.lookups, ready, &w.ready);
	memset(key, 'x', sizeof key);
	for (unsigned i = 0; !answers_are_too_many(w.answers); i++) {
		assert_true(i < ANSWERS_MAX);
		snprintf(key, sizeof key, "%0500u", i);
		answers_find(w.answers, table, text_of(key), &value);
	}
	world_end(&w);
}

/* What plan_knows() says of ADDRESS in the end. */
static unsigned knows(struct world *w, const char *address)
{
	unsigned verdict = 99, rounds = w->ready;

	answers_free(&w->answers);
	w->answers = answers_new(w->table.lookups, ready, &w->ready);
	assert_true(plan_asks(w->config, text_of(address)));
	w->table.keys[0] = '\0';
	while (!plan_knows(&w->planner, w->config, w->answers, text_of(address), &verdict))
		until_ready(w, ++rounds);
	return verdict;
}

static void test_knows(void **state)
{
	static const struct {
		const char *address;
		unsigned verdict;
		const char *keys;
	} all[] = {
	    {"ann@b.example", TABLE_FOUND, "ann@b.example "},
	    {"Ann+Lists@B.Example", TABLE_FOUND, "ann+lists@b.example ann@b.example "},
	    {"\"ann\"@b.example", TABLE_FOUND, "ann@b.example "},
	    /* Neither the local part alone nor the domain is tried. */
	    {"team+x@b.example", TABLE_ABSENT, "team+x@b.example team@b.example "},
	    {"postmaster@b.example", TABLE_FOUND, "postmaster@b.example "},
	    {"out@b.example", TABLE_FAILED, "out@b.example "},
	    {"slow@b.example", TABLE_FAILED, "slow@b.example "},
	    {"192.0.2.1@c.example", TABLE_FOUND, "192.0.2.1@c.example 192.0.2.1 "},
	    {"bob@c.example", TABLE_ABSENT, "bob@c.example bob @c.example "},
	    {"TEAM@here.example", TABLE_FOUND, "team "},
	    {"team+x@here.example", TABLE_FOUND, "team+x team "},
	    {"nobody-such@here.example", TABLE_ABSENT, "nobody-such "},
	    {"run@here.example", TABLE_FAILED, "run "},
	    {"file@here.example", TABLE_FAILED, "file "},
	    {"list@here.example", TABLE_FAILED, "list "},
	    {"slow@here.example", TABLE_FAILED, "slow "},
	};
	struct world w;

	(void)state;
	world_begin(&w);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (knows(&w, all[i].address) != all[i].verdict ||
		    strcmp(w.table.keys, all[i].keys) != 0)
			fail_msg("%s: %u, asked for %s", all[i].address, knows(&w, all[i].address),
				 w.table.keys);
	table_play_close(&w.table);
	assert_int_equal(knows(&w, "nobody-such@b.example"), TABLE_FAILED);
	assert_int_equal(knows(&w, "nobody-such@here.example"), TABLE_FAILED);
	world_end(&w);
}

/* A job for ADDRESS of SENDER, whose recipient has the world's answers. */
static struct job *job_for(struct world *w, const char *address, const char *sender)
{
	struct bytes list = {0};

	rec_job_recipient_encode(&list, &(struct rec_job_recipient){.address = text_of(address)});
	struct msg_job m = {.job = 1,
			    .how = HOP_LOCAL,
			    .domain = TEXT("here.example"),
			    .sender = text_of(sender),
			    .recipients = {1, bytes_text(&list)},
			    .prelude = TEXT("A: b\r\n\r\n")};
	struct job *job = job_new(&m, -1);

	assert_non_null(job);
	job->config = config_keep(w->config);
	job->recipients[0].answers = answers_new(w->table.lookups, ready, &w->ready);
	bytes_free(&list);
	return job;
}

/* What becomes of mail for ADDRESS: "DSN address[target] ..." */
static const char *settled(struct world *w, const char *address, const char *sender)
{
	static struct plan plan;
	static char out[4000];
	struct job *job = job_for(w, address, sender);
	struct result r = {0};
	struct addition a;
	unsigned rounds = w->ready;
	enum plan_verdict verdict;

	while ((verdict = plan_recipient(&w->planner, job, job->recipients, &plan, &r)) ==
	       PLAN_WAITS) {
		assert_int_equal(r.added, 0);
		until_ready(w, ++rounds);
	}
	assert_int_equal(verdict, PLAN_SETTLED);
	size_t len = (size_t)snprintf(out, sizeof out, "%s", r.dsn);

	for (struct text each = result_additions(&r); result_next(&each, &a);)
		len +=
		    (size_t)snprintf(out + len, sizeof out - len, " %.*s%.*s", (int)a.address.len,
				     a.address.data, (int)a.target.len, a.target.data);
	result_free(&r);
	job_free(&job);
	return out;
}

static void test_aliases(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	assert_string_equal(settled(&w, "TEAM@here.example", "s@x.example"),
			    "2.1.5 bob@here.example carol+x@here.example eve@here.example\\ "
			    "team@here.example~ bob@here.example dave@else.example");
	assert_non_null(strstr(w.table.keys, "owner-team "));
	/* A notification's members have no owner, and his alias is not looked at. */
	w.table.keys[0] = '\0';
	settled(&w, "team@here.example", "");
	assert_null(strstr(w.table.keys, "owner-"));
	for (const char *const *name =
		 (const char *const[]){"run", "file", "list", "broken", "slow", "partly", NULL};
	     *name; name++) {
		char address[64];

		snprintf(address, sizeof address, "%s@here.example", *name);
		assert_string_equal(settled(&w, address, "s@x.example"), "4.3.5");
	}
	assert_string_equal(settled(&w, "nobody-such@here.example", "s@x.example"), "5.1.1");
	assert_string_equal(settled(&w, "deep6@here.example", "s@x.example"), "5.2.4");
	assert_string_equal(settled(&w, "many@here.example", "s@x.example"), "5.2.4");
	assert_string_equal(settled(&w, "nobody-such@b.example", "s@x.example"), "5.1.1");
	assert_string_equal(settled(&w, "slow@b.example", "s@x.example"), "4.3.5");
	table_play_close(&w.table);
	assert_string_equal(settled(&w, "team@here.example", "s@x.example"), "4.3.5");
	assert_string_equal(settled(&w, "nobody-such@here.example", "s@x.example"), "4.3.5");
	assert_string_equal(settled(&w, "nobody-such@b.example", "s@x.example"), "4.3.5");
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_answers_bounds),
	    cmocka_unit_test(test_knows),
	    cmocka_unit_test(test_aliases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
