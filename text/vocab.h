/* SPDX-License-Identifier: Apache-2.0
 * text/vocab.h - a unigram vocabulary on its way from some file into sentencepiece.
 *
 * tokenizer.json and GGUF hold what a spiece.model holds, in other clothes. Their readers fill an
 * lti_vocab; lti_vocab_proto writes it as the protobuf that sentencepiece loads. So there is one
 * segmentation, whatever the file. */
#ifndef LT_TEXT_VOCAB_H
#define LT_TEXT_VOCAB_H
#include "longtake/status.h"
#include "weights/gguf.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LTI_VOCAB_MAX (1 << 20) /* pieces; umt5 has 256384 */
#define LTI_PIECE_MAX 4096      /* bytes of one */
#define LTI_ADDED_MAX 4096
#define LTI_TOKENIZER_MAX ((size_t)128 << 20) /* bytes of a file; umt5's json has 17 MB */

typedef enum lti_piece_type { /* the numbers of sentencepiece and of GGUF */
                              LTI_PIECE_NORMAL = 1,
                              LTI_PIECE_UNKNOWN = 2,
                              LTI_PIECE_CONTROL = 3,
                              LTI_PIECE_USER = 4,
                              LTI_PIECE_UNUSED = 5,
                              LTI_PIECE_BYTE = 6
} lti_piece_type;

typedef struct lti_piece {
    const char *p; /* not terminated; NULL: a hole in the numbering */
    size_t n;
    float score;
    lti_piece_type type;
} lti_piece;

/* A token that is cut out of the text before anything else sees it. */
typedef struct lti_added {
    char *text; /* malloced */
    size_t n;
    int32_t id;
    bool lstrip, rstrip; /* white space on that side belongs to the token */
} lti_added;

typedef enum lti_prefix { /* which sections of the text begin with a word */
                          LTI_PREFIX_ALWAYS,
                          LTI_PREFIX_FIRST,
                          LTI_PREFIX_NEVER
} lti_prefix;

typedef struct lti_vocab {
    lti_piece *piece; /* malloced; the strings are the file's */
    size_t n;
    lti_added *added; /* malloced */
    int n_added;
    uint8_t *charsmap; /* malloced; NULL: text is not normalized */
    size_t charsmap_n;
    lti_prefix prefix;
    bool remove_extra_spaces;
    const char *eos; /* piece of </s> */
    size_t eos_n;
} lti_vocab;

typedef struct lti_bytes {
    uint8_t *v;
    size_t n, cap;
    bool oom; /* sticky */
} lti_bytes;

lt_status lti_vocab_alloc(lti_vocab *v, size_t n, lt_error *err);
/* Copies text. */
lt_status lti_vocab_add(lti_vocab *v, const char *text, size_t n, int32_t id, bool lstrip,
                        bool rstrip, lt_error *err);
void lti_vocab_free(lti_vocab *v); /* safe on a zeroed one */

/* Fill *out, whose strings point into the arguments. LT_EFORMAT names `what`. */
lt_status lti_vocab_from_json(const cJSON *doc, const char *what, lti_vocab *out, lt_error *err);
lt_status lti_vocab_from_gguf(const uint8_t *data, size_t size, const char *what,
                              lti_gguf_meta *meta, lti_vocab *out, lt_error *err);

/* The vocabulary as a sentencepiece ModelProto; out->v is malloced. */
lt_status lti_vocab_proto(const lti_vocab *v, const char *what, lti_bytes *out, lt_error *err);

/* -- charsmap.c: what sentencepiece trusts and must not -------------------------------------- */
/* The normalization trie: sentencepiece walks it without looking. LT_EFORMAT: it could leave it;
 * LT_ENOMEM: not known. */
lt_status lti_charsmap_check(const uint8_t *data, size_t n);
/* All of a ModelProto's normalization tries. */
lt_status lti_proto_check(const uint8_t *data, size_t n);

#endif
