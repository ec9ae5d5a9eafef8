/* SPDX-License-Identifier: Apache-2.0
 * weights/index.c - model.safetensors.index.json: {"weight_map": {tensor: file}}.
 *
 * File names come from a stranger and are joined to a folder: only plain names are accepted.
 * Reference: huggingface_hub, serialization of sharded checkpoints. */
#include "base/error.h"
#include "base/json.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#include <string.h>

#define SHARDS_MAX 4096

void lti_index_free(lti_index *x) {
    for (int i = 0; i < x->n_file; i++) free(x->file[i]);
    for (int i = 0; i < x->n_row; i++) free(x->row[i].tensor);
    free(x->file);
    free(x->row);
    *x = (lti_index){0};
}

static bool plain_name(const char *s) {
    if (!*s || *s == '.' || strlen(s) > 255) return false;
    for (; *s; s++)
        if (*s == '/' || *s == '\\' || (unsigned char)*s < 0x20 || *s == 0x7f) return false;
    return true;
}

/* Index of the file in x, added when new. Newest first: neighbours in the map share their file. */
static lt_status file_number(lti_index *x, const char *name, int *out, lt_error *err) {
    for (int i = x->n_file - 1; i >= 0; i--)
        if (!strcmp(x->file[i], name)) {
            *out = i;
            return LT_OK;
        }
    x->file[x->n_file] = strdup(name);
    if (!x->file[x->n_file]) return lti_oom(err, strlen(name) + 1);
    *out = x->n_file++;
    return LT_OK;
}

static int by_tensor(const void *a, const void *b) {
    return strcmp(((const lti_index_row *)a)->tensor, ((const lti_index_row *)b)->tensor);
}

static lt_status fill(lti_index *x, const cJSON *map, const char *what, lt_error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        if (!cJSON_IsString(item) || !plain_name(item->valuestring))
            return lti_fail(err, LT_EFORMAT,
                            "%s: weight_map gives '%.80s' as a file name, expected a plain name in "
                            "the same folder",
                            what, cJSON_IsString(item) ? item->valuestring : "(no string)");
        if (x->n_file == SHARDS_MAX)
            return lti_fail(err, LT_EFORMAT, "%s: more than %d shards", what, SHARDS_MAX - 1);
        lti_index_row *r = &x->row[x->n_row];
        LT_TRY(file_number(x, item->valuestring, &r->file, err));
        r->tensor = strdup(item->string);
        if (!r->tensor) return lti_oom(err, strlen(item->string) + 1);
        x->n_row++;
    }
    qsort(x->row, (size_t)x->n_row, sizeof *x->row, by_tensor);
    for (int i = 1; i < x->n_row; i++)
        if (!strcmp(x->row[i - 1].tensor, x->row[i].tensor))
            return lti_fail(err, LT_EFORMAT, "%s: weight_map has '%.200s' twice", what,
                            x->row[i].tensor);
    return LT_OK;
}

lt_status lti_index_parse(const char *text, size_t len, const char *what, lti_index *out,
                          lt_error *err) {
    *out = (lti_index){0};
    cJSON *root = NULL;
    LT_TRY(lti_json_parse(text, len, what, &root, err));
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(root, "weight_map");
    int n = cJSON_IsObject(map) ? cJSON_GetArraySize(map) : 0;
    lt_status st = LT_OK;
    if (n < 1)
        st = lti_fail(err, LT_EFORMAT,
                      "%s: no 'weight_map' object with tensors; not a safetensors index", what);
    if (st == LT_OK) {
        out->row = calloc((size_t)n, sizeof *out->row);
        out->file = calloc(SHARDS_MAX, sizeof *out->file);
        if (!out->row || !out->file) st = lti_oom(err, (size_t)n * sizeof *out->row);
    }
    if (st == LT_OK) st = fill(out, map, what, err);
    cJSON_Delete(root);
    if (st != LT_OK) lti_index_free(out);
    return st;
}
