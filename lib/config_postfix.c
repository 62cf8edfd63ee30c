/* SPDX-License-Identifier: ISC */
/* What settings of Postfix are called here. */
#include "config_finish.h"

/* What people who come from Postfix write first. */
static const struct {
	const char *theirs, *ours;
} postfix_names[] = {
    {"myhostname", "hostname = NAME"},
    {"mynetworks", "relay-from = { NETWORK, ... }"},
    {"mydestination", "route DOMAIN { to = local }, one for each"},
    {"myorigin", "submission { domain = DOMAIN }"},
    {"relay_domains", "relay-to = { DOMAIN, ... }"},
    {"relayhost", "route * { to = smtp:HOST:PORT }"},
    {"smtp_fallback_relay", "a further hop in route * { to = { smtp:HOST, smtp:HOST } }"},
    {"transport_maps", "route DOMAIN { to = smtp:HOST:PORT }, one for each"},
    {"inet_interfaces", "listen smtp { address = ADDRESS:25 }"},
    {"queue_directory", "queue = PATH"},
    {"message_size_limit", "limits { message = 50M }"},
    {"smtpd_recipient_limit", "limits { recipients = 1000 }"},
    {"maximal_queue_lifetime", "retry { expire = 5d }"},
    {"smtpd_tls_cert_file", "tls NAME { certificate = PATH key = PATH }"},
    {"smtpd_tls_key_file", "tls NAME { certificate = PATH key = PATH }"},
    {"smtpd_tls_security_level", "a tls NAME block: with one STARTTLS is offered"},
    {"smtpd_relay_restrictions", "relay-from = { NETWORK, ... } and relay-to = { DOMAIN, ... }"},
    {"smtpd_sasl_auth_enable", "auth { users = PATH }"},
    {"smtpd_sasl_path", "auth { dovecot = PATH }"},
    {"smtpd_sender_login_maps", "submission { senders = PATH }"},
    {"smtp_bind_address", "source NAME { ipv4 = ADDRESS }, and source = NAME in route * { }"},
    {"smtp_bind_address6", "source NAME { ipv6 = ADDRESS }, and source = NAME in route * { }"},
    {"smtp_helo_name",
     "source NAME { ipv4 = ADDRESS helo = NAME }, and source = NAME in route * { }"},
    {"sender_dependent_default_transport_maps",
     "sender ADDRESS { source = NAME route = @NAME }, one for each, and route @NAME { }"},
    {"sender_dependent_relayhost_maps",
     "route @NAME { to = smtp:HOST:PORT }, and sender ADDRESS { route = @NAME } or the table "
     "sender-routes"},
    {"smtp_sender_dependent_authentication",
     "route @NAME { to = smtp:HOST:587 login = NAME password-file = PATH }, and sender ADDRESS { "
     "route = @NAME }"},
    {"smtp_sasl_auth_enable", "route * { to = smtp:HOST:587 login = NAME password-file = PATH }"},
    {"smtp_sasl_password_maps", "route * { to = smtp:HOST:587 login = NAME password-file = PATH }"},
    {"smtp_tls_security_level", "route * { to = mx tls = may }"},
    {"smtp_tls_policy_maps", "tls-policies = PATH"},
    {"smtp_tls_CAfile", "tls-authorities = PATH"},
    {"canonical_maps", "rewrite { canonical = PATH }"},
    {"sender_canonical_maps", "rewrite { canonical-senders = PATH }"},
    {"recipient_canonical_maps", "rewrite { canonical-recipients = PATH }"},
    {"virtual_alias_maps", "rewrite { virtual = PATH }"},
    {"virtual_alias_domains", "rewrite { virtual-domains = { DOMAIN, ... } }"},
    {"masquerade_domains",
     "header local { masquerade = { DOMAIN, ... } }, and one for each kind of listener"},
    {"masquerade_exceptions", "header local { masquerade-except = { USER, ... } }"},
    {"always_bcc", "rewrite { bcc = ADDRESS }"},
    {"sender_bcc_maps", "rewrite { bcc-senders = PATH }"},
    {"recipient_bcc_maps", "rewrite { bcc-recipients = PATH }"},
    {"alias_maps", "local { aliases = PATH }"},
    {"alias_database", "local { aliases = PATH }"},
    {"mail_spool_directory", "local { mailbox = FOLDER/%u }"},
    {"mailbox_transport", "route DOMAIN { to = lmtp:unix:/PATH }"},
    {"virtual_transport", "route DOMAIN { to = lmtp:unix:/PATH }"},
    {"home_mailbox", "local { mailbox = ~/Maildir/ }"},
    {"recipient_delimiter", "local { separators = + }"},
    {"default_privs", "local { user = NAME }"},
    {"owner_request_special", "local { owners = no }"},
    {"expand_owner_alias", "local { expand-owners = yes }"},
    {"allow_mail_to_commands", "local { commands = { alias, forward } }"},
    {"allow_mail_to_files", "local { files = { alias, forward } }"},
    {"command_time_limit", "local { command-time = 15m }"},
    {"mailbox_size_limit", "local { quota = SIZE }"},
    {"virtual_mailbox_limit", "virtual DOMAIN { quota = SIZE }"},
    {"virtual_mailbox_domains", "route DOMAIN { to = local }, and virtual DOMAIN { }"},
    {"virtual_mailbox_base", "virtual DOMAIN { root = FOLDER }"},
    {"virtual_uid_maps", "virtual DOMAIN { user = NAME }"},
    {"virtual_mailbox_maps", "virtual DOMAIN { mailboxes = PATH root = FOLDER user = NAME }"},
    {"header_checks", "header smtp { remove = { FIELD, ... } add = { \"FIELD: VALUE\" } }"},
};

const char *postfix_meaning(struct text name)
{
	for (size_t i = 0; i < sizeof postfix_names / sizeof *postfix_names; i++)
		if (text_equals(name, postfix_names[i].theirs))
			return postfix_names[i].ours;
	return NULL;
}
