/* SPDX-License-Identifier: Apache-2.0
 * weights/gguf_meta.c - the keys and values of a GGUF file, read as if written by an enemy.
 *
 * Layout, little endian, nothing aligned: "GGUF", u32 version, u64 tensors, u64 pairs; then per
 * pair a key (u64 length, bytes), u32 type, value. A string is u64 length and bytes; an array is
 * u32 element type, u64 count, elements, and may hold arrays. Version 1 had 32-bit lengths.
 * Reference: ggml-org/ggml docs/gguf.md.
 *
 * The walk costs one pass over the pairs: a count is compared with the bytes that are left before
 * its elements are visited, and every element takes at least one byte. */
#include "weights/gguf.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 65535 /* the format's own limit */
#define KV_MAX 65536  /* published files have below 100 */
#define DEPTH_MAX 4   /* arrays of arrays of ... */

static const char *const again = "the file is damaged, download or export it again";

typedef struct reader {
    const uint8_t *p, *end;
    const char *what;
    lt_error *err;
} reader;

/* Bytes of a scalar; 0: string or array. */
static size_t scalar_size(uint32_t type) {
    static const uint8_t size[LTI_GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return size[type];
}

static uint64_t get_le(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    while (n) v = v << 8 | p[--n];
    return v;
}

static uint64_t left(const reader *r) { return (uint64_t)(r->end - r->p); }

static lt_status take(reader *r, size_t n, uint64_t *out) {
    *out = 0;
    if (left(r) < n)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: ends inside the GGUF header; it is truncated, download it again",
                        r->what);
    *out = get_le(r->p, n);
    r->p += n;
    return LT_OK;
}

/* A count of things of at least `size` bytes each must fit what is left. */
static lt_status take_count(reader *r, size_t size, const char *of, uint64_t *n) {
    LT_TRY(take(r, 8, n));
    if (*n > left(r) / size)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: %llu %s in %llu bytes; it is truncated or damaged, download it again",
                        r->what, (unsigned long long)*n, of, (unsigned long long)left(r));
    return LT_OK;
}

static lt_status take_string(reader *r, lti_gguf_str *out) {
    uint64_t n;
    LT_TRY(take_count(r, 1, "bytes of text", &n));
    *out = (lti_gguf_str){(const char *)r->p, (size_t)n};
    r->p += n;
    return LT_OK;
}

static lt_status take_type(reader *r, uint32_t *type) {
    uint64_t v;
    LT_TRY(take(r, 4, &v));
    if (v >= LTI_GGUF_TYPE_COUNT)
        return lti_fail(r->err, LT_EFORMAT, "%s: a value of GGUF type %llu, 0 to %d expected; %s",
                        r->what, (unsigned long long)v, LTI_GGUF_TYPE_COUNT - 1, again);
    *type = (uint32_t)v;
    return LT_OK;
}

static lt_status skip_strings(reader *r, uint64_t n) {
    lti_gguf_str s;
    for (uint64_t i = 0; i < n; i++) LT_TRY(take_string(r, &s));
    return LT_OK;
}

/* Type and count of an array into *v, its elements are checked and skipped. */
static lt_status take_array(reader *r, int depth, lti_gguf_value *v) {
    uint32_t type;
    uint64_t n;
    LT_TRY(take_type(r, &type));
    size_t size = scalar_size(type);
    size_t least = size ? size : type == LTI_GGUF_STRING ? 8 : 12;
    LT_TRY(take_count(r, least, "array elements", &n));
    *v = (lti_gguf_value){(lti_gguf_type)type, true, n, r->p};
    if (size) {
        r->p += n * size;
        return LT_OK;
    }
    if (type == LTI_GGUF_STRING) return skip_strings(r, n);
    if (depth == DEPTH_MAX)
        return lti_fail(r->err, LT_EFORMAT, "%s: arrays nested deeper than %d; %s", r->what,
                        DEPTH_MAX, again);
    lti_gguf_value inner;
    for (uint64_t i = 0; i < n; i++) LT_TRY(take_array(r, depth + 1, &inner));
    return LT_OK;
}

static lt_status take_key(reader *r, lti_gguf_str *key) {
    LT_TRY(take_string(r, key));
    bool control = false;
    for (size_t i = 0; i < key->n && i < KEY_MAX; i++)
        control |= (unsigned char)key->p[i] < 0x20 || key->p[i] == 0x7f;
    if (key->n == 0 || key->n > KEY_MAX || control)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: a key of %zu bytes%s, 1 to %d without control characters expected; %s",
                        r->what, key->n, control ? " with control characters" : "", KEY_MAX, again);
    return LT_OK;
}

static lt_status take_kv(reader *r, lti_gguf_kv *kv) {
    uint32_t type;
    LT_TRY(take_key(r, &kv->key));
    LT_TRY(take_type(r, &type));
    if (type == LTI_GGUF_ARRAY) return take_array(r, 1, &kv->v);
    kv->v = (lti_gguf_value){(lti_gguf_type)type, false, 1, r->p};
    lti_gguf_str s;
    uint64_t x;
    return type == LTI_GGUF_STRING ? take_string(r, &s) : take(r, scalar_size(type), &x);
}

/* -- sorted keys --------------------------------------------------------------------------- */

static int compare(lti_gguf_str a, lti_gguf_str b) {
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int by_key(const void *a, const void *b) {
    return compare(((const lti_gguf_kv *)a)->key, ((const lti_gguf_kv *)b)->key);
}

static lt_status sort_keys(const lti_gguf_meta *m, const char *what, lt_error *err) {
    if (m->n_kv) qsort(m->kv, (size_t)m->n_kv, sizeof *m->kv, by_key);
    for (int i = 1; i < m->n_kv; i++) {
        const lti_gguf_str k = m->kv[i].key;
        if (compare(m->kv[i - 1].key, k)) continue;
        return lti_fail(err, LT_EFORMAT, "%s: key '%.*s' is there twice; %s", what,
                        k.n > 100 ? 100 : (int)k.n, k.p, again);
    }
    return LT_OK;
}

/* -- read ---------------------------------------------------------------------------------- */

bool lti_gguf_is(const uint8_t *data, size_t size) { return size >= 4 && !memcmp(data, "GGUF", 4); }

static lt_status check_version(reader *r, int *out) {
    uint64_t v;
    LT_TRY(take(r, 4, &v));
    *out = (int)(v & 0xff);
    if (v == 2 || v == 3) return LT_OK;
    if (v && v <= 0xffff)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: GGUF version %llu, 2 and 3 are read; convert it again with current "
                        "tools",
                        r->what, (unsigned long long)v);
    if (v && !(v & 0xffff))
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: a big-endian GGUF file; get or convert to a little-endian one",
                        r->what);
    return lti_fail(r->err, LT_EFORMAT, "%s: GGUF version %llu cannot be; %s", r->what,
                    (unsigned long long)v, again);
}

static lt_status read_pairs(reader *r, uint64_t n, lti_gguf_meta *m) {
    int cap = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (m->n_kv == cap) {
            cap = cap ? 2 * cap : 32;
            size_t bytes = sizeof *m->kv * (size_t)cap;
            lti_gguf_kv *grown = realloc(m->kv, bytes);
            if (!grown) return lti_oom(r->err, bytes);
            m->kv = grown;
        }
        LT_TRY(take_kv(r, &m->kv[m->n_kv]));
        m->n_kv++;
    }
    return sort_keys(m, r->what, r->err);
}

static lt_status read_all(reader *r, lti_gguf_meta *m) {
    uint64_t n;
    LT_TRY(check_version(r, &m->version));
    LT_TRY(take(r, 8, &m->n_tensor));
    LT_TRY(take_count(r, 13, "key/value pairs", &n)); /* length, type, one byte */
    if (n > KV_MAX)
        return lti_fail(r->err, LT_EFORMAT, "%s: %llu key/value pairs, at most %d expected; %s",
                        r->what, (unsigned long long)n, KV_MAX, again);
    LT_TRY(read_pairs(r, n, m));
    m->tensors = r->p;
    return LT_OK;
}

lt_status lti_gguf_meta_read(const uint8_t *data, size_t size, const char *what, lti_gguf_meta *out,
                             lt_error *err) {
    *out = (lti_gguf_meta){0};
    if (!lti_gguf_is(data, size))
        return lti_fail(err, LT_EFORMAT, "%s: does not start with GGUF; not a GGUF file?", what);
    reader r = {data + 4, data + size, what, err};
    lt_status st = read_all(&r, out);
    if (st != LT_OK) lti_gguf_meta_free(out);
    return st;
}

void lti_gguf_meta_free(lti_gguf_meta *m) {
    free(m->kv);
    *m = (lti_gguf_meta){0};
}

/* -- getters ------------------------------------------------------------------------------- */

const lti_gguf_value *lti_gguf_find(const lti_gguf_meta *m, const char *key) {
    const lti_gguf_kv want = {.key = {key, strlen(key)}};
    if (!m->n_kv) return NULL;
    const lti_gguf_kv *kv = bsearch(&want, m->kv, (size_t)m->n_kv, sizeof *m->kv, by_key);
    return kv ? &kv->v : NULL;
}

static bool read_int(lti_gguf_type type, const uint8_t *p, int64_t *out) {
    switch (type) {
    case LTI_GGUF_U8:
        *out = p[0];
        return true;
    case LTI_GGUF_I8:
        *out = (int8_t)p[0];
        return true;
    case LTI_GGUF_BOOL:
        *out = p[0] != 0;
        return true;
    case LTI_GGUF_U16:
        *out = (int64_t)get_le(p, 2);
        return true;
    case LTI_GGUF_I16:
        *out = (int16_t)get_le(p, 2);
        return true;
    case LTI_GGUF_U32:
        *out = (int64_t)get_le(p, 4);
        return true;
    case LTI_GGUF_I32:
        *out = (int32_t)get_le(p, 4);
        return true;
    case LTI_GGUF_I64:
        *out = (int64_t)get_le(p, 8);
        return true;
    case LTI_GGUF_U64:
        if (get_le(p, 8) > INT64_MAX) return false;
        *out = (int64_t)get_le(p, 8);
        return true;
    default:
        return false;
    }
}

static bool read_num(lti_gguf_type type, const uint8_t *p, double *out) {
    int64_t i;
    if (type == LTI_GGUF_F32) {
        uint32_t u = (uint32_t)get_le(p, 4);
        float f;
        memcpy(&f, &u, 4);
        *out = f;
    } else if (type == LTI_GGUF_F64) {
        uint64_t u = get_le(p, 8);
        memcpy(out, &u, 8);
    } else if (type == LTI_GGUF_U64) {
        *out = (double)get_le(p, 8);
    } else {
        if (!read_int(type, p, &i)) return false;
        *out = (double)i;
    }
    return true;
}

static const lti_gguf_value *scalar(const lti_gguf_meta *m, const char *key) {
    const lti_gguf_value *v = lti_gguf_find(m, key);
    return v && !v->is_array ? v : NULL;
}

bool lti_gguf_int(const lti_gguf_meta *m, const char *key, int64_t *out) {
    const lti_gguf_value *v = scalar(m, key);
    return v && read_int(v->type, v->p, out);
}

bool lti_gguf_bool(const lti_gguf_meta *m, const char *key, bool *out) {
    int64_t i;
    if (!lti_gguf_int(m, key, &i)) return false;
    *out = i != 0;
    return true;
}

static lti_gguf_str string_at(const uint8_t *p) {
    return (lti_gguf_str){(const char *)p + 8, (size_t)get_le(p, 8)};
}

bool lti_gguf_string(const lti_gguf_meta *m, const char *key, lti_gguf_str *out) {
    const lti_gguf_value *v = scalar(m, key);
    if (!v || v->type != LTI_GGUF_STRING) return false;
    *out = string_at(v->p);
    return true;
}

bool lti_gguf_array(const lti_gguf_meta *m, const char *key, lti_gguf_type type,
                    lti_gguf_value *out) {
    const lti_gguf_value *v = lti_gguf_find(m, key);
    if (!v || !v->is_array) return false;
    if (type == LTI_GGUF_ARRAY ? !scalar_size(v->type) : v->type != type) return false;
    *out = *v;
    return true;
}

bool lti_gguf_next_string(lti_gguf_value *v, lti_gguf_str *out) {
    if (!v->n || v->type != LTI_GGUF_STRING) return false;
    *out = string_at(v->p);
    v->p += 8 + out->n;
    v->n--;
    return true;
}

static bool next(lti_gguf_value *v) {
    size_t size = scalar_size(v->type);
    v->p += size;
    v->n--;
    return true;
}

bool lti_gguf_next_num(lti_gguf_value *v, double *out) {
    return v->n && read_num(v->type, v->p, out) && next(v);
}

bool lti_gguf_next_int(lti_gguf_value *v, int64_t *out) {
    return v->n && read_int(v->type, v->p, out) && next(v);
}
