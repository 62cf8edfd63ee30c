/* SPDX-License-Identifier: ISC */
/* A worker's memory for mail on its way in. */
#include "budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

enum { MOST = 8000, SCARCE = 7000, SECOND_US = 1000000 };

static const struct reply *refusal(struct budget *b, int64_t at_us)
{
	return budget_refusal(b, (struct monotime){at_us});
}

static void test_growing(void **state)
{
	struct budget b = {.most = MOST};
	size_t one = 0, two = 0;

	(void)state;
	budget_hold(&b, &one, SCARCE - 2);
	budget_hold(&b, &two, 1);
	assert_null(refusal(&b, 1));
	budget_hold(&b, &two, 2);
	assert_ptr_equal(refusal(&b, 1), &reply_not_yet);
	assert_false(budget_is_spent(&b));
	budget_hold(&b, &two, 1001);
	assert_false(budget_is_spent(&b));
	budget_hold(&b, &two, 1002);
	assert_true(budget_is_spent(&b));
	budget_hold(&b, &one, 0);
	assert_false(budget_is_spent(&b));
	assert_null(refusal(&b, 1));
	budget_hold(&b, &two, 0);
	assert_int_equal(b.held, 0);
}

/* A moment is waited, and again when there has been room in between. */
static void test_patience(void **state)
{
	struct budget b = {.most = MOST};
	size_t one = 0;

	(void)state;
	budget_hold(&b, &one, SCARCE);
	assert_ptr_equal(refusal(&b, 5 * SECOND_US), &reply_not_yet);
	budget_hold(&b, &one, MOST + 5);
	assert_ptr_equal(refusal(&b, 7 * SECOND_US - 1), &reply_not_yet);
	assert_ptr_equal(refusal(&b, 7 * SECOND_US), &reply_no_memory);
	assert_ptr_equal(refusal(&b, 99 * SECOND_US), &reply_no_memory);
	assert_int_equal(reply_no_memory.code, 452);
	budget_hold(&b, &one, SCARCE - 1);
	budget_hold(&b, &one, SCARCE);
	assert_ptr_equal(refusal(&b, 99 * SECOND_US), &reply_not_yet);
}

/* A reload may say less than is held. */
static void test_less(void **state)
{
	struct budget b = {.most = MOST};
	size_t one = 0;

	(void)state;
	budget_hold(&b, &one, SCARCE - 1);
	b.most = 10;
	assert_true(budget_is_spent(&b));
	assert_ptr_equal(refusal(&b, 1), &reply_not_yet);
	budget_hold(&b, &one, 1);
	assert_null(refusal(&b, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_growing),
	    cmocka_unit_test(test_patience),
	    cmocka_unit_test(test_less),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
