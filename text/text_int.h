/* SPDX-License-Identifier: Apache-2.0
 * text/text_int.h - what the files of text/ share. */
#ifndef LT_TEXT_TEXT_INT_H
#define LT_TEXT_TEXT_INT_H
#include "longtake/status.h"
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

/* -- tokens.c ------------------------------------------------------------------------------ */
/* Clean, cut into pieces, add </s>, cut to text_len ids of which the last is </s>. *n_all counts
 * before the cut. *ids [*n] is malloced. LT_EINVAL as lti_text_encode. */
lt_status lti_text_tokens(const lti_spm *s, const char *prompt, int text_len, int32_t **ids, int *n,
                          int *n_all, lt_error *err);

#ifdef __cplusplus
}
#endif
#endif
