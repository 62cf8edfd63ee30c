/* SPDX-License-Identifier: ISC */
/*
 * What a client says who logs in by a token, and what an authorization
 * server answers: the first byte says which. What is read as a token can
 * stand in a form, a header and a line of Dovecot's as it is; who is logged in is one whom
 * the answer names, with the scope and for the audience that are wanted.
 */
#include "../../checker/introspection.h"
#include "must.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play_message(unsigned mechanism, struct text said)
{
	struct token_message m;
	enum token_reading reading = token_message_read(mechanism, said, &m);

	must(memchr(m.name, '\0', sizeof m.name));
	if (reading != TOKEN_READ)
		return;
	must(m.token.len && m.token.data >= said.data &&
	     m.token.data + m.token.len <= said.data + said.len);
	for (size_t i = 0; i < m.token.len; i++)
		must(ascii_is_alnum(m.token.data[i]) || memchr("-._~+/=", m.token.data[i], 7));
	must(mechanism != SASL_XOAUTH2 || m.name[0]);
}

static const struct config *config_of(void)
{
	static const char text[] =
	    "hostname = mx.test\nlisten smtp { address = *:25 }\n"
	    "auth { introspection = https://idp.example/i introspection-scope = \"a b\" "
	    "introspection-audience = mx }\n";
	struct config_errors errors = {0};
	static struct config *config;

	if (!config)
		config = config_read(text_of(text), &errors);
	must(config);
	return config;
}

static void play_answer(struct text said)
{
	struct introspection found;

	introspection_read(config_of(), said, "", 1000, &found);
	must(found.verdict == AUTH_GOOD || found.verdict == AUTH_WRONG ||
	     found.verdict == AUTH_TEMPORARY);
	must((found.verdict == AUTH_GOOD) == (found.why == NULL));
	must((found.verdict == AUTH_GOOD) == !passwd_name_fault(text_of(found.login)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text said = {(const char *)data + 1, size ? size - 1 : 0};

	if (!size)
		return 0;
	if (data[0] % 3 == 2)
		play_answer(said);
	else
		play_message(data[0] % 3 ? SASL_XOAUTH2 : SASL_OAUTHBEARER, said);
	return 0;
}
