/* SPDX-License-Identifier: Apache-2.0
 * weights/weights_int.h - the steps behind lti_weights_open, on memory so that they can be fuzzed.
 *
 * bytes -> lti_{safetensors,torch,gguf}_parse -> entries -> lti_names_translate (names, scales,
 * LoRA) -> sorted entries. */
#ifndef LT_WEIGHTS_WEIGHTS_INT_H
#define LT_WEIGHTS_WEIGHTS_INT_H
#include "weights/weights.h"
#include <cjson/cJSON.h>

#define LTI_NAME_MAX 511 /* bytes of a tensor name; published names stay below 100 */

/* How stored bytes become the tensor, when they are not simply it. Everything in here was checked
 * by the parser: decode cannot fail and reads only [src, src + bytes). */
typedef struct lti_codec lti_codec;
struct lti_codec {
    /* Elements [first, first + n) in C order as F32. first and n are multiples of `unit`. NULL: the
     * payload is plain, t.data points at it. */
    void (*decode)(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n, float *out);
    const uint8_t *src; /* payload in the mapping */
    uint64_t bytes;
    const char *stored;           /* dtype as stored, a literal; NULL: the name of `from` */
    int64_t unit;                 /* elements of one block: 1, 32, 256 */
    int type;                     /* gguf: the ggml type */
    lti_dtype from;               /* strided, scaled: element type as stored */
    int64_t stride[LTI_MAX_RANK]; /* strided: elements */
    /* scaled: value * scale[row * scale_step]; scale is f32 in memory of the lti_weights */
    const float *scale;
    int64_t scale_step; /* 0: one scale for all; 1: one per row of the first axis */
};

/* W += scale * B A, added after decoding. A [rank, in], B [out, rank]: views of plain tensors. */
typedef struct lti_delta {
    struct lti_delta *next;
    const lti_tensor *a, *b; /* b NULL: `a` is the whole delta, same shape as W */
    double scale;            /* user's scale * alpha / rank */
} lti_delta;

typedef struct lti_entry {
    char *name;       /* ours after translation; malloced */
    char *raw;        /* as in the file, NULL when the same; malloced */
    lti_tensor t;     /* points into the mapping; data NULL and dtype F32 when decoded */
    lti_codec codec;  /* decode NULL: plain */
    lti_delta *delta; /* list; owned by the lti_weights' LoRA store */
    float *decoded;   /* what `get` made, until `forget` */
} lti_entry;

typedef struct lti_entries {
    lti_entry *e;
    int n, cap;
} lti_entries;

/* Elements [first, first + n) of a tensor that lies plainly at c->src as c->from. */
void lti_decode_plain(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                      float *out);
/* As that, element (i0, i1, ..) lying at c->src[i0 * stride[0] + i1 * stride[1] + ..]. */
void lti_decode_strided(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                        float *out);
/* Make a plain entry one that is decoded (lti_decode_plain), so that a delta or scale can join. */
void lti_entry_decoded(lti_entry *e);
/* Whether `get` has to compute the tensor. */
bool lti_entry_lazy(const lti_entry *e);
/* The dtype as stored, a float or not. */
lti_dtype lti_entry_from(const lti_entry *e);
/* Rows [first, first + n) along the slowest axis (a 0-d tensor is one row) as F32, deltas added.
 * n * cols and first * cols are multiples of the codec's unit. */
void lti_entry_rows(const lti_entry *e, int64_t first, int64_t n, float *out);

/* e->name = len bytes of s, from a file: its length and characters are checked. */
lt_status lti_entry_set_name(lti_entry *e, const char *s, size_t len, const char *what,
                             lt_error *err);
/* Takes ownership of *e's strings, also when it fails. */
lt_status lti_entries_add(lti_entries *list, lti_entry *e, lt_error *err);
void lti_entry_free(lti_entry *e);
void lti_entries_free(lti_entries *list); /* safe on a zeroed one */
/* Sort by name; two of one name are an LT_EFORMAT. */
lt_status lti_entries_sort(lti_entries *list, const char *what, lt_error *err);
lti_entry *lti_entries_find(const lti_entries *list, const char *name); /* list is sorted */
/* Weights of a sorted list that came from no file; the list is taken, also when it fails. */
lt_status lti_weights_make(lti_part part, const char *what, lti_entries *list, lti_weights **out,
                           lt_error *err);

/* A whole safetensors file in memory. `what` names it in messages. Entries come sorted; on failure
 * *out is empty. The views point into data, which may have any alignment. */
lt_status lti_safetensors_parse(const uint8_t *data, size_t size, const char *what,
                                lti_entries *out, lt_error *err);
/* A torch zip archive (.pt, .pth): central directory, pickle, storages. root as in
 * lti_weights_options. Same rules as lti_safetensors_parse. */
lt_status lti_torch_parse(const uint8_t *data, size_t size, const char *root, const char *what,
                          lti_entries *out, lt_error *err);
/* A GGUF v2 or v3 file: tensors only. Shapes are torch's (slowest first). */
lt_status lti_gguf_parse(const uint8_t *data, size_t size, const char *what, lti_entries *out,
                         lt_error *err);
/* Whichever of these formats the bytes are (told by their magic). opt may be NULL. */
lt_status lti_weights_parse(const uint8_t *data, size_t size, const lti_weights_options *opt,
                            const char *what, lti_entries *out, lt_error *err);
/* "[2,any,4]"; extents below 0 are any. Returns buf. */
const char *lti_shape_text(int rank, const int64_t *n, char *buf, size_t size);

/* A *.safetensors.index.json: which file holds which tensor. */
typedef struct lti_index_row {
    char *tensor;
    int file; /* into lti_index.file */
} lti_index_row;
typedef struct lti_index {
    char **file; /* plain file names: no separator, not hidden, not ".." */
    int n_file;
    lti_index_row *row; /* sorted by tensor */
    int n_row;
} lti_index;
lt_status lti_index_parse(const char *text, size_t len, const char *what, lti_index *out,
                          lt_error *err);
void lti_index_free(lti_index *x); /* safe on a zeroed one */

/* scale.c: 8-bit floats with scales. After translation: each "<layer>.scale_weight" or
 * "<layer>.weight_scale" (one number, or one per row) moves into the codec of "<layer>.weight" and
 * leaves the list, as does the marker "scaled_fp8". The list stays sorted. */
typedef struct lti_scales {
    float **p; /* scale vectors, owned: codecs point at them */
    int n, cap;
} lti_scales;
lt_status lti_scales_apply(lti_part part, const char *what, lti_entries *list, lti_scales *own,
                           lt_error *err);
void lti_scales_free(lti_scales *own); /* safe on a zeroed one */

/* lora.c: opens opt's files and hangs their deltas on the entries (lti_entry_decoded first). */
typedef struct lti_loras {
    lti_weights **file; /* owned: the deltas' tensors are views of them */
    int n_file;
    lti_delta **delta; /* owned, one allocation each */
    int n_delta, cap;
} lti_loras;
lt_status lti_lora_apply(lti_part part, const char *what, lti_entries *list,
                         const lti_weights_options *opt, lti_loras *own, lt_error *err);
void lti_loras_free(lti_loras *own); /* safe on a zeroed one */
/* out [n, cols] += rows [first, first + n) of one delta of a tensor of t's shape. */
void lti_lora_add(const lti_delta *d, const lti_tensor *t, int64_t first, int64_t n, float *out);

/* Give every entry its original Wan name, drop what training left behind, sort. */
lt_status lti_names_translate(lti_part part, const char *what, lti_entries *list, lt_error *err);
/* The original name of one tensor of a DiT that may have a trainer's prefix and diffusers naming: the
 * two namings of weights do not clash, only those of the norms without weights do. */
void lti_dit_target(const char *name, char *out, size_t size);

#endif
