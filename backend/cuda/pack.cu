/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/pack.cu - weights onto the card, in the compute dtype.
 *
 * Conversion is the host's, PIECE elements at a time, so that packing a model takes a few megabytes
 * beside the file's mapping. What has the compute dtype already is copied as it lies there.
 * A packed weight is finished when pack_* returns: devs with streams of their own may read it. */
#include "backend/cuda/linear.h"
#include "base/error.h"
#include <stdlib.h>

static constexpr int64_t PIECE = (int64_t)1 << 20;

/* Device memory of one weight; not sticky: the caller says what there was no room for. */
static void *room(lti_dev *d, size_t bytes, lt_error *err) {
    lti_cuda *c = lti_cuda_of(d);
    void *p = NULL;
    if (!lti_cuda_enter(d)) {
        lti_fail(err, c->error.code, "%s", c->error.msg);
        return NULL;
    }
    if (cudaMalloc(&p, bytes ? bytes : 1) == cudaSuccess) return p;
    cudaGetLastError();
    lti_fail(err, LT_ENOMEM, "backend cuda: no device memory for a weight of %zu bytes", bytes);
    return NULL;
}

/* Waits: the driver may still read `host`, pageable memory, when the call returns. */
static bool copy(lti_dev *d, void *to, const void *host, size_t bytes) {
    const cudaStream_t stream = lti_cuda_of(d)->stream;
    return lti_cuda_enter(d) &&
           lti_cuda_check(d, cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream),
                          "pack") &&
           lti_cuda_check(d, cudaStreamSynchronize(stream), "pack");
}

/* All of t, any float dtype, to device memory as `dtype`. */
static lt_status upload(lti_dev *d, const lti_tensor *t, lti_dtype dtype, void *to, lt_error *err) {
    const int64_t n = lti_numel(t), most = n < PIECE ? n : PIECE;
    const size_t from_size = lti_dtype_size(t->dtype), to_size = lti_dtype_size(dtype);
    if (t->dtype == dtype) {
        copy(d, to, t->data, (size_t)n * to_size);
        return LT_OK;
    }
    float *f = (float *)malloc((size_t)most * sizeof *f);
    void *done = malloc((size_t)most * to_size);
    lt_status st = f && done ? LT_OK : lti_oom(err, (size_t)most * (sizeof *f + to_size));
    for (int64_t i = 0; st == LT_OK && i < n; i += PIECE) {
        lti_tensor part = *t;
        part.rank = 1;
        part.n[0] = n - i < PIECE ? n - i : PIECE;
        part.data = (char *)t->data + (size_t)i * from_size;
        lti_to_f32(&part, f);
        lti_from_f32(f, part.n[0], dtype, done);
        if (!copy(d, (char *)to + (size_t)i * to_size, done, (size_t)part.n[0] * to_size)) break;
    }
    free(f);
    free(done);
    return st;
}

/* Room on the card for t as `dtype`, filled; NULL: *err. */
static void *place(lti_dev *d, const lti_tensor *t, lti_dtype dtype, lti_packed *p, lt_error *err) {
    const size_t bytes = (size_t)lti_numel(t) * lti_dtype_size(dtype);
    void *to = room(d, bytes, err);
    if (!to) return NULL;
    p->bytes += bytes;
    if (upload(d, t, dtype, to, err) == LT_OK) return to;
    cudaFree(to);
    return NULL;
}

/* w on the card as E4M3 with scales, by way of a copy there that is given back. */
static bool place_fp8(lti_dev *d, const lti_tensor *w, lti_packed *p, lti_cuda_weight *impl,
                      lt_error *err) {
    const lti_dtype as = w->dtype == LTI_BF16 ? LTI_BF16 : LTI_F32; /* rounded once */
    const size_t n = (size_t)lti_numel(w), n_scale = (size_t)w->n[0] + 1, before = p->bytes;
    void *copied = place(d, w, as, p, err);
    p->bytes = before + n + n_scale * sizeof(float);
    if (copied) impl->w = room(d, n, err);
    if (impl->w) impl->scale = (float *)room(d, n_scale * sizeof(float), err);
    if (impl->scale) {
        lti_cuda_fp8_convert(d, copied, as, w->n[0], w->n[1], impl->w, impl->scale);
        if (lti_cuda_enter(d))
            lti_cuda_check(d, cudaStreamSynchronize(lti_cuda_of(d)->stream), "pack");
    }
    cudaFree(copied);
    return impl->scale != NULL;
}

lti_packed *lti_cuda_pack_new(lti_dev *d, int kind, const lti_tensor *w, const lti_tensor *b,
                              lti_dtype compute, const void *host, lt_error *err) {
    lti_packed *p = (lti_packed *)calloc(1, sizeof *p);
    lti_cuda_weight *impl = (lti_cuda_weight *)calloc(1, sizeof *impl);
    if (!p || !impl) {
        free(p);
        free(impl);
        return lti_oom(err, sizeof *p + sizeof *impl), (lti_packed *)NULL;
    }
    p->impl = impl;
    p->kind = kind;
    p->dtype = compute == LTI_F32 ? LTI_F32 : LTI_BF16;
    for (int i = 0; i < w->rank; i++) p->n[i] = w->n[i];
    p->has_bias = b != NULL;
    p->bytes = sizeof *p + sizeof *impl;
    lti_tensor from = *w;
    if (host) from.data = (void *)host, from.dtype = compute;
    const bool bias16 = b && kind == 0 && p->dtype == LTI_BF16;
    if (compute != LTI_F8_E4M3) impl->w = place(d, &from, compute, p, err);
    else if (!place_fp8(d, &from, p, impl, err)) cudaFree(impl->w), impl->w = NULL;
    if (impl->w && b) impl->bias = (float *)place(d, b, LTI_F32, p, err);
    if (impl->bias && bias16) impl->extra = place(d, b, LTI_BF16, p, err);
    lti_cuda *c = lti_cuda_of(d);
    bool ok = impl->w && (impl->bias || !b) && (impl->extra || !bias16);
    if (ok && !lti_cuda_ok(d)) ok = (lti_fail(err, c->error.code, "%s", c->error.msg), false);
    if (!ok) lti_cuda_pack_free(d, p), p = NULL;
    return p;
}

lti_packed *lti_cuda_pack_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b,
                                 lti_dtype compute, lt_error *err) {
    if (compute == LTI_F8_E4M3 && !lti_cuda_fp8_takes(d, w->n[0], w->n[1])) compute = LTI_BF16;
    return lti_cuda_pack_new(d, 0, w, b, compute, NULL, err);
}

/* Of either kind. cudaFree waits for what still reads it. */
void lti_cuda_pack_free(lti_dev *d, lti_packed *p) {
    if (!p) return;
    lti_cuda_weight *impl = (lti_cuda_weight *)p->impl;
    cudaSetDevice(lti_cuda_of(d)->device);
    cudaFree(impl->w);
    cudaFree(impl->bias);
    cudaFree(impl->extra);
    cudaFree(impl->scale);
    free(impl);
    free(p);
}
