/* SPDX-License-Identifier: ISC */
/* One conversation with PAM. */
#include "pam.h"

#include "clock.h"
#include "must.h"

#include <openssl/crypto.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct asked {
	const char *service, *folder;
	char name[LOGIN_MAX + 1], password[PASSWORD_MAX + 1], address[46];
};

/* Whatever is asked without echo is the password; there is nobody to be asked anything else. */
static int converse(int count, const struct pam_message **asked, struct pam_response **answers,
		    void *arg)
{
	const struct asked *who = arg;
	struct pam_response *to;

	if (count <= 0 || count > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	/* The module frees it, and each text in it. */
	to = calloc((size_t)count, sizeof *to);
	if (!to)
		return PAM_BUF_ERR;
	for (int i = 0; i < count; i++) {
		if (asked[i]->msg_style == PAM_PROMPT_ECHO_OFF)
			to[i].resp = strdup(who->password);
		else if (asked[i]->msg_style == PAM_PROMPT_ECHO_ON)
			to[i].resp = strdup(who->name);
	}
	*answers = to;
	return PAM_SUCCESS;
}

/* Slowing down is the checker's affair: a process that sleeps is one that checks nobody. */
static void no_delay(int status, unsigned us, void *arg)
{
	(void)status;
	(void)us;
	(void)arg;
}

static enum auth_verdict verdict_of(int status)
{
	switch (status) {
	case PAM_SUCCESS:
		return AUTH_GOOD;
	case PAM_AUTH_ERR:
	case PAM_USER_UNKNOWN:
	case PAM_CRED_INSUFFICIENT:
	case PAM_MAXTRIES:
		return AUTH_WRONG;
	case PAM_ACCT_EXPIRED:
	case PAM_PERM_DENIED:
	case PAM_NEW_AUTHTOK_REQD:
	case PAM_AUTHTOK_EXPIRED:
		return AUTH_DISABLED;
	default:
		return AUTH_TEMPORARY;
	}
}

static enum auth_verdict talk(const struct asked *who, char *name)
{
	const struct pam_conv conversation = {converse, (void *)(uintptr_t)who};
	void (*delay)(int, unsigned, void *) = no_delay;
	const void *user = NULL, *delay_item;
	pam_handle_t *pam = NULL;
	int status = who->folder ? pam_start_confdir(who->service, who->name, &conversation,
						     who->folder, &pam)
				 : pam_start(who->service, who->name, &conversation, &pam);
	bool authenticated = false;

	memcpy(&delay_item, &delay, sizeof delay_item);
	if (status == PAM_SUCCESS)
		status = pam_set_item(pam, PAM_RHOST, who->address);
	if (status == PAM_SUCCESS)
		status = pam_set_item(pam, PAM_TTY, "smtp");
	if (status == PAM_SUCCESS)
		status = pam_set_item(pam, PAM_FAIL_DELAY, delay_item);
	if (status == PAM_SUCCESS) {
		status = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
		authenticated = status == PAM_SUCCESS;
	}
	if (status == PAM_SUCCESS)
		status = pam_acct_mgmt(pam, PAM_SILENT);
	if (status == PAM_SUCCESS)
		status = pam_get_item(pam, PAM_USER, &user);
	if (status == PAM_SUCCESS && user && !passwd_name_fault(text_of(user)))
		text_copy(name, LOGIN_MAX + 1, text_of(user));
	else if (status == PAM_SUCCESS)
		status = PAM_SYSTEM_ERR;
	if (pam)
		pam_end(pam, status);
	/* Only who knows the password hears that it is of no use, and he always does. */
	enum auth_verdict verdict = verdict_of(status);

	if (verdict == AUTH_DISABLED || verdict == AUTH_WRONG)
		verdict = authenticated ? AUTH_DISABLED : AUTH_WRONG;
	return verdict;
}

/* False: it did not end in time, and was made to. A signal may be an earlier child's. */
static bool child_wait(pid_t child, const sigset_t *ended)
{
	struct monotime end = monotime_add(monotime_read(), SECONDS(PAM_SECONDS));
	int status;

	while (waitpid(child, &status, WNOHANG) == 0) {
		int64_t left = monotime_since(end, monotime_read()).us;

		if (left <= 0) {
			kill(child, SIGKILL);
			waitpid(child, &status, 0);
			return false;
		}
		sigtimedwait(
		    ended, NULL,
		    &(struct timespec){.tv_sec = left / 1000000, .tv_nsec = left % 1000000 * 1000});
	}
	return true;
}

void pam_ask(const char *service, const char *folder, const struct question *q, struct answer *a)
{
	struct asked who = {.service = service, .folder = folder};
	struct answer *told =
	    mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigset_t ended;

	must(told != MAP_FAILED);
	*told = (struct answer){.verdict = AUTH_TEMPORARY};
	text_copy(who.name, sizeof who.name, (struct text){q->secret, q->secret_len});
	text_copy(who.password, sizeof who.password, (struct text){q->password, q->password_len});
	text_copy(who.address, sizeof who.address,
		  (struct text){q->address, strnlen(q->address, sizeof q->address)});
	sigemptyset(&ended);
	sigaddset(&ended, SIGCHLD);
	sigprocmask(SIG_BLOCK, &ended, NULL);
	signal(SIGCHLD, SIG_DFL);
	pid_t child = fork();

	if (child == 0) {
		sigprocmask(SIG_UNBLOCK, &ended, NULL);
		close_range(STDERR_FILENO + 1, ~0u, 0);
		told->verdict = (uint8_t)talk(&who, told->name);
		_exit(0);
	}
	if (child > 0 && child_wait(child, &ended))
		*a = *told;
	else
		a->verdict = AUTH_TEMPORARY;
	OPENSSL_cleanse(&who, sizeof who);
	munmap(told, sizeof *told);
}
