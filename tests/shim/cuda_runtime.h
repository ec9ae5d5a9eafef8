/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/cuda_runtime.h - as much of the CUDA runtime as backend/cuda uses, on the host.
 *
 * A launch runs every thread of every block: blocks one after the other, the threads of a block as
 * fibers that change at __syncthreads, __syncwarp and shuffles (shim.cpp). A barrier that not all
 * threads reach ends the program with a message, as racecheck would. Device memory is host memory,
 * so ASan finds an index out of range. Streams are the calling thread: everything is done at once.
 * Not modelled: timing, weak memory order, registers, alignment faults. */
#ifndef LT_TESTS_SHIM_CUDA_RUNTIME_H
#define LT_TESTS_SHIM_CUDA_RUNTIME_H
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include "shim.h"

#define __global__ static
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return float2{x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return float4{x, y, z, w}; }

/* ---- inside a kernel ---------------------------------------------------------------------------- */

struct lti_shim_thread {
    dim3 thread, block, block_dim, grid_dim;
};
const lti_shim_thread &lti_shim_now();
#define threadIdx (lti_shim_now().thread)
#define blockIdx (lti_shim_now().block)
#define blockDim (lti_shim_now().block_dim)
#define gridDim (lti_shim_now().grid_dim)
#define warpSize 32

void *lti_shim_shared(); /* the launch's dynamic shared memory */
void lti_shim_sync_block();
void lti_shim_sync_warp(unsigned mask);
/* Every lane of mask gives 8 bytes and gets those of lane `from`; its own if from is not in mask. */
uint64_t lti_shim_exchange(unsigned mask, uint64_t bits, int from);
int lti_shim_lane();

static inline void __syncthreads() { lti_shim_sync_block(); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { lti_shim_sync_warp(mask); }

template <class T> static inline T lti_shim_shuffle(unsigned mask, T v, int from) {
    static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    bits = lti_shim_exchange(mask, bits, from);
    memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> static inline T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
    const int me = lti_shim_lane();
    return lti_shim_shuffle(mask, v, me / width * width + lane % width);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int x, int width = 32) {
    const int me = lti_shim_lane(), to = me ^ x;
    return lti_shim_shuffle(mask, v, to / width == me / width ? to : me);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, int by, int width = 32) {
    const int me = lti_shim_lane(), to = me + by;
    return lti_shim_shuffle(mask, v, to / width == me / width ? to : me);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, int by, int width = 32) {
    const int me = lti_shim_lane(), to = me - by;
    return lti_shim_shuffle(mask, v, to >= 0 && to / width == me / width ? to : me);
}

template <class T> static inline T atomicAdd(T *p, T v) {
    const T old = *p;
    *p = old + v;
    return old;
}
template <class T> static inline T atomicMax(T *p, T v) {
    const T old = *p;
    *p = old > v ? old : v;
    return old;
}

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
#define __expf expf /* glibc has a declaration of this name */
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __uint_as_float(unsigned u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline unsigned __float_as_uint(float f) {
    unsigned u;
    memcpy(&u, &f, 4);
    return u;
}
template <class T> static inline T __ldg(const T *p) { return *p; }

/* ---- memory of two kinds ------------------------------------------------------------------------ */

/* While one lives, device memory may be touched: kernels, copies, the fakes of libraries. */
struct lti_shim_access {
    lti_shim_access();
    ~lti_shim_access();
};
bool lti_shim_on_device(const void *p);
void lti_shim_expect(const void *p, bool device, const char *where); /* NULL fits everywhere */

/* A kernel's arguments: each that is a pointer must be the device's. */
template <class T> static inline void lti_shim_argument(const char *, const T &) {}
template <class T> static inline void lti_shim_argument(const char *kernel, T *const &p) {
    lti_shim_expect((const void *)p, true, kernel);
}
template <class... T> static inline void lti_shim_arguments(const char *kernel, const T &...a) {
    (lti_shim_argument(kernel, a), ...);
}

/* ---- the runtime ---------------------------------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum { cudaStreamNonBlocking = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
typedef struct lti_shim_stream *cudaStream_t;

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr which, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t lti_shim_malloc(void **p, size_t bytes);
template <class T> static inline cudaError_t cudaMalloc(T **p, size_t bytes) {
    return lti_shim_malloc((void **)p, bytes);
}
cudaError_t cudaFree(void *p);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemset(void *p, int v, size_t bytes);
cudaError_t cudaMemsetAsync(void *p, int v, size_t bytes, cudaStream_t s);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char *cudaGetErrorString(cudaError_t e);
template <class F> static inline cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int) {
    return cudaSuccess;
}

void lti_shim_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t s,
                     const std::function<void()> &body);
#endif
