/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/linear_lt.cu - linear on cuBLASLt: plans (descriptors, algorithm) cached per shape.
 *
 * The mapping, here and nowhere else. cuBLASLt thinks in columns: it makes D[M, N] = op(A) op(B),
 * and a matrix of leading dimension ld has element (i, j) at i + j ld. Our row-major [rows, width]
 * is, read that way, the transposed matrix [width, rows] with ld = width. So out = x w^T becomes
 * out^T = w x^T:
 *     A = w    [k, n] ld k, op T      B = x    [k, m] ld k, op N      D = out  [n, m] ld n
 *     M = n, N = m, K = k             bias: one value for each row of D, which is one per output
 * This "TN" form is also the only one that 8-bit floats have.
 *
 * f32 inputs: COMPUTE_32F is true f32 (TF32 is another compute type). bf16: f32 sums; a split of K is
 * only allowed to be added up in f32 (reduction scheme COMPUTE_TYPE), never in bf16 outputs.
 * The bias has the dtype of D, and bf16 with E4M3, as the library's table of types wants it.
 * E4M3: A and B come with scales, one f32 each or (OUTER_VECTOR) one for each row of w and of x.
 * Results: the heuristic is a function of shape, card and library version, so the same op gives the
 * same bits again; other shapes, even of the same rows, need not. */
#include "backend/cuda/lib.h"
#include "backend/cuda/linear.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static constexpr size_t WORKSPACE = (size_t)32 << 20; /* what the library asks for on Hopper */
static constexpr uint32_t ALIGN_W = 256;              /* cudaMalloc's */
static constexpr uint32_t ALIGN = 16;
static constexpr int CHOICES = 4;

struct lti_lt_plan {
    lti_lt_shape shape;
    bool usable; /* false: the library has no algorithm */
    void *desc, *w, *x, *out;
    lti_lt_algo algo;
};

struct Plans {
    void *workspace;
    lti_lt_plan *plan;
    int n, room;
};

static int data_type(int32_t dtype) {
    return dtype == LTI_F32       ? LTI_LT_R_32F
           : dtype == LTI_F8_E4M3 ? LTI_LT_R_8F_E4M3
                                  : LTI_LT_R_16BF;
}

/* A sticky error that says which call and which shape. */
static void fail(lti_dev *d, const lti_lt_shape *s, const char *call, int rc) {
    char what[160];
    snprintf(what, sizeof what, "%s for %lldx%lld -> %lld: %s", call, (long long)s->m,
             (long long)s->k, (long long)s->n, lti_cuda_of(d)->cublas->status_name(rc));
    lti_cuda_fail(d, LT_EDEVICE, "linear", what);
}

/* ---- making a plan -------------------------------------------------------------------------------- */

/* What may change from call to call. */
static int set_pointers(const lti_cublas *b, const lti_lt_plan *p, const lti_lt_operands *o) {
    int rc = 0;
    if (p->shape.bias)
        rc = b->desc_set(p->desc, LTI_LT_DESC_BIAS_POINTER, &o->bias, sizeof o->bias);
    if (rc || !p->shape.scales) return rc;
    rc = b->desc_set(p->desc, LTI_LT_DESC_A_SCALE, &o->w_scale, sizeof o->w_scale);
    return rc ? rc : b->desc_set(p->desc, LTI_LT_DESC_B_SCALE, &o->x_scale, sizeof o->x_scale);
}

/* The operation, without pointers. */
static int describe(const lti_cublas *b, lti_lt_plan *p) {
    const lti_lt_shape *s = &p->shape;
    const int32_t op_t = LTI_LT_OP_T, op_n = LTI_LT_OP_N, vector = LTI_LT_SCALE_OUTER_VECTOR;
    const int32_t bias_type = s->in == LTI_F8_E4M3 ? LTI_LT_R_16BF : data_type(s->out);
    uint32_t epilogue = s->act == LTI_ACT_GELU_TANH ? LTI_LT_EPILOGUE_GELU
                        : s->act == LTI_ACT_RELU    ? LTI_LT_EPILOGUE_RELU
                                                    : 0;
    if (s->bias) epilogue |= LTI_LT_EPILOGUE_BIAS;
    if (!epilogue) epilogue = LTI_LT_EPILOGUE_DEFAULT;
    int rc = b->desc_create(&p->desc, LTI_LT_COMPUTE_32F, LTI_LT_R_32F);
    if (!rc) rc = b->desc_set(p->desc, LTI_LT_DESC_TRANSA, &op_t, sizeof op_t);
    if (!rc) rc = b->desc_set(p->desc, LTI_LT_DESC_TRANSB, &op_n, sizeof op_n);
    if (!rc) rc = b->desc_set(p->desc, LTI_LT_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (!rc && s->bias)
        rc = b->desc_set(p->desc, LTI_LT_DESC_BIAS_TYPE, &bias_type, sizeof bias_type);
    if (s->scales == LTI_FP8_ROWS) {
        if (!rc) rc = b->desc_set(p->desc, LTI_LT_DESC_A_SCALE_MODE, &vector, sizeof vector);
        if (!rc) rc = b->desc_set(p->desc, LTI_LT_DESC_B_SCALE_MODE, &vector, sizeof vector);
    }
    const uint64_t m = (uint64_t)s->m, n = (uint64_t)s->n, k = (uint64_t)s->k;
    if (!rc) rc = b->layout_create(&p->w, data_type(s->in), k, n, s->k);
    if (!rc) rc = b->layout_create(&p->x, data_type(s->in), k, m, s->k);
    if (!rc) rc = b->layout_create(&p->out, data_type(s->out), n, m, s->n);
    return rc;
}

static int set_preference(const lti_cublas *b, void *pref) {
    const uint64_t workspace = WORKSPACE;
    const uint32_t reduction = LTI_LT_REDUCTION_COMPUTE_TYPE, align_w = ALIGN_W, align = ALIGN;
    int rc = b->pref_set(pref, LTI_LT_PREF_WORKSPACE, &workspace, sizeof workspace);
    if (!rc) rc = b->pref_set(pref, LTI_LT_PREF_REDUCTION, &reduction, sizeof reduction);
    if (!rc) rc = b->pref_set(pref, LTI_LT_PREF_ALIGN_A, &align_w, sizeof align_w);
    if (!rc) rc = b->pref_set(pref, LTI_LT_PREF_ALIGN_B, &align, sizeof align);
    if (!rc) rc = b->pref_set(pref, LTI_LT_PREF_ALIGN_C, &align, sizeof align);
    if (!rc) rc = b->pref_set(pref, LTI_LT_PREF_ALIGN_D, &align, sizeof align);
    return rc;
}

/* The library's first choice into p->algo. A status; NOT_SUPPORTED: it has none. */
static int choose(const lti_cublas *b, lti_lt_plan *p) {
    void *pref = NULL;
    lti_lt_choice choice[CHOICES];
    int found = 0;
    int rc = b->pref_create(&pref);
    if (rc) return rc;
    rc = set_preference(b, pref);
    if (!rc)
        rc = b->heuristic(b->handle, p->desc, p->w, p->x, p->out, p->out, pref, CHOICES, choice,
                          &found);
    b->pref_destroy(pref);
    if (rc) return rc;
    for (int i = 0; i < found; i++)
        if (choice[i].state == 0 && choice[i].workspace <= WORKSPACE)
            return p->algo = choice[i].algo, 0;
    return LTI_LT_NOT_SUPPORTED;
}

static void free_plan(const lti_cublas *b, lti_lt_plan *p) {
    if (p->desc) b->desc_destroy(p->desc);
    if (p->w) b->layout_destroy(p->w);
    if (p->x) b->layout_destroy(p->x);
    if (p->out) b->layout_destroy(p->out);
}

/* False, and a sticky error. */
static bool make_plan(lti_dev *d, const lti_lt_shape *s, lti_lt_operands o, lti_lt_plan *p) {
    const lti_cublas *b = lti_cuda_of(d)->cublas;
    *p = lti_lt_plan();
    p->shape = *s;
    if (!o.x_scale) o.x_scale = o.w_scale; /* scratch, which is no less aligned */
    int rc = describe(b, p);
    if (!rc) rc = set_pointers(b, p, &o);
    if (!rc) rc = choose(b, p);
    p->usable = rc == 0;
    if (rc == 0 || rc == LTI_LT_NOT_SUPPORTED) return true;
    fail(d, s, "no plan", rc);
    free_plan(b, p);
    return false;
}

/* ---- the cache ------------------------------------------------------------------------------------ */

/* With room for one more plan, and the workspace; NULL: a sticky error. */
static Plans *plans_of(lti_dev *d) {
    lti_cuda *c = lti_cuda_of(d);
    if (!lti_cuda_enter(d)) return NULL;
    if (!c->linear_plans) c->linear_plans = calloc(1, sizeof(Plans));
    Plans *p = (Plans *)c->linear_plans;
    const int room = p && p->n == p->room ? p->room + 32 : 0;
    if (room) {
        lti_lt_plan *grown = (lti_lt_plan *)realloc(p->plan, (size_t)room * sizeof *grown);
        if (grown) p->plan = grown, p->room = room;
    }
    if (!p || p->n == p->room) {
        lti_cuda_fail(d, LT_ENOMEM, "linear", "no host memory for a plan");
        return NULL;
    }
    if (!p->workspace && !lti_cuda_check(d, cudaMalloc(&p->workspace, WORKSPACE), "linear"))
        return p->workspace = NULL, (Plans *)NULL;
    return p;
}

const lti_lt_plan *lti_lt_plan_get(lti_dev *d, const lti_lt_shape *s, const lti_lt_operands *o) {
    Plans *c = (Plans *)lti_cuda_of(d)->linear_plans;
    for (int i = 0; c && i < c->n; i++)
        if (memcmp(&c->plan[i].shape, s, sizeof *s) == 0)
            return c->plan[i].usable ? &c->plan[i] : NULL;
    if (!(c = plans_of(d)) || !make_plan(d, s, *o, &c->plan[c->n])) return NULL;
    const lti_lt_plan *made = &c->plan[c->n++];
    return made->usable ? made : NULL;
}

void lti_cuda_close_linear(lti_dev *d) {
    lti_cuda *c = lti_cuda_of(d);
    Plans *p = (Plans *)c->linear_plans;
    if (!p) return;
    for (int i = 0; i < p->n; i++) free_plan(c->cublas, &p->plan[i]);
    cudaFree(p->workspace);
    free(p->plan);
    free(p);
    c->linear_plans = NULL;
}

/* ---- running one ---------------------------------------------------------------------------------- */

void lti_lt_plan_run(lti_dev *d, const lti_lt_plan *p, const lti_lt_operands *o) {
    if (!lti_cuda_enter(d)) return;
    const lti_cublas *b = lti_cuda_of(d)->cublas;
    const Plans *c = (const Plans *)lti_cuda_of(d)->linear_plans;
    const float one = 1, zero = 0;
    /* The descriptor is read while the call lasts: the next op may change its pointers. */
    int rc = set_pointers(b, p, o);
    if (!rc)
        rc = b->matmul(b->handle, p->desc, &one, o->w, p->w, o->x, p->x, &zero, o->out, p->out,
                       o->out, p->out, &p->algo, c->workspace, WORKSPACE, b->stream);
    if (rc) fail(d, &p->shape, "cublasLtMatmul", rc);
}
