/* SPDX-License-Identifier: ISC */
/* Certificates and keys: there, readable, a pair, in date, of the right name. */
#include "tls_check.h"

#include "bytes.h"
#include "config_value.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CERTIFICATES_MAX = 262144, /* bytes of a file, as the keeper takes it */
	KEY_FILE_MAX = 65536,
	SOON_DAYS = 14,
	CA_MAX = 200,
};

struct check {
	const struct config_tls *block;
	struct config_errors *errors;
	bool serving;
};

#define WRONG(c, warning, ...)                                                                     \
	config_errors_add((c)->errors, (warning), (c)->block->line, 1, __VA_ARGS__)

/* PATH of SETTING, opened for PEM; NULL: said. */
static BIO *file_open(const struct check *c, const char *setting, struct text path, off_t most,
		      struct stat *st)
{
	char name[PATH_MAX], show[SHOWN_BYTES];
	int fd = -1;

	errno = ENAMETOOLONG;
	if (path.len < sizeof name) {
		text_copy(name, sizeof name, path);
		fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	}
	if (fd < 0 || fstat(fd, st) != 0) {
		WRONG(c, false, "%s: %s: %s", setting, shown(show, path), strerror(errno));
	} else if (!S_ISREG(st->st_mode) || st->st_size > most) {
		WRONG(c, false, "%s: %s is no file of at most %ld bytes", setting,
		      shown(show, path), (long)most);
	} else {
		FILE *file = fdopen(fd, "r");

		if (file)
			return BIO_new_fp(file, BIO_CLOSE);
	}
	if (fd >= 0)
		close(fd);
	return NULL;
}

static X509 *read_certificate(const struct check *c)
{
	char show[SHOWN_BYTES];
	struct stat st;
	BIO *bio = file_open(c, "certificate", c->block->certificate, CERTIFICATES_MAX, &st);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	if (bio && !leaf)
		WRONG(c, false, "certificate: %s holds no certificate in PEM form",
		      shown(show, c->block->certificate));
	BIO_free(bio);
	return leaf;
}

static int no_password(char *to, int size, int writing, void *arg)
{
	(void)to;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return -1;
}

static EVP_PKEY *read_key(const struct check *c)
{
	char show[SHOWN_BYTES];
	bool encrypted = false;
	struct stat st;
	BIO *bio = file_open(c, "key", c->block->key, KEY_FILE_MAX, &st);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, &encrypted) : NULL;

	shown(show, c->block->key);
	if (encrypted)
		WRONG(c, false, "key: %s has a password, and nobody is there to type it", show);
	else if (bio && !key)
		WRONG(c, false, "key: %s holds no private key in PEM form", show);
	if (bio && (st.st_mode & S_IROTH))
		WRONG(c, true, "key: %s can be read by everybody; chmod 600", show);
	if (key && !EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "EC") &&
	    !EVP_PKEY_is_a(key, "ED25519")) {
		WRONG(c, false, "key: %s is neither RSA nor ECDSA nor Ed25519", show);
		EVP_PKEY_free(key);
		key = NULL;
	}
	BIO_free(bio);
	return key;
}

static void check_pair(const struct check *c, X509 *leaf, EVP_PKEY *key)
{
	char show[SHOWN_BYTES], other[SHOWN_BYTES];
	SSL_CTX *context;

	shown(show, c->block->key);
	shown(other, c->block->certificate);
	if (X509_check_private_key(leaf, key) != 1) {
		WRONG(c, false, "key: %s does not fit the certificate in %s", show, other);
		return;
	}
	context = SSL_CTX_new(TLS_server_method());
	if (context) {
		SSL_CTX_set_security_level(context, 2);
		ERR_clear_error();
		if (SSL_CTX_use_certificate(context, leaf) != 1) {
			const char *why = ERR_reason_error_string(ERR_peek_last_error());

			WRONG(c, false, "certificate: %s is too weak to be used: %s", other,
			      why ? why : "refused");
		}
	}
	SSL_CTX_free(context);
}

static void check_time(const struct check *c, const X509 *leaf)
{
	char show[SHOWN_BYTES];
	int days = 0, seconds = 0;

	shown(show, c->block->certificate);
	if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
		WRONG(c, c->serving, "certificate: %s is not valid yet; is the clock right?", show);
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
		WRONG(c, c->serving, "certificate: %s has expired", show);
	else if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(leaf)) == 1 &&
		 days < SOON_DAYS)
		WRONG(c, true, "certificate: %s expires in %d days", show, days);
}

static void check_name(const struct check *c, X509 *leaf)
{
	char show[SHOWN_BYTES], other[SHOWN_BYTES], name[256];
	struct text label = c->block->label;
	size_t n = 0;

	/* Any name that the wildcard means has to be in a certificate for it. */
	if (text_starts_case(label, "*.")) {
		name[n++] = 'a';
		label = (struct text){label.data + 1, label.len - 1};
	}
	text_copy(name + n, sizeof name - n, label);
	if (X509_check_host(leaf, name, 0, 0, NULL) != 1)
		WRONG(c, false, "certificate: %s is not for the name %s of its block",
		      shown(show, c->block->certificate), shown(other, c->block->label));
}

static X509 *peek_certificate(const struct config_tls *block)
{
	struct config_errors unheard = {0};
	struct stat st;
	BIO *bio = file_open(&(struct check){block, &unheard, false}, "certificate",
			     block->certificate, CERTIFICATES_MAX, &st);
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	config_errors_free(&unheard);
	return leaf;
}

static int kind_of(const X509 *leaf)
{
	const EVP_PKEY *key = leaf ? X509_get0_pubkey(leaf) : NULL;

	return key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE;
}

/* Of one name a client is shown one certificate of each kind: of two alike one would never be
 * seen. The later block is the one that is wrong. */
static void check_kind(const struct check *c, const struct config *config, X509 *leaf)
{
	int kind = kind_of(leaf);
	char show[SHOWN_BYTES];

	for (const struct config_tls *other = config->tls; other < c->block; other++) {
		X509 *theirs =
		    text_equal(other->label, c->block->label) ? peek_certificate(other) : NULL;

		if (kind != EVP_PKEY_NONE && kind_of(theirs) == kind)
			WRONG(c, false,
			      "certificate: %s has a key of the same kind as the one of that name "
			      "on line %u; one each of RSA, ECDSA and Ed25519 can be served",
			      shown(show, c->block->certificate), other->line);
		X509_free(theirs);
	}
}

static void check_client_ca(const struct check *c)
{
	char show[SHOWN_BYTES];
	struct stat st;
	BIO *bio;
	X509 *one;
	int count = 0;

	if (!c->block->client_ca.len)
		return;
	bio = file_open(c, "client-ca", c->block->client_ca, CERTIFICATES_MAX, &st);
	if (!bio)
		return;
	for (; count < CA_MAX && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)); count++)
		X509_free(one);
	if (!count)
		WRONG(c, false, "client-ca: %s holds no certificate in PEM form",
		      shown(show, c->block->client_ca));
	BIO_free(bio);
}

/* What routes show is for no name. */
static void check_block(const struct check *c, const struct config *config, bool named)
{
	X509 *leaf = read_certificate(c);
	EVP_PKEY *key = read_key(c);

	if (leaf && key)
		check_pair(c, leaf, key);
	if (leaf) {
		check_time(c, leaf);
	}
	if (leaf && named) {
		check_name(c, leaf);
		check_kind(c, config, leaf);
	}
	check_client_ca(c);
	EVP_PKEY_free(key);
	X509_free(leaf);
	ERR_clear_error();
}

/* -- the process ------------------------------------------------------------------------ */

static _Noreturn void child(const struct config *config, size_t index, bool serving, int fd)
{
	struct config_errors errors = {0};
	bool fine = true;

	OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
	for (size_t i = 0; i < config_certificates(config); i++)
		if (index == TLS_CHECK_ALL || index == i)
			check_block(
			    &(struct check){config_certificate(config, i), &errors, serving},
			    config, i < config->tls_count);
	for (size_t i = 0; fine && i < errors.count; i++)
		fine = file_write(fd, &errors.items[i], sizeof errors.items[i]);
	_exit(fine ? 0 : 1);
}

/* The next thing that the child found; false at the end. */
static bool read_error(int fd, struct config_error *to)
{
	size_t have = 0;

	while (have < sizeof *to) {
		ssize_t n = read(fd, (char *)to + have, sizeof *to - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

static bool collect(int fd, struct config_errors *errors)
{
	struct config_error e;
	bool fine = true;

	while (read_error(fd, &e)) {
		config_errors_add(errors, e.warning, e.line, e.column, "%.*s",
				  (int)sizeof e.text - 1, e.text);
		fine = fine && e.warning;
	}
	return fine;
}

bool tls_check(const struct config *config, size_t index, bool serving,
	       struct config_errors *errors)
{
	int pipes[2], status = 1;

	if (!config_certificates(config))
		return true;
	if (pipe2(pipes, O_CLOEXEC) != 0) {
		config_errors_add(errors, false, 0, 0, "tls: %s", strerror(errno));
		return false;
	}
	pid_t pid = fork();

	if (pid == 0)
		child(config, index, serving, pipes[1]);
	close(pipes[1]);
	bool fine = pid > 0 && collect(pipes[0], errors);

	close(pipes[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && status == 0)
		return fine;
	config_errors_add(errors, false, 0, 0, "tls: the certificates could not be looked at");
	return false;
}
