/* SPDX-License-Identifier: Apache-2.0
 * weights/weights.h - named tensors from mapped files, under one spelling of their names.
 *
 * Names are the original Wan ones (shared by all parts of the engine); diffusers and Hugging Face
 * names are translated on open (names.c). Files are hostile: every length and offset is checked
 * against the file before a view exists.
 *
 * Most tensors are views into the mapping: they may be UNALIGNED and live as long as the
 * lti_weights. Some must be computed first: quantized blocks (GGUF), 8-bit floats with scales,
 * strided torch tensors, weights a LoRA is added to. Such a tensor is decoded to F32 when `get`
 * asks for it, into memory of the lti_weights, until `forget`. So a loader packs a tensor, forgets,
 * and goes on: the peak is one tensor, whatever the file. Not thread-safe. */
#ifndef LT_WEIGHTS_WEIGHTS_H
#define LT_WEIGHTS_WEIGHTS_H
#include "longtake/status.h"
#include "tensor/tensor.h"

typedef struct lti_weights lti_weights;

/* Which name table applies. NONE keeps the names as they are (eval inputs). */
typedef enum lti_part {
    LTI_PART_NONE,
    LTI_PART_DIT,
    LTI_PART_VAE,
    LTI_PART_TEXT,
    LTI_PART_TAE
} lti_part;

/* One LoRA to add at load: W += scale * (alpha / rank) * B A. */
typedef struct lti_lora_ref {
    const char *path; /* .safetensors or .pt; names as lora.c lists them */
    double scale;
} lti_lora_ref;

typedef struct lti_weights_options {
    const char *root; /* sub-dict of a torch file ("generator", "generator_ema"); NULL: choose */
    const lti_lora_ref *lora;
    int n_lora;
} lti_weights_options;

/* path: a .safetensors, .gguf, .pt or .pth file (told by content, not by name), a *.index.json, or
 * a folder that holds one of them. */
lt_status lti_weights_open(const char *path, lti_part part, lti_weights **out, lt_error *err);
/* opt may be NULL. */
lt_status lti_weights_open_with(const char *path, lti_part part, const lti_weights_options *opt,
                                lti_weights **out, lt_error *err);
void lti_weights_close(lti_weights **w);
/* NULL when absent. Shape and dtype only: data is NULL when the tensor must be decoded. */
const lti_tensor *lti_weights_find(const lti_weights *w, const char *name);
/* The dtype as stored ("Q4_K", "F8_E4M3 scaled", "BF16"), and its bytes in the file. */
const char *lti_weights_stored(const lti_weights *w, int i, uint64_t *bytes);
/* End what `get` decoded, with its views. Views into the mapping stay, and so does the memory of one
 * tensor, for the next. */
void lti_weights_forget(lti_weights *w);
/* The same, and that memory is freed too: when the last tensor is packed. */
void lti_weights_release(lti_weights *w);
/* Mapped pages that were read stop counting as memory of this process until they are read again. */
void lti_weights_evict(const lti_weights *w);
/* Rows [first, first + n) of a matrix as F32, without decoding the rest (embedding tables). */
lt_status lti_weights_rows(const lti_weights *w, const char *name, int64_t first, int64_t n,
                           float *out /*[n, cols]*/, lt_error *err);
/* Absence, a shape other than given (rank + extents, -1 = any; rank -1: any shape) and, in the parts
 * of a model, a dtype that is no float are errors that name file, tensor, found and expected.
 * Shape and dtype only, as find. */
lt_status lti_weights_expect(const lti_weights *w, const char *name, int rank, const int64_t *n,
                             lti_tensor *out, lt_error *err);
/* As expect, with data; decodes when needed (LT_ENOMEM). */
lt_status lti_weights_get(lti_weights *w, const char *name, int rank, const int64_t *n,
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

/* The same tensor by tensor: header first (data of the list is not looked at), then the payloads in
 * the order of the list, in pieces of any size. */
typedef struct lti_writer lti_writer;
typedef struct lti_meta {
    const char *key, *value; /* of __metadata__ */
} lti_meta;
lt_status lti_writer_open(const char *path, const lti_named *list, int n, const lti_meta *meta,
                          int n_meta, lti_writer **out, lt_error *err);
lt_status lti_writer_put(lti_writer *w, const void *data, size_t bytes, lt_error *err);
/* All payloads came: the file gets its name. */
lt_status lti_writer_finish(lti_writer **w, lt_error *err);
void lti_writer_abort(lti_writer **w); /* NULL-safe; no file is left */

#endif
