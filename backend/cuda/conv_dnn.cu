/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/conv_dnn.cu - cuDNN's convolutions, on channels-last maps where they lie.
 *
 * One graph does all of the op: out = act(conv(x, w) + out + bias), sums in f32, one rounding. Our
 * maps [T, h, w, C] are NDHWC with batch 1, weights are packed [Co, kt, kh, kw, Ci] (KTRSC).
 * Padding has a before and an after in each direction, so bottom and right alone are fine. A
 * convolution without extent in time is one of pictures: frames become the batch, which more
 * engines know. Channels need not be multiples of 8: there are engines for 3.
 * `out` is added before the bias: that is the order the precompiled engines know, the only ones
 * that keep f32 true f32; compiled ones take either.
 * add: the tensor that is added and the result are one place in memory. Every element depends on
 * itself alone there and is read before it is written, unless an engine kept parts of sums in its
 * output; with a 16-bit output none does.
 * x of the other dtype is cast to scratch. f32 weights with a bf16 result are left to our kernel,
 * as is what is so small that the launch is all it costs.
 * Pitfall: relu here may turn NaN into 0, ours keeps it.
 * Reference: NVIDIA's cuDNN documentation, "Convolution", graphs with fused point-wise ones. */
#include "backend/cuda/dnn.h"
#include "base/error.h"

static constexpr int64_t PAYS = (int64_t)1 << 22; /* products */

enum Id { X = 1, W, BIAS, OUT_BEFORE, OUT, IDS = OUT };

/* What a plan is for: x, w, out, strides, zeros, cuDNN's names of dtypes, options. Places in
 * lti_dnn_plan.key. */
enum Place {
    FRAMES,
    HIGH,
    WIDE,
    CI,
    CO,
    KT,
    KH,
    KW,
    OUT_FRAMES,
    OUT_HIGH,
    OUT_WIDE,
    STRIDE_T,
    STRIDE_H,
    STRIDE_W,
    TOP,
    BOTTOM,
    LEFT,
    RIGHT,
    COMPUTE,
    OUT_TYPE,
    HAS_BIAS,
    ADD,
    RELU,
    PLACES
};
static_assert((int)PLACES <= (int)LTI_DNN_KEY, "room in a key");

/* ---- the graph ------------------------------------------------------------------------------- */

static bool pictures(const int64_t *k) { return k[KT] == 1 && k[STRIDE_T] == 1; }

/* n maps [t, h, w, c], channels last; of pictures t is 1 and is left out */
static void *maps(lti_dnn_plan *p, int64_t id, int64_t type, enum lti_dnn_kind kind, int64_t n,
                  int64_t c, int64_t t, int64_t h, int64_t w) {
    const int64_t dim[5] = {n, c, t, h, w};
    const int64_t stride[5] = {t * h * w * c, 1, h * w * c, w * c, c};
    if (!pictures(p->key)) return lti_dnn_tensor(p, id, (int)type, kind, 5, dim, stride);
    const int64_t dim4[4] = {n, c, h, w}, stride4[4] = {h * w * c, 1, w * c, c};
    return lti_dnn_tensor(p, id, (int)type, kind, 4, dim4, stride4);
}

static void *result(lti_dnn_plan *p, int64_t id, int64_t type, enum lti_dnn_kind kind) {
    const int64_t *k = p->key, t = k[OUT_FRAMES], h = k[OUT_HIGH], w = k[OUT_WIDE];
    if (pictures(k)) return maps(p, id, type, kind, t, k[CO], 1, h, w);
    return maps(p, id, type, kind, 1, k[CO], t, h, w);
}

static void *convolution(lti_dnn_plan *p) {
    const int64_t *k = p->key, one[3] = {1, 1, 1};
    const int64_t before[3] = {0, k[TOP], k[LEFT]}, after[3] = {0, k[BOTTOM], k[RIGHT]};
    const int skip = pictures(k), dims = 3 - skip;
    void *c = lti_dnn_new(p, LTI_DNN_CONVOLUTION);
    lti_dnn_set_int(p, c, LTI_DNN_CONVOLUTION_PRECISION, LTI_DNN_T_DATA_TYPE, LTI_DNN_F32);
    lti_dnn_set_int(p, c, LTI_DNN_CONVOLUTION_MODE, LTI_DNN_T_CONVOLUTION_MODE,
                    LTI_DNN_CROSS_CORRELATION);
    lti_dnn_set_int(p, c, LTI_DNN_CONVOLUTION_DIMS, LTI_DNN_T_INT64, dims);
    lti_dnn_set(p, c, LTI_DNN_CONVOLUTION_PAD_BEFORE, LTI_DNN_T_INT64, dims, before + skip);
    lti_dnn_set(p, c, LTI_DNN_CONVOLUTION_PAD_AFTER, LTI_DNN_T_INT64, dims, after + skip);
    lti_dnn_set(p, c, LTI_DNN_CONVOLUTION_STRIDES, LTI_DNN_T_INT64, dims, k + STRIDE_T + skip);
    lti_dnn_set(p, c, LTI_DNN_CONVOLUTION_DILATIONS, LTI_DNN_T_INT64, dims, one);
    lti_dnn_finish(p, c);
    return c;
}

/* The next tensor of the chain: the result itself after the last step. */
static void *next(lti_dnn_plan *p, int *left, int64_t id) {
    if (--*left < 0) return result(p, OUT, p->key[OUT_TYPE], LTI_DNN_REAL);
    return result(p, id, LTI_DNN_F32, LTI_DNN_VIRTUAL);
}

static void describe(lti_dnn_plan *p) {
    const int64_t *k = p->key, batch = pictures(k) ? k[FRAMES] : 1;
    const float alpha = 1, beta = 0;
    int left = (int)(k[HAS_BIAS] + k[ADD] + k[RELU]);
    void *x = maps(p, X, k[COMPUTE], LTI_DNN_REAL, batch, k[CI], k[FRAMES], k[HIGH], k[WIDE]);
    void *w = maps(p, W, k[COMPUTE], LTI_DNN_REAL, k[CO], k[CI], k[KT], k[KH], k[KW]);
    void *desc = convolution(p), *y = next(p, &left, 100);
    void *op = lti_dnn_new(p, LTI_DNN_OP_CONVOLUTION);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_CONVOLUTION_DESC, desc);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_CONVOLUTION_X, x);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_CONVOLUTION_W, w);
    lti_dnn_set_desc(p, op, LTI_DNN_OP_CONVOLUTION_Y, y);
    lti_dnn_set(p, op, LTI_DNN_OP_CONVOLUTION_ALPHA, LTI_DNN_T_FLOAT, 1, &alpha);
    lti_dnn_set(p, op, LTI_DNN_OP_CONVOLUTION_BETA, LTI_DNN_T_FLOAT, 1, &beta);
    lti_dnn_add_op(p, op);
    if (k[ADD]) {
        void *z = result(p, OUT_BEFORE, k[OUT_TYPE], LTI_DNN_REAL), *sum = next(p, &left, 101);
        lti_dnn_pointwise(p, LTI_DNN_ADD, y, z, sum);
        y = sum;
    }
    if (k[HAS_BIAS]) {
        void *b = maps(p, BIAS, LTI_DNN_F32, LTI_DNN_REAL, 1, k[CO], 1, 1, 1);
        void *sum = next(p, &left, 102);
        lti_dnn_pointwise(p, LTI_DNN_ADD, y, b, sum);
        y = sum;
    }
    if (k[RELU]) lti_dnn_pointwise(p, LTI_DNN_RELU, y, NULL, next(p, &left, 103));
}

/* ---- the op ---------------------------------------------------------------------------------- */

static int64_t type_of(lti_dtype t) { return t == LTI_F32 ? LTI_DNN_F32 : LTI_DNN_BF16; }

static lti_dnn_plan *plan_of(lti_dev *d, const lti_conv *c) {
    int64_t key[LTI_DNN_KEY] = {};
    for (int i = 0; i < 4; i++) key[FRAMES + i] = c->x.n[i];
    for (int i = 0; i < 3; i++) key[OUT_FRAMES + i] = c->out.n[i];
    for (int i = 0; i < 3; i++) key[STRIDE_T + i] = c->stride[i];
    key[CO] = c->w->n[0];
    for (int i = 0; i < 3; i++) key[KT + i] = c->w->n[2 + i];
    key[TOP] = c->pad_top, key[BOTTOM] = c->pad_bottom;
    key[LEFT] = c->pad_left, key[RIGHT] = c->pad_right;
    key[COMPUTE] = type_of(c->w->dtype);
    key[OUT_TYPE] = type_of(c->out.dtype);
    key[HAS_BIAS] = c->w->has_bias;
    key[ADD] = c->add;
    key[RELU] = c->act == LTI_ACT_RELU;
    return lti_dnn_plan_get(d, &lti_cuda_of(d)->conv_plans, key, c->w->dtype == LTI_F32, describe);
}

/* Bytes that x takes in the compute dtype; 0: it has it. */
static size_t cast_bytes(const lti_conv *c) {
    if (c->x.dtype == c->w->dtype) return 0;
    return ((size_t)lti_numel(&c->x) * lti_dtype_size(c->w->dtype) + 255) & ~(size_t)255;
}

bool lti_cuda_dnn_conv_takes(lti_dev *d, const lti_conv *c) {
    if (!lti_cuda_of(d)->cudnn || (c->w->dtype == LTI_F32 && c->out.dtype != LTI_F32)) return false;
    const int64_t each = c->w->n[1] * c->w->n[2] * c->w->n[3] * c->w->n[4];
    return lti_numel(&c->out) >= PAYS / each;
}

void lti_cuda_dnn_conv_prepare(lti_dev *d, const lti_conv *c) {
    const lti_dnn_plan *p = plan_of(d, c);
    if (p) lti_cuda_scratch(d, cast_bytes(c) + p->workspace);
}

static bool on16(const void *p) { return (uintptr_t)p % 16 == 0; }

bool lti_cuda_dnn_conv(lti_dev *d, const lti_conv *c) {
    const lti_cuda_weight *w = (const lti_cuda_weight *)c->w->impl;
    if (!lti_cuda_ok(d)) return true;
    if (!on16(c->x.data) || !on16(c->out.data))
        return lti_dnn_note(d, "conv: maps are not on 16 bytes"), false;
    lti_dnn_plan *p = plan_of(d, c);
    if (!lti_cuda_ok(d)) return true;
    if (!p) return false;
    const size_t cast = cast_bytes(c);
    char *scratch = NULL;
    if (cast + p->workspace && !(scratch = (char *)lti_cuda_scratch(d, cast + p->workspace)))
        return true;
    lti_tensor x = c->x;
    if (cast) {
        x.data = scratch;
        x.dtype = c->w->dtype;
        lti_cuda_cast(d, &c->x, &x);
    }
    void *at[IDS] = {x.data, w->w, w->bias, c->add ? c->out.data : NULL, c->out.data};
    return lti_dnn_run(d, "conv", p, IDS, at, scratch + cast);
}

void lti_cuda_close_conv(lti_dev *d) { lti_dnn_free(&lti_cuda_of(d)->conv_plans); }
