/* SPDX-License-Identifier: ISC */
/* Letters that go into Maildirs together, the syncing of many files, and what a child says of them.
 */
#include "mailbox.h"
#include "sync.h"
#include "words.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LETTERS = 5 };

static char folder[] = "/tmp/maildir.XXXXXX";

static struct letter letter(uint64_t id, const char *body)
{
	return (struct letter){.sender = TEXT("joe@client.example"),
			       .address = TEXT("ann@here.example"),
			       .prelude = TEXT("A: b\r\n\r\n"),
			       .body = text_of(body),
			       .fd = -1,
			       .arrival = {INT64_C(1795298700000000)},
			       .id = id};
}

static int count(const char *box, const char *name)
{
	char path[200];
	int n = 0;

	snprintf(path, sizeof path, "%s/%s/%s", folder, box, name);
	DIR *all = opendir(path);

	assert_non_null(all);
	for (struct dirent *entry; (entry = readdir(all)) != NULL;)
		n += entry->d_name[0] != '.';
	closedir(all);
	return n;
}

static bool wanted(void *arg)
{
	return !arg || (*(int *)arg)-- > 0;
}

/* All LETTERS of them, into the boxes a and b by turns, but the last into WHERE. */
static void deliver(struct result *results, const char *where, int *left)
{
	const struct mailbox_face face = {wanted, left};
	struct maildir_letter group[LETTERS];
	struct letter letters[LETTERS];
	char paths[LETTERS][64];

	for (uint32_t i = 0; i < LETTERS; i++) {
		letters[i] = letter(i, "x\r\n");
		snprintf(paths[i], sizeof paths[i], "%s/%s", folder,
			 i == LETTERS - 1 ? where
			 : i % 2	  ? "b/"
					  : "a/");
		results[i] = (struct result){0};
		group[i] = (struct maildir_letter){
		    .letter = &letters[i], .path = paths[i], .result = &results[i]};
	}
	maildir_deliver(group, LETTERS, "here.example", &face);
}

static void check_kinds(const struct result *results, const char *kinds)
{
	for (size_t i = 0; i < LETTERS; i++)
		if (results[i].kind != (kinds[i] == 'd' ? OUTCOME_DELIVERED : OUTCOME_DEFERRED))
			fail_msg("%zu: %u %s", i, results[i].kind, results[i].reply);
}

static void test_together(void **state)
{
	struct result results[LETTERS];
	int left = 2;

	(void)state;
	/* One of them can't be delivered: the others are. */
	deliver(results, "file/", NULL);
	check_kinds(results, "ddddx");
	assert_string_equal(results[4].dsn, "4.2.0");
	assert_int_equal(count("a", "new"), 2);
	assert_int_equal(count("b", "new"), 2);
	assert_int_equal(count("a", "tmp") + count("b", "tmp"), 0);
	/* Again, as after a crash: nothing is there twice. */
	deliver(results, "c/", NULL);
	check_kinds(results, "ddddd");
	assert_non_null(strstr(results[0].reply, "earlier attempt"));
	assert_null(strstr(results[4].reply, "earlier attempt"));
	assert_int_equal(count("a", "new") + count("b", "new") + count("c", "new"), 5);
	/* Nobody hears of it any more, after two of them. */
	deliver(results, "d/", &left);
	check_kinds(results, "ddxxx");
	assert_int_equal(count("d", "new") + count("d", "tmp"), 0);
	assert_int_equal(count("a", "tmp") + count("b", "tmp"), 0);
}

static char half[200]; /* the name in a tmp/ that is taken away */

/* Asked right before a letter is shown: by now another attempt is at it. */
static bool begun_anew(void *arg)
{
	(void)arg;
	assert_int_equal(unlink(half), 0);
	int fd = open(half, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "R", 1), 1);
	close(fd);
	return true;
}

static void test_later_attempt(void **state)
{
	const struct mailbox_face face = {begun_anew, NULL};
	struct letter one = letter(99, "x\r\n");
	struct result result = {0};
	struct stat st;
	char path[64];

	(void)state;
	snprintf(path, sizeof path, "%s/e/", folder);
	snprintf(half, sizeof half, "%s/e/tmp/1795298700.V0000000000000063R0.here.example", folder);
	struct maildir_letter group = {.letter = &one, .path = path, .result = &result};

	maildir_deliver(&group, 1, "here.example", &face);
	assert_int_equal(result.kind, OUTCOME_DEFERRED);
	/* Nobody reads what is not whole; and it is the other's to finish. */
	assert_int_equal(count("e", "new"), 0);
	assert_int_equal(stat(half, &st), 0);
}

static void test_sync(void **state)
{
	int fds[SYNC_MAX], errors[SYNC_MAX];
	struct sync by_kernel = {0}, by_hand = {.refused = true};
	struct sync *const ways[] = {&by_kernel, &by_hand};

	(void)state;
	for (size_t w = 0; w < 2; w++) {
		for (int i = 0; i < SYNC_MAX; i++) {
			fds[i] = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
			assert_int_equal(write(fds[i], "x", 1), 1);
		}
		/* What can't be synced is told of alone, wherever it stands. */
		int good = fds[20], pipes[2];

		assert_int_equal(pipe(pipes), 0);
		fds[20] = pipes[1];
		sync_all(ways[w], fds, errors, SYNC_MAX);
		for (int i = 0; i < SYNC_MAX; i++)
			assert_int_equal(errors[i], i == 20 ? EINVAL : 0);
		fds[20] = good;
		sync_all(ways[w], fds, errors, 1);
		assert_int_equal(errors[0], 0);
		sync_all(ways[w], fds, errors, 0);
		for (int i = 0; i < SYNC_MAX; i++)
			close(fds[i]);
		close(pipes[0]);
		close(pipes[1]);
	}
}

static void test_words(void **state)
{
	struct bytes said = {0}, part = {0};
	struct result r = {0};
	uint32_t number;

	(void)state;
	for (uint32_t i = 3; i-- > 0;) {
		result_set(&r, OUTCOME_DELIVERED, 250, "2.0.0", "letter %u", i);
		words_put(&said, i, &r);
	}
	/* Octet by octet. */
	for (uint32_t want = 3; bytes_len(&said); bytes_take(&said, 1, 0)) {
		char reply[20];

		bytes_add(&part, bytes_at(&said), 1);
		r = (struct result){0};
		enum words_verdict verdict = words_take(&part, 3, &number, &r);

		if (verdict == WORDS_MORE)
			continue;
		assert_int_equal(verdict, WORDS_ONE);
		assert_int_equal(number, --want);
		snprintf(reply, sizeof reply, "letter %u", want);
		assert_string_equal(r.reply, reply);
		if (!want)
			assert_int_equal(bytes_len(&said), 1);
	}
	assert_int_equal(bytes_len(&part), 0);
	/* A number that it was not given; a length above all bounds; what is no result. */
	words_put(&part, 3, &r);
	assert_int_equal(words_take(&part, 3, &number, &r), WORDS_BROKEN);
	part.start = part.end = 0;
	bytes_add(&part, "\0\0\0\0\1\0\x10\0", 8);
	assert_int_equal(words_take(&part, 3, &number, &r), WORDS_BROKEN);
	part.start = part.end = 0;
	bytes_add(&part, "\0\0\0\0\1\0\0\0x", 9);
	assert_int_equal(words_take(&part, 3, &number, &r), WORDS_BROKEN);
	bytes_free(&part);
	bytes_free(&said);
}

static int setup(void **state)
{
	char path[64];

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/file", folder);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
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
	    cmocka_unit_test(test_together),
	    cmocka_unit_test(test_later_attempt),
	    cmocka_unit_test(test_sync),
	    cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
