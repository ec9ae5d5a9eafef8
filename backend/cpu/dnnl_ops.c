/* SPDX-License-Identifier: Apache-2.0
 * backend/cpu/dnnl_ops.c - linear and conv on oneDNN: dtype conversion around one primitive.
 *
 * bf16 weights: bf16 source, f32 or bf16 destination, f32 accumulation. f32 weights: f32 source and
 * destination. What does not fit is converted through scratch: [primitive's | x | out].
 * Bias, activation and `add` are inside the primitive (in f32, before the one rounding), except
 * `add` into bf16 with f32 weights, which is added when the f32 result is rounded.
 * Measured: oneDNN picks brgemm/brgconv kernels, bf16 and f32, for every channel count of the
 * models (3, 16, 32, 64, 96, 192, 384) and all kernel shapes used: nothing needs padding.
 * Pitfall: a convolution's loop order is oneDNN's choice and may depend on the team size. Almost
 * always the sums are the same bit for bit; seen to differ in the last bit for 384 -> 96 channels
 * at 24x20 with 3 threads. Linear was equal for every shape and team tried (1 to 16). */
#include "backend/cpu/dnnl_plan.h"
#include "backend/cpu/ops.h"

typedef struct call {
    lti_cpu_plan *plan;
    size_t tmp, x, out; /* bytes of each scratch part; 0: not needed */
    bool add;           /* to do when the f32 result is rounded, and the activation after it */
    lti_act act;
} call;

static size_t round64(size_t n) { return (n + 63) & ~(size_t)63; }

/* The dtypes the primitive works in, then the plan and its scratch sizes. */
static bool plan_call(lti_dev *d, lti_cpu_plan_key *k, const lti_tensor *x, const lti_packed *w,
                      const lti_tensor *out, call *c) {
    k->compute = (int32_t)w->dtype;
    k->bias = w->has_bias;
    k->xt = (int32_t)w->dtype;
    k->ot = (int32_t)(w->dtype == LTI_F32 ? LTI_F32 : out->dtype);
    const bool via_f32 = k->ot != (int32_t)out->dtype;
    c->add = via_f32 && k->add;
    c->act = c->add ? (lti_act)k->act : LTI_ACT_NONE;
    if (c->add) k->add = k->act = 0;
    c->plan = lti_cpu_plan_get(d, k);
    if (!c->plan || !lti_cpu_plan_weights(d, c->plan, w)) return false;
    c->tmp = round64(c->plan->tmp_bytes);
    c->x = x->dtype == w->dtype ? 0 : round64((size_t)lti_numel(x) * lti_dtype_size(w->dtype));
    c->out = via_f32 ? round64((size_t)lti_numel(out) * sizeof(float)) : 0;
    return true;
}

static bool reserve(lti_dev *d, const call *c) {
    return lti_cpu_scratch(d, c->tmp + c->x + c->out) != NULL;
}

static void run_call(lti_dev *d, const call *c, const lti_tensor *x, const lti_packed *w,
                     const lti_tensor *out) {
    const lti_cpu *cpu = lti_cpu_of(d);
    char *scratch = lti_cpu_scratch(d, c->tmp + c->x + c->out);
    if (!scratch) return;
    const void *src = x->data;
    void *dst = c->out ? scratch + c->tmp + c->x : out->data;
    if (c->x) {
        const lti_cpu_row_args a = {
            .x = x->data, .xt = x->dtype, .out = scratch + c->tmp, .ot = w->dtype};
        lti_cpu_split(d, cpu->rows->cast, &a, lti_numel(x), 1);
        src = scratch + c->tmp;
    }
    lti_cpu_plan_run(d, c->plan, w, src, dst, scratch);
    if (!c->out) return;
    lti_cpu_row_args a = {.x = dst, .xt = LTI_F32, .out = out->data, .ot = out->dtype};
    if (c->add) {
        a.y = out->data;
        a.yt = out->dtype;
    }
    lti_cpu_split(d, c->add ? cpu->rows->add : cpu->rows->cast, &a, lti_numel(out), 1);
    if (c->act != LTI_ACT_NONE) lti_cpu_unary(d, c->act, out, out);
}

static bool linear_call(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                        const lti_tensor *out, call *c) {
    lti_cpu_plan_key k;
    memset(&k, 0, sizeof k);
    k.kind = LTI_PLAN_LINEAR;
    k.act = (int32_t)act;
    k.n[0] = lti_numel(x) / w->n[1];
    k.n[1] = w->n[1];
    k.n[2] = w->n[0];
    return plan_call(d, &k, x, w, out, c);
}

void lti_cpu_prepare_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                            const lti_tensor *out) {
    call c;
    if (linear_call(d, x, w, act, out, &c)) reserve(d, &c);
}

void lti_cpu_linear(lti_dev *d, const lti_tensor *x, const lti_packed *w, lti_act act,
                    const lti_tensor *out) {
    call c;
    if (linear_call(d, x, w, act, out, &c)) run_call(d, &c, x, w, out);
}

static bool conv_call(lti_dev *d, const lti_conv *v, call *c) {
    lti_cpu_plan_key k;
    memset(&k, 0, sizeof k);
    k.kind = LTI_PLAN_CONV;
    k.add = v->add;
    k.act = (int32_t)v->act;
    for (int i = 0; i < 3; i++) k.n[i] = v->x.n[i];
    for (int i = 0; i < 5; i++) k.n[3 + i] = v->w->n[i];
    for (int i = 0; i < 3; i++) k.n[8 + i] = v->out.n[i];
    for (int i = 0; i < 3; i++) k.n[11 + i] = v->stride[i];
    k.n[15] = v->pad_top;
    k.n[16] = v->pad_left;
    k.n[18] = v->pad_bottom;
    k.n[19] = v->pad_right;
    return plan_call(d, &k, &v->x, v->w, &v->out, c);
}

void lti_cpu_prepare_conv(lti_dev *d, const lti_conv *v) {
    call c;
    if (conv_call(d, v, &c)) reserve(d, &c);
}

void lti_cpu_conv(lti_dev *d, const lti_conv *v) {
    call c;
    if (conv_call(d, v, &c)) run_call(d, &c, &v->x, v->w, &v->out);
}
