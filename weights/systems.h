/* SPDX-License-Identifier: Apache-2.0
 * weights/systems.h - which published system a set of tensors looks like, from names and shapes.
 *
 * For messages and for `longtake info`: nothing is computed from it. Shapes cannot tell a fine-tune
 * from its base, so a streaming checkpoint is called by the base's name. */
#ifndef LT_WEIGHTS_SYSTEMS_H
#define LT_WEIGHTS_SYSTEMS_H
#include "weights/weights.h"

/* Sub-dicts at the top of a torch file in memory, as training checkpoints have them; returns how many,
 * at most cap, 0 also for a file that cannot be read. */
typedef struct lti_torch_dict {
    char name[64]; /* printable, cut */
    int n_tensor;  /* in it, or in the state dict inside it */
    bool used;     /* the one that is loaded when nobody asks for another */
} lti_torch_dict;
int lti_torch_dicts(const uint8_t *data, size_t size, lti_torch_dict *out, int cap);

typedef enum lti_kind {
    LTI_KIND_UNKNOWN,
    LTI_KIND_DIT,
    LTI_KIND_TEXT,
    LTI_KIND_VAE,
    LTI_KIND_TAE,
    LTI_KIND_LORA,
    LTI_KIND_FOREIGN /* a part of a system that longtake does not run */
} lti_kind;

typedef struct lti_sight {
    lti_kind kind;
    bool runs;         /* longtake runs it; a LoRA: adds it */
    char system[96];   /* "Wan2.1-T2V-1.3B", "HunyuanVideo transformer"; "" unknown */
    char sizes[160];   /* "width 1536, 30 blocks, .."; "" unknown */
    const char *needs; /* !runs: what longtake would need, else NULL */
} lti_sight;

/* Names as in the file or translated; sizes are only read from translated ones. */
void lti_sight_read(const lti_weights *w, lti_sight *out);
const char *lti_kind_name(lti_kind k); /* "transformer", "text_encoder", .. */
lti_part lti_kind_part(lti_kind k);    /* the name table; NONE where names stay */

/* Calls f with every name that a complete model of this kind has, as many blocks as w has. Kinds
 * without a fixed list give none. */
void lti_expected_names(lti_kind k, const lti_weights *w, void (*f)(void *opaque, const char *name),
                        void *opaque);

#endif
