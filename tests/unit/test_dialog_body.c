/* SPDX-License-Identifier: ISC */
/* The outbound engine with bodies in files, by replays (dialog_play.h). */
#include "dialog_play.h"

static int body_file(const char *content)
{
	int fd = memfd_create("body", 0);

	assert_true(fd > 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	return fd;
}

static void play_body(struct play *p, const char *body, size_t step)
{
	uint64_t at;

	play_job(p, &(struct mail){
			.to = {"r@b.example"}, .fd = body_file(body), .body_length = strlen(body)});
	play_script(p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n= CONTENT\nC Subject: x\nC \n");
	for (uint64_t left; (left = dialog_wants_body(&p->d, &at));)
		p->says =
		    dialog_body(&p->d, (struct text){body + at, left < step ? (size_t)left : step});
}

static void bodies_come_in_blocks(void **state)
{
	(void)state;
	for (size_t step = 1; step < 12; step++) {
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, EHLO_PIPELINING);
		play_body(&p, ".\r\n..x\r\na.b\r\n\r\n.\r\n", step);
		play_script(&p, "C ..\nC ...x\nC a.b\nC \nC ..\nC .\nS 250 ok\n= SETTLED\n");
		assert_int_equal(p.job->recipients[0].kind, OUTCOME_RELAYED);
		play_end(&p);
	}
}

static void bad_bodies_get_no_dot(void **state)
{
	static const char *const bodies[] = {"a\n.\r\n", "a\r.\r\n", "a\r\n\n",
					     "a\r\r\n",	 "a",	     "a\r"};

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies * 4; i++) {
		struct play p;

		play_begin(&p, HOP_MX);
		play_script(&p, EHLO_PIPELINING);
		play_body(&p, bodies[i / 4], i % 4 + 1);
		play_script(&p, "= SETTLED\n");
		verdict_is(&p, 0, OUTCOME_FAILED, "5.6.0", "the message holds a bare CR or LF");
		assert_false(dialog_is_free(&p.d));
		play_end(&p);
	}
}

static void short_bodies_get_no_dot(void **state)
{
	struct play p;
	uint64_t at;

	(void)state;
	play_begin(&p, HOP_MX);
	play_script(&p, EHLO_PIPELINING);
	play_job(&p,
		 &(struct mail){.to = {"r@b.example"}, .fd = body_file("a\r\n"), .body_length = 6});
	play_script(&p, ONE_COMMANDS "S 250 a\nS 250 b\nS 354 c\n= CONTENT\nC Subject: x\nC \n");
	assert_int_equal(dialog_wants_body(&p.d, &at), 6);
	p.says = dialog_body(&p.d, (struct text)TEXT("a\r\n"));
	assert_int_equal(dialog_wants_body(&p.d, &at), 3);
	assert_int_equal(at, 3);
	p.says = dialog_body(&p.d, (struct text){"", 0});
	play_script(&p, "= SETTLED\n");
	verdict_is(&p, 0, OUTCOME_DEFERRED, "4.3.0", "the message could not be read");
	assert_false(dialog_is_free(&p.d));
	play_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bodies_come_in_blocks),
	    cmocka_unit_test(bad_bodies_get_no_dot),
	    cmocka_unit_test(short_bodies_get_no_dot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
