/* SPDX-License-Identifier: Apache-2.0
 * text/tokens.c - from a cleaned prompt to the ids of the text encoder.
 *
 * Reference: Wan2.1 wan/modules/tokenizers.py (clean = 'whitespace', truncated with </s>). */
#include "base/error.h"
#include "text/text_int.h"
#include <stdlib.h>

lt_status lti_spm_fail(lt_error *err, lt_status code, const char *what, const char *text) {
    return lti_fail(err, code, "%s: %s", what, text);
}

/* Append </s> and cut; *ids has n pieces. */
static lt_status finish(const lti_tokenizer *t, int text_len, int32_t **ids, int pieces, int *n,
                        lt_error *err) {
    *n = pieces + 1 < text_len ? pieces + 1 : text_len;
    size_t bytes = sizeof(int32_t) * ((size_t)pieces + 1);
    int32_t *grown = realloc(*ids, bytes);
    if (!grown) return lti_oom(err, bytes);
    *ids = grown;
    grown[*n - 1] = lti_tokenizer_eos(t);
    return LT_OK;
}

lt_status lti_text_ids(const lti_tokenizer *t, const char *clean, int text_len, int32_t **ids,
                       int *n, int *n_all, lt_error *err) {
    int pieces = 0;
    *ids = NULL;
    if (!*clean)
        return lti_fail(err, LT_EINVAL, "prompt: empty after cleaning; say what the video shows");
    lt_status st = lti_tokenizer_encode(t, clean, ids, &pieces, err);
    if (st == LT_OK) st = finish(t, text_len, ids, pieces, n, err);
    if (st != LT_OK) {
        free(*ids);
        *ids = NULL;
        return st;
    }
    *n_all = pieces + 1;
    return LT_OK;
}
