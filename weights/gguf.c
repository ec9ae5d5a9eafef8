/* SPDX-License-Identifier: Apache-2.0
 * weights/gguf.c - the tensors of a GGUF file, read as if written by an enemy.
 *
 * After the keys and values (gguf_meta.c) comes one record per tensor: name (u64 length, bytes),
 * u32 n_dims, u64 ne[n_dims], u32 type, u64 offset. The data start at the next multiple of
 * general.alignment (32 when absent); offsets count from there and are multiples of it too.
 * ne[0] is the fastest axis: shapes are turned around here. Blocks run along ne[0] and are decoded
 * on demand (ggml.c); F32, F16, BF16 and integers are views.
 * Reference: ggml-org/ggml docs/gguf.md.
 * Pitfalls: ggml itself stops at 4 dimensions, files of Wan have 5 (patch embedding). Such files
 * often lack general.architecture or name a tool there, so only an architecture that is known to
 * be something else is refused. */
#include "weights/gguf.h"
#include "base/error.h"
#include "weights/ggml.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT_MAX (1 << 20)
#define TENSOR_MIN 24 /* bytes of a record: length, n_dims, type, offset */
#define TENSORS_MAX (1 << 20)

static const char *const again = "the file is damaged, download or export it again";

typedef struct reader {
    const uint8_t *p, *end;
    const char *what;
    lt_error *err;
    size_t alignment;
} reader;

typedef unsigned long long ull;

static lt_status take(reader *r, size_t n, uint64_t *out) {
    *out = 0;
    if ((size_t)(r->end - r->p) < n)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: ends inside the list of tensors; it is truncated, download it again",
                        r->what);
    for (size_t i = n; i > 0; i--) *out = *out << 8 | r->p[i - 1];
    r->p += n;
    return LT_OK;
}

/* -- what the file says of itself ----------------------------------------------------------- */

static bool same(lti_gguf_str a, const char *b) { return a.n == strlen(b) && !memcmp(a.p, b, a.n); }

/* A language model under a hopeful name deserves better than "tensor missing". */
static lt_status check_architecture(const lti_gguf_meta *m, const char *what, lt_error *err) {
    static const char *const ours[] = {"", "wan", "pig", "cow", "t5", "t5encoder", "umt5"};
    lti_gguf_str s;
    if (!lti_gguf_string(m, "general.architecture", &s)) return LT_OK;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (same(s, ours[i])) return LT_OK;
    char name[33] = "";
    for (size_t i = 0; i < s.n && i < 32; i++) name[i] = s.p[i] > 32 && s.p[i] < 127 ? s.p[i] : '?';
    return lti_fail(err, LT_EUNSUPPORTED,
                    "%s: the architecture is '%s', expected wan (the transformer) or t5encoder "
                    "(the UMT5 text encoder); get a Wan2.1 file",
                    what, name);
}

/* One part alone would end in "tensor missing". */
static lt_status check_split(const lti_gguf_meta *m, const char *what, lt_error *err) {
    int64_t n;
    if (!lti_gguf_int(m, "split.count", &n) || n < 2) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "%s: this is one of %lld files of a split GGUF; join them (llama-gguf-split "
                    "--merge) and name the result",
                    what, (long long)n);
}

static lt_status read_alignment(const lti_gguf_meta *m, reader *r) {
    int64_t a = 32;
    if (lti_gguf_find(m, "general.alignment") && !lti_gguf_int(m, "general.alignment", &a)) a = 0;
    if (a < 1 || a > ALIGNMENT_MAX || (a & (a - 1)))
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: general.alignment is %lld, a power of two up to %d expected; %s",
                        r->what, (long long)a, ALIGNMENT_MAX, again);
    r->alignment = (size_t)a;
    return LT_OK;
}

/* -- one tensor ----------------------------------------------------------------------------- */

static lt_status take_name(reader *r, lti_entry *e) {
    uint64_t n;
    LT_TRY(take(r, 8, &n));
    if (n > (uint64_t)(r->end - r->p))
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: ends inside a tensor name; it is truncated, download it again",
                        r->what);
    LT_TRY(lti_entry_set_name(e, (const char *)r->p, (size_t)n, r->what, r->err));
    r->p += n;
    return LT_OK;
}

/* Shape in torch's order. Empty axes count as one here, so that no partial product overflows. */
static lt_status take_shape(reader *r, lti_entry *e) {
    uint64_t rank, ne;
    LT_TRY(take(r, 4, &rank));
    if (rank > LTI_MAX_RANK)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has %llu dimensions, at most %d are read", r->what,
                        e->name, (ull)rank, LTI_MAX_RANK);
    e->t.rank = (int)rank;
    for (int i = 0; i < LTI_MAX_RANK; i++) e->t.n[i] = 1;
    int64_t all = 8; /* bytes, were all elements of the widest type */
    for (int i = e->t.rank - 1; i >= 0; i--) {
        LT_TRY(take(r, 8, &ne));
        if (ne > INT64_MAX || __builtin_mul_overflow(all, ne ? (int64_t)ne : 1, &all))
            return lti_fail(r->err, LT_EFORMAT, "%s: tensor '%s' is larger than any file; %s",
                            r->what, e->name, again);
        e->t.n[i] = (int64_t)ne;
    }
    return LT_OK;
}

static lt_status take_type(reader *r, const lti_entry *e, const lti_ggml_type **out) {
    uint64_t id;
    const int64_t row = e->t.rank ? e->t.n[e->t.rank - 1] : 1;
    LT_TRY(take(r, 4, &id));
    const lti_ggml_type *type = *out = lti_ggml_find((uint32_t)id);
    if (!type)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has ggml type %llu, which is not known; get the Q8_0, "
                        "Q4_K or F16 file of this model",
                        r->what, e->name, (ull)id);
    if (!type->block)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' is stored as %s, which is not read; get the Q8_0, Q4_K or "
                        "F16 file of this model",
                        r->what, e->name, type->name);
    if (row % type->block)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: tensor '%s' has rows of %lld elements, %s needs a multiple of %d; %s",
                        r->what, e->name, (long long)row, type->name, type->block, again);
    return LT_OK;
}

static void decode_blocks(const lti_codec *c, const lti_tensor *t, int64_t first, int64_t n,
                          float *out) {
    (void)t;
    const int bytes = lti_ggml_find((uint32_t)c->type)->bytes;
    lti_ggml_decode(c->type, c->src + first / c->unit * bytes, n / c->unit, out);
}

/* One record. src is not set yet: where the data start is known after the last record. */
static lt_status take_tensor(reader *r, lti_entry *e, uint64_t *offset) {
    const lti_ggml_type *type;
    LT_TRY(take_name(r, e));
    LT_TRY(take_shape(r, e));
    LT_TRY(take_type(r, e, &type));
    LT_TRY(take(r, 8, offset));
    if (*offset % r->alignment)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: tensor '%s' starts at byte %llu, a multiple of %zu expected; %s",
                        r->what, e->name, (ull)*offset, r->alignment, again);
    const bool blocks = type->plain == LTI_DTYPE_COUNT;
    e->t.dtype = blocks ? LTI_F32 : type->plain;
    e->codec =
        (lti_codec){.decode = blocks ? decode_blocks : NULL,
                    .bytes = (uint64_t)(lti_numel(&e->t) / type->block) * (uint64_t)type->bytes,
                    .stored = type->name,
                    .unit = type->block,
                    .type = (int)type->id,
                    .from = e->t.dtype};
    return LT_OK;
}

/* -- all tensors ---------------------------------------------------------------------------- */

static lt_status take_all(reader *r, uint64_t n, lti_entries *out, uint64_t **offsets) {
    if (n > TENSORS_MAX || n > (uint64_t)(r->end - r->p) / TENSOR_MIN)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: %llu tensors in %zu bytes; it is truncated or damaged, download it "
                        "again",
                        r->what, (ull)n, (size_t)(r->end - r->p));
    if (n == 0) return LT_OK;
    uint64_t *at = NULL;
    size_t cap = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (i == cap) { /* grows with what was read, not with what was promised */
            cap = cap ? 2 * cap : 256;
            uint64_t *grown = realloc(at, cap * sizeof *at);
            if (!grown) return lti_oom(r->err, cap * sizeof *at);
            at = *offsets = grown; /* the caller frees */
        }
        lti_entry e = {0};
        lt_status st = take_tensor(r, &e, &at[i]);
        if (st != LT_OK) {
            lti_entry_free(&e);
            return st;
        }
        LT_TRY(lti_entries_add(out, &e, r->err));
    }
    return LT_OK;
}

static int by_place(const void *pa, const void *pb) {
    const lti_codec *a = *(const lti_codec *const *)pa, *b = *(const lti_codec *const *)pb;
    return (a->src > b->src) - (a->src < b->src);
}

/* Holes are padding; no byte belongs to two tensors. */
static lt_status check_overlap(const lti_entries *list, const char *what, lt_error *err) {
    size_t bytes = sizeof(lti_codec *) * (size_t)(list->n + 1);
    const lti_codec **at = malloc(bytes);
    if (!at) return lti_oom(err, bytes);
    int n = 0;
    for (int i = 0; i < list->n; i++)
        if (list->e[i].codec.bytes) at[n++] = &list->e[i].codec;
    qsort(at, (size_t)n, sizeof *at, by_place);
    lt_status st = LT_OK;
    for (int i = 1; i < n && st == LT_OK; i++)
        if (at[i]->src < at[i - 1]->src + at[i - 1]->bytes)
            st = lti_fail(err, LT_EFORMAT, "%s: two tensors overlap, %s and %s; %s", what,
                          at[i - 1]->stored, at[i]->stored, again);
    free(at);
    return st;
}

/* Offsets to pointers, now that the data's first byte is known. */
static lt_status place(reader *r, const uint8_t *data, const uint64_t *offsets, lti_entries *out) {
    const size_t size = (size_t)(r->end - data), head = (size_t)(r->p - data);
    const size_t start = (head + r->alignment - 1) / r->alignment * r->alignment;
    const uint64_t room = start < size ? size - start : 0;
    for (int i = 0; i < out->n; i++) {
        lti_entry *e = &out->e[i];
        if (offsets[i] > room || e->codec.bytes > room - offsets[i])
            return lti_fail(r->err, LT_EFORMAT,
                            "%s: tensor '%s' takes %llu bytes at %llu of the data, which have "
                            "%llu; it is truncated or damaged, download it again",
                            r->what, e->name, (ull)e->codec.bytes, (ull)offsets[i], (ull)room);
        e->codec.src = room ? data + start + offsets[i] : data; /* no room: nothing to read */
        if (!e->codec.decode) e->t.data = (void *)(uintptr_t)e->codec.src;
    }
    return check_overlap(out, r->what, r->err);
}

lt_status lti_gguf_parse(const uint8_t *data, size_t size, const char *what, lti_entries *out,
                         lt_error *err) {
    *out = (lti_entries){0};
    lti_gguf_meta m;
    LT_TRY(lti_gguf_meta_read(data, size, what, &m, err));
    reader r = {m.tensors, data + size, what, err, 0};
    uint64_t *offsets = NULL;
    lt_status st = check_architecture(&m, what, err);
    if (st == LT_OK) st = check_split(&m, what, err);
    if (st == LT_OK) st = read_alignment(&m, &r);
    if (st == LT_OK) st = take_all(&r, m.n_tensor, out, &offsets);
    if (st == LT_OK) st = place(&r, data, offsets, out);
    if (st == LT_OK) st = lti_entries_sort(out, what, err);
    free(offsets);
    lti_gguf_meta_free(&m);
    if (st != LT_OK) lti_entries_free(out);
    return st;
}
