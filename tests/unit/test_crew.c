/* SPDX-License-Identifier: ISC */
/* The crew, with real children: who goes with whom, and what is left when a child dies. */
#include "crew.h"
#include "table_play.h"

#include <dirent.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { JOBS = 40, LARGE = 20000 };

static char folder[] = "/tmp/crew.XXXXXX";
static char user[USER_NAME_MAX + 1];

struct told {
	uint32_t delivered, deferred;
	char reply[RESULT_REPLY_MAX + 1]; /* of the last one deferred */
};

static void settle(void *owner, struct recipient *r, struct result *result)
{
	struct told *t = owner;

	r->result = *result;
	*result = (struct result){0};
	if (r->result.kind == OUTCOME_DELIVERED) {
		t->delivered++;
		return;
	}
	t->deferred++;
	memcpy(t->reply, r->result.reply, sizeof t->reply);
}

static void idle(void *owner)
{
	(void)owner;
}

static const struct crew_face face = {settle, idle};

static struct job *job(struct config *config, uint64_t id, size_t octets)
{
	char address[100], *body = malloc(octets + 2);
	struct bytes list = {0};

	memset(body, 'x', octets);
	memcpy(body + octets, "\r\n", 2);
	snprintf(address, sizeof address, "%s@here.example", user);
	rec_job_recipient_encode(&list, &(struct rec_job_recipient){.address = text_of(address)});
	struct msg_job m = {.job = id,
			    .id = id,
			    .how = HOP_LOCAL,
			    .domain = TEXT("here.example"),
			    .recipients = {1, bytes_text(&list)},
			    .prelude = TEXT("A: b\r\n\r\n"),
			    .body = {body, octets + 2},
			    .body_length = octets + 2};
	struct job *made = job_new(&m, -1);

	assert_non_null(made);
	made->config = config_keep(config);
	bytes_free(&list);
	free(body);
	return made;
}

static int letters(void)
{
	char path[200];
	int n = 0;

	snprintf(path, sizeof path, "%s/%s/new", folder, user);
	DIR *all = opendir(path);

	for (struct dirent *entry; all && (entry = readdir(all)) != NULL;)
		n += entry->d_name[0] != '.';
	if (all)
		closedir(all);
	return n;
}

static struct config *config_make(const char *box, const char *more)
{
	struct config_errors errors = {0};
	char text[300];

	snprintf(text, sizeof text,
		 "hostname = here.example\nroute * { to = local }\n"
		 "local { mailbox = %s/%s  aliases = %s/none  deliveries = 2  %s }\n",
		 folder, box, folder, more);
	struct config *c = config_read(text_of(text), &errors);

	config_errors_free(&errors);
	assert_non_null(c);
	return c;
}

struct world {
	struct daemon daemon;
	struct table_play table;
	struct crew crew;
};

static const char *no_quota(struct text table, const char *key, char *room, size_t size)
{
	(void)table;
	(void)key;
	(void)room;
	(void)size;
	return NULL;
}

static void world_begin(struct world *w, struct told *told)
{
	memset(w, 0, sizeof *w);
	w->daemon = (struct daemon){.loop = loop_new(), .unprivileged = true, .self = told};
	w->daemon.log = log_new(w->daemon.loop, "test");
	w->daemon.config = config_make("%u/", "");
	w->table.says = no_quota;
	table_play_begin(&w->table, w->daemon.loop);
	crew_init(&w->crew, &w->daemon, w->table.lookups, &face);
	text_copy(w->crew.planner.host, sizeof w->crew.planner.host, text_of("here.example"));
}

static void until_idle(struct world *w)
{
	for (int turns = 0; !crew_is_idle(&w->crew) && turns < 1000; turns++)
		loop_turn(w->daemon.loop, MILLISECONDS(100));
	assert_true(crew_is_idle(&w->crew));
}

/* How many children there were. */
static uint32_t world_end(struct world *w)
{
	uint32_t processes = w->crew.processes.count;

	for (int turns = 0; w->crew.processes.count && turns < 10000; turns++) {
		usleep(1000);
		processes_reap(&w->crew.processes);
	}
	assert_int_equal(w->crew.processes.count, 0);
	free(w->crew.plans);
	users_free(&w->crew.planner.users);
	table_play_end(&w->table);
	config_drop(&w->daemon.config);
	log_free(&w->daemon.log);
	loop_free(&w->daemon.loop);
	return processes;
}

/* COUNT letters, of which the one at POISON is large, at once; how many children that took. */
static uint32_t deliver(struct told *told, uint64_t first, uint32_t count, uint32_t poison)
{
	struct job *jobs[JOBS];
	struct world w;

	world_begin(&w, told);
	for (uint32_t i = 0; i < count; i++) {
		jobs[i] = job(w.daemon.config, first + i, i == poison ? LARGE : 10);
		crew_add(&w.crew, &jobs[i]->recipients[0]);
	}
	until_idle(&w);
	for (uint32_t i = 0; i < count; i++)
		job_free(&jobs[i]);
	return world_end(&w);
}

static void test_shared(void **state)
{
	struct told told = {0};

	(void)state;
	assert_int_equal(deliver(&told, 0, JOBS, JOBS), 2);
	assert_int_equal(told.delivered, JOBS);
	assert_int_equal(letters(), JOBS);
}

/* A letter that its child dies of, as one above the limit of a file's size does it: the others
 * of that child are delivered by themselves, and it alone is deferred. */
static void test_poison(void **state)
{
	struct rlimit before, small = {LARGE / 2, LARGE / 2};
	struct told told = {0};
	int had = letters();

	(void)state;
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	signal(SIGXFSZ, SIG_DFL);
	uint32_t processes = deliver(&told, 1000, 5, 2);

	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(processes, 1 + 5);
	assert_int_equal(told.delivered, 4);
	assert_int_equal(told.deferred, 1);
	assert_string_equal(told.reply, "the delivering process ended without a word");
	assert_int_equal(letters(), had + 4);
}

static void until_asked(struct world *w, uint32_t count)
{
	for (int turns = 0; w->table.later < count && turns < 1000; turns++)
		loop_turn(w->daemon.loop, MILLISECONDS(10));
	assert_int_equal(w->table.later, count);
}

/*
 * While the process table says nothing, those behind who need nothing of it get their mail; so many
 * ask at once; who goes away takes his question with him; the others go together when they know.
 */
static void test_asking(void **state)
{
	enum { ASKING = ASKING_MAX + 8 };
	static struct job *jobs[ASKING + 1];
	struct told told = {0};
	struct world w;
	int had = letters();

	(void)state;
	world_begin(&w, &told);
	struct config *asks = config_make("%u/", "quotas = pcre:/q");

	w.table.silent = true;
	for (uint32_t i = 0; i < ASKING; i++) {
		jobs[i] = job(asks, 2000 + i, 10);
		crew_add(&w.crew, &jobs[i]->recipients[0]);
	}
	jobs[ASKING] = job(w.daemon.config, 2000 + ASKING, 10);
	crew_add(&w.crew, &jobs[ASKING]->recipients[0]);
	until_asked(&w, ASKING_MAX);
	for (int turns = 0; !told.delivered && turns < 1000; turns++)
		loop_turn(w.daemon.loop, MILLISECONDS(10));
	assert_int_equal(told.delivered, 1);
	assert_int_equal(w.table.later, ASKING_MAX);
	assert_false(crew_is_idle(&w.crew));
	/* One that has asked, and one that has not yet. */
	crew_remove(&w.crew, &jobs[0]->recipients[0]);
	crew_remove(&w.crew, &jobs[ASKING - 1]->recipients[0]);
	table_play_speak(&w.table, "quota=1M");
	until_idle(&w);
	assert_int_equal(told.delivered, ASKING - 1);
	assert_int_equal(letters(), had + ASKING - 1);
	for (uint32_t i = 0; i <= ASKING; i++)
		job_free(&jobs[i]);
	config_drop(&asks);
	assert_true(world_end(&w) <= ASKING / CHILD_ORDERS_MAX + 4);
}

/* Table ends: those who ask wait for another time, as they would for a broken file. */
static void test_table_ends(void **state)
{
	struct told told = {0};
	struct job *jobs[3];
	struct world w;

	(void)state;
	world_begin(&w, &told);
	struct config *asks = config_make("%u/", "quotas = pcre:/q");

	w.table.silent = true;
	for (uint32_t i = 0; i < 3; i++) {
		jobs[i] = job(asks, 3000 + i, 10);
		crew_add(&w.crew, &jobs[i]->recipients[0]);
	}
	until_asked(&w, 3);
	table_play_close(&w.table);
	assert_int_equal(told.deferred, 3);
	assert_string_equal(told.reply, "the table of quotas can't be used now: see the log");
	assert_true(crew_is_idle(&w.crew));
	for (uint32_t i = 0; i < 3; i++)
		job_free(&jobs[i]);
	config_drop(&asks);
	world_end(&w);
}

static void lock(const char *path)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fprintf(f, "%d", (int)getpid());
	assert_int_equal(fclose(f), 0);
}

/* One whose delivery does not end has his share of the children: his others wait for it, and then
 * for another time, as does who comes behind them; the one that was begun is delivered. */
static void test_patience(void **state)
{
	enum { BEHIND = 5 };
	struct job *jobs[1 + BEHIND];
	struct told told = {0};
	char path[200];
	struct world w;

	(void)state;
	world_begin(&w, &told);
	struct config *mbox = config_make("%u.mbox", "");

	w.crew.patience = MILLISECONDS(300);
	snprintf(path, sizeof path, "%s/%s.mbox.lock", folder, user);
	lock(path);
	for (uint32_t i = 0; i <= BEHIND; i++)
		jobs[i] = job(mbox, 4000 + i, 10);
	crew_add(&w.crew, &jobs[0]->recipients[0]);
	for (int turns = 0; !w.crew.children && turns < 100; turns++)
		loop_turn(w.daemon.loop, MILLISECONDS(10));
	for (uint32_t i = 1; i < BEHIND; i++)
		crew_add(&w.crew, &jobs[i]->recipients[0]);
	for (int turns = 0; told.deferred < BEHIND - 1 && turns < 1000; turns++)
		loop_turn(w.daemon.loop, MILLISECONDS(10));
	assert_int_equal(told.deferred, BEHIND - 1);
	/* It is known by now. */
	crew_add(&w.crew, &jobs[BEHIND]->recipients[0]);
	for (int turns = 0; told.deferred < BEHIND && turns < 1000; turns++)
		loop_turn(w.daemon.loop, MILLISECONDS(10));
	assert_int_equal(told.deferred, BEHIND);
	assert_memory_equal(told.reply, "other mail to this user takes long", 34);
	assert_int_equal(told.delivered, 0);
	assert_int_equal(unlink(path), 0);
	until_idle(&w);
	assert_int_equal(told.delivered, 1);
	for (uint32_t i = 0; i <= BEHIND; i++)
		job_free(&jobs[i]);
	config_drop(&mbox);
	world_end(&w);
}

/* Nobody is root here: mailboxes are never root's. */
static int setup(void **state)
{
	const struct passwd *nobody = getpwnam("nobody");

	(void)state;
	if (!mkdtemp(folder) || chmod(folder, 0755) != 0 || !nobody)
		return -1;
	if (getuid() == 0 && (chown(folder, nobody->pw_uid, nobody->pw_gid) != 0 ||
			      setresgid(nobody->pw_gid, nobody->pw_gid, nobody->pw_gid) != 0 ||
			      setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid) != 0))
		return -1;
	const struct passwd *us = getpwuid(getuid());

	if (!us || strlen(us->pw_name) > USER_NAME_MAX)
		return -1;
	strcpy(user, us->pw_name);
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shared),   cmocka_unit_test(test_poison),
	    cmocka_unit_test(test_asking),   cmocka_unit_test(test_table_ends),
	    cmocka_unit_test(test_patience),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
