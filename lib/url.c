/* SPDX-License-Identifier: ISC */
/* Reading an https address. */
#include "url.h"

#include "bytes.h"

#include <string.h>

enum { PORT_HTTPS = 443 };

static bool is_host_char(char c)
{
	return ascii_is_alnum(c) || c == '-' || c == '.' || c == '_';
}

/* Takes "name", "192.0.2.1" or "[2001:db8::1]" off T. */
static bool host_take(struct text *t, struct text *host)
{
	size_t n = 0, brackets = t->len && t->data[0] == '[';

	*host = (struct text){t->data + brackets, 0};
	if (brackets) {
		ptrdiff_t end = text_find(*t, ']');

		if (end < 0)
			return false;
		host->len = (size_t)end - 1;
		n = (size_t)end + 1;
		for (size_t i = 0; i < host->len; i++)
			if (!strchr("0123456789abcdefABCDEF:.", host->data[i]))
				return false;
	} else {
		while (n < t->len && is_host_char(t->data[n]))
			n++;
		host->len = n;
	}
	*t = (struct text){t->data + n, t->len - n};
	return host->len > 0 && host->len <= 253;
}

const char *url_read(struct text t, struct url *url)
{
	static const char scheme[] = "https://";
	uint64_t port = PORT_HTTPS;
	size_t digits = 0;

	if (t.len > URL_MAX_BYTES)
		return "it is too long";
	for (size_t i = 0; i < t.len; i++)
		if (t.data[i] <= ' ' || t.data[i] > '~' || strchr("\"<>\\^`{|}#", t.data[i]))
			return "it has characters that no address has";
	if (!text_starts_case(t, scheme))
		return "it does not begin with https://";
	t = (struct text){t.data + sizeof scheme - 1, t.len - (sizeof scheme - 1)};
	if (!host_take(&t, &url->host))
		return "it names no host";
	if (t.len && t.data[0] == ':') {
		while (digits + 1 < t.len && strchr("0123456789", t.data[digits + 1]))
			digits++;
		if (!text_number((struct text){t.data + 1, digits}, UINT16_MAX, &port) || !port)
			return "its port is none";
		t = (struct text){t.data + digits + 1, t.len - digits - 1};
	}
	url->port = (uint16_t)port;
	/* A name and a password before the host, too, end up here. */
	return t.len && t.data[0] != '/' && t.data[0] != '?' ? "behind its host stands no path"
							     : NULL;
}

void url_put_encoded(struct bytes *to, struct text t)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.data[i];
		const char coded[3] = {'%', hex[c >> 4], hex[c & 15]};

		if (is_host_char(t.data[i]))
			bytes_add(to, &c, 1);
		else
			bytes_add(to, coded, sizeof coded);
	}
}
