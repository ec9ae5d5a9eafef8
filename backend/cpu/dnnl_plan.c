/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/dnnl_plan.c - oneDNN primitives, made once per shape, and their weights.
 *
 * A plan is one primitive with its memory objects, found by a key of all shapes and options; each
 * dev has its own plans (primitives are created for the dev's team size). Scratchpads are the
 * caller's (user mode), so a call of a known shape allocates nothing.
 *
 * Weights. Plans ask oneDNN which layout it likes best (format any). A linear layout depends on
 * [out, in] only and is made at load; a convolution's also depends on the picture size, so it is
 * made by the first plan that uses the weight. A later plan may want another layout: it is added
 * to the weight's list under a lock, from the first one. Published layouts never move or change,
 * so devs in other threads read them without the lock.
 *
 * Pitfalls. Setting a data handle on a memory object with a padded layout writes the padding, which
 * would be a race on shared weights: weight memory objects are made once, only plain activations
 * are re-pointed. Weight memory has its own engine handle: it may outlive the dev that
 * packed it. */
#include "backend/cpu/dnnl_plan.h"
#include "backend/cpu/ops.h"
#include "base/error.h"

#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    MAX_LAYOUTS = 8,
    TYPICAL_ROWS = 1024,
    PARALLEL_MACS = 1 << 22, /* below: one thread is done in less time than a team needs to meet */
};

struct lti_cpu_plans {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    lti_cpu_plan **slot; /* open addressing, cap is a power of two */
    size_t cap, n;
};

typedef struct weight {
    dnnl_engine_t engine;
    int rank;
    int64_t dims[DNN_DIMS]; /* linear: K, N; conv: Co, Ci, kt, kh, kw */
    dnnl_data_type_t type;
    dnnl_memory_t bias; /* f32, or NULL */
    pthread_mutex_t lock;
    dnn_md plain_md;
    dnnl_memory_t plain; /* as loaded; freed when the first layout exists */
    atomic_int n_layout;
    dnn_md md[MAX_LAYOUTS];
    dnnl_memory_t mem[MAX_LAYOUTS];
} weight;

static dnnl_data_type_t type_of(lti_dtype t) { return t == LTI_F32 ? dnnl_f32 : dnnl_bf16; }

/* -- dev ----------------------------------------------------------------------------------- */

lt_status lti_cpu_plans_open(lti_dev *d, lti_cpu_plans **out, lt_error *err) {
    (void)d;
    lti_cpu_plans *p = calloc(1, sizeof *p);
    if (!p) return lti_oom(err, sizeof *p);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success) {
        lti_cpu_plans_close(&p);
        return lti_fail(err, LT_EDEVICE,
                        "backend cpu: oneDNN has no CPU engine here; use --backend ref");
    }
    *out = p;
    return LT_OK;
}

static void plan_free(lti_cpu_plan *p) {
    if (!p) return;
    if (p->src) dnnl_memory_destroy(p->src);
    if (p->dst) dnnl_memory_destroy(p->dst);
    if (p->tmp) dnnl_memory_destroy(p->tmp);
    if (p->prim) dnnl_primitive_destroy(p->prim);
    dnn_md_free(&p->weights);
    free(p);
}

void lti_cpu_plans_close(lti_cpu_plans **pp) {
    lti_cpu_plans *p = *pp;
    if (!p) return;
    for (size_t i = 0; i < p->cap; i++) plan_free(p->slot[i]);
    free(p->slot);
    if (p->stream) dnnl_stream_destroy(p->stream);
    if (p->engine) dnnl_engine_destroy(p->engine);
    free(p);
    *pp = NULL;
}

/* -- making a primitive -------------------------------------------------------------------- */

static dnnl_status_t make_attr(const lti_cpu_plan_key *k, dnnl_primitive_attr_t *attr) {
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (s) return s;
    dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (!k->add && k->act == LTI_ACT_NONE) return dnnl_success;
    dnnl_post_ops_t po;
    if ((s = dnnl_post_ops_create(&po))) return s;
    if (k->add) s = dnn_append_sum(po);
    if (!s && k->act == LTI_ACT_SILU) s = dnn_append_eltwise(po, dnnl_eltwise_swish, 1.0f);
    if (!s && k->act == LTI_ACT_GELU_TANH) s = dnn_append_eltwise(po, dnnl_eltwise_gelu_tanh, 0.0f);
    if (!s && k->act == LTI_ACT_RELU) s = dnn_append_eltwise(po, dnnl_eltwise_relu, 0.0f);
    if (!s) s = dnnl_primitive_attr_set_post_ops(*attr, po);
    dnnl_post_ops_destroy(po);
    return s;
}

typedef struct shapes {
    dnn_md src, w, bias, dst;
} shapes;

/* Descriptors of a plan; the weights' layout is left to oneDNN. */
static dnnl_status_t make_shapes(const lti_cpu_plan_key *k, shapes *s) {
    const int64_t *n = k->n;
    dnnl_status_t e;
    const dnnl_data_type_t xt = type_of((lti_dtype)k->xt), ot = type_of((lti_dtype)k->ot);
    const dnnl_data_type_t wt = type_of((lti_dtype)k->compute);
    if (k->kind == LTI_PLAN_LINEAR) { /* n: M, K, N */
        const int64_t x[] = {n[0], n[1]}, w[] = {n[1], n[2]}, b[] = {1, n[2]}, o[] = {n[0], n[2]};
        if ((e = dnn_md_make(&s->src, 2, x, xt, dnnl_ab))) return e;
        if ((e = dnn_md_make(&s->w, 2, w, wt, dnnl_format_tag_any))) return e;
        if ((e = dnn_md_make(&s->bias, 2, b, dnnl_f32, dnnl_ab))) return e;
        return dnn_md_make(&s->dst, 2, o, ot, dnnl_ab);
    }
    /* n: T h w, Co Ci kt kh kw, To ho wo, ... */
    const int64_t x[] = {1, n[4], n[0], n[1], n[2]}, o[] = {1, n[3], n[8], n[9], n[10]};
    if ((e = dnn_md_make(&s->src, 5, x, xt, dnnl_ndhwc))) return e;
    if ((e = dnn_md_make(&s->w, 5, n + 3, wt, dnnl_format_tag_any))) return e;
    if ((e = dnn_md_make(&s->bias, 1, n + 3, dnnl_f32, dnnl_a))) return e;
    return dnn_md_make(&s->dst, 5, o, ot, dnnl_ndhwc);
}

static dnnl_status_t make_pd(dnnl_engine_t engine, const lti_cpu_plan_key *k,
                             dnnl_primitive_desc_t *pd) {
    shapes s;
    memset(&s, 0, sizeof s);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t e = make_attr(k, &attr);
    if (!e) e = make_shapes(k, &s);
    if (!e) {
        const dnn_cmd bias = k->bias ? dnn_md_ref(&s.bias) : NULL;
        if (k->kind == LTI_PLAN_LINEAR)
            e = dnn_matmul(pd, engine, dnn_md_ref(&s.src), dnn_md_ref(&s.w), bias,
                           dnn_md_ref(&s.dst), attr);
        else
            e = dnn_conv(pd, engine, dnn_md_ref(&s.src), dnn_md_ref(&s.w), bias, dnn_md_ref(&s.dst),
                         k->n + 11, k->n + 14, k->n + 17, attr);
    }
    if (attr) dnnl_primitive_attr_destroy(attr);
    dnn_md_free(&s.src);
    dnn_md_free(&s.w);
    dnn_md_free(&s.bias);
    dnn_md_free(&s.dst);
    return e;
}

static dnnl_status_t fill_plan(lti_cpu_plans *ps, lti_cpu_plan *p) {
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t e = make_pd(ps->engine, &p->key, &pd);
    if (e) return e;
    const dnn_cmd src = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    const dnn_cmd dst = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    const dnn_cmd tmp = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    e = dnn_md_copy(&p->weights, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
    if (!e) e = dnnl_primitive_create(&p->prim, pd);
    if (!e) e = dnnl_memory_create(&p->src, src, ps->engine, DNNL_MEMORY_NONE);
    if (!e) e = dnnl_memory_create(&p->dst, dst, ps->engine, DNNL_MEMORY_NONE);
    p->tmp_bytes = tmp ? dnnl_memory_desc_get_size(tmp) : 0;
    if (!e && p->tmp_bytes) e = dnnl_memory_create(&p->tmp, tmp, ps->engine, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(pd);
    return e;
}

static double macs_of(const lti_cpu_plan_key *k) {
    const int64_t *n = k->n;
    if (k->kind == LTI_PLAN_LINEAR) return (double)n[0] * (double)n[1] * (double)n[2];
    return (double)(n[8] * n[9] * n[10]) * (double)(n[3] * n[4]) * (double)(n[5] * n[6] * n[7]);
}

/* -- the cache ----------------------------------------------------------------------------- */

static uint64_t hash_key(const lti_cpu_plan_key *k) { /* FNV-1a over words */
    uint64_t h = 14695981039346656037u;
    const unsigned char *b = (const unsigned char *)k;
    for (size_t i = 0; i < sizeof *k; i += 8) {
        uint64_t word;
        memcpy(&word, b + i, 8);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 29;
    }
    return h;
}

static lti_cpu_plan **find(lti_cpu_plans *ps, const lti_cpu_plan_key *k) {
    size_t i = (size_t)hash_key(k) & (ps->cap - 1);
    while (ps->slot[i] && memcmp(&ps->slot[i]->key, k, sizeof *k) != 0) i = (i + 1) & (ps->cap - 1);
    return &ps->slot[i];
}

static bool grow(lti_cpu_plans *ps) {
    lti_cpu_plans bigger = *ps;
    bigger.cap = ps->cap ? ps->cap * 2 : 64;
    bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
    if (!bigger.slot) return false;
    for (size_t i = 0; i < ps->cap; i++)
        if (ps->slot[i]) *find(&bigger, &ps->slot[i]->key) = ps->slot[i];
    free(ps->slot);
    *ps = bigger;
    return true;
}

lti_cpu_plan *lti_cpu_plan_get(lti_dev *d, const lti_cpu_plan_key *key) {
    lti_cpu_plans *ps = lti_cpu_of(d)->plans;
    lti_cpu_plan **at = ps->cap ? find(ps, key) : NULL;
    if (at && *at) return *at;
    if (2 * (ps->n + 1) > ps->cap && !grow(ps)) {
        lti_cpu_fail(d, LT_ENOMEM, "plan table");
        return NULL;
    }
    lti_cpu_plan *p = calloc(1, sizeof *p);
    if (!p) {
        lti_cpu_fail(d, LT_ENOMEM, "plan");
        return NULL;
    }
    p->key = *key;
    p->team = macs_of(key) < PARALLEL_MACS ? 1 : d->n_threads;
    const int team = omp_get_max_threads();
    omp_set_num_threads(p->team);
    const dnnl_status_t e = fill_plan(ps, p);
    omp_set_num_threads(team);
    if (e) {
        plan_free(p);
        lti_cpu_fail(d, e == dnnl_out_of_memory ? LT_ENOMEM : LT_EDEVICE,
                     key->kind == LTI_PLAN_LINEAR ? "oneDNN refuses a matmul"
                                                  : "oneDNN refuses a convolution");
        return NULL;
    }
    *find(ps, key) = p;
    ps->n++;
    return p;
}

/* -- weights ------------------------------------------------------------------------------- */

static dnnl_memory_t reorder(weight *w, dnnl_memory_t from, dnn_cmd from_md, dnn_cmd to) {
    dnnl_memory_t mem = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t prim = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_status_t e = dnnl_memory_create(&mem, to, w->engine, DNNL_MEMORY_ALLOCATE);
    if (!e) e = dnnl_stream_create(&stream, w->engine, dnnl_stream_default_flags);
    if (!e) e = dnnl_reorder_primitive_desc_create(&pd, from_md, w->engine, to, w->engine, NULL);
    if (!e) e = dnnl_primitive_create(&prim, pd);
    if (!e) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, mem}};
        e = dnnl_primitive_execute(prim, stream, 2, args);
    }
    if (!e) e = dnnl_stream_wait(stream);
    if (prim) dnnl_primitive_destroy(prim);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (stream) dnnl_stream_destroy(stream);
    if (e && mem) {
        dnnl_memory_destroy(mem);
        mem = NULL;
    }
    return mem;
}

static int find_layout(weight *w, dnn_cmd md) {
    const int n = atomic_load_explicit(&w->n_layout, memory_order_acquire);
    for (int i = 0; i < n; i++)
        if (dnnl_memory_desc_equal(dnn_md_ref(&w->md[i]), md)) return i;
    return -1;
}

/* Under the lock. */
static bool add_layout(weight *w, dnn_cmd md) {
    const int n = atomic_load_explicit(&w->n_layout, memory_order_relaxed);
    if (n == MAX_LAYOUTS) return false;
    dnnl_memory_t mem = w->plain ? reorder(w, w->plain, dnn_md_ref(&w->plain_md), md)
                                 : reorder(w, w->mem[0], dnn_md_ref(&w->md[0]), md);
    if (!mem) return false;
    if (dnn_md_copy(&w->md[n], md) != dnnl_success) {
        dnnl_memory_destroy(mem);
        return false;
    }
    w->mem[n] = mem;
    if (w->plain) dnnl_memory_destroy(w->plain);
    w->plain = NULL;
    atomic_store_explicit(&w->n_layout, n + 1, memory_order_release);
    return true;
}

bool lti_cpu_plan_weights(lti_dev *d, const lti_cpu_plan *p, const lti_packed *packed) {
    weight *w = packed->impl;
    const dnn_cmd md = dnn_md_ref(&p->weights);
    if (find_layout(w, md) >= 0) return true;
    const int team = omp_get_max_threads();
    omp_set_num_threads(d->n_threads);
    pthread_mutex_lock(&w->lock);
    const bool ok = find_layout(w, md) >= 0 || add_layout(w, md);
    pthread_mutex_unlock(&w->lock);
    omp_set_num_threads(team);
    if (!ok) lti_cpu_fail(d, LT_ENOMEM, "weights in another layout");
    return ok;
}

void lti_cpu_plan_run(lti_dev *d, lti_cpu_plan *p, const lti_packed *packed, const void *x,
                      void *out, void *tmp) {
    lti_cpu_plans *ps = lti_cpu_of(d)->plans;
    weight *w = packed->impl;
    const int at = find_layout(w, dnn_md_ref(&p->weights));
    LT_ASSERT(at >= 0);
    dnnl_memory_set_data_handle(p->src, (void *)(uintptr_t)x);
    dnnl_memory_set_data_handle(p->dst, out);
    dnnl_exec_arg_t args[5] = {
        {DNNL_ARG_SRC, p->src}, {DNNL_ARG_WEIGHTS, w->mem[at]}, {DNNL_ARG_DST, p->dst}};
    int n = 3;
    if (p->key.bias) args[n++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, w->bias};
    if (p->tmp) {
        dnnl_memory_set_data_handle(p->tmp, tmp);
        args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->tmp};
    }
    const int team = omp_get_max_threads();
    omp_set_num_threads(p->team);
    if (dnnl_primitive_execute(p->prim, ps->stream, n, args) != dnnl_success ||
        dnnl_stream_wait(ps->stream) != dnnl_success)
        lti_cpu_fail(d, LT_EDEVICE, "oneDNN failed to run");
    omp_set_num_threads(team);
}

static void weight_free(weight *w) {
    if (!w) return;
    const int n = atomic_load(&w->n_layout);
    for (int i = 0; i < n; i++) {
        dnnl_memory_destroy(w->mem[i]);
        dnn_md_free(&w->md[i]);
    }
    if (w->plain) dnnl_memory_destroy(w->plain);
    dnn_md_free(&w->plain_md);
    if (w->bias) dnnl_memory_destroy(w->bias);
    if (w->engine) dnnl_engine_destroy(w->engine);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The weight in plain layout and compute dtype: a oneDNN memory of its own. */
static dnnl_memory_t plain_copy(lti_dev *d, weight *w, const lti_tensor *src, dnn_cmd md) {
    dnnl_memory_t mem = NULL;
    void *data = NULL;
    if (dnnl_memory_create(&mem, md, w->engine, DNNL_MEMORY_ALLOCATE)) return NULL;
    dnnl_memory_get_data_handle(mem, &data);
    const lti_dtype to = w->type == dnnl_f32 ? LTI_F32 : LTI_BF16;
    if (src->dtype == to) {
        memcpy(data, src->data, lti_nbytes(src));
        return mem;
    }
    if (to == LTI_F32) {
        lti_to_f32(src, data);
        return mem;
    }
    const int64_t n = lti_numel(src) / src->n[0]; /* row by row through f32 */
    float *buf = malloc((size_t)n * sizeof *buf);
    if (!buf) {
        dnnl_memory_destroy(mem);
        return NULL;
    }
    for (int64_t r = 0; r < src->n[0]; r++) {
        const lti_tensor one = lti_rows(*src, r, 1);
        lti_to_f32(&one, buf);
        const lti_cpu_row_args a = {
            .x = buf, .xt = LTI_F32, .out = (uint16_t *)data + r * n, .ot = LTI_BF16};
        lti_cpu_of(d)->rows->cast(&a, 0, n);
    }
    free(buf);
    return mem;
}

static dnnl_memory_t copy_bias(weight *w, const lti_tensor *b, bool row) {
    dnnl_memory_t mem = NULL;
    dnn_md md;
    const int64_t dims[] = {row ? 1 : b->n[0], b->n[0]};
    if (dnn_md_make(&md, row ? 2 : 1, dims, dnnl_f32, row ? dnnl_ab : dnnl_a)) return NULL;
    void *data = NULL;
    if (!dnnl_memory_create(&mem, dnn_md_ref(&md), w->engine, DNNL_MEMORY_ALLOCATE)) {
        dnnl_memory_get_data_handle(mem, &data);
        lti_to_f32(b, data);
    }
    dnn_md_free(&md);
    return mem;
}

static weight *weight_new(lti_dev *d, const lti_tensor *src, const lti_tensor *b, int kind,
                          lti_dtype compute) {
    weight *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    pthread_mutex_init(&w->lock, NULL);
    w->rank = src->rank;
    w->type = type_of(compute);
    const bool linear = kind == LTI_PLAN_LINEAR;
    for (int i = 0; i < src->rank; i++) w->dims[i] = src->n[linear ? src->rank - 1 - i : i];
    bool ok = dnnl_engine_create(&w->engine, dnnl_cpu, 0) == dnnl_success &&
              dnn_md_make(&w->plain_md, src->rank, w->dims, w->type,
                          linear ? dnnl_ba : dnnl_abcde) == dnnl_success;
    if (ok) ok = (w->plain = plain_copy(d, w, src, dnn_md_ref(&w->plain_md))) != NULL;
    if (ok && b) ok = (w->bias = copy_bias(w, b, linear)) != NULL;
    if (!ok) {
        weight_free(w);
        return NULL;
    }
    return w;
}

static lti_packed *pack(lti_dev *d, const lti_tensor *src, const lti_tensor *b, int kind,
                        lti_dtype compute, lt_error *err) {
    if (compute == LTI_BF16 && lti_cpu_of(d)->level < LTI_CPU_AVX512) compute = LTI_F32;
    lti_packed *p = calloc(1, sizeof *p);
    weight *w = p ? weight_new(d, src, b, kind, compute) : NULL;
    if (!w) {
        free(p);
        lti_oom(err, (size_t)lti_numel(src) * lti_dtype_size(compute));
        return NULL;
    }
    p->kind = kind;
    p->dtype = compute;
    for (int i = 0; i < 5; i++) p->n[i] = i < src->rank ? src->n[i] : 1;
    p->has_bias = b != NULL;
    p->bytes = (size_t)lti_numel(src) * lti_dtype_size(compute);
    p->impl = w;
    return p;
}

lti_packed *lti_cpu_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                lti_dtype compute, lt_error *err) {
    lti_packed *p = pack(d, w, b, LTI_PLAN_LINEAR, compute, err);
    if (!p) return NULL;
    lti_cpu_plan_key k;
    memset(&k, 0, sizeof k);
    k.kind = LTI_PLAN_LINEAR;
    k.compute = k.xt = k.ot = (int32_t)p->dtype;
    k.bias = b != NULL;
    k.n[0] = TYPICAL_ROWS;
    k.n[1] = w->n[1];
    k.n[2] = w->n[0];
    const lti_cpu_plan *plan = lti_cpu_plan_get(d, &k);
    if (!plan || !lti_cpu_plan_weights(d, plan, p)) {
        lti_cpu_pack_free(d, p);
        const lt_error e = lti_cpu_of(d)->error;
        lti_fail(err, e.code ? e.code : LT_EDEVICE, "packing a weight [%lld, %lld]: %s",
                 (long long)w->n[0], (long long)w->n[1], e.msg);
        return NULL;
    }
    return p;
}

lti_packed *lti_cpu_pack_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, lt_error *err) {
    return pack(d, w, b, LTI_PLAN_CONV, compute, err);
}

void lti_cpu_pack_free(lti_dev *d, lti_packed *p) {
    (void)d;
    if (!p) return;
    weight_free(p->impl);
    free(p);
}
