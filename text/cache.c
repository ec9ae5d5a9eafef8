/* SPDX-License-Identifier: Apache-2.0
 * text/cache.c - finished prompts on disk: the second film of a prompt needs no text encoder.
 *
 *   DIR/<hash>.safetensors   ids I32 [n], text F32 [n, dim], used I32 [2] = {n, n_all},
 *                            key U8 [32], sum U8 [32]
 * key = SHA-256 of everything the rows depend on: the encoder's tensors (names, types, shapes, and
 * some bytes of each, not its path), its settings, the tokenizer, backend and compute type, text
 * length, the cleaned prompt. sum = SHA-256 of the rest of the file's tensors.
 *
 * Files appear by rename, so processes may share a folder. A file that is damaged, foreign or
 * hostile fails its sum and is made again. A weight file that differs only in bytes which are
 * not looked at would be taken for the same: nobody makes such a file
 * but on purpose, for their own cache. */
#include "base/error.h"
#include "base/sha256.h"
#include "text/umt5.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT "longtake text cache 1" /* any change of what is stored, or how it is made */
#define SAMPLE 64                      /* bytes at both ends of a tensor */

static void add_text(lti_sha256 *s, const char *text) { lti_sha256_field(s, text, strlen(text)); }
static void add_int(lti_sha256 *s, int64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++) b[i] = (uint8_t)((uint64_t)v >> 8 * i);
    lti_sha256_field(s, b, sizeof b);
}

/* One tensor of the encoder: what its header says, and both its ends. */
static lt_status add_tensor(lti_sha256 *s, const lti_weights *w, int i, lt_error *err) {
    const lti_tensor *x;
    uint64_t bytes;
    const char *name = lti_weights_name(w, i, &x);
    add_text(s, name);
    add_text(s, lti_weights_stored(w, i, &bytes));
    add_int(s, (int64_t)bytes);
    for (int k = 0; k < x->rank; k++) add_int(s, x->n[k]);
    if (x->data && bytes > 0) {
        const size_t n = bytes < SAMPLE ? (size_t)bytes : SAMPLE;
        lti_sha256_field(s, x->data, n);
        lti_sha256_field(s, (const uint8_t *)x->data + bytes - n, n);
    } else if (x->rank == 2 && x->n[0] > 0 && x->n[1] > 0) { /* stored in blocks: whole rows */
        const size_t row = (size_t)x->n[1] * sizeof(float);
        float *f = malloc(row);
        if (!f) return lti_oom(err, row);
        for (int end = 0; end < 2; end++) {
            lt_status st = lti_weights_rows(w, name, end ? x->n[0] - 1 : 0, 1, f, NULL);
            lti_sha256_field(s, f, st == LT_OK ? row : 0);
        }
        free(f);
    }
    return LT_OK;
}

static lt_status hash_encoder(lti_text *t, const lti_dev *d, lt_error *err) {
    lti_sha256 s;
    lti_sha256_init(&s);
    add_text(&s, FORMAT);
    for (int i = 0; i < lti_weights_count(t->w); i++) LT_TRY(add_tensor(&s, t->w, i, err));
    lti_weights_evict(t->w);
    add_int(&s, t->max_distance);
    lti_sha256_field(&s, &t->eps, sizeof t->eps);
    add_int(&s, t->text_len);
    add_text(&s, lti_dtype_name(t->compute));
    add_text(&s, d->ops.name);
    lti_sha256_field(&s, lti_tokenizer_hash(t->tokenizer), LTI_SHA256_SIZE);
    lti_sha256_end(&s, t->hash);
    return LT_OK;
}

lt_status lti_text_cache_open(lti_text *t, const lti_dev *d, const char *dir, lt_error *err) {
    struct stat st;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return lti_fail(err, LT_EIO,
                        "%s: cannot make this folder for the text cache: %s; name another one", dir,
                        strerror(errno));
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return lti_fail(err, LT_EIO, "%s: is no folder, the text cache needs one; name another one",
                        dir);
    if (access(dir, R_OK | W_OK | X_OK) != 0)
        return lti_fail(err, LT_EIO,
                        "%s: cannot write to the text cache: %s; make the folder writable or name "
                        "another one",
                        dir, strerror(errno));
    t->cache_dir = strdup(dir);
    if (!t->cache_dir) return lti_oom(err, strlen(dir));
    return hash_encoder(t, d, err);
}

/* -- one prompt -------------------------------------------------------------------------- */

/* Path of the prompt's file, malloced, and its key. NULL: no memory. */
static char *file_of(const lti_text *t, const char *clean, uint8_t key[LTI_SHA256_SIZE]) {
    lti_sha256 s;
    char hex[2 * LTI_SHA256_SIZE + 1], *path;
    lti_sha256_init(&s);
    lti_sha256_field(&s, t->hash, sizeof t->hash);
    add_text(&s, clean);
    lti_sha256_end(&s, key);
    for (int i = 0; i < LTI_SHA256_SIZE; i++) snprintf(hex + 2 * i, 3, "%02x", key[i]);
    return asprintf(&path, "%s/%s.safetensors", t->cache_dir, hex) < 0 ? NULL : path;
}

static void sum_of(const uint8_t *key, const void *ids, size_t n_ids, const void *rows,
                   size_t n_rows, const void *used, size_t n_used, uint8_t *sum) {
    lti_sha256 s;
    lti_sha256_init(&s);
    lti_sha256_field(&s, key, LTI_SHA256_SIZE);
    lti_sha256_field(&s, ids, n_ids);
    lti_sha256_field(&s, rows, n_rows);
    lti_sha256_field(&s, used, n_used);
    lti_sha256_end(&s, sum);
}

/* A tensor of the file, of this type and shape; rows -1: any. */
static const lti_tensor *part(const lti_weights *w, const char *name, lti_dtype dt, int rank,
                              int64_t rows, int64_t cols) {
    const lti_tensor *x = lti_weights_find(w, name);
    if (!x || !x->data || x->dtype != dt || x->rank != rank) return NULL;
    if ((rows >= 0 && x->n[0] != rows) || (rank == 2 && x->n[1] != cols)) return NULL;
    return x;
}

static bool read_file(const lti_text *t, const lti_weights *w, const uint8_t *want_key,
                      lti_text_rows *r) {
    uint8_t sum[LTI_SHA256_SIZE];
    int32_t used[2];
    const lti_tensor *ids = part(w, "ids", LTI_I32, 1, -1, 0);
    const int64_t n = ids ? ids->n[0] : 0;
    const lti_tensor *text = part(w, "text", LTI_F32, 2, n, t->dim);
    const lti_tensor *count = part(w, "used", LTI_I32, 1, 2, 0);
    const lti_tensor *key = part(w, "key", LTI_U8, 1, LTI_SHA256_SIZE, 0);
    const lti_tensor *stored = part(w, "sum", LTI_U8, 1, LTI_SHA256_SIZE, 0);
    if (n < 1 || n > t->text_len || !text || !count || !key || !stored) return false;
    sum_of(key->data, ids->data, lti_nbytes(ids), text->data, lti_nbytes(text), count->data,
           lti_nbytes(count), sum);
    if (memcmp(key->data, want_key, sizeof sum) != 0 || memcmp(stored->data, sum, sizeof sum) != 0)
        return false;
    memcpy(used, count->data, sizeof used);
    r->ids = malloc(lti_nbytes(ids));
    r->rows = calloc((size_t)t->text_len * (size_t)t->dim, sizeof(float));
    if (!r->ids || !r->rows) return false;
    memcpy(r->ids, ids->data, lti_nbytes(ids));
    memcpy(r->rows, text->data, lti_nbytes(text));
    r->n = (int)n;
    r->n_all = used[1];
    return used[0] == r->n && used[1] >= r->n;
}

bool lti_text_cache_get(const lti_text *t, const char *clean, lti_text_rows *r) {
    uint8_t key[LTI_SHA256_SIZE];
    lti_weights *w = NULL;
    if (!t->cache_dir) return false;
    char *path = file_of(t, clean, key);
    bool hit = path && access(path, R_OK) == 0 &&
               lti_weights_open(path, LTI_PART_NONE, &w, NULL) == LT_OK && read_file(t, w, key, r);
    if (!hit) lti_text_rows_free(r);
    lti_weights_close(&w);
    free(path);
    return hit;
}

void lti_text_cache_put(const lti_text *t, const char *clean, const lti_text_rows *r) {
    uint8_t key[LTI_SHA256_SIZE], sum[LTI_SHA256_SIZE];
    int32_t used[2] = {r->n, r->n_all};
    if (!t->cache_dir) return;
    char *path = file_of(t, clean, key);
    if (!path) return;
    const size_t row_bytes = (size_t)r->n * (size_t)t->dim * sizeof(float);
    sum_of(key, r->ids, (size_t)r->n * sizeof *r->ids, r->rows, row_bytes, used, sizeof used, sum);
    const lti_named list[] = {{"ids", LTI_VIEW(r->ids, LTI_I32, r->n)},
                              {"text", LTI_VIEW(r->rows, LTI_F32, r->n, t->dim)},
                              {"used", LTI_VIEW(used, LTI_I32, 2)},
                              {"key", LTI_VIEW(key, LTI_U8, LTI_SHA256_SIZE)},
                              {"sum", LTI_VIEW(sum, LTI_U8, LTI_SHA256_SIZE)}};
    lti_safetensors_write(path, list, 5, NULL);
    free(path);
}
