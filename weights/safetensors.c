/* SPDX-License-Identifier: Apache-2.0
 * weights/safetensors.c - the header of a safetensors file, read as if written by an enemy.
 *
 * Layout: u64 LE N; N bytes of JSON; data. Each JSON entry is {dtype, shape, data_offsets [b, e)}
 * relative to the first data byte. The data must be covered exactly once: no hole, no overlap, no
 * rest. Empty and 0-d tensors are legal; __metadata__ is skipped.
 * Reference: huggingface/safetensors, safetensors/src/tensor.rs (limits and order of checks).
 * Pitfall: nothing aligns the data; a view may start at any byte. */
#include "base/error.h"
#include "base/json.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX 100000000u /* the reference's own limit */

static const char *const again = "the file is damaged, download or export it again";

/* Non-negative whole number that fits a size_t and a double exactly. */
static bool json_size(const cJSON *v, uint64_t *out) {
    if (!cJSON_IsNumber(v)) return false;
    double d = v->valuedouble;
    if (!(d >= 0 && d <= 9007199254740992.0)) return false; /* 2^53: exact in a double */
    *out = (uint64_t)d;
    return (double)*out == d;
}

static bool dtype_from_name(const char *s, lti_dtype *out) {
    for (int i = 0; i < LTI_DTYPE_COUNT; i++)
        if (!strcmp(s, lti_dtype_name((lti_dtype)i))) {
            *out = (lti_dtype)i;
            return true;
        }
    return false;
}

static lt_status parse_shape(const cJSON *shape, const char *what, lti_entry *e, lt_error *err) {
    int rank = cJSON_IsArray(shape) ? cJSON_GetArraySize(shape) : -1;
    if (rank < 0)
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has no shape array; %s", what, e->name,
                        again);
    if (rank > LTI_MAX_RANK)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has %d dimensions, at most %d are read", what, e->name,
                        rank, LTI_MAX_RANK);
    e->t.rank = rank;
    for (int i = 0; i < LTI_MAX_RANK; i++) e->t.n[i] = 1;
    int64_t bytes = (int64_t)lti_dtype_size(e->t.dtype);
    const cJSON *x;
    int i = 0;
    cJSON_ArrayForEach(x, shape) {
        uint64_t n;
        if (!json_size(x, &n))
            return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has an extent that is no size; %s",
                            what, e->name, again);
        e->t.n[i++] = (int64_t)n;
        if (__builtin_mul_overflow(bytes, (int64_t)n, &bytes))
            return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' is larger than any file; %s", what,
                            e->name, again);
    }
    return LT_OK;
}

/* One {"dtype", "shape", "data_offsets"}; e->name is set, e->t is filled. data has size bytes. */
static lt_status parse_entry(const cJSON *item, const uint8_t *data, uint64_t size,
                             const char *what, lti_entry *e, lt_error *err) {
    const cJSON *dtype = NULL, *shape = NULL, *offsets = NULL, *x;
    if (!cJSON_IsObject(item)) /* before its children: those of an array have no names */
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' is no object; %s", what, e->name, again);
    cJSON_ArrayForEach(x, item) {
        const cJSON **slot = !strcmp(x->string, "dtype")          ? &dtype
                             : !strcmp(x->string, "shape")        ? &shape
                             : !strcmp(x->string, "data_offsets") ? &offsets
                                                                  : NULL;
        if (slot && *slot)
            return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has two '%s' keys; %s", what, e->name,
                            x->string, again);
        if (slot) *slot = x;
    }
    if (!cJSON_IsString(dtype))
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has no dtype; %s", what, e->name, again);
    if (!dtype_from_name(dtype->valuestring, &e->t.dtype))
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has dtype '%.32s', which is not read; convert it to BF16",
                        what, e->name, dtype->valuestring);
    LT_TRY(parse_shape(shape, what, e, err));
    uint64_t b, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !json_size(offsets->child, &b) || !json_size(offsets->child->next, &end))
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has no pair of data_offsets; %s", what,
                        e->name, again);
    if (b > end || end > size)
        return lti_fail(err, LT_EFORMAT,
                        "%s: tensor '%s' lies at bytes %llu to %llu, the file holds %llu; it is "
                        "truncated or damaged, download it again",
                        what, e->name, (unsigned long long)b, (unsigned long long)end,
                        (unsigned long long)size);
    if (end - b != lti_nbytes(&e->t))
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s' has %llu bytes, its shape needs %zu; %s",
                        what, e->name, (unsigned long long)(end - b), lti_nbytes(&e->t), again);
    e->t.data = (void *)(uintptr_t)(data + b); /* views are read-only by convention */
    return LT_OK;
}

static int by_place(const void *pa, const void *pb) {
    const lti_tensor *a = *(const lti_tensor *const *)pa, *b = *(const lti_tensor *const *)pb;
    if (a->data != b->data) return (uintptr_t)a->data < (uintptr_t)b->data ? -1 : 1;
    size_t na = lti_nbytes(a), nb = lti_nbytes(b);
    return na < nb ? -1 : na > nb;
}

/* The tensors cover [data, data + size) exactly once. */
static lt_status check_cover(const lti_entries *list, const uint8_t *data, size_t size,
                             const char *what, lt_error *err) {
    size_t bytes = sizeof(lti_tensor *) * (size_t)(list->n + 1);
    const lti_tensor **at = malloc(bytes);
    if (!at) return lti_oom(err, bytes);
    for (int i = 0; i < list->n; i++) at[i] = &list->e[i].t;
    qsort(at, (size_t)list->n, sizeof *at, by_place);
    size_t pos = 0;
    lt_status st = LT_OK;
    for (int i = 0; i < list->n && st == LT_OK; i++) {
        size_t b = (size_t)((const uint8_t *)at[i]->data - data);
        if (b != pos)
            st = lti_fail(err, LT_EFORMAT, "%s: tensors %s near data byte %zu; %s", what,
                          b < pos ? "overlap" : "leave a hole", pos, again);
        pos = b + lti_nbytes(at[i]);
    }
    if (st == LT_OK && pos != size)
        st = lti_fail(err, LT_EFORMAT, "%s: %zu bytes after the last tensor; %s", what, size - pos,
                      again);
    free(at);
    return st;
}

static lt_status parse_header(const cJSON *root, const uint8_t *data, size_t size, const char *what,
                              lti_entries *out, lt_error *err) {
    if (!cJSON_IsObject(root))
        return lti_fail(err, LT_EFORMAT, "%s: the header is no JSON object; %s", what, again);
    const cJSON *item;
    cJSON_ArrayForEach(item, root) {
        if (!strcmp(item->string, "__metadata__")) continue;
        lti_entry e = {0};
        lt_status st = lti_entry_set_name(&e, item->string, strlen(item->string), what, err);
        if (st == LT_OK) st = parse_entry(item, data, size, what, &e, err);
        if (st != LT_OK) {
            lti_entry_free(&e);
            return st;
        }
        LT_TRY(lti_entries_add(out, &e, err));
    }
    LT_TRY(check_cover(out, data, size, what, err));
    return lti_entries_sort(out, what, err);
}

/* What no parser reads (lti_weights_parse sends the rest here) deserves better than "damaged". */
static lt_status check_magic(const uint8_t *data, size_t size, const char *what, lt_error *err) {
    static const char lfs[] = "version https://git-lfs", page[] = "<!DOCTYPE", html[] = "<html";
    if (size > 32 && !memcmp(data, lfs, strlen(lfs)))
        return lti_fail(err, LT_EFORMAT,
                        "%s: this is a Git LFS pointer, not the file itself; run `git lfs pull` or "
                        "download it again",
                        what);
    if (size > 32 && (!strncasecmp((const char *)data, page, strlen(page)) ||
                      !strncasecmp((const char *)data, html, strlen(html))))
        return lti_fail(err, LT_EFORMAT,
                        "%s: this is a web page, not weights; the download needs another address "
                        "or a login",
                        what);
    bool length = size >= 8 && !(data[4] | data[5] | data[6] | data[7]); /* 0x280 bytes of header */
    if (size < 2 || length || data[0] != 0x80 || data[1] < 2 || data[1] > 5) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "%s: this is a pickle of PyTorch before 1.6 or of something else, expected a "
                    "zip .pt, safetensors or GGUF; load it in PyTorch and torch.save it again",
                    what);
}

lt_status lti_safetensors_parse(const uint8_t *data, size_t size, const char *what,
                                lti_entries *out, lt_error *err) {
    *out = (lti_entries){0};
    LT_TRY(check_magic(data, size, what, err));
    if (size < 8)
        return lti_fail(err, LT_EFORMAT,
                        "%s: %zu bytes, a safetensors file starts with 8 bytes of header length; "
                        "it is truncated, download it again",
                        what, size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--) n = n << 8 | data[i];
    if (n > HEADER_MAX)
        return lti_fail(err, LT_EFORMAT,
                        "%s: header of %llu bytes, at most %u allowed; not a safetensors file?",
                        what, (unsigned long long)n, HEADER_MAX);
    if (n > size - 8)
        return lti_fail(err, LT_EFORMAT,
                        "%s: header of %llu bytes, the file has %zu; it is truncated, download it "
                        "again",
                        what, (unsigned long long)n, size);
    if (n < 2 || data[8] != '{')
        return lti_fail(err, LT_EFORMAT, "%s: the header does not start with '{'; %s", what, again);
    cJSON *root = NULL;
    LT_TRY(lti_json_parse((const char *)data + 8, (size_t)n, what, &root, err));
    lt_status st = parse_header(root, data + 8 + n, size - 8 - (size_t)n, what, out, err);
    cJSON_Delete(root);
    if (st != LT_OK) lti_entries_free(out);
    return st;
}
