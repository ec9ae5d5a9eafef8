/* SPDX-License-Identifier: Apache-2.0
 * text/text.h - prompt to text rows: cleaning, sentencepiece, the UMT5 encoder.
 *
 * clean    ftfy-like fixes, html entities, white space collapsed (models' own preprocessing)
 * ids      sentencepiece unigram pieces + </s>, cut at text_len including </s>
 * encoder  UMT5: RMS norm, attention with a relative-bias table in EVERY layer and no 1/sqrt(d),
 *          gated GELU; only the n real tokens are computed (masked keys have zero weight)
 * Reference: Wan2.1 wan/modules/{t5,tokenizers}.py; transformers UMT5EncoderModel. */
#ifndef LT_TEXT_TEXT_H
#define LT_TEXT_TEXT_H
#include "backend/backend.h"
#include "base/json.h"
#include "weights/weights.h"

typedef struct lti_text lti_text; /* immutable after open */

/* tokenizer: path of spiece.model. json: text_encoder/config.json or NULL. text_len: rows of the
 * output. */
lt_status lti_text_open(lti_dev *d, const lti_weights *w, const cJSON *json, const char *tokenizer,
                        int text_len, lti_dtype compute, lti_text **out, lt_error *err);
void lti_text_close(lti_dev *d, lti_text **t);
int lti_text_dim(const lti_text *t);
int64_t lti_text_params(const lti_text *t);

typedef struct lti_text_rows {
    int n;        /* ids used, with </s> */
    int n_all;    /* ids of the whole prompt, with </s> */
    int32_t *ids; /* [n] */
    float *rows;  /* [text_len, dim] HOST f32, rows past n are zero */
} lti_text_rows;
/* LT_EINVAL: prompt empty (after cleaning) or not UTF-8, or above 64 KiB. Free with
 * lti_text_rows_free. */
lt_status lti_text_encode(const lti_text *t, lti_dev *d, const char *prompt, lti_text_rows *out,
                          lt_error *err);
void lti_text_rows_free(lti_text_rows *r);

/* The cleaning alone; *out is malloced. */
lt_status lti_text_clean(const char *prompt, char **out, lt_error *err);

#endif
