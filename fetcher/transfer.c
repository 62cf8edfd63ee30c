/* SPDX-License-Identifier: ISC */
/* libcurl's multi interface on our loop. */
#include "transfer.h"

#include "config.h"
#include "mem.h"
#include "must.h"
#include "url.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct transfers {
	struct loop *loop;
	CURLM *multi;
	struct timer timer;
	struct turn_end look; /* for transfers that have ended */
};

/* A socket of libcurl's. */
struct point {
	struct watch watch;
	struct transfers *all;
};

struct transfer {
	struct transfers *all;
	CURL *easy;
	char host[256]; /* whose name the certificate must bear */
	struct curl_slist *fields, *resolve;
	X509_STORE *authorities;
	struct bytes body, answer;
	size_t answer_max, header_len;
	bool too_large;
	void (*done)(void *arg, const struct transfer_result *result);
	void *arg;
	char error[CURL_ERROR_SIZE];
};

static void transfer_free(struct transfer *t)
{
	curl_multi_remove_handle(t->all->multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->fields);
	curl_slist_free_all(t->resolve);
	X509_STORE_free(t->authorities);
	if (t->body.data)
		OPENSSL_cleanse(t->body.data, t->body.size);
	bytes_free(&t->body);
	bytes_free(&t->answer);
	free(t);
}

void transfer_cancel(struct transfer **transfer)
{
	if (*transfer)
		transfer_free(*transfer);
	*transfer = NULL;
}

/* -- what became of it -------------------------------------------------------------- */

static enum fetch_outcome outcome_of(const struct transfer *t, CURLcode code)
{
	if (t->too_large)
		return FETCH_TOO_LARGE;
	/* A list of those that have an outcome of their own; the rest is all the same to askers. */
	if (code == CURLE_OK)
		return FETCH_ANSWERED;
	if (code == CURLE_OPERATION_TIMEDOUT)
		return FETCH_TIMEOUT;
	if (code == CURLE_COULDNT_RESOLVE_HOST)
		return FETCH_NO_HOST;
	if (code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	    code == CURLE_SSL_CIPHER || code == CURLE_SSL_CERTPROBLEM ||
	    code == CURLE_SSL_ISSUER_ERROR)
		return FETCH_TLS;
	return FETCH_NO_SERVER;
}

static void transfer_end(struct transfer *t, CURLcode code)
{
	struct transfer_result r = {.outcome = outcome_of(t, code)};
	const char *type = NULL;
	long status = 0;

	if (r.outcome == FETCH_ANSWERED) {
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
		r.status = (uint16_t)(status > 0 && status < 1000 ? status : 0);
		r.type = text_of(type);
		r.body = bytes_text(&t->answer);
	} else {
		r.reason = text_of(t->too_large ? "the answer is too large"
				   : *t->error	? t->error
						: curl_easy_strerror(code));
	}
	t->done(t->arg, &r);
	transfer_free(t);
}

static void ended_look(void *arg)
{
	struct transfers *all = arg;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(all->multi, &left))) {
		struct transfer *t = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		must(curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK);
		transfer_end(t, m->data.result);
	}
}

/* -- libcurl's sockets and its timer ------------------------------------------------------ */

static void multi_act(struct transfers *all, curl_socket_t fd, int events)
{
	int running;

	curl_multi_socket_action(all->multi, fd, events, &running);
	turn_end_schedule(&all->look, all->loop, ended_look, all);
}

static void point_ready(void *arg, bool readable, bool writable)
{
	struct point *p = arg;

	/* It may be gone behind this. */
	multi_act(p->all, p->watch.fd,
		  (readable ? CURL_CSELECT_IN : 0) | (writable ? CURL_CSELECT_OUT : 0));
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	struct transfers *all = arg;
	struct point *p = assigned;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (p)
			watch_remove(&p->watch);
		free(p);
		curl_multi_assign(all->multi, fd, NULL);
		return 0;
	}
	if (!p) {
		p = mem_new(1, sizeof *p);
		p->all = all;
		watch_add(&p->watch, all->loop, fd, point_ready, p);
		curl_multi_assign(all->multi, fd, p);
	}
	watch_want(&p->watch, (what & CURL_POLL_IN) != 0, (what & CURL_POLL_OUT) != 0);
	return 0;
}

static void timer_fired(void *arg)
{
	multi_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct transfers *all = arg;

	(void)multi;
	if (timeout_ms < 0)
		timer_clear(&all->timer);
	else
		timer_set(&all->timer, MILLISECONDS(timeout_ms));
	return 0;
}

/* -- a transfer ------------------------------------------------------------------------------ */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t n = size * count;

	if (n > t->answer_max - bytes_len(&t->answer)) {
		t->too_large = true;
		return 0;
	}
	bytes_add(&t->answer, data, n);
	return n;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct transfer *t = arg;
	size_t n = size * count;

	(void)data;
	if (n > TRANSFER_HEADER_MAX - t->header_len) {
		t->too_large = true;
		return 0;
	}
	t->header_len += n;
	return n;
}

/* The jail has no files: who may sign was read before it. */
static CURLcode on_tls(CURL *easy, void *context, void *arg)
{
	const struct transfer *t = arg;

	(void)easy;
	SSL_CTX_set1_cert_store(context, t->authorities);
	/* RFC 9525 6.3: the common name is no identity. libcurl would take it where there is no
	 * other, and looks itself at what is an address. */
	if (*t->host) {
		X509_VERIFY_PARAM *names = SSL_CTX_get0_param(context);

		X509_VERIFY_PARAM_set_hostflags(names, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
							   X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		if (X509_VERIFY_PARAM_set1_host(names, t->host, 0) != 1)
			return CURLE_OUT_OF_MEMORY;
	}
	return CURLE_OK;
}

static bool fields_make(struct transfer *t, struct wire_list fields)
{
	struct rec_field field;
	char line[4096 + 64 + 3];

	/* curl would wait a second for a 100 that few servers send. */
	t->fields = curl_slist_append(NULL, "Expect:");
	while (list_next_field(&fields, &field)) {
		for (size_t i = 0; i < field.name.len; i++)
			if (!ascii_is_alnum(field.name.data[i]) && field.name.data[i] != '-')
				return false;
		for (size_t i = 0; i < field.value.len; i++)
			if (field.value.data[i] < ' ' || field.value.data[i] > '~')
				return false;
		snprintf(line, sizeof line, "%.*s: %.*s", (int)field.name.len, field.name.data,
			 (int)field.value.len, field.value.data);
		struct curl_slist *more = curl_slist_append(t->fields, line);

		OPENSSL_cleanse(line, sizeof line);
		must(more);
		t->fields = more;
	}
	return true;
}

#define SET(option, value) (fine = fine && curl_easy_setopt(t->easy, option, value) == CURLE_OK)

static bool options_set(struct transfer *t, const struct transfer_request *request)
{
	char url[1024 + 1];
	bool fine = true;

	text_copy(url, sizeof url, request->url);
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "Veredus/" VEREDUS_VERSION);
	SET(CURLOPT_RESOLVE, t->resolve);
	SET(CURLOPT_HTTPHEADER, t->fields);
	SET(CURLOPT_TIMEOUT_MS, (long)(request->limit.us / 1000));
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(request->limit.us / 1000));
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_CA_CACHE_TIMEOUT, 0L);
	SET(CURLOPT_SSL_CTX_FUNCTION, on_tls);
	SET(CURLOPT_SSL_CTX_DATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_ERRORBUFFER, t->error);
	SET(CURLOPT_FRESH_CONNECT, (long)request->once);
	SET(CURLOPT_FORBID_REUSE, (long)request->once);
	SET(CURLOPT_PRIVATE, t);
	if (request->method == FETCH_POST) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE, (long)bytes_len(&t->body));
		SET(CURLOPT_POSTFIELDS, bytes_at(&t->body));
	}
	return fine;
}

/* Empty for one that is an address. */
static void host_take(struct transfer *t, struct text url)
{
	uint8_t literal[16];
	struct url parts;

	if (!url_read(url, &parts) && !host_address_parse(parts.host, literal))
		text_copy(t->host, sizeof t->host, parts.host);
}

struct transfer *transfer_start(struct transfers *all, const struct transfer_request *request,
				void (*done)(void *arg, const struct transfer_result *result),
				void *arg)
{
	struct transfer *t = mem_new(1, sizeof *t);
	char *resolve = mem_copy(request->resolve.data, request->resolve.len);

	t->all = all;
	t->authorities = request->authorities;
	X509_STORE_up_ref(t->authorities);
	host_take(t, request->url);
	t->answer_max = request->answer_max;
	t->done = done;
	t->arg = arg;
	t->easy = curl_easy_init();
	t->resolve = *resolve ? curl_slist_append(NULL, resolve) : NULL;
	must(t->easy && (t->resolve || !*resolve));
	free(resolve);
	/* Never NULL, even when empty: curl would look for it elsewhere. */
	bytes_room(&t->body, request->body.len + 1);
	bytes_add(&t->body, request->body.data, request->body.len);
	if (!fields_make(t, request->fields) || !options_set(t, request) ||
	    curl_multi_add_handle(all->multi, t->easy) != CURLM_OK) {
		transfer_free(t);
		return NULL;
	}
	return t;
}

struct transfers *transfers_new(struct loop *loop, unsigned connections)
{
	struct transfers *all = mem_new(1, sizeof *all);

	all->loop = loop;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(all->multi = curl_multi_init()))
		return NULL;
	timer_init(&all->timer, loop, timer_fired, all);
	curl_multi_setopt(all->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(all->multi, CURLMOPT_SOCKETDATA, all);
	curl_multi_setopt(all->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(all->multi, CURLMOPT_TIMERDATA, all);
	curl_multi_setopt(all->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)connections);
	curl_multi_setopt(all->multi, CURLMOPT_MAXCONNECTS, (long)connections);
	return all;
}
