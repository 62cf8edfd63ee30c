/* SPDX-License-Identifier: ISC */
/* The session engine's trace information (RFC 5321 4.4) and envelope. */
#include "session_engine.h"

#include "config_source.h"
#include "queue_id.h"

#include <stdio.h>
#include <string.h>

static void puts_(struct bytes *b, const char *t)
{
	bytes_add_text(b, text_of(t));
}

/* RFC 3848 and RFC 6531 4.3: "A" where AUTH was used. */
static const char *protocol(const struct session *s)
{
	if (!s->setup.out)
		return "local";
	if (!s->esmtp)
		return "SMTP";
	static const char *const names[2][4] = {
	    {"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"},
	    {"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"},
	};

	return names[s->t->smtputf8 != 0][(s->tls ? 1 : 0) + (s->logged_in ? 2 : 0)];
}

/* RFC 8314 4.3 wants version and cipher to be seen; as a comment any reader can take it. */
static void put_tls(struct bytes *b, const struct tls_facts *tls)
{
	if (!tls)
		return;
	puts_(b, "\r\n\t(using ");
	bytes_add_text(b, tls->version);
	puts_(b, " with cipher ");
	bytes_add_text(b, tls->cipher);
	puts_(b, ")");
}

static void put_from(struct bytes *b, const struct session *s)
{
	char address[46];

	if (!s->setup.out)
		return;
	/* Where somebody sends from is nobody else's matter; 4.4 wants a From-domain all the same.
	 */
	if (s->logged_in && !s->setup.config->submission_show_client) {
		puts_(b, " from authenticated-user\r\n\tby ");
		return;
	}
	puts_(b, " from ");
	puts_(b, s->helo);
	/* RFC 5321 4.4: "TCP-info = address-literal / ( Domain FWS address-literal )" */
	puts_(b, " (");
	if (s->name) {
		puts_(b, s->name);
		puts_(b, " ");
	}
	puts_(b, host_address_is_ipv4(s->setup.address) ? "[" : "[IPv6:");
	puts_(b, host_address_print(s->setup.address, address));
	puts_(b, "])\r\n\tby ");
}

static void put_with(struct bytes *b, const struct session *s)
{
	char id[QUEUE_ID_BYTES];

	if (s->setup.out) {
		puts_(b, " with ");
		puts_(b, protocol(s));
		put_tls(b, s->tls);
	} else if (s->setup.login.len) {
		puts_(b, " (from ");
		bytes_add_text(b, s->setup.login);
		puts_(b, ")");
	}
	puts_(b, " id ");
	puts_(b, queue_id_print(s->t->id, id));
}

static void put_received(struct bytes *b, const struct session *s, const char *date)
{
	const struct transaction *t = s->t;

	puts_(b, "Received:");
	put_from(b, s);
	if (!s->setup.out)
		puts_(b, " by ");
	bytes_add_text(b, s->setup.config->hostname);
	put_with(b, s);
	/* Several recipients would tell each other about blind copies (RFC 5321 7.2). */
	if (t->recipient_count == 1) {
		puts_(b, "\r\n\tfor <");
		bytes_add_text(b, t->first_recipient);
		puts_(b, ">");
	}
	puts_(b, ";\r\n\t");
	puts_(b, date);
	puts_(b, "\r\n");
}

void transaction_make_prelude(struct session *s, const struct header_facts *facts)
{
	struct transaction *t = s->t;
	char date[WALLTIME_TEXT_BYTES];

	struct text header = session_header(s);

	bytes_room(&t->prelude, 1024 + header.len);
	walltime_rfc5322(s->now.wall, date);
	if (!t->message_id.len)
		t->message_id = facts->message_id;
	put_received(&t->prelude, s, date);
	bytes_add_text(&t->prelude, header);
	/* A body without a header of its own must not become one. */
	if (t->content.headless)
		puts_(&t->prelude, "\r\n");
}

void transaction_make_envelope(struct session *s)
{
	const struct transaction *t = s->t;
	char address[46] = "";
	struct sender_choice chosen =
	    t->is_chosen ? t->chosen
			 : config_sender_choice(s->setup.config, t->sender, s->setup.login);
	struct text message_id = t->message_id;

	if (message_id.len > 250)
		message_id.len = 250;
	if (s->setup.out)
		host_address_print(s->setup.address, address);
	/* A stranger's sender is what he says it is: no login of ours carries his mail. */
	if (!s->trusted)
		chosen.route.len = 0;
	envelope_put_head(&s->t->envelope, &(struct envelope){
					       .sender = t->sender,
					       .submitter = s->submitter,
					       .login = s->setup.login,
					       .client = text_of(address),
					       .helo = text_of(s->helo),
					       .protocol = text_of(protocol(s)),
					       .envid = t->envid,
					       .message_id = message_id,
					       .hold = t->hold,
					       .ret = t->ret,
					       .body_type = t->body_type,
					       .smtputf8 = t->smtputf8,
					       .tls = t->tls,
					       .source = chosen.source,
					       .route = chosen.route,
					       .arrival_wall = (uint64_t)t->arrival.us,
					   });
}
