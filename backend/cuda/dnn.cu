/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/dnn.cu - graphs, plans and runs on cuDNN's backend interface (dnn.h).
 *
 * Which engine. Heuristic mode A ranks engines by expected speed; mode FALLBACK lists those that
 * take almost everything. We go down both lists and keep the first whose plan can be finalised,
 * which compiles its kernel where it is made at run time, and whose workspace is bounded. Left out
 * by their numerical notes: engines whose results differ from run to run, that add up in less than
 * f32, that go by Winograd or FFT (their error grows with the size of the numbers), and, for f32
 * that shall be f32, those that cut inputs down or use tensor cores (TF32).
 *
 * A run makes a variant pack (the pointers), executes and frees it: host memory of the library's
 * own, no device memory.
 * Pitfall: a refusal is remembered like a plan, else every op would ask again for milliseconds. */
#include "backend/cuda/dnn.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__CUDACC__) && defined(__has_include)
#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#define SAME(ours, theirs) static_assert((int)(LTI_DNN_##ours) == (int)(CUDNN_##theirs), #theirs)
SAME(POINTWISE, BACKEND_POINTWISE_DESCRIPTOR);
SAME(CONVOLUTION, BACKEND_CONVOLUTION_DESCRIPTOR);
SAME(ENGINE, BACKEND_ENGINE_DESCRIPTOR);
SAME(CONFIG, BACKEND_ENGINECFG_DESCRIPTOR);
SAME(HEURISTIC, BACKEND_ENGINEHEUR_DESCRIPTOR);
SAME(PLAN, BACKEND_EXECUTION_PLAN_DESCRIPTOR);
SAME(OP_CONVOLUTION, BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
SAME(OP_POINTWISE, BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
SAME(GRAPH, BACKEND_OPERATIONGRAPH_DESCRIPTOR);
SAME(VARIANT_PACK, BACKEND_VARIANT_PACK_DESCRIPTOR);
SAME(TENSOR, BACKEND_TENSOR_DESCRIPTOR);
SAME(MATMUL, BACKEND_MATMUL_DESCRIPTOR);
SAME(OP_MATMUL, BACKEND_OPERATION_MATMUL_DESCRIPTOR);
SAME(REDUCTION, BACKEND_REDUCTION_DESCRIPTOR);
SAME(OP_REDUCTION, BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
SAME(T_HANDLE, TYPE_HANDLE);
SAME(T_DATA_TYPE, TYPE_DATA_TYPE);
SAME(T_BOOLEAN, TYPE_BOOLEAN);
SAME(T_INT64, TYPE_INT64);
SAME(T_FLOAT, TYPE_FLOAT);
SAME(T_POINTER, TYPE_VOID_PTR);
SAME(T_CONVOLUTION_MODE, TYPE_CONVOLUTION_MODE);
SAME(T_HEURISTIC_MODE, TYPE_HEUR_MODE);
SAME(T_NUMERICAL_NOTE, TYPE_NUMERICAL_NOTE);
SAME(T_POINTWISE_MODE, TYPE_POINTWISE_MODE);
SAME(T_DESCRIPTOR, TYPE_BACKEND_DESCRIPTOR);
SAME(T_REDUCTION_MODE, TYPE_REDUCTION_OPERATOR_TYPE);
SAME(POINTWISE_MODE, ATTR_POINTWISE_MODE);
SAME(POINTWISE_PRECISION, ATTR_POINTWISE_MATH_PREC);
SAME(CONVOLUTION_PRECISION, ATTR_CONVOLUTION_COMP_TYPE);
SAME(CONVOLUTION_MODE, ATTR_CONVOLUTION_CONV_MODE);
SAME(CONVOLUTION_DILATIONS, ATTR_CONVOLUTION_DILATIONS);
SAME(CONVOLUTION_STRIDES, ATTR_CONVOLUTION_FILTER_STRIDES);
SAME(CONVOLUTION_PAD_AFTER, ATTR_CONVOLUTION_POST_PADDINGS);
SAME(CONVOLUTION_PAD_BEFORE, ATTR_CONVOLUTION_PRE_PADDINGS);
SAME(CONVOLUTION_DIMS, ATTR_CONVOLUTION_SPATIAL_DIMS);
SAME(HEURISTIC_MODE, ATTR_ENGINEHEUR_MODE);
SAME(HEURISTIC_GRAPH, ATTR_ENGINEHEUR_OPERATION_GRAPH);
SAME(HEURISTIC_RESULTS, ATTR_ENGINEHEUR_RESULTS);
SAME(CONFIG_ENGINE, ATTR_ENGINECFG_ENGINE);
SAME(PLAN_HANDLE, ATTR_EXECUTION_PLAN_HANDLE);
SAME(PLAN_CONFIG, ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
SAME(PLAN_WORKSPACE, ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
SAME(OP_CONVOLUTION_ALPHA, ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA);
SAME(OP_CONVOLUTION_BETA, ATTR_OPERATION_CONVOLUTION_FORWARD_BETA);
SAME(OP_CONVOLUTION_DESC, ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
SAME(OP_CONVOLUTION_W, ATTR_OPERATION_CONVOLUTION_FORWARD_W);
SAME(OP_CONVOLUTION_X, ATTR_OPERATION_CONVOLUTION_FORWARD_X);
SAME(OP_CONVOLUTION_Y, ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
SAME(OP_POINTWISE_DESC, ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
SAME(OP_POINTWISE_X, ATTR_OPERATION_POINTWISE_XDESC);
SAME(OP_POINTWISE_B, ATTR_OPERATION_POINTWISE_BDESC);
SAME(OP_POINTWISE_Y, ATTR_OPERATION_POINTWISE_YDESC);
SAME(GRAPH_HANDLE, ATTR_OPERATIONGRAPH_HANDLE);
SAME(GRAPH_OPS, ATTR_OPERATIONGRAPH_OPS);
SAME(TENSOR_ALIGNMENT, ATTR_TENSOR_BYTE_ALIGNMENT);
SAME(TENSOR_TYPE, ATTR_TENSOR_DATA_TYPE);
SAME(TENSOR_DIMS, ATTR_TENSOR_DIMENSIONS);
SAME(TENSOR_STRIDES, ATTR_TENSOR_STRIDES);
SAME(TENSOR_ID, ATTR_TENSOR_UNIQUE_ID);
SAME(TENSOR_VIRTUAL, ATTR_TENSOR_IS_VIRTUAL);
SAME(TENSOR_BY_VALUE, ATTR_TENSOR_IS_BY_VALUE);
SAME(PACK_IDS, ATTR_VARIANT_PACK_UNIQUE_IDS);
SAME(PACK_POINTERS, ATTR_VARIANT_PACK_DATA_POINTERS);
SAME(PACK_WORKSPACE, ATTR_VARIANT_PACK_WORKSPACE);
SAME(ENGINE_NOTES, ATTR_ENGINE_NUMERICAL_NOTE);
SAME(MATMUL_PRECISION, ATTR_MATMUL_COMP_TYPE);
SAME(OP_MATMUL_A, ATTR_OPERATION_MATMUL_ADESC);
SAME(OP_MATMUL_B, ATTR_OPERATION_MATMUL_BDESC);
SAME(OP_MATMUL_C, ATTR_OPERATION_MATMUL_CDESC);
SAME(OP_MATMUL_DESC, ATTR_OPERATION_MATMUL_DESC);
SAME(REDUCTION_MODE, ATTR_REDUCTION_OPERATOR);
SAME(REDUCTION_PRECISION, ATTR_REDUCTION_COMP_TYPE);
SAME(OP_REDUCTION_X, ATTR_OPERATION_REDUCTION_XDESC);
SAME(OP_REDUCTION_Y, ATTR_OPERATION_REDUCTION_YDESC);
SAME(OP_REDUCTION_DESC, ATTR_OPERATION_REDUCTION_DESC);
SAME(F32, DATA_FLOAT);
SAME(I32, DATA_INT32);
SAME(BF16, DATA_BFLOAT16);
SAME(CROSS_CORRELATION, CROSS_CORRELATION);
SAME(ADD, POINTWISE_ADD);
SAME(MUL, POINTWISE_MUL);
SAME(DIV, POINTWISE_DIV);
SAME(SUB, POINTWISE_SUB);
SAME(EXP, POINTWISE_EXP);
SAME(LOG, POINTWISE_LOG);
SAME(RELU, POINTWISE_RELU_FWD);
SAME(REDUCE_ADD, REDUCE_TENSOR_ADD);
SAME(REDUCE_MAX, REDUCE_TENSOR_MAX);
SAME(MODE_FALLBACK, HEUR_MODE_FALLBACK);
SAME(MODE_A, HEUR_MODE_A);
SAME(NOTE_TENSOR_CORE, NUMERICAL_NOTE_TENSOR_CORE);
SAME(NOTE_DOWN_CONVERT, NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
SAME(NOTE_REDUCED_PRECISION, NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION);
SAME(NOTE_FFT, NUMERICAL_NOTE_FFT);
SAME(NOTE_NONDETERMINISTIC, NUMERICAL_NOTE_NONDETERMINISTIC);
SAME(NOTE_WINOGRAD, NUMERICAL_NOTE_WINOGRAD);
SAME(NOTE_WINOGRAD_13, NUMERICAL_NOTE_WINOGRAD_TILE_13x13);
SAME(NOT_SUPPORTED, STATUS_NOT_SUPPORTED);
SAME(INTERNAL_ERROR, STATUS_INTERNAL_ERROR);
#if CUDNN_VERSION >= 91500
SAME(OP_SDPA, BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
SAME(OP_SDPA_Q, ATTR_OPERATION_SDPA_FWD_QDESC);
SAME(OP_SDPA_K, ATTR_OPERATION_SDPA_FWD_KDESC);
SAME(OP_SDPA_V, ATTR_OPERATION_SDPA_FWD_VDESC);
SAME(OP_SDPA_O, ATTR_OPERATION_SDPA_FWD_ODESC);
SAME(OP_SDPA_STATS, ATTR_OPERATION_SDPA_FWD_STATSDESC);
SAME(OP_SDPA_SCALE, ATTR_OPERATION_SDPA_FWD_SCALEDESC);
SAME(OP_SDPA_LENGTH_Q, ATTR_OPERATION_SDPA_FWD_SEQ_LEN_QDESC);
SAME(OP_SDPA_LENGTH_KV, ATTR_OPERATION_SDPA_FWD_SEQ_LEN_KVDESC);
#endif
#undef SAME
#endif
#endif

static constexpr size_t MOST_WORKSPACE = (size_t)256 << 20;
static constexpr int CONFIGS = 12; /* tried of each list */
static constexpr int64_t ALIGNMENT = 16;

/* ---- describing ------------------------------------------------------------------------------ */

static bool good(lti_dnn_plan *p, int rc, const char *at) {
    if (p->rc == 0 && rc != 0) p->rc = rc, p->at = at;
    return p->rc == 0;
}

void *lti_dnn_new(lti_dnn_plan *p, int type) {
    LT_ASSERT(p->n_desc < LTI_DNN_DESCRIPTORS);
    void *desc = NULL;
    if (p->rc || !good(p, p->n->desc_create(type, &desc), "create")) return NULL;
    return p->desc[p->n_desc++] = desc;
}

/* The one made last. */
static void forget(lti_dnn_plan *p) { p->n->desc_destroy(p->desc[--p->n_desc]); }

void lti_dnn_set(lti_dnn_plan *p, void *desc, int name, int type, int64_t n, const void *values) {
    if (p->rc == 0) good(p, p->n->desc_set(desc, name, type, n, values), "set");
}

void lti_dnn_set_int(lti_dnn_plan *p, void *desc, int name, int type, int value) {
    const int64_t wide = value;
    const bool boolean = value != 0;
    const void *at = type == LTI_DNN_T_INT64     ? (const void *)&wide
                     : type == LTI_DNN_T_BOOLEAN ? (const void *)&boolean
                                                 : (const void *)&value; /* an enum */
    lti_dnn_set(p, desc, name, type, 1, at);
}

void lti_dnn_set_desc(lti_dnn_plan *p, void *desc, int name, void *value) {
    lti_dnn_set(p, desc, name, LTI_DNN_T_DESCRIPTOR, 1, &value);
}

void lti_dnn_finish(lti_dnn_plan *p, void *desc) {
    if (p->rc == 0) good(p, p->n->desc_finalize(desc), "finalize");
}

void lti_dnn_add_op(lti_dnn_plan *p, void *desc) {
    LT_ASSERT(p->n_op < LTI_DNN_OPS);
    lti_dnn_finish(p, desc);
    p->op[p->n_op++] = desc;
}

void *lti_dnn_tensor(lti_dnn_plan *p, int64_t id, int type, enum lti_dnn_kind kind, int rank,
                     const int64_t *dim, const int64_t *stride) {
    LT_ASSERT(rank <= LTI_DNN_RANK);
    void *t = lti_dnn_new(p, LTI_DNN_TENSOR);
    lti_dnn_set(p, t, LTI_DNN_TENSOR_ID, LTI_DNN_T_INT64, 1, &id);
    lti_dnn_set_int(p, t, LTI_DNN_TENSOR_TYPE, LTI_DNN_T_DATA_TYPE, type);
    lti_dnn_set(p, t, LTI_DNN_TENSOR_DIMS, LTI_DNN_T_INT64, rank, dim);
    lti_dnn_set(p, t, LTI_DNN_TENSOR_STRIDES, LTI_DNN_T_INT64, rank, stride);
    lti_dnn_set(p, t, LTI_DNN_TENSOR_ALIGNMENT, LTI_DNN_T_INT64, 1, &ALIGNMENT);
    if (kind == LTI_DNN_VIRTUAL)
        lti_dnn_set_int(p, t, LTI_DNN_TENSOR_VIRTUAL, LTI_DNN_T_BOOLEAN, 1);
    if (kind == LTI_DNN_BY_VALUE)
        lti_dnn_set_int(p, t, LTI_DNN_TENSOR_BY_VALUE, LTI_DNN_T_BOOLEAN, 1);
    lti_dnn_finish(p, t);
    return t;
}

void lti_dnn_pointwise(lti_dnn_plan *p, int mode, void *x, void *b, void *y) {
    void *desc = lti_dnn_new(p, LTI_DNN_POINTWISE);
    lti_dnn_set_int(p, desc, LTI_DNN_POINTWISE_MODE, LTI_DNN_T_POINTWISE_MODE, mode);
    lti_dnn_set_int(p, desc, LTI_DNN_POINTWISE_PRECISION, LTI_DNN_T_DATA_TYPE, LTI_DNN_F32);
    lti_dnn_finish(p, desc);
    void *op = lti_dnn_new(p, LTI_DNN_OP_POINTWISE);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_POINTWISE_DESC, desc);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_POINTWISE_X, x);
    if (b) lti_dnn_set_desc(p, op, LTI_DNN_OP_POINTWISE_B, b);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_POINTWISE_Y, y);
    lti_dnn_add_op(p, op);
}

/* ---- choosing an engine ---------------------------------------------------------------------- */

static bool note_is_fine(int note, bool exact) {
    if (note == LTI_DNN_NOTE_TENSOR_CORE || note == LTI_DNN_NOTE_DOWN_CONVERT) return !exact;
    return note != LTI_DNN_NOTE_REDUCED_PRECISION && note != LTI_DNN_NOTE_NONDETERMINISTIC &&
           note != LTI_DNN_NOTE_FFT &&
           !(note >= LTI_DNN_NOTE_WINOGRAD && note <= LTI_DNN_NOTE_WINOGRAD_13);
}

static bool config_is_fine(const lti_cudnn *n, void *config, bool exact) {
    enum { NOTES = 32 };
    void *engine = NULL;
    int note[NOTES];
    int64_t count = 0;
    int rc = n->desc_create(LTI_DNN_ENGINE, &engine);
    if (rc) return false;
    rc = n->desc_get(config, LTI_DNN_CONFIG_ENGINE, LTI_DNN_T_DESCRIPTOR, 1, &count, &engine);
    count = 0;
    if (!rc)
        rc = n->desc_get(engine, LTI_DNN_ENGINE_NOTES, LTI_DNN_T_NUMERICAL_NOTE, NOTES, &count,
                         note);
    n->desc_destroy(engine);
    bool fine = rc == 0;
    for (int64_t i = 0; fine && i < count && i < NOTES; i++) fine = note_is_fine(note[i], exact);
    return fine;
}

/* Finalised, and of bounded workspace; else a status. The descriptor stays in p either way. */
static int try_config(lti_dnn_plan *p, void *config) {
    const lti_cudnn *n = p->n;
    void *plan = lti_dnn_new(p, LTI_DNN_PLAN);
    int64_t bytes = 0, count = 0;
    int rc = plan ? n->desc_set(plan, LTI_DNN_PLAN_HANDLE, LTI_DNN_T_HANDLE, 1, &n->handle) : p->rc;
    if (!rc) rc = n->desc_set(plan, LTI_DNN_PLAN_CONFIG, LTI_DNN_T_DESCRIPTOR, 1, &config);
    if (!rc) rc = n->desc_finalize(plan);
    if (!rc) rc = n->desc_get(plan, LTI_DNN_PLAN_WORKSPACE, LTI_DNN_T_INT64, 1, &count, &bytes);
    if (!rc && (bytes < 0 || (size_t)bytes > MOST_WORKSPACE)) rc = LTI_DNN_NOT_SUPPORTED;
    if (!rc) p->plan = plan, p->workspace = (size_t)bytes;
    return rc;
}

/* Go down one list of engines. A status; 0 with p->plan NULL: nothing on it would do. */
static int choose(lti_dnn_plan *p, void *graph, int mode, bool exact) {
    const lti_cudnn *n = p->n;
    const int first = p->n_desc;
    void *list = lti_dnn_new(p, LTI_DNN_HEURISTIC), *config[CONFIGS];
    lti_dnn_set_desc(p, list, LTI_DNN_HEURISTIC_GRAPH, graph);
    lti_dnn_set_int(p, list, LTI_DNN_HEURISTIC_MODE, LTI_DNN_T_HEURISTIC_MODE, mode);
    lti_dnn_finish(p, list);
    for (int i = 0; i < CONFIGS; i++) config[i] = lti_dnn_new(p, LTI_DNN_CONFIG);
    int64_t found = 0;
    int rc = p->rc ? p->rc
                   : n->desc_get(list, LTI_DNN_HEURISTIC_RESULTS, LTI_DNN_T_DESCRIPTOR, CONFIGS,
                                 &found, config);
    int last = 0;
    for (int64_t i = 0; !rc && !p->plan && i < found && i < CONFIGS; i++) {
        if (!config_is_fine(n, config[i], exact)) continue;
        last = try_config(p, config[i]);
        if (last && p->rc == 0) forget(p);
    }
    if (p->plan) return 0;
    while (p->n_desc > first) forget(p);
    if (rc == 0) rc = last;
    return rc;
}

static void make(lti_dnn_plan *p, bool exact, lti_dnn_describe describe) {
    describe(p);
    void *graph = lti_dnn_new(p, LTI_DNN_GRAPH);
    lti_dnn_set(p, graph, LTI_DNN_GRAPH_HANDLE, LTI_DNN_T_HANDLE, 1, &p->n->handle);
    lti_dnn_set(p, graph, LTI_DNN_GRAPH_OPS, LTI_DNN_T_DESCRIPTOR, p->n_op, p->op);
    lti_dnn_finish(p, graph);
    if (p->rc) return;
    const int rc = choose(p, graph, LTI_DNN_MODE_A, exact);
    if (p->plan) return;
    p->rc = 0; /* a list that cannot be had is no list */
    const int rc2 = choose(p, graph, LTI_DNN_MODE_FALLBACK, exact);
    if (!p->plan) p->rc = rc ? rc : rc2 ? rc2 : LTI_DNN_NOT_SUPPORTED, p->at = "no engine";
}

static void drop(lti_dnn_plan *p) {
    while (p->n_desc) forget(p);
    p->plan = NULL;
}

/* ---- the cache ------------------------------------------------------------------------------- */

struct Cache {
    lti_dnn_plan **plan;
    int n, room;
};

static lti_dnn_plan *look_up(const Cache *c, const int64_t *key) {
    for (int i = 0; c && i < c->n; i++)
        if (memcmp(c->plan[i]->key, key, sizeof c->plan[i]->key) == 0) return c->plan[i];
    return NULL;
}

/* A new plan in the cache, still empty. NULL: no memory. */
static lti_dnn_plan *append(void **cache, const int64_t *key) {
    if (!*cache) *cache = calloc(1, sizeof(Cache));
    Cache *c = (Cache *)*cache;
    if (!c) return NULL;
    if (c->n == c->room) {
        lti_dnn_plan **grown =
            (lti_dnn_plan **)realloc(c->plan, (size_t)(c->room + 32) * sizeof *grown);
        if (!grown) return NULL;
        c->plan = grown;
        c->room += 32;
    }
    lti_dnn_plan *p = (lti_dnn_plan *)calloc(1, sizeof *p);
    if (!p) return NULL;
    memcpy(p->key, key, sizeof p->key);
    return c->plan[c->n++] = p;
}

void lti_dnn_note(lti_dev *d, const char *what) {
    if (!d->note[0]) snprintf(d->note, sizeof d->note, "%s", what);
}

static void note_refusal(lti_dev *d, const lti_dnn_plan *p) {
    char why[96] = "", what[160];
    p->n->last_error(why, sizeof why);
    why[strcspn(why, "\n")] = 0;
    snprintf(what, sizeof what, "cuDNN %zu has no plan: %s: %s%s%s", p->n->version, p->at,
             p->n->error_string(p->rc), why[0] ? ": " : "", why);
    lti_dnn_note(d, what);
}

int lti_dnn_plan_count(const void *cache) { return cache ? ((const Cache *)cache)->n : 0; }

lti_dnn_plan *lti_dnn_plan_at(const void *cache, int i) { return ((const Cache *)cache)->plan[i]; }

lti_dnn_plan *lti_dnn_plan_get(lti_dev *d, void **cache, const int64_t *key, bool exact,
                               lti_dnn_describe describe) {
    lti_dnn_plan *p = look_up((const Cache *)*cache, key);
    if (!p) {
        if (!lti_cuda_enter(d)) return NULL;
        p = append(cache, key);
        if (!p) return lti_cuda_fail(d, LT_ENOMEM, "cuDNN", "no host memory for a plan"), p;
        p->n = lti_cuda_of(d)->cudnn;
        make(p, exact, describe);
        if (!p->plan) {
            note_refusal(d, p);
            drop(p);
            cudaGetLastError(); /* what was tried in vain is no error of the next launch */
        }
    }
    return p->plan ? p : NULL;
}

void lti_dnn_free(void **cache) {
    Cache *c = (Cache *)*cache;
    if (!c) return;
    for (int i = 0; i < c->n; i++) {
        drop(c->plan[i]);
        free(c->plan[i]);
    }
    free(c->plan);
    free(c);
    *cache = NULL;
}

/* ---- running one ----------------------------------------------------------------------------- */

bool lti_dnn_run(lti_dev *d, const char *op, lti_dnn_plan *p, int n, void *const *pointer,
                 void *workspace) {
    enum { MOST = 16 };
    if (!lti_cuda_enter(d)) return true;
    const lti_cudnn *c = p->n;
    int64_t id[MOST];
    void *at[MOST], *pack = NULL;
    int64_t count = 0;
    LT_ASSERT(n <= MOST);
    for (int i = 0; i < n; i++)
        if (pointer[i]) id[count] = i + 1, at[count++] = pointer[i];
    int rc = c->desc_create(LTI_DNN_VARIANT_PACK, &pack);
    if (!rc) rc = c->desc_set(pack, LTI_DNN_PACK_IDS, LTI_DNN_T_INT64, count, id);
    if (!rc) rc = c->desc_set(pack, LTI_DNN_PACK_POINTERS, LTI_DNN_T_POINTER, count, at);
    if (!rc) rc = c->desc_set(pack, LTI_DNN_PACK_WORKSPACE, LTI_DNN_T_POINTER, 1, &workspace);
    if (!rc) rc = c->desc_finalize(pack);
    if (!rc) rc = c->execute(c->handle, p->plan, pack);
    if (rc >= LTI_DNN_INTERNAL_ERROR) {
        char what[200], why[120] = "";
        c->last_error(why, sizeof why);
        snprintf(what, sizeof what, "cuDNN: %s: %s", c->error_string(rc), why);
        lti_cuda_fail(d, LT_EDEVICE, op, what);
    } else if (rc) {
        p->rc = rc, p->at = "execute";
        note_refusal(d, p);
    }
    if (pack) c->desc_destroy(pack);
    if (rc == 0 || rc >= LTI_DNN_INTERNAL_ERROR) return true;
    drop(p);
    return false;
}
