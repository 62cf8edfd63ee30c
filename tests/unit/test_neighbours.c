/* SPDX-License-Identifier: ISC */
/* Master's table of who talks to whom, and the daemons' own rows: the same facts. */
#include "neighbours.h"
#include "peer.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* A field of the row that the daemon NAME prints, to VALUE of SIZE. */
static void row_field(const char *name, const char *field, char *value, size_t size)
{
	const char *build = getenv("VEREDUS_BUILD");
	char command[PATH_MAX], line[2048];
	bool found = false;

	snprintf(command, sizeof command, "%s/%s --privileges", build ? build : "build", name);
	FILE *from = popen(command, "r");

	assert_non_null(from);
	while (fgets(line, sizeof line, from)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, field, strlen(field)) == 0) {
			snprintf(value, size, "%s", line + strlen(field));
			found = true;
		}
	}
	assert_int_equal(pclose(from), 0);
	assert_true(found);
}

static void test_rows_agree(void **state)
{
	(void)state;
	for (const struct kind_row *row = kind_rows; row->kind; row++) {
		char words[2048];
		unsigned peers = 0, wanted = 0, known = 0;

		row_field(peer_name(row->kind), "user ", words, sizeof words);
		assert_string_equal(words, row->user);
		row_field(peer_name(row->kind), "peers", words, sizeof words);
		for (char *save = NULL, *w = strtok_r(words, " ", &save); w;
		     w = strtok_r(NULL, " ", &save)) {
			assert_int_not_equal(peer_kind_of(w), 0);
			peers |= peer_kind_of(w);
		}
		for (const struct kind_row *other = kind_rows; other->kind; other++) {
			known |= other->kind;
			if (kinds_talk(row->kind, other->kind))
				wanted |= other->kind;
		}
		peers &= known; /* rows may name daemons that are to come */
		/* The logger is everybody's, and stands in no row. */
		if (peers != (wanted & ~(unsigned)PEER_LOGGER))
			fail_msg("%s: its row has peers %#x, master makes %#x",
				 peer_name(row->kind), peers, wanted & ~(unsigned)PEER_LOGGER);
	}
}

static void test_talking_is_mutual(void **state)
{
	(void)state;
	for (unsigned a = 1; a <= PEER_ALL; a <<= 1)
		for (unsigned b = 1; b <= PEER_ALL; b <<= 1)
			assert_int_equal(kinds_talk(a, b), kinds_talk(b, a));
	/* Walls that matter most: what reads the network never meets what writes to it but over
	 * qmgr. */
	assert_false(kinds_talk(PEER_SMTPD, PEER_SMTP_CLIENT));
	assert_false(kinds_talk(PEER_SMTPD, PEER_SMTPD));
	assert_false(kinds_talk(PEER_SMTPD, PEER_SUBMISSION));
	assert_false(kinds_talk(PEER_SMTPD, PEER_BOUNCE));
	assert_false(kinds_talk(PEER_RESOLVER, PEER_BOUNCE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_agree),
	    cmocka_unit_test(test_talking_is_mutual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
