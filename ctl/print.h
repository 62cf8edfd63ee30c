/* SPDX-License-Identifier: ISC */
/* Output for people and programs: times, sizes, JSON lines. */
#ifndef CTL_PRINT_H
#define CTL_PRINT_H

#include "clock.h"
#include "text.h"

#include <jansson.h>
#include <stdio.h>

/* T as a JSON string; bytes that are no UTF-8 stand as \xNN in it. */
json_t *json_text(struct text t);
json_t *json_u64(uint64_t n);

/* One line of JSON; frees OBJECT. */
void json_print(json_t *object, FILE *to);

/* T with control characters and broken UTF-8 as \xNN; whole, whatever its length. */
void print_text(struct text t, FILE *to);

enum { SHORT_BYTES = 32 };
char *print_age(char *to, struct duration age);	   /* "3h12m" */
char *print_size(char *to, uint64_t bytes);	   /* "1.2 GB" */
char *print_local(char *to, struct walltime when); /* "Sat Nov 21 22:05:00" */

#endif
