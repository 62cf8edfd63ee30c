/* SPDX-License-Identifier: ISC */
/* Signatures that the keeper makes, for handshakes that wait for them. */
#include "tls_private.h"

#include <openssl/async.h>
#include <string.h>

static void query_add(struct tls_remote *remote, struct signature_query *q)
{
	q->prev = remote->waiting_last;
	*remote->waiting_last = q;
	remote->waiting_last = &q->next;
}

static void query_remove(struct tls_remote *remote, struct signature_query *q)
{
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	else
		remote->waiting_last = q->prev;
}

/*
 * Runs on the handshake's own stack (SSL_MODE_ASYNC): the loop goes on while
 * the keeper signs, and comes back here by tls_link_handshake().
 */
static size_t ask_keeper(struct tls_signer *signer, uint32_t key, uint16_t scheme, struct text text,
			 uint8_t to[TLS_SIGNATURE_MAX])
{
	struct tls_remote *remote = (struct tls_remote *)signer;
	struct signature_query q = {.link = remote->running, .number = ++remote->queries, .to = to};

	if (!remote->keeper || !q.link || !ASYNC_get_current_job() || text.len > SIGN_TEXT_MAX)
		return 0;
	query_add(remote, &q);
	q.link->query = &q;
	channel_send_sign(remote->keeper, &(struct msg_sign){q.number, key, scheme, text});
	while (!q.done)
		ASYNC_pause_job();
	return q.len;
}

static void query_done(struct tls_remote *remote, struct signature_query *q, struct text signature)
{
	struct tls_link *link = q->link;

	query_remove(remote, q);
	q->done = true;
	q->len = signature.len;
	if (signature.len)
		memcpy(q->to, signature.data, signature.len);
	link->query = NULL;
	link->woken(link->arg);
}

void tls_remote_init(struct tls_remote *remote)
{
	remote->signer.sign = ask_keeper;
	remote->waiting_last = &remote->waiting;
}

void tls_remote_keeper(struct tls_remote *remote, struct channel *keeper)
{
	remote->keeper = keeper;
	while (remote->waiting)
		query_done(remote, remote->waiting, (struct text){NULL, 0});
}

void tls_remote_signature(struct tls_remote *remote, const struct msg_signature *m)
{
	struct signature_query *q = remote->waiting;

	/* The keeper answers in order, so it is the first; who gave up is no longer there. */
	while (q && q->number != m->query)
		q = q->next;
	if (q)
		query_done(remote, q, m->signature);
}

void tls_remote_forget(struct tls_link *link)
{
	struct signature_query *q = link->query;

	if (!q)
		return;
	query_remove(link->remote, q);
	q->done = true;
	link->query = NULL;
}
