/* SPDX-License-Identifier: Apache-2.0
 * weights/gguf.h - the key/value part of a GGUF file, without copying it.
 *
 * For whoever needs more than tensors: the tokenizer (text/) and `longtake info`. Map the file
 * with lti_filemap_open(lti_weights_path(w)), then
 *
 *   lti_gguf_meta m;
 *   LT_TRY(lti_gguf_meta_read(map.data, map.size, path, &m, err));
 *   lti_gguf_value tokens;
 *   if (lti_gguf_array(&m, "tokenizer.ggml.tokens", LTI_GGUF_STRING, &tokens)) {
 *       lti_gguf_str s;
 *       while (lti_gguf_next_string(&tokens, &s)) ...s.n bytes at s.p...
 *   }
 *   lti_gguf_meta_free(&m);
 *
 * Everything points into the mapping and lives as long as it. Read has checked every length, so the
 * getters cannot fail but for "not there" or "of another type" (false, *out untouched). Strings
 * are not terminated and hold any bytes: not NUL-free, not UTF-8, perhaps megabytes. A key that is
 * there twice is refused by read. */
#ifndef LT_WEIGHTS_GGUF_H
#define LT_WEIGHTS_GGUF_H
#include "longtake/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum lti_gguf_type { /* the numbers of the file format */
                             LTI_GGUF_U8,
                             LTI_GGUF_I8,
                             LTI_GGUF_U16,
                             LTI_GGUF_I16,
                             LTI_GGUF_U32,
                             LTI_GGUF_I32,
                             LTI_GGUF_F32,
                             LTI_GGUF_BOOL,
                             LTI_GGUF_STRING,
                             LTI_GGUF_ARRAY,
                             LTI_GGUF_U64,
                             LTI_GGUF_I64,
                             LTI_GGUF_F64,
                             LTI_GGUF_TYPE_COUNT
} lti_gguf_type;

typedef struct lti_gguf_str {
    const char *p; /* not terminated */
    size_t n;
} lti_gguf_str;

typedef struct lti_gguf_value {
    lti_gguf_type type; /* of the elements when is_array */
    bool is_array;
    uint64_t n;       /* elements left; 1 for a scalar */
    const uint8_t *p; /* the next element; unaligned */
} lti_gguf_value;

typedef struct lti_gguf_kv {
    lti_gguf_str key;
    lti_gguf_value v;
} lti_gguf_kv;

typedef struct lti_gguf_meta {
    int version;
    lti_gguf_kv *kv; /* sorted by key; malloced */
    int n_kv;
    uint64_t n_tensor;
    const uint8_t *tensors; /* the first tensor info, for gguf.c */
} lti_gguf_meta;

bool lti_gguf_is(const uint8_t *data, size_t size); /* by magic */
/* Key/value part of a whole file in memory. `what` names it in messages. *out is zeroed on failure
 * and needs lti_gguf_meta_free else. */
lt_status lti_gguf_meta_read(const uint8_t *data, size_t size, const char *what, lti_gguf_meta *out,
                             lt_error *err);
void lti_gguf_meta_free(lti_gguf_meta *m); /* safe on a zeroed one */

/* NULL when absent. */
const lti_gguf_value *lti_gguf_find(const lti_gguf_meta *m, const char *key);
/* Scalars. Integers of any width (a u64 beyond INT64_MAX is not one), bool as 0 and 1. */
bool lti_gguf_int(const lti_gguf_meta *m, const char *key, int64_t *out);
bool lti_gguf_bool(const lti_gguf_meta *m, const char *key, bool *out); /* integers too: != 0 */
bool lti_gguf_string(const lti_gguf_meta *m, const char *key, lti_gguf_str *out);

/* An array of exactly this element type; arrays of numbers: LTI_GGUF_ARRAY means any number type.
 * *out is an iterator by value. */
bool lti_gguf_array(const lti_gguf_meta *m, const char *key, lti_gguf_type type,
                    lti_gguf_value *out);
/* Take the next element: false at the end. */
bool lti_gguf_next_string(lti_gguf_value *v, lti_gguf_str *out);
bool lti_gguf_next_num(lti_gguf_value *v, double *out);  /* any number type, bool */
bool lti_gguf_next_int(lti_gguf_value *v, int64_t *out); /* any integer type, bool */

#endif
