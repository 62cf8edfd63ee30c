/* SPDX-License-Identifier: ISC */
/*
 * Are the files of the tls blocks good? Looked at in a process of its own,
 * which ends before the answer is read: whoever asks never has a private key
 * in its memory.
 */
#ifndef LIB_TLS_CHECK_H
#define LIB_TLS_CHECK_H

#include "config.h"

#define TLS_CHECK_ALL SIZE_MAX

/*
 * Looks at block INDEX, or all. Adds to *ERRORS; false when one is no
 * warning. With SERVING a certificate out of its time is a warning: for mail
 * it is better than none, and a server must come up again when nobody looks.
 */
bool tls_check(const struct config *config, size_t index, bool serving,
	       struct config_errors *errors);

#endif
