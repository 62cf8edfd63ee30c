/* SPDX-License-Identifier: ISC */
/* The crew, with real children: who goes with whom, and what is left when a child dies. */
#include "crew.h"

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

static struct config *config_make(void)
{
	struct config_errors errors = {0};
	char text[300];

	snprintf(text, sizeof text,
		 "hostname = here.example\nroute * { to = local }\n"
		 "local { mailbox = %s/%%u/  aliases = %s/none  deliveries = 2 }\n",
		 folder, folder);
	struct config *c = config_read(text_of(text), &errors);

	config_errors_free(&errors);
	assert_non_null(c);
	return c;
}

/* COUNT letters, of which the one at POISON is large, at once; how many children that took. */
static uint32_t deliver(struct told *told, uint64_t first, uint32_t count, uint32_t poison)
{
	struct daemon d = {.loop = loop_new(), .unprivileged = true, .self = told};
	struct job *jobs[JOBS];
	struct crew crew = {0};

	d.log = log_new(d.loop, "test");
	d.config = config_make();
	crew_init(&crew, &d, &face);
	text_copy(crew.planner.host, sizeof crew.planner.host, text_of("here.example"));
	for (uint32_t i = 0; i < count; i++) {
		jobs[i] = job(d.config, first + i, i == poison ? LARGE : 10);
		crew_add(&crew, &jobs[i]->recipients[0]);
	}
	for (int turns = 0; !crew_is_idle(&crew) && turns < 1000; turns++)
		loop_turn(d.loop, MILLISECONDS(100));
	assert_true(crew_is_idle(&crew));
	uint32_t processes = crew.processes.count;

	for (int turns = 0; crew.processes.count && turns < 10000; turns++) {
		usleep(1000);
		processes_reap(&crew.processes);
	}
	assert_int_equal(crew.processes.count, 0);
	for (uint32_t i = 0; i < count; i++)
		job_free(&jobs[i]);
	free(crew.plans);
	users_free(&crew.planner.users);
	config_drop(&d.config);
	log_free(&d.log);
	loop_free(&d.loop);
	return processes;
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
	    cmocka_unit_test(test_shared),
	    cmocka_unit_test(test_poison),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
