/* SPDX-License-Identifier: Apache-2.0
 * pipeline/convert.c - any weight file to one safetensors file of one part, names as in the engine.
 *
 * The header is written first, so dtypes and shapes are decided before anything is decoded; then
 * each tensor is decoded and written in pieces of about 4 M elements. Memory does not grow with the
 * file: a matrix is decoded by rows, any other tensor that must be decoded is small.
 *
 * f8 follows ComfyUI's convention: inside the blocks, w = F8_E4M3 * <layer>.scale_weight with
 * scale = max |w| / 448; a marker `scaled_fp8` of two zeros (no scales for activations).
 *
 * Pitfall: GGUF tools fold the patch embedding and the modulations into other shapes; they are
 * written unfolded. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "pipeline/engine.h"
#include "weights/systems.h"

#define PIECE ((int64_t)1 << 22) /* elements decoded at once */
#define F8_MAX 448.0f

typedef struct slot {
    const char *name; /* in the source */
    lti_tensor from;  /* shape and dtype of the source; data NULL: must be decoded */
    lti_tensor t;     /* as written */
    char *scale_name; /* f8: the tensor before it; else NULL */
    bool raw;         /* bytes as they are */
} slot;

typedef struct job {
    const lt_convert_params *p;
    lti_weights *w;
    lti_kind kind;
    slot *slot;
    int n;
    lti_named *named; /* what the file holds, in order */
    int n_named;
    lti_writer *out;
    float *f32;     /* [PIECE or one row] */
    uint8_t *bytes; /* the same, as written */
    int64_t done, total;
    lt_error *err;
} job;

/* ---- what to write --------------------------------------------------------------------------- */

static bool ends(const char *s, const char *suffix) {
    const size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* A linear layer inside a block. */
static bool is_block_linear(lti_kind kind, const char *name, const lti_tensor *t) {
    return (kind == LTI_KIND_DIT || kind == LTI_KIND_TEXT) && strncmp(name, "blocks.", 7) == 0 &&
           ends(name, ".weight") && t->rank == 2 && !strstr(name, ".pos_embedding.");
}

/* As stored when that is a plain float; what was quantized becomes bf16. */
static lti_dtype own_dtype(const char *stored) {
    static const lti_dtype plain[] = {LTI_F32, LTI_BF16, LTI_F16, LTI_F8_E4M3, LTI_F8_E5M2};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(stored, lti_dtype_name(plain[i])) == 0) return plain[i];
    return strcmp(stored, "F64") == 0 ? LTI_F32 : LTI_BF16;
}

static lti_dtype target_dtype(const job *j, const slot *s, const char *stored) {
    switch (j->p->dtype) {
    case LT_CONVERT_F32:
        return LTI_F32;
    case LT_CONVERT_F16:
        return LTI_F16;
    case LT_CONVERT_BF16:
        return LTI_BF16;
    case LT_CONVERT_F8:
        return is_block_linear(j->kind, s->name, &s->t) ? LTI_F8_E4M3 : LTI_BF16;
    default:
        break;
    }
    const lti_dtype own = own_dtype(stored);
    /* a decoded tensor is f32 now; 8 bits without a scale would lose what the delta added */
    const bool eight = own == LTI_F8_E4M3 || own == LTI_F8_E5M2;
    return eight && !s->from.data ? LTI_BF16 : own;
}

/* [D,C,1,2,2] and [1,6,D] however a GGUF tool folded them. */
static void unfold(const job *j, slot *s) {
    const lti_tensor *bias = lti_weights_find(j->w, "patch_embedding.bias");
    const int64_t n = lti_numel(&s->t), dim = bias && bias->rank == 1 ? bias->n[0] : 0;
    if (j->kind != LTI_KIND_DIT || dim <= 0 || n == 0) return;
    if (strcmp(s->name, "patch_embedding.weight") == 0 && s->t.rank != 5 && n % (4 * dim) == 0)
        s->t = lti_view(NULL, s->t.dtype, 5, (const int64_t[]){dim, n / dim / 4, 1, 2, 2});
    if (ends(s->name, "modulation") && s->t.rank != 3 && n % dim == 0)
        s->t = lti_view(NULL, s->t.dtype, 3, (const int64_t[]){1, n / dim, dim});
}

static lt_status plan_slot(job *j, int i) {
    slot *s = &j->slot[j->n];
    const lti_tensor *t;
    s->name = lti_weights_name(j->w, i, &t);
    s->from = s->t = *t;
    s->t.data = NULL;
    unfold(j, s);
    if (t->data && !lti_dtype_is_float(t->dtype)) { /* an embedded tokenizer */
        s->raw = true;
    } else {
        s->t.dtype = target_dtype(j, s, lti_weights_stored(j->w, i, NULL));
        s->raw = t->data && s->t.dtype == t->dtype && j->p->dtype != LT_CONVERT_F8;
    }
    j->n++;
    if (j->p->dtype == LT_CONVERT_F8 && s->t.dtype == LTI_F8_E4M3 && !s->raw) {
        const int stem = (int)(strlen(s->name) - strlen(".weight"));
        if (asprintf(&s->scale_name, "%.*s.scale_weight", stem, s->name) < 0) {
            s->scale_name = NULL;
            return lti_oom(j->err, strlen(s->name));
        }
        j->named[j->n_named++] = (lti_named){s->scale_name, lti_view(NULL, LTI_F32, 0, NULL)};
    }
    j->named[j->n_named++] = (lti_named){s->name, s->t};
    return LT_OK;
}

static lt_status plan(job *j) {
    const int n = lti_weights_count(j->w);
    int64_t longest = PIECE;
    j->slot = calloc((size_t)n + 1, sizeof *j->slot);
    j->named = calloc(2 * (size_t)n + 1, sizeof *j->named);
    if (!j->slot || !j->named) return lti_oom(j->err, (size_t)n * sizeof *j->slot);
    if (j->p->dtype == LT_CONVERT_F8)
        j->named[j->n_named++] = (lti_named){"scaled_fp8", LTI_VIEW(NULL, LTI_F8_E4M3, 2)};
    for (int i = 0; i < n; i++) {
        LT_TRY(plan_slot(j, i));
        const lti_tensor *t = &j->slot[i].from; /* one row is decoded at least */
        const int64_t rows = t->rank ? t->n[0] : 1, row = rows ? lti_numel(t) / rows : 0;
        if (t->rank == 2 && row > longest) longest = row;
    }
    for (int i = 0; i < j->n_named; i++) j->total += (int64_t)lti_nbytes(&j->named[i].t);
    j->f32 = malloc((size_t)longest * sizeof *j->f32);
    j->bytes = malloc((size_t)longest * sizeof(float));
    return j->f32 && j->bytes ? LT_OK : lti_oom(j->err, (size_t)longest * 8);
}

/* ---- reading by pieces ----------------------------------------------------------------------- */

typedef struct cursor {
    const slot *s;
    lti_tensor all; /* data NULL: decoded by rows */
    int64_t at, n;  /* elements */
    int64_t rows_at;
} cursor;

static lt_status cursor_open(job *j, const slot *s, cursor *c) {
    *c = (cursor){.s = s, .n = lti_numel(&s->from)};
    if (s->from.data || s->from.rank == 2) {
        c->all = s->from;
        return LT_OK;
    }
    return lti_weights_get(j->w, s->name, -1, NULL, &c->all, j->err);
}

/* The next elements as f32 into j->f32; *n 0 at the end. */
static lt_status cursor_next(job *j, cursor *c, int64_t *n) {
    *n = c->n - c->at < PIECE ? c->n - c->at : PIECE;
    if (*n <= 0) return LT_OK;
    if (!c->all.data) {
        const int64_t cols = c->s->from.n[1], left = c->s->from.n[0] - c->rows_at;
        int64_t rows = PIECE / cols > 0 ? PIECE / cols : 1;
        if (rows > left) rows = left;
        *n = rows * cols;
        LT_TRY(lti_weights_rows(j->w, c->s->name, c->rows_at, rows, j->f32, j->err));
        c->rows_at += rows;
    } else {
        uint8_t *from = (uint8_t *)c->all.data + (size_t)c->at * lti_dtype_size(c->all.dtype);
        const lti_tensor v = LTI_VIEW(from, c->all.dtype, *n);
        lti_to_f32(&v, j->f32);
    }
    c->at += *n;
    return LT_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static lt_status put(job *j, const void *data, size_t bytes) {
    LT_TRY(lti_writer_put(j->out, data, bytes, j->err));
    j->done += (int64_t)bytes;
    if (j->p->progress && j->p->progress(j->p->opaque, j->done, j->total))
        return lti_fail(j->err, LT_ECANCELLED, "%s: cancelled, no file was made", j->p->out);
    return LT_OK;
}

static lt_status put_raw(job *j, const slot *s) {
    const uint8_t *at = s->from.data;
    for (size_t left = lti_nbytes(&s->from); left > 0;) {
        const size_t n = left < (size_t)PIECE ? left : (size_t)PIECE;
        LT_TRY(put(j, at, n));
        at += n;
        left -= n;
    }
    return LT_OK;
}

/* scale = max |w| / 448, 1 for a matrix of zeros. */
static lt_status find_scale(job *j, const slot *s, float *scale) {
    cursor c;
    int64_t n;
    float most = 0;
    LT_TRY(cursor_open(j, s, &c));
    for (;;) {
        LT_TRY(cursor_next(j, &c, &n));
        if (n == 0) break;
        for (int64_t i = 0; i < n; i++) {
            if (!isfinite(j->f32[i]))
                return lti_fail(j->err, LT_EFORMAT,
                                "%s: '%s' holds a value that is not finite, which f8 cannot keep; "
                                "use bf16",
                                lti_weights_path(j->w), s->name);
            most = fmaxf(most, fabsf(j->f32[i]));
        }
    }
    *scale = most / F8_MAX;
    if (!(*scale > 0)) *scale = 1;
    return LT_OK;
}

static void encode(const float *src, int64_t n, lti_dtype dt, float scale, uint8_t *dst) {
    if (dt == LTI_F8_E4M3) {
        for (int64_t i = 0; i < n; i++) dst[i] = lti_f32_to_f8e4m3(src[i] / scale);
    } else {
        lti_from_f32(src, n, dt, dst);
    }
}

static lt_status put_converted(job *j, const slot *s) {
    cursor c;
    int64_t n;
    float scale = 1;
    if (s->scale_name) {
        LT_TRY(find_scale(j, s, &scale));
        LT_TRY(put(j, &scale, sizeof scale));
    }
    LT_TRY(cursor_open(j, s, &c));
    for (;;) {
        LT_TRY(cursor_next(j, &c, &n));
        if (n == 0) break;
        encode(j->f32, n, s->t.dtype, scale, j->bytes);
        LT_TRY(put(j, j->bytes, (size_t)n * lti_dtype_size(s->t.dtype)));
    }
    lti_weights_forget(j->w);
    return LT_OK;
}

/* The last part of a path in plain ASCII: names of files may hold any bytes, JSON may not. */
static void plain_name(const char *path, char *out, size_t size) {
    const char *slash = strrchr(path, '/');
    snprintf(out, size, "%s", slash && slash[1] ? slash + 1 : path);
    for (char *c = out; *c; c++)
        if (*c < 0x20 || *c > 0x7e) *c = '?';
}

static lt_status write_all(job *j) {
    static const char *const dtypes[] = {"as stored", "f32", "f16", "bf16", "f8"};
    static const uint8_t marker[2] = {0, 0};
    char source[256], loras[512] = "", one[128];
    plain_name(j->p->in, source, sizeof source);
    for (int i = 0; i < j->p->n_lora; i++) {
        const size_t at = strlen(loras);
        plain_name(j->p->loras[i].path, one, sizeof one);
        snprintf(loras + at, sizeof loras - at, "%s%s:%g", at ? "," : "", one,
                 j->p->loras[i].scale);
    }
    const lti_meta meta[] = {{"format", "pt"},
                             {"source", source},
                             {"dtype", dtypes[j->p->dtype]},
                             {"made_by", "longtake " LT_VERSION_STRING},
                             {"loras", loras}};
    LT_TRY(lti_writer_open(j->p->out, j->named, j->n_named, meta, *loras ? 5 : 4, &j->out, j->err));
    if (j->p->dtype == LT_CONVERT_F8) LT_TRY(put(j, marker, sizeof marker));
    for (int i = 0; i < j->n; i++)
        LT_TRY(j->slot[i].raw ? put_raw(j, &j->slot[i]) : put_converted(j, &j->slot[i]));
    return lti_writer_finish(&j->out, j->err);
}

/* ---- the call -------------------------------------------------------------------------------- */

static lt_status check(const lt_convert_params *p, lt_error *err) {
    if (!p->in || !p->out)
        return lti_fail(err, LT_EINVAL, "convert: give a file to read and a file to write");
    if (!ends(p->out, ".safetensors"))
        return lti_fail(err, LT_EINVAL, "%s: expected a name that ends in .safetensors", p->out);
    if (p->dtype < LT_CONVERT_AUTO || p->dtype > LT_CONVERT_F8)
        return lti_fail(err, LT_EINVAL, "dtype: %d, expected 0 to %d", p->dtype, LT_CONVERT_F8);
    if (p->n_lora < 0 || p->n_lora > LTI_MAX_LORA || (p->n_lora && !p->loras))
        return lti_fail(err, LT_EINVAL, "loras: %d files, expected 0 to %d", p->n_lora,
                        LTI_MAX_LORA);
    return LT_OK;
}

/* The kind the caller names, or the one the tensor names tell. */
static lt_status find_kind(job *j) {
    const lti_weights_options opt = {.root = j->p->checkpoint_key};
    lti_sight s;
    switch (j->p->part) {
    case 0:
        break;
    case LT_PART_DIT:
        return j->kind = LTI_KIND_DIT, LT_OK;
    case LT_PART_TEXT:
        return j->kind = LTI_KIND_TEXT, LT_OK;
    case LT_PART_VAE:
        return j->kind = LTI_KIND_VAE, LT_OK;
    case LT_CONVERT_TAE:
        return j->kind = LTI_KIND_TAE, LT_OK;
    default:
        return lti_fail(j->err, LT_EINVAL, "part: %d, expected one part", j->p->part);
    }
    LT_TRY(lti_weights_open_with(j->p->in, LTI_PART_NONE, &opt, &j->w, j->err));
    lti_sight_read(j->w, &s);
    lti_weights_close(&j->w);
    j->kind = s.kind;
    if (s.kind != LTI_KIND_UNKNOWN && s.kind != LTI_KIND_LORA && s.kind != LTI_KIND_FOREIGN)
        return LT_OK;
    return lti_fail(j->err, LT_EUNSUPPORTED,
                    "%s: %s%s, expected a transformer, text encoder, VAE or TAE of Wan; if it is "
                    "one, say which with --part",
                    j->p->in, s.system[0] ? "this is a " : "unknown tensor names", s.system);
}

static lt_status convert(job *j) {
    lti_lora_ref lora[LTI_MAX_LORA];
    LT_TRY(check(j->p, j->err));
    LT_TRY(find_kind(j));
    if (j->p->dtype == LT_CONVERT_F8 && j->kind != LTI_KIND_DIT && j->kind != LTI_KIND_TEXT)
        return lti_fail(j->err, LT_EINVAL,
                        "%s: f8 is for the linear layers of a transformer or text encoder, which a "
                        "%s does not have; use bf16",
                        j->p->in, lti_kind_name(j->kind));
    for (int i = 0; i < j->p->n_lora; i++)
        lora[i] = (lti_lora_ref){j->p->loras[i].path, j->p->loras[i].scale};
    const lti_weights_options opt = {
        .root = j->p->checkpoint_key, .lora = lora, .n_lora = j->p->n_lora};
    LT_TRY(lti_weights_open_with(j->p->in, lti_kind_part(j->kind), &opt, &j->w, j->err));
    LT_TRY(plan(j));
    return write_all(j);
}

lt_status lt_convert(const lt_convert_params *params, lt_convert_info *info, lt_error *err) {
    static const char *const part[] = {[LTI_KIND_DIT] = "dit",
                                       [LTI_KIND_TEXT] = "text",
                                       [LTI_KIND_VAE] = "vae",
                                       [LTI_KIND_TAE] = "tae"};
    lt_convert_params p = {0};
    lt_error own = {0};
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    job j = {.p = &p, .err = err ? err : &own};
    const lt_status st = convert(&j);
    if (info) {
        lt_convert_info i = {
            .struct_size = info->struct_size, .tensors = j.n, .written_bytes = (uint64_t)j.done};
        if (st == LT_OK) snprintf(i.part, sizeof i.part, "%s", part[j.kind]);
        memcpy(info, &i, i.struct_size < sizeof i ? i.struct_size : sizeof i);
    }
    lti_writer_abort(&j.out);
    for (int i = 0; i < j.n; i++) free(j.slot[i].scale_name);
    free(j.slot);
    free(j.named);
    free(j.f32);
    free(j.bytes);
    lti_weights_close(&j.w);
    return st;
}
