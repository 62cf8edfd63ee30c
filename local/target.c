/* SPDX-License-Identifier: ISC */
/* Targets. */
#include "target.h"

#include <stdio.h>
#include <string.h>

static const char include[] = ":include:";

enum { INCLUDE_LEN = sizeof include - 1 };

static struct text behind(struct text t, size_t n)
{
	return (struct text){t.data + n, t.len - n};
}

/* "*LENGTH:/LIST" in front of what stands in it. */
static bool take_list(struct text *t, struct text *list)
{
	size_t len = 0, at = 1;

	while (at < t->len && at < 5 && t->data[at] >= '0' && t->data[at] <= '9')
		len = len * 10 + (size_t)(t->data[at++] - '0');
	if (at == 1 || at >= t->len || t->data[at] != ':' || !len || len > t->len - at - 1)
		return false;
	*list = (struct text){t->data + at + 1, len};
	*t = behind(*t, at + 1 + len);
	return list->data[0] == '/';
}

bool target_read(struct text t, struct target *to)
{
	*to = (struct target){.forward = t.len && t.data[0] == '~'};
	to->from = to->forward ? LOCAL_FORWARD : LOCAL_ALIAS;
	if (to->forward)
		t = behind(t, 1);
	if (t.len && t.data[0] == '*') {
		to->from = LOCAL_INCLUDE;
		if (!take_list(&t, &to->list))
			return false;
	}
	if (t.len > 1 && t.data[0] == '|') {
		to->kind = ALIAS_COMMAND;
		to->value = behind(t, 1);
	} else if (t.len > 1 && t.data[0] == '/') {
		to->kind = ALIAS_FILE;
		to->value = t;
	} else if (text_starts_case(t, include) && t.len > INCLUDE_LEN && !to->list.len) {
		to->kind = ALIAS_INCLUDE;
		to->value = behind(t, INCLUDE_LEN);
	} else {
		return false;
	}
	return true;
}

struct text target_source(const struct target *t, char *to)
{
	struct text what = t->list.len ? t->list : t->value;
	const char *mark = t->list.len || t->kind == ALIAS_INCLUDE ? include
			   : t->kind == ALIAS_COMMAND		   ? "|"
								   : "";
	int n = snprintf(to, TARGET_BYTES, "%s%s%.*s", t->forward ? "~" : "", mark, (int)what.len,
			 what.data);

	return (struct text){to, n > 0 && n < TARGET_BYTES ? (size_t)n : 0};
}

bool target_of_list(char *to, bool forward, const char *list, const struct alias_item *item)
{
	int n = snprintf(to, TARGET_BYTES, "%s*%zu:%s%s%s", forward ? "~" : "", strlen(list), list,
			 item->kind == ALIAS_COMMAND ? "|" : "", item->value);

	return n > 0 && n < TARGET_BYTES;
}
