/* SPDX-License-Identifier: Apache-2.0
 * backend/cuda/cuda.cu - the ops table of the CUDA backend; device, memory, copies, errors.
 *
 * Pitfalls: the current device belongs to the calling thread, so every entry sets it. A copy from
 * pageable host memory returns when the source may be reused, which is what put() promises.
 * cudaMalloc and cudaFree wait for the whole card: only open, pack and prepare may call them. */
#include "backend/cuda/cuda.h"
#include "backend/cuda/lib.h"
#include "backend/cuda/linear.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- errors ----------------------------------------------------------------------------------- */

void lti_cuda_fail(lti_dev *d, lt_status code, const char *op, const char *what) {
    lt_error *e = &lti_cuda_of(d)->error;
    if (e->code >= 0) lti_fail(e, code, "backend cuda: %s: %s", op, what);
}

bool lti_cuda_check(lti_dev *d, cudaError_t rc, const char *op) {
    if (rc == cudaSuccess) return true;
    lti_cuda_fail(d, rc == cudaErrorMemoryAllocation ? LT_ENOMEM : LT_EDEVICE, op,
                  cudaGetErrorString(rc));
    return false;
}

bool lti_cuda_enter(lti_dev *d) {
    return lti_cuda_ok(d) && lti_cuda_check(d, cudaSetDevice(lti_cuda_of(d)->device), "set device");
}

/* ---- device ----------------------------------------------------------------------------------- */

static int attribute(int device, enum cudaDeviceAttr which) {
    int v = 0;
    return cudaDeviceGetAttribute(&v, which, device) == cudaSuccess ? v : 0;
}

/* What keeps this machine from it, in one line. */
static lt_status find_device(lti_cuda *c, int device, lt_error *err) {
    int n = 0;
    const cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc != cudaSuccess || n == 0)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "backend cuda: no NVIDIA card can be used here (%s); use --backend cpu",
                        rc == cudaSuccess ? "none found" : cudaGetErrorString(rc));
    if (device < 0 || device >= n)
        return lti_fail(err, LT_EINVAL, "device: found %d, expected 0 to %d", device, n - 1);
    c->device = device;
    c->sm = attribute(device, cudaDevAttrComputeCapabilityMajor) * 10 +
            attribute(device, cudaDevAttrComputeCapabilityMinor);
    c->n_sm = attribute(device, cudaDevAttrMultiProcessorCount);
    c->shared_max = (size_t)attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    if (c->sm >= 80) return LT_OK;
    return lti_fail(err, LT_EUNSUPPORTED,
                    "backend cuda: device %d has compute capability %d.%d, 8.0 (Ampere) or later "
                    "is needed; use --backend cpu",
                    device, c->sm / 10, c->sm % 10);
}

static void cuda_close(lti_dev *d) {
    lti_cuda *c = lti_cuda_of(d);
    if (!c) return;
    cudaSetDevice(c->device);
    if (c->stream) cudaStreamSynchronize(c->stream);
    lti_cuda_close_linear(d);
    lti_cuda_close_attention(d);
    lti_cuda_close_conv(d);
    lti_cublas_close(&c->cublas);
    lti_cudnn_close(&c->cudnn);
    if (c->scratch) cudaFree(c->scratch);
    if (c->stream) cudaStreamDestroy(c->stream);
    free(c);
    d->impl = NULL;
}

static lt_status cuda_open(lti_dev *d, lt_error *err) {
    lti_cuda *c = (lti_cuda *)calloc(1, sizeof *c);
    if (!c) return lti_oom(err, sizeof *c);
    d->impl = c;
    lt_status st = find_device(c, d->index, err);
    if (st == LT_OK &&
        (!lti_cuda_enter(d) ||
         !lti_cuda_check(d, cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "open")))
        st = lti_fail(err, c->error.code, "%s", c->error.msg);
    if (st == LT_OK) st = lti_cublas_open(&c->cublas, c->stream, err);
    if (st == LT_OK) st = lti_cudnn_open(&c->cudnn, c->stream, err);
    d->fp8 = st == LT_OK && lti_cuda_fp8(d) != LTI_FP8_NONE;
    if (st < 0) cuda_close(d);
    return st;
}

/* ---- memory ----------------------------------------------------------------------------------- */

static void *cuda_alloc(lti_dev *d, size_t bytes) {
    void *p = NULL;
    if (!lti_cuda_enter(d)) return NULL;
    if (cudaMalloc(&p, bytes ? bytes : 64) != cudaSuccess) {
        cudaGetLastError(); /* the caller says what there was no room for: not sticky */
        return NULL;
    }
    if (lti_cuda_check(d, cudaMemsetAsync(p, 0, bytes, lti_cuda_of(d)->stream), "alloc")) return p;
    cudaFree(p);
    return NULL;
}

static void cuda_free(lti_dev *d, void *p) {
    if (p) cudaSetDevice(lti_cuda_of(d)->device);
    if (p) cudaFree(p); /* waits for what uses it */
}

void *lti_cuda_scratch(lti_dev *d, size_t bytes) {
    lti_cuda *c = lti_cuda_of(d);
    if (bytes <= c->scratch_bytes) return c->scratch;
    if (!lti_cuda_enter(d)) return NULL;
    void *p = NULL;
    if (!lti_cuda_check(d, cudaMalloc(&p, bytes), "scratch")) return NULL;
    cudaFree(c->scratch);
    c->scratch = p;
    c->scratch_bytes = bytes;
    return p;
}

static void move(lti_dev *d, void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                 const char *op) {
    if (!bytes || !lti_cuda_enter(d)) return;
    lti_cuda_check(d, cudaMemcpyAsync(dst, src, bytes, kind, lti_cuda_of(d)->stream), op);
}

static void cuda_put(lti_dev *d, void *dst, const void *host, size_t bytes) {
    move(d, dst, host, bytes, cudaMemcpyHostToDevice, "put");
}

static void cuda_get(lti_dev *d, void *host, const void *src, size_t bytes) {
    move(d, host, src, bytes, cudaMemcpyDeviceToHost, "get");
    if (lti_cuda_enter(d)) lti_cuda_check(d, cudaStreamSynchronize(lti_cuda_of(d)->stream), "get");
}

static void cuda_copy(lti_dev *d, void *dst, const void *src, size_t bytes) {
    move(d, dst, src, bytes, cudaMemcpyDeviceToDevice, "copy");
}

static void cuda_zero(lti_dev *d, void *dst, size_t bytes) {
    if (!bytes || !lti_cuda_enter(d)) return;
    lti_cuda_check(d, cudaMemsetAsync(dst, 0, bytes, lti_cuda_of(d)->stream), "zero");
}

static void cuda_memory(lti_dev *d, size_t *left, size_t *total) {
    if (lti_cuda_enter(d) && cudaMemGetInfo(left, total) == cudaSuccess) return;
    cudaGetLastError(); /* a question, not an op: not sticky */
    *left = *total = SIZE_MAX;
}

static lt_status cuda_sync(lti_dev *d, lt_error *err) {
    lti_cuda *c = lti_cuda_of(d);
    if (lti_cuda_enter(d)) lti_cuda_check(d, cudaStreamSynchronize(c->stream), "sync");
    return c->error.code < 0 ? lti_fail(err, c->error.code, "%s", c->error.msg) : LT_OK;
}

/* ---- the table, in the order of lti_ops --------------------------------------------------------- */

extern "C" const lti_ops lti_ops_cuda = {
    .abi = LTI_BACKEND_ABI,
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .put = cuda_put,
    .get = cuda_get,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .sync = cuda_sync,
    .memory = cuda_memory,
    .pack_linear = lti_cuda_pack_linear,
    .pack_conv = lti_cuda_pack_conv,
    .pack_free = lti_cuda_pack_free,
    .prepare_linear = lti_cuda_prepare_linear,
    .prepare_conv = lti_cuda_prepare_conv,
    .prepare_attention = lti_cuda_prepare_attention,
    .linear = lti_cuda_linear,
    .conv = lti_cuda_conv,
    .attention = lti_cuda_attention,
    .norm_mod = lti_cuda_norm_mod,
    .layer_norm = lti_cuda_layer_norm,
    .rms_norm = lti_cuda_rms_norm,
    .chan_norm = lti_cuda_chan_norm,
    .rope = lti_cuda_rope,
    .gated_add = lti_cuda_gated_add,
    .unary = lti_cuda_unary,
    .add = lti_cuda_add,
    .mul = lti_cuda_mul,
    .embed_rows = lti_cuda_embed_rows,
    .patchify = lti_cuda_patchify,
    .unpatchify = lti_cuda_unpatchify,
    .upsample2x = lti_cuda_upsample2x,
    .time_unfold = lti_cuda_time_unfold,
    .lincomb = lti_cuda_lincomb,
    .latent_to_map = lti_cuda_latent_to_map,
    .randn = lti_cuda_randn,
    .cast = lti_cuda_cast,
    .sum_rows = lti_cuda_sum_rows,
    .token_scores = lti_cuda_token_scores,
    .to_rgb8 = lti_cuda_to_rgb8,
    .norm_rope = lti_cuda_norm_rope,
};
