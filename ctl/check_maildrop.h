/* SPDX-License-Identifier: ISC */
/* Is the way from sendmail(1) to pickup whole, in an installation? */
#ifndef CTL_CHECK_MAILDROP_H
#define CTL_CHECK_MAILDROP_H

#include "ctl.h"

/* Adds what is wrong with postdrop's and the maildrop's owners and modes; false: an error. From a
 * build's folder there is nothing to be looked at. */
bool check_maildrop(const struct ctl *ctl, struct config_errors *errors);

#endif
