/* SPDX-License-Identifier: ISC */
/*
 * What others say when we log in at a relay. The first byte chooses: answers
 * of an authorization server; challenges of a SASL server, cut by 0xFF, with
 * our nonce in the place of 0xFE; or an SMTP server's replies to AUTH, cut
 * into reads by 0xFF. Tokens can stand in a response, nothing is believed
 * that was not proved, and only lines of base64 are sent.
 */
#include "../../checker/relay_talk.h"
#include "../../checker/token_answer.h"
#include "dialog.h"
#include "must.h"

#include "base64.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CUT = 0xff, NONCE = 0xfe };

static void play_answer(unsigned status, struct text body)
{
	struct token_answer a;

	token_answer_read(status, body, &a);
	must(memchr(a.why, '\0', sizeof a.why));
	must((a.given == TOKEN_GIVEN) == (bytes_len(&a.access) > 0));
	must(a.given != TOKEN_GIVEN || (talk_token_fits(bytes_text(&a.access)) &&
					a.lifetime_s >= 0 && a.lifetime_s <= 86400 && !a.why[0]));
	must(bytes_len(&a.access) <= TOKEN_MAX && bytes_len(&a.refresh) <= REFRESH_MAX);
	token_answer_free(&a);
}

/* -- mechanisms ------------------------------------------------------------------------------ */

static const unsigned mechanisms[] = {
    SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_1, SASL_PLAIN,
    SASL_LOGIN,		SASL_OAUTHBEARER,	 SASL_XOAUTH2,
};
enum { MECHANISMS = sizeof mechanisms / sizeof *mechanisms };

/* What stands behind "r=" in our first message. */
static struct text nonce_of(const struct talk *t)
{
	struct text said = bytes_text(&t->response);

	for (size_t i = 0; i + 3 < said.len; i++)
		if (memcmp(said.data + i, ",r=", 3) == 0)
			return (struct text){said.data + i + 3, said.len - i - 3};
	return (struct text){NULL, 0};
}

static void play_challenges(unsigned mechanism, const uint8_t *data, size_t size)
{
	static Gsasl *context;
	static struct salted kept; /* its work is not the subject */
	struct talk_secret s = {text_of("u,s=r"), text_of("pencil"),
				text_of("thirty-two octets of an exporter"), &kept};
	char token[500];
	struct talk t;
	struct bytes challenge = {0};
	char nonce[256];

	memset(token, 'x', sizeof token);
	if (mechanism == SASL_XOAUTH2) /* too long for a command */
		s.secret = (struct text){token, sizeof token};
	must(context || gsasl_init(&context) == GSASL_OK);
	must(talk_begin(&t, context, mechanism, &s));
	text_copy(nonce, sizeof nonce, nonce_of(&t));
	for (size_t i = 0; i <= size; i++) {
		if (i < size && data[i] == NONCE)
			bytes_add(&challenge, nonce, strlen(nonce));
		else if (i < size && data[i] != CUT)
			bytes_add(&challenge, &data[i], 1);
		else if (!talk_step(&t, &s, bytes_text(&challenge)))
			break;
		else
			bytes_take(&challenge, bytes_len(&challenge), 4096);
		/* Nobody here knows the password. */
		must(!(t.final && (mechanism & SASL_SCRAMS)));
		must(bytes_len(&t.response) <= SASL_MESSAGE_MAX);
	}
	must(t.why || bytes_len(&challenge) == 0);
	bytes_free(&challenge);
	talk_end(&t);
}

/* -- replies ----------------------------------------------------------------------------------- */

static void check_sent(struct bytes *out)
{
	struct text sent = bytes_text(out);

	must(sent.len >= 2 && memcmp(sent.data + sent.len - 2, "\r\n", 2) == 0);
	for (size_t i = 0; i + 2 < sent.len; i++)
		must(sent.data[i] >= ' ' && sent.data[i] <= '~');
	bytes_take(out, bytes_len(out), 4096);
}

/* False: the connection is over. */
static bool follow(struct dialog *d, enum dialog_says says, unsigned *round)
{
	static const struct text word = TEXT("\1word\r\n\0");
	uint8_t challenge[SASL_MESSAGE_MAX];
	size_t len;

	if (says == DIALOG_LOGIN) {
		must(!d->up && d->secured);
		dialog_auth(d, text_of("PLAIN"), *round % 2 ? &word : NULL);
	} else if (says == DIALOG_CHALLENGE) {
		must(!d->up);
		base64_read(text_trim(d->challenge), challenge, sizeof challenge, &len);
		dialog_auth_respond(d, *round % 3 ? &word : NULL);
	} else if (says == DIALOG_JUDGED) {
		must(!d->up);
		if (dialog_trouble(d)->code / 100 == 2)
			return dialog_logged_in(d) != DIALOG_READY;
		return ++*round < 4 && follow(d, dialog_login_again(d), round);
	} else if (says != DIALOG_WAIT) {
		must(says == DIALOG_REFUSED && d->over);
		return false;
	}
	++*round;
	return true;
}

static void play_replies(const uint8_t *data, size_t size)
{
	struct config config = {.hostname = TEXT("client.example")};
	struct bytes out = {0}, in = {0};
	struct dialog d;
	unsigned round = 0;
	bool open = true;

	dialog_start(&d, &config, HOP_SMTPS, DIALOG_TLS_DONE, &out);
	d.login = true;
	for (size_t i = 0; i < size && open; i++) {
		size_t used = 1;

		if (data[i] != CUT) {
			bytes_add(&in, &data[i], 1);
			continue;
		}
		while (open && used && bytes_len(&in)) {
			enum dialog_says says =
			    dialog_input(&d, bytes_at(&in), bytes_len(&in), &used);

			bytes_take(&in, used, 4096);
			open = follow(&d, says, &round);
		}
		if (bytes_len(&out))
			check_sent(&out);
	}
	if (open && !d.up)
		must(dialog_expired(&d) == DIALOG_REFUSED);
	bytes_free(&in);
	bytes_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned statuses[] = {200, 400, 503};

	if (!size)
		return 0;
	if (data[0] < 3)
		play_answer(statuses[data[0]], (struct text){(const char *)data + 1, size - 1});
	else if (data[0] < 3 + MECHANISMS)
		play_challenges(mechanisms[data[0] - 3], data + 1, size - 1);
	else
		play_replies(data + 1, size - 1);
	return 0;
}
