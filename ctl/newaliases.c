/* SPDX-License-Identifier: ISC */
/* newaliases: a name that programs and maintainer scripts call. */
#include "ctl.h"

#include <sysexits.h>

int newaliases_verb(struct ctl *ctl)
{
	(void)ctl;
	/* Nothing is built from aliases, so there is nothing to build. */
	return EX_OK;
}
