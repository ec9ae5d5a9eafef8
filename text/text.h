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
#include <stdbool.h>

typedef struct lti_text lti_text; /* immutable after open; prompts of a streamed one take turns */

typedef enum lti_text_mode {
    LTI_TEXT_AUTO,     /* streamed above 1 GiB of packed weights, or with a cache; else resident */
    LTI_TEXT_RESIDENT, /* packed at open, for many prompts */
    LTI_TEXT_STREAMED  /* nothing is packed at open; every prompt reads layer after layer */
} lti_text_mode;

typedef struct lti_text_options {
    lti_text_mode mode;
    const char *cache_dir; /* finished prompts are kept here as files; NULL: nowhere */
    bool prefer_inside;    /* the tokenizer's path is for an encoder without one of its own */
} lti_text_options;

/* tokenizer: a spiece.model, tokenizer.json, GGUF or safetensors file with one in it; NULL: the
 * text encoder's own file has it. json: text_encoder/config.json or NULL. text_len: rows of the
 * output. w must live as long as the lti_text. */
lt_status lti_text_open(lti_dev *d, lti_weights *w, const cJSON *json, const char *tokenizer,
                        int text_len, lti_dtype compute, lti_text **out, lt_error *err);
/* o NULL: as above. */
lt_status lti_text_open_with(lti_dev *d, lti_weights *w, const cJSON *json, const char *tokenizer,
                             int text_len, lti_dtype compute, const lti_text_options *o,
                             lti_text **out, lt_error *err);
void lti_text_close(lti_dev *d, lti_text **t);
int lti_text_dim(const lti_text *t);
int64_t lti_text_params(const lti_text *t);
bool lti_text_streamed(const lti_text *t);
/* What AUTO is for an encoder of that many packed bytes. */
bool lti_text_streams(const lti_text_options *o, size_t packed);

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
/* What encoding this prompt takes beside the weights, with its rows; d only counts. */
lt_status lti_text_count(const lti_text *t, lti_dev *d, const char *prompt, size_t *bytes,
                         lt_error *err);

/* The cleaning alone; *out is malloced. */
lt_status lti_text_clean(const char *prompt, char **out, lt_error *err);

#endif
