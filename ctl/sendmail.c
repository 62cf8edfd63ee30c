/* SPDX-License-Identifier: ISC */
/*
 * sendmail(1): a mail on standard input becomes a file in the maildrop, by
 * postdrop(1); so it works with all daemons down. Linked into the program of
 * that name and into the veredus command. Nothing is parsed here but
 * what only the caller's side can know: options, line ends, the recipients of
 * -t. What is wrong with a mail is said here when it can be, by the status.
 */
#include "sendmail.h"

#include "drop.h"
#include "mem.h"
#include "sendmail_encode.h"
#include "sendmail_text.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

int sendmail_say(int status, const char *format, ...)
{
	va_list args;

	fputs("sendmail: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* -- who calls ------------------------------------------------------------------------------ */

void sendmail_caller(char *to, size_t size)
{
	const struct passwd *user = getpwuid(getuid());

	if (user && *user->pw_name)
		snprintf(to, size, "%s", user->pw_name);
	else
		snprintf(to, size, "uid-%u", (unsigned)getuid());
}

/* What -F, $NAME or the password file says; passwd(5): the full name ends at a comma, "&" is the
 * login. */
static void full_name(const struct sendmail_options *o, char *to, size_t size)
{
	const struct passwd *user;
	const char *name = o->name ? o->name : getenv("NAME");
	size_t n = 0;

	*to = '\0';
	if (name) {
		snprintf(to, size, "%s", name);
		return;
	}
	/* It is the caller's name, and the sender may be somebody else. */
	user = o->sender ? NULL : getpwuid(getuid());
	if (!user || !user->pw_gecos)
		return;
	for (const char *c = user->pw_gecos; *c && *c != ',' && n + 1 < size; c++) {
		if (*c != '&') {
			to[n++] = *c;
			continue;
		}
		size_t len = strlen(user->pw_name);

		if (len >= size - n)
			break;
		memcpy(to + n, user->pw_name, len);
		if (to[n] >= 'a' && to[n] <= 'z')
			to[n] = (char)(to[n] - 'a' + 'A');
		n += len;
	}
	to[n] = '\0';
}

/* -- one mail -------------------------------------------------------------------------------- */

struct mail {
	const struct sendmail_options *o;
	const char *maildrop;
	uint64_t limit; /* octets */
	char sender[DROP_ADDRESS_MAX + 1];
	struct recipients recipients;
	struct mail_lines lines;
	struct mail_fold fold;
	struct bytes in, header, out;
	uint64_t octets; /* raw ones, read */
	bool ended;	 /* standard input has no more */
	bool header_eight;
	struct post *post;
};

/* "ann@example.net", "<ann@example.net>", "Ann <ann@example.net>", "<>" and nothing at all. */
static bool read_sender(struct mail *m)
{
	struct recipients one = {.count = 0};
	struct text given = text_trim(text_of(m->o->sender));
	bool fine = true;

	if (!m->o->sender) {
		sendmail_caller(m->sender, sizeof m->sender);
		given = text_of(m->sender);
	}
	if (given.len && !text_equals(given, "<>")) {
		fine = recipients_add_list(&one, given) && one.count == 1;
		if (fine)
			text_copy(m->sender, sizeof m->sender, text_of(one.items[0]));
	}
	recipients_free(&one);
	return fine;
}

static int read_recipients(struct mail *m)
{
	const struct sendmail_options *o = m->o;

	for (int i = 0; i < o->recipient_count; i++)
		if (!recipients_add_list(&m->recipients, text_trim(text_of(o->recipients[i]))))
			return sendmail_say(EX_DATAERR, "%s", m->recipients.why);
	if (!o->from_header && !m->recipients.count)
		return sendmail_say(EX_USAGE, "to whom? Name recipients, or have -t take those of "
					      "the header");
	return EX_OK;
}

/* The next octets of standard input as lines in m->in. */
static int read_some(struct mail *m)
{
	uint8_t raw[READ_BYTES];
	ssize_t n;

	do {
		n = read(STDIN_FILENO, raw, sizeof raw);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return sendmail_say(EX_NOINPUT, "standard input: %s", strerror(errno));
	m->octets += (uint64_t)n;
	if (m->octets > m->limit)
		return sendmail_say(EX_DATAERR,
				    "the mail is larger than %llu octets, of which "
				    "nothing was sent",
				    (unsigned long long)m->limit);
	if (n == 0 && !m->octets)
		return sendmail_say(EX_NOINPUT, "standard input has no mail");
	mail_lines_take(&m->lines, raw, (size_t)n, &m->in);
	if (n == 0)
		mail_lines_end(&m->lines, &m->in);
	m->ended = n == 0 || m->lines.ended;
	return EX_OK;
}

static int read_header(struct mail *m)
{
	while (!mail_header_take(&m->in, m->ended, &m->header)) {
		if (bytes_len(&m->in) > MAIL_HEADER_MAX)
			return sendmail_say(EX_DATAERR, "the header is larger than %d octets",
					    MAIL_HEADER_MAX);
		int status = read_some(m);

		if (status != EX_OK)
			return status;
	}
	return EX_OK;
}

/* What is to be read in the header, and what is to be put into it, in m->out. */
static int settle_header(struct mail *m)
{
	struct text header = bytes_text(&m->header);
	size_t line = header_long_line(header);
	char name[512] = "";

	if (header.len > MAIL_HEADER_MAX)
		return sendmail_say(EX_DATAERR, "the header is larger than %d octets",
				    MAIL_HEADER_MAX);
	if (line)
		return sendmail_say(EX_DATAERR, "line %zu of the header is longer than %d octets",
				    line, MAIL_LINE_MAX);
	if (m->o->from_header && !header_recipients(header, &m->recipients))
		return sendmail_say(EX_DATAERR, "%s", m->recipients.why);
	if (!m->recipients.count)
		return sendmail_say(EX_USAGE, "there is no recipient in the header");
	/* The password file is asked when it matters. */
	if (!header_has(header, "From"))
		full_name(m->o, name, sizeof name);
	struct bytes kept = {0};

	header_put_from(header, text_of(name), text_of(m->sender), &m->out);
	if (m->o->from_header)
		header_without_blind(header, &kept);
	else
		bytes_add(&kept, header.data, header.len);
	header_encode(bytes_text(&kept), &m->out);
	bytes_free(&kept);
	header = bytes_text(&m->out);
	m->header_eight = !text_is_ascii(header);
	if (m->header_eight && !text_is_utf8(header))
		return sendmail_say(EX_DATAERR, "the header is neither ASCII nor UTF-8");
	return EX_OK;
}

static void begin_post(struct mail *m)
{
	char envid[ENVID_MAX + 1] = "";

	if (m->o->envid)
		post_xtext(m->o->envid, envid);
	m->post =
	    post_begin(&(struct post_form){.maildrop = m->maildrop,
					   .sender = text_of(m->sender),
					   .recipients = (const char *const *)m->recipients.items,
					   .count = m->recipients.count,
					   .envid = m->o->envid ? envid : NULL,
					   .all_notify = m->o->notify,
					   .ret = m->o->ret});
}

/* What is in m->in goes to postdrop, and so on to the end. */
static int copy_body(struct mail *m)
{
	for (;;) {
		mail_fold_take(&m->fold, bytes_at(&m->in), bytes_len(&m->in), &m->out);
		bytes_take(&m->in, bytes_len(&m->in), SIZE_MAX);
		if (!post_content(m->post, bytes_at(&m->out), bytes_len(&m->out)))
			return EX_OK; /* postdrop has said why, and its status will */
		bytes_take(&m->out, bytes_len(&m->out), SIZE_MAX);
		if (m->ended)
			return EX_OK;
		int status = read_some(m);

		if (status != EX_OK)
			return status;
	}
}

static uint8_t flags_of(const struct mail *m)
{
	bool eight = m->o->body == BODY_SAID_8BITMIME || m->lines.eight;
	/* A header in UTF-8 is for those alone who take such (RFC 6532). */
	bool utf8 = m->recipients.utf8 || m->header_eight || !text_is_ascii(text_of(m->sender));

	return (uint8_t)((eight ? DROP_EIGHT_BIT : 0) | (utf8 ? DROP_UTF8 : 0));
}

static int mail_send(struct mail *m)
{
	char id[17];
	int status = EX_OK;

	if (!read_sender(m))
		return sendmail_say(EX_DATAERR, "-f: this is no address");
	status = read_recipients(m);
	if (status == EX_OK)
		status = read_header(m);
	if (status == EX_OK)
		status = settle_header(m);
	if (status != EX_OK)
		return status;
	begin_post(m);
	status = copy_body(m);
	if (status != EX_OK)
		return status;
	/* Without a word to say this process need not be there any more. */
	status = post_end(&m->post, flags_of(m), m->o->verbose ? id : NULL);
	if (status == EX_OK && m->o->verbose)
		printf("in the maildrop as %s, for %zu recipient%s\n", id, m->recipients.count,
		       m->recipients.count == 1 ? "" : "s");
	return status;
}

static int deliver(const struct sendmail_options *o, const struct config *config,
		   const char *maildrop)
{
	struct mail m = {
	    .o = o,
	    .maildrop = maildrop,
	    .limit = config ? config->limit_message : DROP_CONTENT_MAX,
	    .lines = {.dots = o->dots},
	};
	int status = mail_send(&m);

	post_abandon(&m.post);
	recipients_free(&m.recipients);
	bytes_free(&m.in);
	bytes_free(&m.header);
	bytes_free(&m.out);
	return status;
}

/* -- a call ------------------------------------------------------------------------------------ */

/* Programs that daemons start may have closed them: what is opened next would take their place. */
static void settle_descriptors(void)
{
	/* Reading from a standard input that was closed still fails. */
	if (fcntl(STDIN_FILENO, F_GETFD) < 0)
		(void)!open("/dev/null", O_WRONLY);
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", O_RDWR);
}

/* The maildrop of the configuration that -C names; NULL: that which postdrop knows. */
static const char *maildrop_of(const struct config *config, char *to, size_t size)
{
	snprintf(to, size, "%.*s/" DROP_FOLDER, (int)config->queue.len, config->queue.data);
	return strcmp(to, VEREDUS_SPOOL "/" DROP_FOLDER) == 0 ? NULL : to;
}

bool sendmail_config(const struct sendmail_options *o, struct sendmail_place *to)
{
	struct config_errors errors = {0};

	to->ctl.config_path = o->config ? o->config : CTL_CONFIG;
	if (o->config) {
		if (!ctl_config_load(&to->ctl))
			return false;
		to->maildrop = maildrop_of(to->ctl.config, to->path, sizeof to->path);
	} else if (access(CTL_CONFIG, R_OK) == 0) {
		/* Only for how large a mail may be: whatever is wrong with it is not the caller's.
		 */
		(void)ctl_config_read(&to->ctl, &errors);
		config_errors_free(&errors);
	}
	return true;
}

static int run_delivery(const struct sendmail_options *o)
{
	struct sendmail_place place = {.maildrop = NULL};
	int status =
	    sendmail_config(o, &place) ? deliver(o, place.ctl.config, place.maildrop) : EX_CONFIG;

	config_drop(&place.ctl.config);
	return status;
}

int sendmail_run(int argc, char **argv, sendmail_other *other)
{
	struct sendmail_options o;
	int status;

	settle_descriptors();
	if (!sendmail_options_read(argc, argv, &o))
		return sendmail_say(EX_USAGE, "%s", o.why);
	status = o.mode == SENDMAIL_DELIVER ? run_delivery(&o) : other(&o, argc, argv);
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == EX_OK)
		return sendmail_say(EX_IOERR, "writing: %s", strerror(errno));
	return status;
}
