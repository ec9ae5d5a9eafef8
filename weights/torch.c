/* SPDX-License-Identifier: Apache-2.0
 * weights/torch.c - torch.save archives: the pickle says which storages are which tensors.
 *
 *   <dir>/data.pkl      a dict of tensors, or of dicts of them (training checkpoints)
 *   <dir>/data/<key>    the bytes of one storage; tensors may share it
 *   <dir>/byteorder     "little"
 * Tensor element (i0, i1, ..) is storage element offset + i0 stride0 + i1 stride1 + ..
 * A tensor in C order is a view of the mapping, any other strides are decoded (decode.c).
 * Only the tensors of the chosen dict are looked at; the rest of a checkpoint is never touched.
 * Reference: torch/serialization.py, torch/_utils.py.
 *
 * Pitfalls: offsets, strides and counts are in elements, for an untyped storage in bytes. The dicts
 * may contain themselves, so the way down is bounded. */
#include "base/error.h"
#include "weights/pickle.h"
#include "weights/torch_zip.h"
#include "weights/systems.h"
#include "weights/weights_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 8     /* dicts from the root down to the tensors */
#define DIR_MAX 400 /* bytes of the archive's folder name */

typedef struct reader {
    lti_zip *zip;
    lti_pickle pk;
    const char *what;
    char dir[DIR_MAX + 1];
    lti_entries *out;
    lt_error *err;
} reader;

/* -- archive -------------------------------------------------------------------------------------- */

/* "<dir>/data.pkl": its number; r->dir is set. */
static lt_status find_pickle(reader *r, int *entry) {
    static const char file[] = "/data.pkl";
    *entry = -1;
    for (int i = 0; i < lti_zip_count(r->zip); i++) {
        const char *name = lti_zip_name(r->zip, i), *slash = strchr(name, '/');
        if (!slash || strcmp(slash, file) || slash - name > DIR_MAX) continue;
        if (*entry >= 0)
            return lti_fail(r->err, LT_EFORMAT,
                            "%s: the zip archive has two data.pkl; is it whole?", r->what);
        *entry = i;
        snprintf(r->dir, sizeof r->dir, "%.*s", (int)(slash - name), name);
    }
    if (*entry < 0)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: this zip archive has no data.pkl, expected one written by torch.save",
                        r->what);
    return LT_OK;
}

static int find_file(const reader *r, const char *name) {
    char path[LTI_NAME_MAX + 1];
    int n = snprintf(path, sizeof path, "%s/%s", r->dir, name);
    return n > 0 && n < (int)sizeof path ? lti_zip_find(r->zip, path) : -1;
}

static lt_status open_archive(reader *r, const uint8_t *data, size_t size) {
    int pkl;
    const uint8_t *bytes;
    uint64_t n;
    LT_TRY(lti_zip_open(data, size, r->what, &r->zip, r->err));
    LT_TRY(find_pickle(r, &pkl));
    if (find_file(r, "constants.pkl") >= 0)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: a TorchScript archive, expected a state dict; torch.save its "
                        "state_dict() instead",
                        r->what);
    int order = find_file(r, "byteorder");
    if (order >= 0) {
        LT_TRY(lti_zip_bytes(r->zip, order, &bytes, &n, r->err));
        if (n != 6 || memcmp(bytes, "little", 6))
            return lti_fail(r->err, LT_EUNSUPPORTED,
                            "%s: its byte order is '%.*s', only little is read; save it again on "
                            "a little-endian machine",
                            r->what, n < 16 ? (int)n : 16, (const char *)bytes);
    }
    LT_TRY(lti_zip_bytes(r->zip, pkl, &bytes, &n, r->err));
    return lti_pickle_read(bytes, (size_t)n, r->what, &r->pk, r->err);
}

/* -- one tensor ----------------------------------------------------------------------------------- */

static lt_status bad(const reader *r, const lti_entry *e, const char *how) {
    return lti_fail(r->err, LT_EFORMAT,
                    "%s: tensor '%s' %s; the file is damaged, download or export it again", r->what,
                    e->name, how);
}

/* A tuple of at most LTI_MAX_RANK numbers >= 0; how many, -1: it is none. */
static int read_ints(const lti_pickle *p, const lti_pk_node *t, int64_t *v) {
    if (!t || (t->kind != LTI_PK_TUPLE && t->kind != LTI_PK_LIST) || t->count > LTI_MAX_RANK)
        return -1;
    for (int i = 0; i < t->count; i++) {
        const lti_pk_node *x = lti_pk_item(p, t, i);
        if (x->kind != LTI_PK_INT || x->i < 0) return -1;
        v[i] = x->i;
    }
    return t->count;
}

/* The bytes of ("storage", type, key, device, count) and its element type, -1: the tensor says. */
static lt_status read_storage(reader *r, const lti_entry *e, const lti_pk_node *s,
                              const uint8_t **bytes, uint64_t *n, int *dtype) {
    char name[LTI_NAME_MAX + 1];
    const lti_pk_node *type = s ? lti_pk_item(&r->pk, s, 1) : NULL;
    const lti_pk_node *key = s ? lti_pk_item(&r->pk, s, 2) : NULL;
    if (!s || s->kind != LTI_PK_STORAGE || !key || key->kind != LTI_PK_STR || key->n == 0 ||
        key->n > 64 || memchr(key->s, 0, key->n))
        return bad(r, e, "has no storage");
    if (type->kind != LTI_PK_GLOBAL || (type->global != LTI_PK_UNTYPED &&
                                        (type->global != LTI_PK_STORAGE_TYPE || type->dtype < 0)))
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has a storage type that is not read; convert it to "
                        "bfloat16",
                        r->what, e->name);
    *dtype = type->global == LTI_PK_UNTYPED ? -1 : type->dtype;
    snprintf(name, sizeof name, "data/%.*s", (int)key->n, key->s);
    int file = find_file(r, name);
    if (file < 0) return bad(r, e, "has a storage that is not in the archive");
    return lti_zip_bytes(r->zip, file, bytes, n, r->err);
}

/* rank, extents and strides from the arguments of the rebuild function. */
static lt_status read_shape(const reader *r, const lti_pk_node *t, lti_entry *e, int64_t *stride) {
    const lti_pk_node *size = lti_pk_item(&r->pk, t, 2);
    if (size && size->kind == LTI_PK_TUPLE && size->count > LTI_MAX_RANK)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has %d dimensions, at most %d are read", r->what, e->name,
                        size->count, LTI_MAX_RANK);
    for (int i = 0; i < LTI_MAX_RANK; i++) e->t.n[i] = 1;
    e->t.rank = read_ints(&r->pk, size, e->t.n);
    if (e->t.rank < 0) return bad(r, e, "has a shape that cannot be");
    if (read_ints(&r->pk, lti_pk_item(&r->pk, t, 3), stride) != e->t.rank)
        return bad(r, e, "has strides that cannot be");
    int64_t bytes = 8; /* of the widest element, decoded or not */
    for (int i = 0; i < e->t.rank; i++)
        if (__builtin_mul_overflow(bytes, e->t.n[i], &bytes))
            return bad(r, e, "is larger than any file");
    return LT_OK;
}

/* Elements from the first to the last, both included; false when that overflows. */
static bool read_span(const lti_tensor *t, const int64_t *stride, int64_t *span) {
    *span = lti_numel(t) ? 1 : 0;
    for (int i = 0; i < t->rank && *span; i++) {
        int64_t reach;
        if (__builtin_mul_overflow(t->n[i] - 1, stride[i], &reach) ||
            __builtin_add_overflow(*span, reach, span))
            return false;
    }
    return true;
}

static bool in_c_order(const lti_tensor *t, const int64_t *stride) {
    int64_t want = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->n[i] > 1 && stride[i] != want) return false;
        want *= t->n[i];
    }
    return true;
}

/* e has its name; t is the node. */
static lt_status read_tensor(reader *r, const lti_pk_node *t, lti_entry *e) {
    const lti_pk_node *offset = lti_pk_item(&r->pk, t, 1);
    const uint8_t *bytes;
    uint64_t n;
    int dtype = -1;
    int64_t stride[LTI_MAX_RANK] = {0}, span, end;
    LT_TRY(read_storage(r, e, lti_pk_item(&r->pk, t, 0), &bytes, &n, &dtype));
    if (t->global == LTI_PK_REBUILD_V3) {
        const lti_pk_node *given = lti_pk_item(&r->pk, t, 6);
        dtype = given && given->kind == LTI_PK_GLOBAL && given->global == LTI_PK_DTYPE
                    ? given->dtype
                    : -1;
    }
    if (dtype < 0)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' has a dtype that is not read; convert it to bfloat16",
                        r->what, e->name);
    e->t.dtype = (lti_dtype)dtype;
    LT_TRY(read_shape(r, t, e, stride));
    if (!offset || offset->kind != LTI_PK_INT || offset->i < 0)
        return bad(r, e, "has an offset that cannot be");
    const uint64_t each = lti_dtype_size(e->t.dtype);
    if (!read_span(&e->t, stride, &span) || __builtin_add_overflow(offset->i, span, &end))
        return bad(r, e, "reaches further than any file");
    if (span && (uint64_t)end > n / each)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: tensor '%s' reaches to element %lld of its storage, which has %llu; "
                        "the file is damaged, download or export it again",
                        r->what, e->name, (long long)end, (unsigned long long)(n / each));
    const uint8_t *first = span ? bytes + (uint64_t)offset->i * each : bytes;
    if (!span || in_c_order(&e->t, stride)) {
        e->t.data = (void *)(uintptr_t)first; /* views are read-only by convention */
        return LT_OK;
    }
    e->codec = (lti_codec){.decode = lti_decode_strided,
                           .src = first,
                           .bytes = (uint64_t)span * each,
                           .unit = 1,
                           .from = e->t.dtype};
    memcpy(e->codec.stride, stride, sizeof stride);
    e->t.dtype = LTI_F32;
    return LT_OK;
}

static lt_status add_tensor(reader *r, const char *name, size_t len, const lti_pk_node *t) {
    lti_entry e = {0};
    lt_status st = lti_entry_set_name(&e, name, len, r->what, r->err);
    if (st == LT_OK) st = read_tensor(r, t, &e);
    if (st != LT_OK) {
        lti_entry_free(&e);
        return st;
    }
    return lti_entries_add(r->out, &e, r->err);
}

/* -- which dict ----------------------------------------------------------------------------------- */

static const lti_pk_node *cell_node(const reader *r, int cell) {
    return &r->pk.node[r->pk.cell[cell].node];
}
/* A dict's cells alternate key, value. */
static int value_of(const reader *r, int cell) { return r->pk.cell[cell].next; }

/* How many values of the dict are of a kind. */
static int count_kind(const reader *r, const lti_pk_node *dict, lti_pk_kind kind) {
    int n = 0;
    for (int c = dict->first; c >= 0; c = r->pk.cell[value_of(r, c)].next)
        n += cell_node(r, value_of(r, c))->kind == kind;
    return n;
}

/* "'generator', 'critic'" of the sub-dicts, printable. */
static const char *list_dicts(const reader *r, const lti_pk_node *dict, char *buf, size_t size) {
    size_t at = 0;
    buf[0] = '\0';
    for (int c = dict->first; c >= 0; c = r->pk.cell[value_of(r, c)].next) {
        const lti_pk_node *k = cell_node(r, c);
        if (k->kind != LTI_PK_STR || cell_node(r, value_of(r, c))->kind != LTI_PK_DICT) continue;
        if (size - at < 48) break;
        at += (size_t)snprintf(buf + at, size - at, "%s'", at ? ", " : "");
        for (size_t i = 0; i < k->n && i < 32; i++)
            buf[at++] = k->s[i] >= 0x20 && k->s[i] < 0x7f ? k->s[i] : '?';
        at += (size_t)snprintf(buf + at, size - at, "'");
    }
    return at ? buf : "none";
}

/* The dict whose tensors are the weights. */
static lt_status choose(const reader *r, const char *root, const lti_pk_node **dict) {
    static const char *const usual[] = {"generator_ema", "generator", "model",
                                        "state_dict",    "params",    "generator_lora"};
    const lti_pk_node *d = *dict;
    char names[300];
    if (root) {
        const lti_pk_node *sub = lti_pk_get(&r->pk, d, root);
        if (sub && sub->kind == LTI_PK_DICT) d = sub;
        else if (count_kind(r, d, LTI_PK_DICT) || !count_kind(r, d, LTI_PK_TENSOR))
            return lti_fail(r->err, LT_EFORMAT,
                            "%s: no dict '%.64s' in this checkpoint, there are: %s", r->what, root,
                            list_dicts(r, d, names, sizeof names));
    }
    for (int depth = 0; depth < DEPTH; depth++) {
        const lti_pk_node *sub = NULL;
        for (size_t i = 0; i < sizeof usual / sizeof *usual && !sub; i++) {
            sub = lti_pk_get(&r->pk, d, usual[i]);
            if (sub && sub->kind != LTI_PK_DICT) sub = NULL;
        }
        if (!sub) {
            *dict = d;
            return LT_OK;
        }
        d = sub;
    }
    return lti_fail(r->err, LT_EFORMAT, "%s: dicts are nested more than %d deep", r->what, DEPTH);
}

static lt_status add_all(reader *r, const char *root) {
    char names[300];
    const lti_pk_node *d = &r->pk.node[r->pk.root];
    if (d->kind == LTI_PK_TENSOR) return add_tensor(r, "tensor", 6, d); /* torch.save(tensor) */
    if (d->kind != LTI_PK_DICT)
        return lti_fail(r->err, LT_EUNSUPPORTED,
                        "%s: holds neither a dict nor a tensor, expected a state dict", r->what);
    LT_TRY(choose(r, root, &d));
    for (int c = d->first; c >= 0; c = r->pk.cell[value_of(r, c)].next) {
        const lti_pk_node *k = cell_node(r, c), *v = cell_node(r, value_of(r, c));
        if (v->kind != LTI_PK_TENSOR) continue; /* step counters, settings */
        if (k->kind != LTI_PK_STR)
            return lti_fail(r->err, LT_EFORMAT, "%s: a tensor's name is no string", r->what);
        LT_TRY(add_tensor(r, k->s, k->n, v));
    }
    if (r->out->n == 0)
        return lti_fail(r->err, LT_EFORMAT,
                        "%s: the checkpoint has no tensors where they are expected (generator_ema, "
                        "generator, model, state_dict, params or the top); its dicts: %s",
                        r->what, list_dicts(r, d, names, sizeof names));
    return lti_entries_sort(r->out, r->what, r->err);
}

lt_status lti_torch_parse(const uint8_t *data, size_t size, const char *root, const char *what,
                          lti_entries *out, lt_error *err) {
    *out = (lti_entries){0};
    reader r = {.what = what, .out = out, .err = err};
    lt_status st = open_archive(&r, data, size);
    if (st == LT_OK) st = add_all(&r, root);
    lti_pickle_free(&r.pk);
    lti_zip_close(&r.zip);
    if (st != LT_OK) lti_entries_free(out);
    return st;
}

static int list_top(const reader *r, lti_torch_dict *out, int cap) {
    const lti_pk_node *top = &r->pk.node[r->pk.root], *used = top;
    int n = 0;
    if (top->kind != LTI_PK_DICT || choose(r, NULL, &used) != LT_OK) return 0;
    for (int c = top->first; c >= 0 && n < cap; c = r->pk.cell[value_of(r, c)].next) {
        const lti_pk_node *k = cell_node(r, c), *v = cell_node(r, value_of(r, c)), *in = v;
        if (k->kind != LTI_PK_STR || v->kind != LTI_PK_DICT) continue;
        lti_torch_dict *d = &out[n++];
        *d = (lti_torch_dict){.n_tensor = 0};
        for (size_t i = 0; i < k->n && i + 1 < sizeof d->name; i++)
            d->name[i] = k->s[i] >= 0x20 && k->s[i] < 0x7f ? k->s[i] : '?';
        d->used = choose(r, NULL, &in) == LT_OK && in == used;
        d->n_tensor = count_kind(r, in, LTI_PK_TENSOR);
    }
    return n;
}

int lti_torch_dicts(const uint8_t *data, size_t size, lti_torch_dict *out, int cap) {
    lti_entries none = {0};
    reader r = {.what = "", .out = &none, .err = NULL};
    const int n = open_archive(&r, data, size) == LT_OK ? list_top(&r, out, cap) : 0;
    lti_pickle_free(&r.pk);
    lti_zip_close(&r.zip);
    return n;
}
