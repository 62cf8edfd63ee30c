/* SPDX-License-Identifier: ISC */
/* SCRAM-SHA-256 verifiers against the example of RFC 7677 section 3, and base64 (RFC 4648). */
#include "base64.h"
#include "scram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

static const char auth_message[] =
    "n=user,r=rOprNGfwEbeRWgbNEkqO,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

static void read_base64(const char *text, uint8_t *to, size_t size, size_t want)
{
	size_t n = 0;

	assert_true(base64_read(text_of(text), to, size, &n));
	assert_int_equal(n, want);
}

static void make_example(struct scram_verifier *v)
{
	uint8_t salt[16];

	read_base64("W22ZaJ0SNY7soEsUEjb6gQ==", salt, sizeof salt, 16);
	scram_make(v, text_of("pencil"), 4096, salt, sizeof salt);
}

static void rfc7677(void **state)
{
	struct scram_verifier v;
	uint8_t proof[32], signature[32], want[32], client_key[32], stored[32];

	(void)state;
	make_example(&v);
	HMAC(EVP_sha256(), v.server_key, 32, (const uint8_t *)auth_message, sizeof auth_message - 1,
	     signature, NULL);
	read_base64("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", want, 32, 32);
	assert_memory_equal(signature, want, 32);
	read_base64("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof, 32, 32);
	HMAC(EVP_sha256(), v.stored_key, 32, (const uint8_t *)auth_message, sizeof auth_message - 1,
	     signature, NULL);
	for (size_t i = 0; i < 32; i++)
		client_key[i] = proof[i] ^ signature[i];
	SHA256(client_key, 32, stored);
	assert_memory_equal(stored, v.stored_key, 32);
}

static void fits(void **state)
{
	struct scram_verifier v;

	(void)state;
	make_example(&v);
	assert_true(scram_fits(&v, text_of("pencil")));
	assert_false(scram_fits(&v, text_of("pencil ")));
	assert_false(scram_fits(&v, text_of("")));
	/* SASLprep (RFC 4013): a soft hyphen is nothing, a Roman numeral nine is IX. */
	assert_true(scram_make_fresh(&v, text_of("I\xc2\xadX")));
	assert_true(scram_fits(&v, text_of("\xe2\x85\xa8")));
	assert_int_equal(v.iterations, SCRAM_ITERATIONS);
}

static void text_form(void **state)
{
	struct scram_verifier v, back;
	char text[SCRAM_TEXT_BYTES];

	(void)state;
	make_example(&v);
	scram_print(&v, text);
	assert_string_equal(text, "4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
				  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
				  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
	assert_true(scram_read(text_of(text), &back));
	assert_memory_equal(&back, &v, sizeof v);
	static const char *const broken[] = {
	    "",
	    "4096",
	    "4095,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
	    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
	    "1000001,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
	    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
	    "4096,,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
	    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
	    "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3Otc,"
	    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
	    "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,x",
	};

	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
		assert_false(scram_read(text_of(broken[i]), &back));
}

static void base64(void **state)
{
	static const struct {
		const char *plain, *coded;
	} rows[] = {{"", ""},
		    {"f", "Zg=="},
		    {"fo", "Zm8="},
		    {"foo", "Zm9v"},
		    {"foob", "Zm9vYg=="},
		    {"fooba", "Zm9vYmE="},
		    {"foobar", "Zm9vYmFy"}};
	static const char *const broken[] = {"Z",    "Zg",   "Zg=",  "Zg=a", "Z===",	 "====",
					     "Zh==", "Zm9=", "Zm 8", "Zm-_", "Zg==Zg==", "Zm8=\n"};
	uint8_t out[16];
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bytes b = {0};

		base64_put(&b, rows[i].plain, strlen(rows[i].plain));
		assert_int_equal(bytes_len(&b), strlen(rows[i].coded));
		if (bytes_len(&b))
			assert_memory_equal(bytes_at(&b), rows[i].coded, bytes_len(&b));
		bytes_free(&b);
		assert_true(base64_read(text_of(rows[i].coded), out, sizeof out, &n));
		assert_int_equal(n, strlen(rows[i].plain));
		assert_memory_equal(out, rows[i].plain, n);
	}
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
		assert_false(base64_read(text_of(broken[i]), out, sizeof out, &n));
	assert_false(base64_read(text_of("Zm9vYmFy"), out, 5, &n));
	assert_true(base64_read(text_of("Zm9vYmFy"), out, 6, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rfc7677),
	    cmocka_unit_test(fits),
	    cmocka_unit_test(text_form),
	    cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
