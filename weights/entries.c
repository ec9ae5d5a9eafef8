/* SPDX-License-Identifier: Apache-2.0
 * weights/entries.c - a growing list of named tensors, sorted by name when complete. */
#include "base/error.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#include <string.h>

void lti_entry_free(lti_entry *e) {
    free(e->name);
    free(e->raw);
    free(e->decoded);
    *e = (lti_entry){0};
}

lt_status lti_entry_set_name(lti_entry *e, const char *s, size_t len, const char *what,
                             lt_error *err) {
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return lti_fail(err, LT_EFORMAT,
                            "%s: a tensor name has control characters; the file is damaged, "
                            "download or export it again",
                            what);
    if (len == 0 || len > LTI_NAME_MAX)
        return lti_fail(err, LT_EFORMAT,
                        "%s: a tensor name has %zu bytes, 1 to %d allowed; the file is damaged, "
                        "download or export it again",
                        what, len, LTI_NAME_MAX);
    e->name = malloc(len + 1);
    if (!e->name) return lti_oom(err, len + 1);
    memcpy(e->name, s, len);
    e->name[len] = '\0';
    return LT_OK;
}

void lti_entries_free(lti_entries *list) {
    for (int i = 0; i < list->n; i++) lti_entry_free(&list->e[i]);
    free(list->e);
    *list = (lti_entries){0};
}

lt_status lti_entries_add(lti_entries *list, lti_entry *e, lt_error *err) {
    if (list->n == list->cap) {
        int cap = list->cap ? 2 * list->cap : 64;
        size_t bytes = sizeof *list->e * (size_t)cap;
        lti_entry *grown = realloc(list->e, bytes);
        if (!grown) {
            lti_entry_free(e);
            return lti_oom(err, bytes);
        }
        list->e = grown;
        list->cap = cap;
    }
    list->e[list->n++] = *e;
    *e = (lti_entry){0};
    return LT_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lti_entry *)a)->name, ((const lti_entry *)b)->name);
}

lt_status lti_entries_sort(lti_entries *list, const char *what, lt_error *err) {
    if (list->n) qsort(list->e, (size_t)list->n, sizeof *list->e, by_name);
    for (int i = 1; i < list->n; i++) {
        const lti_entry *a = &list->e[i - 1], *b = &list->e[i];
        if (strcmp(a->name, b->name)) continue;
        if (a->raw || b->raw)
            return lti_fail(err, LT_EFORMAT,
                            "%s: '%s' and '%s' both mean '%s'; keep one naming in the file", what,
                            a->raw ? a->raw : a->name, b->raw ? b->raw : b->name, a->name);
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' is there twice; export the file again",
                        what, a->name);
    }
    return LT_OK;
}

lti_entry *lti_entries_find(const lti_entries *list, const char *name) {
    if (!list->n) return NULL;
    lti_entry key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, list->e, (size_t)list->n, sizeof *list->e, by_name);
}
