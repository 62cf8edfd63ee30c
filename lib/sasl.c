/* SPDX-License-Identifier: ISC */
/* Names of SASL mechanisms. */
#include "sasl.h"

static const struct {
	unsigned mechanism;
	const char *name;
} mechanisms[] = {
    {SASL_SCRAM_SHA_256_PLUS, "SCRAM-SHA-256-PLUS"},
    {SASL_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {SASL_EXTERNAL, "EXTERNAL"},
    {SASL_PLAIN, "PLAIN"},
    {SASL_LOGIN, "LOGIN"},
    {SASL_OAUTHBEARER, "OAUTHBEARER"},
    {SASL_XOAUTH2, "XOAUTH2"},
    {SASL_SCRAM_SHA_1_PLUS, "SCRAM-SHA-1-PLUS"},
    {SASL_SCRAM_SHA_1, "SCRAM-SHA-1"},
};

const char *sasl_name(unsigned mechanism)
{
	for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++)
		if (mechanisms[i].mechanism == mechanism)
			return mechanisms[i].name;
	return "?";
}

unsigned sasl_mechanism_of(struct text name)
{
	return sasl_client_mechanism_of(name) & SASL_ALL;
}

unsigned sasl_client_mechanism_of(struct text name)
{
	for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++)
		if (text_equal_case(name, text_of(mechanisms[i].name)))
			return mechanisms[i].mechanism;
	return 0;
}
