/* SPDX-License-Identifier: Apache-2.0
 * text/text_int.h - what the files of text/ share. */
#ifndef LT_TEXT_TEXT_INT_H
#define LT_TEXT_TEXT_INT_H
#include "longtake/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LTI_PROMPT_MAX 65536 /* bytes of a prompt before cleaning */

/* -- unescape.c: text as code points ------------------------------------------------------ */
typedef struct lti_cps {
    uint32_t *v;
    size_t n, cap;
    int oom; /* sticky: a push failed, the content is incomplete */
} lti_cps;
void lti_cps_push(lti_cps *b, uint32_t c);
/* Character references as Python's html.unescape reads them: semicolons are optional. */
void lti_html_unescape(const lti_cps *in, lti_cps *out);
/* The careful variant of ftfy: a semicolon is required, all-capital names are known. */
void lti_html_unescape_strict(const lti_cps *in, lti_cps *out);
uint32_t lti_cp1252(uint32_t c); /* what Windows-1252 has at 0x80..0x9f; anything else unchanged */

/* -- mojibake.c --------------------------------------------------------------------------- */
/* In place: text that was UTF-8 and got decoded as something else, any number of times. `work` is
 * how many characters may still be looked at; it is used up on hostile text only. */
#define LTI_FIX_WORK ((size_t)1 << 20)
bool lti_fix_encoding(lti_cps *text, size_t *work);

extern const char lti_html_entities[];
extern const size_t lti_html_entities_size;

/* -- spm_shim.cc: sentencepiece behind C --------------------------------------------------- */
/* lti_fail("<what>: <text>") for C++, which cannot read base/error.h. In tokens.c. */
lt_status lti_spm_fail(lt_error *err, lt_status code, const char *what, const char *text);
typedef struct lti_spm lti_spm; /* immutable, shareable between threads */
lt_status lti_spm_open(const void *model, size_t size, const char *what, lti_spm **out,
                       lt_error *err);
void lti_spm_close(lti_spm **s);
int lti_spm_size(const lti_spm *s); /* pieces */
int lti_spm_eos(const lti_spm *s);  /* id of </s> */
/* Pieces of text without </s>; *ids is malloced (NULL when *n is 0). */
lt_status lti_spm_encode(const lti_spm *s, const char *text, int32_t **ids, int *n, lt_error *err);

/* -- tokenizer.c -------------------------------------------------------------------------- */
typedef struct lti_weights lti_weights;
typedef struct lti_tokenizer lti_tokenizer; /* immutable, shareable between threads */
/* Any file with a tokenizer in it, told by content. */
lt_status lti_tokenizer_open(const char *path, lti_tokenizer **out, lt_error *err);
/* The same in memory, but for safetensors. */
lt_status lti_tokenizer_parse(const void *data, size_t size, const char *what, lti_tokenizer **out,
                              lt_error *err);
/* Does the text encoder's own file carry its tokenizer? */
bool lti_tokenizer_inside(const lti_weights *w);
lt_status lti_tokenizer_open_inside(const lti_weights *w, lti_tokenizer **out, lt_error *err);
void lti_tokenizer_close(lti_tokenizer **t);
int lti_tokenizer_size(const lti_tokenizer *t); /* every id is below */
int lti_tokenizer_eos(const lti_tokenizer *t);
const uint8_t *lti_tokenizer_hash(const lti_tokenizer *t); /* [32]: of what decides the ids */
/* Ids of cleaned text without </s>; *ids is malloced (NULL when *n is 0). */
lt_status lti_tokenizer_encode(const lti_tokenizer *t, const char *text, int32_t **ids, int *n,
                               lt_error *err);

/* -- tokens.c ------------------------------------------------------------------------------ */
/* Ids of a cleaned prompt: pieces and </s>, cut to text_len ids of which the last is </s>. *n_all
 * counts before the cut. *ids [*n] is malloced. LT_EINVAL: the prompt is empty. */
lt_status lti_text_ids(const lti_tokenizer *t, const char *clean, int text_len, int32_t **ids,
                       int *n, int *n_all, lt_error *err);

#ifdef __cplusplus
}
#endif
#endif
