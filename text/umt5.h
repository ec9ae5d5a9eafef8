/* SPDX-License-Identifier: Apache-2.0
 * text/umt5.h - the UMT5 encoder between its files: umt5_load.c (weights), umt5.c (forward). */
#ifndef LT_TEXT_UMT5_H
#define LT_TEXT_UMT5_H
#include "text/text.h"
#include "text/text_int.h"
#include <pthread.h>

enum { LTI_T5_Q, LTI_T5_K, LTI_T5_V, LTI_T5_O, LTI_T5_GATE, LTI_T5_FC1, LTI_T5_FC2, LTI_T5_PACKS };

typedef struct lti_t5_layer {
    lti_packed *m[LTI_T5_PACKS]; /* q k v [inner, dim], o [dim, inner], gate fc1 [ffn, dim],
                                    fc2 [dim, ffn] */
    float *bias;                 /* [n_bucket, n_head] host */
    float *norm;                 /* [2, dim] device: before the attention, before the rest */
} lti_t5_layer;

struct lti_text {
    lti_tokenizer *tokenizer;
    lti_weights *w;
    lti_tensor embed;    /* [vocab, dim], shape only */
    lti_t5_layer *layer; /* [n_layer]; NULL: streamed, read from w for every prompt */
    float *norm;         /* [dim] device, the last one; NULL when streamed */
    int n_layer, n_head, n_bucket, max_distance, text_len;
    int64_t dim, d_kv, ffn;
    float eps;
    lti_dtype compute;
    int64_t n_param;
    pthread_mutex_t *turn; /* streamed: w serves one prompt at a time */
    char *cache_dir;       /* NULL: none */
    uint8_t hash[32];      /* with cache_dir: of what the rows depend on beside prompt and ids */
};

#define LTI_T5_EMBEDDING "token_embedding.weight"

/* Layer n into *l, which is zeroed; on failure nothing is held. */
lt_status lti_t5_load(const lti_text *t, lti_dev *d, int n, lti_t5_layer *l, lt_error *err);
void lti_t5_unload(lti_dev *d, lti_t5_layer *l); /* safe on a zeroed one */
/* The norm behind the last layer, [dim] device; free it with d->ops.free. */
lt_status lti_t5_load_norm(const lti_text *t, lti_dev *d, float **out, lt_error *err);

/* -- cache.c: finished prompts on disk --------------------------------------------------------- */
/* t->cache_dir and t->hash. LT_EIO: the folder cannot be made or written. */
lt_status lti_text_cache_open(lti_text *t, const lti_dev *d, const char *dir, lt_error *err);
/* true: *r holds what the encoder would give. A missing or damaged file is no error. */
bool lti_text_cache_get(const lti_text *t, const char *clean, lti_text_rows *r);
/* Best effort: a full disk costs time later, not this film. */
void lti_text_cache_put(const lti_text *t, const char *clean, const lti_text_rows *r);

#endif
