/* SPDX-License-Identifier: Apache-2.0
 * weights/weights.h - named tensors from mapped files, under one spelling of their names.
 *
 * Names are the original Wan ones (shared by all parts of the engine); diffusers and Hugging Face
 * names are translated on open (names.c). Files are hostile: every length and offset is checked
 * against the file before a view exists. Views point into the mapping, may be UNALIGNED, and live
 * as long as the lti_weights. */
#ifndef LT_WEIGHTS_WEIGHTS_H
#define LT_WEIGHTS_WEIGHTS_H
#include "longtake/status.h"
#include "tensor/tensor.h"

typedef struct lti_weights lti_weights;

/* Which name table applies. NONE keeps the names as they are (eval inputs). */
typedef enum lti_part { LTI_PART_NONE, LTI_PART_DIT, LTI_PART_VAE, LTI_PART_TEXT } lti_part;

/* path: a .safetensors file, a *.index.json, or a folder that holds either. */
lt_status lti_weights_open(const char *path, lti_part part, lti_weights **out, lt_error *err);
void lti_weights_close(lti_weights **w);
/* NULL when absent. */
const lti_tensor *lti_weights_find(const lti_weights *w, const char *name);
/* As find, but absence, a shape other than given (rank + extents, -1 = any) and, in the parts of a
 * model, a dtype that is no float are errors that name file, tensor, found and expected. rank -1:
 * any shape. */
lt_status lti_weights_get(const lti_weights *w, const char *name, int rank, const int64_t *n,
                          lti_tensor *out, lt_error *err);
int lti_weights_count(const lti_weights *w);
const char *lti_weights_name(const lti_weights *w, int i,
                             const lti_tensor **t); /* sorted by name */
const char *lti_weights_path(const lti_weights *w);
/* Largest N + 1 over names "<prefix>N.<rest>", 0 if none: the number of layers. */
int lti_weights_layers(const lti_weights *w, const char *prefix);

/* Write named tensors as one safetensors file (temporary name, then rename). */
typedef struct lti_named {
    const char *name;
    lti_tensor t;
} lti_named;
lt_status lti_safetensors_write(const char *path, const lti_named *list, int n, lt_error *err);

#endif
