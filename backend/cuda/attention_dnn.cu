/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/attention_dnn.cu - cuDNN's fused attention (flash attention) for bf16.
 *
 * O = softmax(scale Q K^T) V, one pass, f32 sums, and the statistics L = ln sum exp(scale q.k). Two
 * ways to say so: the operation SDPA (cuDNN 9.13.1; since 9.15 with lengths), and before it the
 * graph that all of cuDNN 9 knows as attention:
 *     S = scale QK^T,  m = max S,  E = e^(S - m),  l = sum E,  O = (E / l) V,  L = m + ln l
 * Batch 1; a row of q, k, v or out holds all heads, so head is a stride, and nothing is moved.
 *
 * Several spans. Their keys and values are copied to one place, then it is one attention: 4 D bytes
 * read and written per key, 0.2 GB each way for 1.3B at a window of 21 frames, 0.1 ms of memory
 * traffic beside 2 ms of arithmetic, in one launch. One attention per span with a merge by L
 * would move a third of that, but rounds each part's output to bf16, costs a launch per span (a
 * span may be four register tokens), and needs a plan for every way the ring wraps.
 * Number of keys. The window grows from chunk to chunk, and a plan takes the library a second.
 * So with several spans the plan is for `room` keys and gets the true length as a tensor; rows
 * after it, to the end of the widest tile, are zeroed, since 0 times what lies there may be NaN.
 * Then one plan, made when the op is prepared, serves the stream from its first chunk.
 * Sink logits: out *= l / (l + e^s) = 1 / (1 + e^(s - L)), a small kernel afterwards.
 *
 * Left to our own kernel: f32 anywhere (the result would be cut to bf16), bias, head_dim not a
 * multiple of 8, rows not on 16 bytes, what is so small that launches are all it costs, and what
 * the library refuses: before 9.10 head_dim above 128 or 256, by card; 9.19 has plans for 384.
 * Reference: Dao et al. 2022; NVIDIA's cuDNN documentation, "Attention". */
#include "backend/cuda/dnn.h"
#include "base/error.h"
#include <string.h>

static constexpr int BLOCK = 256, EACH = 8;       /* bf16 in 16 bytes */
static constexpr int APART = 4;                   /* int32 in 16 bytes, where tensors may begin */
static constexpr int64_t PAYS = (int64_t)1 << 22; /* M N H hd */
static constexpr int64_t TILE = 256;              /* keys of the library's widest tile, at least */

enum Id { Q = 1, K, V, O, STATS, SCALE, LENGTH_Q, LENGTH_KV, IDS = LENGTH_KV };
enum Form { SDPA, SDPA_LENGTH, COMPOSED };

/* What a plan is for. Places in lti_dnn_plan.key. */
enum Place { ROWS, HEADS, WIDE /* head_dim */, KEYS, STRIDE, STATISTICS, FORM };

/* ---- the graphs ------------------------------------------------------------------------------ */

/* [1, H, n, m] from rows or scores */
static void *tensor4(lti_dnn_plan *p, int64_t id, int type, enum lti_dnn_kind kind, int64_t n,
                     int64_t m, int64_t head, int64_t sn, int64_t sm) {
    const int64_t h = p->key[HEADS], dim[4] = {1, h, n, m};
    int64_t stride[4] = {h * head, head, sn, sm};
    if (head < sn * n) stride[0] = sn * n; /* heads beside each other in a row */
    return lti_dnn_tensor(p, id, type, kind, 4, dim, stride);
}

static void *scalar(lti_dnn_plan *p, int64_t id, int type, enum lti_dnn_kind kind) {
    const int64_t one[4] = {1, 1, 1, 1};
    return lti_dnn_tensor(p, id, type, kind, 4, one, one);
}

static void *rows(lti_dnn_plan *p, int64_t id, int64_t n, int64_t stride) {
    return tensor4(p, id, LTI_DNN_BF16, LTI_DNN_REAL, n, p->key[WIDE], p->key[WIDE], stride, 1);
}

/* [1, H, M, 1] f32 */
static void *column(lti_dnn_plan *p, int64_t id, enum lti_dnn_kind kind) {
    const int64_t m = p->key[ROWS];
    return tensor4(p, id, LTI_DNN_F32, kind, m, 1, m, 1, 1);
}

static void describe_sdpa(lti_dnn_plan *p) {
    const int64_t *k = p->key, width = k[HEADS] * k[WIDE];
    void *q = rows(p, Q, k[ROWS], width), *keys = rows(p, K, k[KEYS], k[STRIDE]);
    void *v = rows(p, V, k[KEYS], k[STRIDE]), *o = rows(p, O, k[ROWS], width);
    void *scale = scalar(p, SCALE, LTI_DNN_F32, LTI_DNN_BY_VALUE);
    void *stats = k[STATISTICS] ? column(p, STATS, LTI_DNN_REAL) : NULL;
    const bool lengths = k[FORM] == SDPA_LENGTH;
    void *n_q = lengths ? scalar(p, LENGTH_Q, LTI_DNN_I32, LTI_DNN_REAL) : NULL;
    void *n_kv = lengths ? scalar(p, LENGTH_KV, LTI_DNN_I32, LTI_DNN_REAL) : NULL;
    void *op = lti_dnn_new(p, LTI_DNN_OP_SDPA);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_Q, q);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_K, keys);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_V, v);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_O, o);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_SCALE, scale);
    if (stats) lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_STATS, stats);
    if (lengths) lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_LENGTH_Q, n_q);
    if (lengths) lti_dnn_set_desc(p, op, LTI_DNN_OP_SDPA_LENGTH_KV, n_kv);
    lti_dnn_add_op(p, op);
}

static void matmul(lti_dnn_plan *p, void *a, void *b, void *c) {
    void *desc = lti_dnn_new(p, LTI_DNN_MATMUL);
    lti_dnn_set_int(p, desc, LTI_DNN_MATMUL_PRECISION, LTI_DNN_T_DATA_TYPE, LTI_DNN_F32);
    lti_dnn_finish(p, desc);
    void *op = lti_dnn_new(p, LTI_DNN_OP_MATMUL);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_MATMUL_DESC, desc);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_MATMUL_A, a);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_MATMUL_B, b);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_MATMUL_C, c);
    lti_dnn_add_op(p, op);
}

static void reduce(lti_dnn_plan *p, int mode, void *x, void *y) {
    void *desc = lti_dnn_new(p, LTI_DNN_REDUCTION);
    lti_dnn_set_int(p, desc, LTI_DNN_REDUCTION_MODE, LTI_DNN_T_REDUCTION_MODE, mode);
    lti_dnn_set_int(p, desc, LTI_DNN_REDUCTION_PRECISION, LTI_DNN_T_DATA_TYPE, LTI_DNN_F32);
    lti_dnn_finish(p, desc);
    void *op = lti_dnn_new(p, LTI_DNN_OP_REDUCTION);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_REDUCTION_DESC, desc);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_REDUCTION_X, x);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_REDUCTION_Y, y);
    lti_dnn_add_op(p, op);
}

/* [1, H, M, N], never in memory */
static void *scores(lti_dnn_plan *p, int64_t id, int type) {
    const int64_t m = p->key[ROWS], n = p->key[KEYS];
    return tensor4(p, id, type, LTI_DNN_VIRTUAL, m, n, m * n, n, 1);
}

static void describe_composed(lti_dnn_plan *p) {
    const int64_t *k = p->key, width = k[HEADS] * k[WIDE];
    void *q = rows(p, Q, k[ROWS], width), *o = rows(p, O, k[ROWS], width);
    void *kt = tensor4(p, K, LTI_DNN_BF16, LTI_DNN_REAL, k[WIDE], k[KEYS], k[WIDE], 1, k[STRIDE]);
    void *v = rows(p, V, k[KEYS], k[STRIDE]);
    void *scale = scalar(p, SCALE, LTI_DNN_F32, LTI_DNN_BY_VALUE);
    void *qk = scores(p, 100, LTI_DNN_F32), *s = scores(p, 101, LTI_DNN_F32);
    void *top = column(p, 102, LTI_DNN_VIRTUAL), *less = scores(p, 103, LTI_DNN_F32);
    void *e = scores(p, 104, LTI_DNN_F32), *sum = column(p, 105, LTI_DNN_VIRTUAL);
    void *weight = scores(p, 106, LTI_DNN_BF16);
    matmul(p, q, kt, qk);
    lti_dnn_pointwise(p, LTI_DNN_MUL, qk, scale, s);
    reduce(p, LTI_DNN_REDUCE_MAX, s, top);
    lti_dnn_pointwise(p, LTI_DNN_SUB, s, top, less);
    lti_dnn_pointwise(p, LTI_DNN_EXP, less, NULL, e);
    reduce(p, LTI_DNN_REDUCE_ADD, e, sum);
    /* part of the pattern also when nobody asks for it */
    void *log = column(p, 107, LTI_DNN_VIRTUAL);
    void *stats = column(p, STATS, k[STATISTICS] ? LTI_DNN_REAL : LTI_DNN_VIRTUAL);
    lti_dnn_pointwise(p, LTI_DNN_LOG, sum, NULL, log);
    lti_dnn_pointwise(p, LTI_DNN_ADD, top, log, stats);
    lti_dnn_pointwise(p, LTI_DNN_DIV, e, sum, weight);
    matmul(p, weight, v, o);
}

static void describe(lti_dnn_plan *p) {
    if (p->key[FORM] == COMPOSED) describe_composed(p);
    else describe_sdpa(p);
}

/* ---- which plan ------------------------------------------------------------------------------ */

struct Job {
    lti_dnn_plan *plan; /* NULL: not cuDNN's */
    bool gather;        /* the plan reads keys and values from scratch */
    int64_t keys;       /* of all spans */
    int live;           /* spans that are not empty, the first one is at `only` */
    const lti_span *only;
    bool statistics; /* wanted, or needed for the sink logits */
};

static Job job_of(const lti_attn *a) {
    Job j = {};
    for (int i = a->n_span - 1; i >= 0; i--) {
        if (a->span[i].n == 0) continue;
        j.keys += a->span[i].n;
        j.live++;
        j.only = &a->span[i];
    }
    j.statistics = a->lse || a->sink_logit;
    return j;
}

struct Key {
    int64_t k[LTI_DNN_KEY];
};

static Key key_of(const lti_attn *a, const Job *j, Form form, bool gather) {
    Key key = {};
    key.k[ROWS] = a->q.n[0];
    key.k[HEADS] = a->q.n[1];
    key.k[WIDE] = a->q.n[2];
    key.k[KEYS] = j->keys;
    key.k[STRIDE] = gather ? a->q.n[1] * a->q.n[2] : j->only->stride;
    key.k[STATISTICS] = j->statistics;
    key.k[FORM] = form;
    return key;
}

static lti_dnn_plan *plan_get(lti_dev *d, const lti_attn *a, const Job *j, Form form) {
    const Key key = key_of(a, j, form, j->gather);
    return lti_dnn_plan_get(d, &lti_cuda_of(d)->attention_plans, key.k, false, describe);
}

/* One that has been made: for one span where it lies. */
static bool has_direct(lti_dev *d, const lti_attn *a, const Job *j) {
    const void *cache = lti_cuda_of(d)->attention_plans;
    const Key key = key_of(a, j, SDPA, false);
    for (int i = 0; i < lti_dnn_plan_count(cache); i++) {
        const lti_dnn_plan *p = lti_dnn_plan_at(cache, i);
        if (p->plan && memcmp(p->key, key.k, sizeof key.k) == 0) return true;
    }
    return false;
}

/* One that has room for these keys, and the least of such. */
static lti_dnn_plan *roomy(lti_dev *d, const lti_attn *a, const Job *j) {
    const void *cache = lti_cuda_of(d)->attention_plans;
    Key key = key_of(a, j, SDPA_LENGTH, true);
    lti_dnn_plan *best = NULL;
    for (int i = 0; i < lti_dnn_plan_count(cache); i++) {
        lti_dnn_plan *p = lti_dnn_plan_at(cache, i);
        key.k[KEYS] = p->key[KEYS];
        if (p->plan && p->key[KEYS] >= j->keys && memcmp(p->key, key.k, sizeof key.k) == 0 &&
            (!best || p->key[KEYS] < best->key[KEYS]))
            best = p;
    }
    return best;
}

/* By shapes alone. Prepared shapes find their plan, and so do fewer keys; others have theirs made
 * here. One span is taken where it lies, unless only a plan with room is at hand, as for the first
 * chunk of a stream. */
static Job choose(lti_dev *d, const lti_attn *a) {
    const size_t version = lti_cuda_of(d)->cudnn->version;
    Job j = job_of(a);
    j.gather = j.live > 1;
    if (version >= 91500 && (j.gather || (!d->measuring && !has_direct(d, a, &j)))) {
        j.plan = roomy(d, a, &j);
        if (!j.plan && j.gather) j.plan = plan_get(d, a, &j, SDPA_LENGTH);
        if (j.plan) j.gather = true;
    }
    if (!j.plan && version >= 91301) j.plan = plan_get(d, a, &j, SDPA);
    if (!j.plan) j.plan = plan_get(d, a, &j, COMPOSED);
    return j;
}

/* ---- kernels around it ----------------------------------------------------------------------- */

struct Source {
    const uint4 *k, *v;
    int64_t n, stride; /* rows, 16 bytes between rows */
};
struct Gather {
    Source from[LTI_MAX_SPANS];
    int64_t rows, end, width; /* of all; rows after them to zero; 16 bytes in a row */
    uint4 *k, *v;             /* [room, width] */
    int n, n_q;
    int32_t *length; /* queries; APART further: keys */
};

/* Keys (y = 0) or values (y = 1) of all spans, 16 bytes a thread. */
__global__ void __launch_bounds__(BLOCK) gather_kernel(Gather g) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x, row = i / g.width;
    if (i < 2 && blockIdx.y == 0) g.length[i * APART] = i ? (int32_t)g.rows : g.n_q;
    if (row >= g.end) return;
    uint4 value = {0, 0, 0, 0};
    int64_t r = row;
    for (int s = 0; s < g.n && row < g.rows; r -= g.from[s].n, s++) {
        if (r >= g.from[s].n) continue;
        const uint4 *base = blockIdx.y ? g.from[s].v : g.from[s].k;
        value = base[r * g.from[s].stride + i % g.width];
        break;
    }
    (blockIdx.y ? g.v : g.k)[i] = value;
}

struct alignas(16) Eight {
    __nv_bfloat16 v[EACH];
};

/* out [M, H, hd] *= 1 / (1 + e^(sink[h] - lse[h, m])), eight elements a thread */
__global__ void __launch_bounds__(BLOCK)
    sink_kernel(Eight *out, int64_t m, int heads, int eights, const float *sink, const float *lse) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= m * heads * eights) return;
    const int h = (int)(i / eights % heads);
    const float by = 1.0f / (1.0f + expf(sink[h] - lse[h * m + i / eights / heads]));
    Eight e = out[i];
    LTI_UNROLL
    for (int c = 0; c < EACH; c++) e.v[c] = __float2bfloat16_rn(__bfloat162float(e.v[c]) * by);
    out[i] = e;
}

/* ---- the op ---------------------------------------------------------------------------------- */

/* Places in scratch, by 256 bytes. */
struct Room {
    size_t k, v, length, stats, workspace, end;
};

static size_t round256(int64_t n) { return ((size_t)n + 255) & ~(size_t)255; }

static Room room_of(const lti_attn *a, const Job *j) {
    Room r = {};
    const int64_t row = a->q.n[1] * a->q.n[2] * (int64_t)sizeof(__nv_bfloat16);
    const size_t one = j->gather ? round256(j->plan->key[KEYS] * row) : 0;
    r.v = r.k + one;
    r.length = r.v + one;
    r.stats = r.length + 256;
    r.workspace = r.stats + (a->sink_logit ? round256(a->q.n[0] * a->q.n[1] * 4) : 0);
    r.end = r.workspace + round256((int64_t)j->plan->workspace);
    return r;
}

static void gather(lti_dev *d, const lti_attn *a, const Job *j, const Room *r, char *scratch) {
    Gather g = {};
    for (int i = 0; i < a->n_span; i++) {
        const lti_span *s = &a->span[i];
        if (s->n)
            g.from[g.n++] = {(const uint4 *)s->k, (const uint4 *)s->v, s->n, s->stride / EACH};
    }
    g.rows = j->keys;
    g.end = j->keys + TILE < j->plan->key[KEYS] ? j->keys + TILE : j->plan->key[KEYS];
    g.width = a->q.n[1] * a->q.n[2] / EACH;
    g.k = (uint4 *)(scratch + r->k);
    g.v = (uint4 *)(scratch + r->v);
    g.length = (int32_t *)(scratch + r->length);
    g.n_q = (int)a->q.n[0];
    dim3 grid = lti_grid(g.end * g.width, BLOCK);
    grid.y = 2;
    LTI_LAUNCH(d, "attention", gather_kernel, grid, BLOCK, 0, g);
}

static bool on16(const void *p) { return (uintptr_t)p % 16 == 0; }

/* Pointers are of the call: prepared ones may be none yet. */
static bool aligned(const lti_attn *a) {
    bool good = on16(a->q.data) && on16(a->out.data) && on16(a->lse);
    for (int i = 0; i < a->n_span; i++)
        good = good && (a->span[i].n == 0 || (on16(a->span[i].k) && on16(a->span[i].v)));
    return good;
}

bool lti_cuda_dnn_attention_takes(lti_dev *d, const lti_attn *a) {
    const lti_cudnn *n = lti_cuda_of(d)->cudnn;
    if (!n || n->version == 91000 || n->version == 91001) return false; /* known to be wrong */
    const int64_t m = a->q.n[0], heads = a->q.n[1], hd = a->q.n[2];
    if (a->q.dtype != LTI_BF16 || a->out.dtype != LTI_BF16 || a->bias || hd % EACH != 0)
        return false;
    int64_t keys = 0;
    for (int i = 0; i < a->n_span; i++) {
        const lti_span *s = &a->span[i];
        if (s->n && (s->dtype != LTI_BF16 || s->stride % EACH != 0)) return false;
        keys += s->n;
    }
    return keys > 0 && m * keys >= PAYS / (heads * hd) && keys < INT32_MAX && m < INT32_MAX;
}

void lti_cuda_dnn_attention_prepare(lti_dev *d, const lti_attn *a) {
    const Job j = choose(d, a);
    if (j.plan) lti_cuda_scratch(d, room_of(a, &j).end);
}

bool lti_cuda_dnn_attention(lti_dev *d, const lti_attn *a) {
    if (!lti_cuda_ok(d)) return true;
    if (!aligned(a)) return lti_dnn_note(d, "attention: rows are not on 16 bytes"), false;
    const Job j = choose(d, a);
    if (!lti_cuda_ok(d)) return true;
    if (!j.plan) return false;
    const Room r = room_of(a, &j);
    char *scratch = (char *)lti_cuda_scratch(d, r.end);
    if (!scratch) return true;
    if (j.gather) gather(d, a, &j, &r, scratch);
    float scale = a->scale;
    void *at[IDS] = {};
    at[Q - 1] = a->q.data;
    at[K - 1] = j.gather ? scratch + r.k : (char *)(uintptr_t)j.only->k;
    at[V - 1] = j.gather ? scratch + r.v : (char *)(uintptr_t)j.only->v;
    at[O - 1] = a->out.data;
    at[SCALE - 1] = &scale;
    float *stats = a->lse ? a->lse : (float *)(scratch + r.stats);
    if (j.statistics) at[STATS - 1] = stats;
    if (j.plan->key[FORM] == SDPA_LENGTH) {
        at[LENGTH_Q - 1] = scratch + r.length;
        at[LENGTH_KV - 1] = scratch + r.length + APART * sizeof(int32_t);
    }
    if (!lti_dnn_run(d, "attention", j.plan, IDS, at, scratch + r.workspace)) return false;
    const int heads = (int)a->q.n[1], eights = (int)(a->q.n[2] / EACH);
    if (a->sink_logit)
        LTI_LAUNCH(d, "attention", sink_kernel, lti_grid(a->q.n[0] * heads * eights, BLOCK), BLOCK,
                   0, (Eight *)a->out.data, a->q.n[0], heads, eights, a->sink_logit, stats);
    return true;
}

void lti_cuda_close_attention(lti_dev *d) { lti_dnn_free(&lti_cuda_of(d)->attention_plans); }
