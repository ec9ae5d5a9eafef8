/* SPDX-License-Identifier: Apache-2.0
 * weights/weights_int.h - the steps behind lti_weights_open, on memory so that they can be fuzzed.
 *
 * bytes -> lti_safetensors_parse -> entries -> lti_names_translate -> sorted entries. */
#ifndef LT_WEIGHTS_WEIGHTS_INT_H
#define LT_WEIGHTS_WEIGHTS_INT_H
#include "weights/weights.h"
#include <cjson/cJSON.h>

#define LTI_NAME_MAX 511 /* bytes of a tensor name; published names stay below 100 */

typedef struct lti_entry {
    char *name;   /* ours after translation; malloced */
    char *raw;    /* as in the file, NULL when the same; malloced */
    lti_tensor t; /* points into the mapping */
} lti_entry;

typedef struct lti_entries {
    lti_entry *e;
    int n, cap;
} lti_entries;

/* Takes ownership of *e's strings, also when it fails. */
lt_status lti_entries_add(lti_entries *list, lti_entry *e, lt_error *err);
void lti_entry_free(lti_entry *e);
void lti_entries_free(lti_entries *list); /* safe on a zeroed one */
/* Sort by name; two of one name are an LT_EFORMAT. */
lt_status lti_entries_sort(lti_entries *list, const char *what, lt_error *err);
lti_entry *lti_entries_find(const lti_entries *list, const char *name); /* list is sorted */

/* A whole safetensors file in memory. `what` names it in messages. Entries come sorted; on failure
 * *out is empty. The views point into data, which may have any alignment. */
lt_status lti_safetensors_parse(const uint8_t *data, size_t size, const char *what,
                                lti_entries *out, lt_error *err);
/* Non-negative whole number that fits a size_t and a double exactly. */
bool lti_json_size(const cJSON *v, uint64_t *out);

/* A *.safetensors.index.json: which file holds which tensor. */
typedef struct lti_index_row {
    char *tensor;
    int file; /* into lti_index.file */
} lti_index_row;
typedef struct lti_index {
    char **file; /* plain file names: no separator, not hidden, not ".." */
    int n_file;
    lti_index_row *row; /* sorted by tensor */
    int n_row;
} lti_index;
lt_status lti_index_parse(const char *text, size_t len, const char *what, lti_index *out,
                          lt_error *err);
void lti_index_free(lti_index *x); /* safe on a zeroed one */

/* Give every entry its original Wan name, drop what training left behind, sort. */
lt_status lti_names_translate(lti_part part, const char *what, lti_entries *list, lt_error *err);

#endif
