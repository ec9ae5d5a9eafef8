/* SPDX-License-Identifier: Apache-2.0
 * tests/shim/shim.cpp - runs CUDA kernels on the host: blocks in turn, threads as fibers.
 *
 * A fiber runs until its thread ends or waits. When every thread of the block that has not ended
 * waits at __syncthreads, all go on; when the lanes that a warp operation names all wait in one, they
 * go on. If nobody can, the kernel would hang or be undefined on a card: abort. A thread that ends
 * without waiting leaves its stack to the next, so that kernels without barriers cost a call each.
 * Blocks run in ascending order, threads in ascending order between barriers: one of the orders a
 * card may choose. Shared memory is filled with NaN bytes before each block, so that a value used
 * before it is written shows. With LT_SHIM_STRICT in the environment host and device memory are
 * kept apart: a kernel that gets a pointer of the wrong kind, a copy in the wrong direction, host code
 * that reads device memory all stop. */
#include "cuda_runtime.h"
#include <cstdio>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

enum State { FREE, READY, WAITS_BLOCK, WAITS_WARP, ENDED };
enum { STACK = 64 << 10, LANES = 32, MOST_THREADS = 1024 };

/* Where a fiber or the scheduler stopped. swapcontext asks the kernel for the signal mask each time,
 * ten times the price of the rest, so one architecture has a switch of its own. */
#if defined(__x86_64__)
struct Context {
    void *sp;
};
extern "C" void lti_shim_switch(void **save, void *load);
__asm__(".text\n.globl lti_shim_switch\n.hidden lti_shim_switch\n.type lti_shim_switch, @function\n"
        "lti_shim_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        ".size lti_shim_switch, .-lti_shim_switch\n");
inline void swap(Context &from, Context &to) { lti_shim_switch(&from.sp, to.sp); }
inline void make(Context &c, char *stack, size_t size, void (*entry)()) {
    void **top = (void **)((uintptr_t)(stack + size) / 16 * 16);
    top[-1] = nullptr; /* the entry's return address: it never returns */
    top[-2] = (void *)entry;
    for (int i = 3; i <= 8; i++) top[-i] = nullptr; /* the registers that are popped */
    c.sp = top - 8;
}
#else
typedef ucontext_t Context;
inline void swap(Context &from, Context &to) { swapcontext(&from, &to); }
inline void make(Context &c, char *stack, size_t size, void (*entry)()) {
    getcontext(&c);
    c.uc_stack.ss_sp = stack;
    c.uc_stack.ss_size = size;
    c.uc_link = nullptr;
    makecontext(&c, entry, 0);
}
#endif

struct Fiber {
    Context context;
    char *stack;
    State state;
    lti_shim_thread at;
    unsigned mask; /* of the warp operation it waits in */
    uint64_t bits; /* what it gives there */
    uint64_t seen; /* what it gets */
    int from;
    void *fake; /* ASan's */
};

struct Block {
    std::vector<Fiber> fiber;
    const std::function<void()> *body;
    std::vector<unsigned char> shared;
    Context scheduler;
    const void *scheduler_stack;
    size_t scheduler_size;
    int now; /* running fiber, -1: the scheduler */
};

/* Stacks are kept from launch to launch. */
struct Stacks {
    std::vector<char *> all;
    char *at(size_t i) {
        while (all.size() <= i) all.push_back((char *)malloc(STACK));
        return all[i];
    }
    ~Stacks() {
        for (char *s : all) free(s);
    }
};

thread_local Stacks stacks;
thread_local Block *block;
thread_local cudaError_t last;
thread_local int fail_alloc, fail_launch;

[[noreturn]] void die(const char *what) {
    fprintf(stderr, "cuda shim: %s\n", what);
    abort();
}

Fiber &current() {
    if (!block || block->now < 0) die("a device function was called outside of a kernel");
    return block->fiber[(size_t)block->now];
}

/* Between scheduler and fiber; ASan must know whose stack is in use. */
void to_fiber(Fiber &f) {
#if defined(__SANITIZE_ADDRESS__)
    void *fake;
    __sanitizer_start_switch_fiber(&fake, f.stack, STACK);
    swap(block->scheduler, f.context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    swap(block->scheduler, f.context);
#endif
}

void to_scheduler(Fiber &f, bool ends) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &f.fake, block->scheduler_stack,
                                   block->scheduler_size);
    swap(f.context, block->scheduler);
    __sanitizer_finish_switch_fiber(f.fake, &block->scheduler_stack, &block->scheduler_size);
#else
    (void)ends;
    swap(f.context, block->scheduler);
#endif
}

void fiber_main() {
    Fiber &f = current();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block->scheduler_stack, &block->scheduler_size);
#endif
    (*block->body)();
    f.state = ENDED;
    to_scheduler(f, true);
}

void start(Fiber &f) {
    make(f.context, f.stack, STACK, fiber_main);
    f.state = READY;
}

/* Lanes of f's warp that its operation names, if all of them wait in the same one. */
bool warp_complete(int leader, int n) {
    const Fiber &f = block->fiber[(size_t)leader];
    const int base = leader / LANES * LANES;
    for (int lane = 0; lane < LANES; lane++) {
        if (!(f.mask >> lane & 1) || base + lane >= n) continue;
        const Fiber &other = block->fiber[(size_t)(base + lane)];
        if (other.state == ENDED) continue; /* lanes that have left are not waited for */
        if (other.state != WAITS_WARP || other.mask != f.mask) return false;
    }
    return true;
}

void release_warp(int leader, int n) {
    const unsigned mask = block->fiber[(size_t)leader].mask;
    const int base = leader / LANES * LANES;
    for (int lane = 0; lane < LANES && base + lane < n; lane++) {
        Fiber &f = block->fiber[(size_t)(base + lane)];
        if (!(mask >> lane & 1) || f.state != WAITS_WARP) continue;
        const bool there =
            f.from >= 0 && f.from < LANES && base + f.from < n && (mask >> f.from & 1);
        f.seen = there ? block->fiber[(size_t)(base + f.from)].bits : f.bits;
    }
    for (int lane = 0; lane < LANES && base + lane < n; lane++) {
        Fiber &f = block->fiber[(size_t)(base + lane)];
        if (mask >> lane & 1 && f.state == WAITS_WARP) f.state = READY;
    }
}

/* True if anybody was let go. */
bool release(int n) {
    bool any = false;
    int alive = 0, at_block = 0;
    for (int i = 0; i < n; i++) {
        const State s = block->fiber[(size_t)i].state;
        alive += s != ENDED;
        at_block += s == WAITS_BLOCK;
    }
    if (alive && at_block == alive) {
        for (int i = 0; i < n; i++)
            if (block->fiber[(size_t)i].state == WAITS_BLOCK) block->fiber[(size_t)i].state = READY;
        return true;
    }
    for (int i = 0; i < n; i++)
        if (block->fiber[(size_t)i].state == WAITS_WARP && warp_complete(i, n)) {
            release_warp(i, n);
            any = true;
        }
    return any;
}

void run_block(dim3 index, dim3 size, dim3 grid) {
    const int n = (int)(size.x * size.y * size.z);
    memset(block->shared.data(), 0xff, block->shared.size());
    for (int i = 0; i < n; i++) {
        Fiber &f = block->fiber[(size_t)i];
        const unsigned t = (unsigned)i;
        f.at = {dim3(t % size.x, t / size.x % size.y, t / size.x / size.y), index, size, grid};
        f.state = FREE;
    }
    bool more = true;
    while (more) {
        more = false;
        for (int i = 0; i < n; i++) {
            Fiber &f = block->fiber[(size_t)i];
            if (f.state == FREE) start(f);
            if (f.state != READY) continue;
            block->now = i;
            to_fiber(f);
            block->now = -1;
            more = true;
        }
        if (release(n)) more = true;
    }
    for (int i = 0; i < n; i++)
        if (block->fiber[(size_t)i].state != ENDED)
            die("a barrier or warp operation that not all of its threads reach");
}

void wait(State s) {
    Fiber &f = current();
    f.state = s;
    to_scheduler(f, false);
}

} // namespace

/* ---- device memory ------------------------------------------------------------------------------ */

namespace {

/* One range of addresses, handed out once each: what is freed is never used again. Outside of kernels
 * and copies nobody may touch it, so host code that reads a device pointer stops there and then. ASan
 * finds more of other kinds in memory of malloc's, so under it a block is that and the range is not
 * used. */
const size_t RANGE = (size_t)1 << 36, PAGE = 4096, GUARD = 256;
std::mutex memory_mu;
std::map<uintptr_t, size_t> blocks; /* address, size asked for */
unsigned char *range;
size_t range_used;
int range_open;
size_t in_use;

#if defined(__SANITIZE_ADDRESS__)
const bool own_range = false;
#else
const bool own_range = true;
#endif

bool strict() {
    static const bool is = getenv("LT_SHIM_STRICT") != nullptr;
    return is;
}

void protect(int how) {
    if (!strict()) how = PROT_READ | PROT_WRITE;
    if (own_range && range_used && mprotect(range, range_used, how)) die("mprotect");
}

unsigned char *take_block(size_t bytes) {
    if (!own_range) return (unsigned char *)aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256);
    if (!range) {
        void *p = mmap(nullptr, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return nullptr;
        range = (unsigned char *)p;
    }
    const size_t size = (bytes + GUARD + PAGE - 1) / PAGE * PAGE;
    if (size > RANGE - range_used) return nullptr;
    unsigned char *p = range + range_used;
    range_used += size;
    protect(PROT_READ | PROT_WRITE); /* at least one is open: ours */
    return p;
}

} // namespace

lti_shim_access::lti_shim_access() {
    std::lock_guard<std::mutex> lock(memory_mu);
    if (range_open++ == 0) protect(PROT_READ | PROT_WRITE);
}
lti_shim_access::~lti_shim_access() {
    std::lock_guard<std::mutex> lock(memory_mu);
    if (--range_open == 0) protect(PROT_NONE);
}

bool lti_shim_on_device(const void *p) {
    std::lock_guard<std::mutex> lock(memory_mu);
    auto it = blocks.upper_bound((uintptr_t)p);
    if (it == blocks.begin()) return false;
    --it;
    return (uintptr_t)p <= it->first + it->second; /* an empty tensor's may point behind */
}

void lti_shim_expect(const void *p, bool device, const char *where) {
    if (!p || !strict() || lti_shim_on_device(p) == device) return;
    fprintf(stderr, "cuda shim: %s: ", where);
    die(device ? "a pointer to host memory where the device works" : "device memory taken for the host's");
}

/* ---- inside a kernel ---------------------------------------------------------------------------- */

const lti_shim_thread &lti_shim_now() { return current().at; }
void *lti_shim_shared() { return current(), block->shared.data(); }
int lti_shim_lane() {
    current();
    return block->now % LANES;
}
void lti_shim_sync_block() { wait(WAITS_BLOCK); }

uint64_t lti_shim_exchange(unsigned mask, uint64_t bits, int from) {
    Fiber &f = current();
    if (!(mask >> lti_shim_lane() & 1)) die("a warp operation whose mask leaves out its caller");
    f.mask = mask;
    f.bits = bits;
    f.from = from;
    wait(WAITS_WARP);
    return f.seen;
}
void lti_shim_sync_warp(unsigned mask) { lti_shim_exchange(mask, 0, lti_shim_lane()); }

/* ---- the runtime ---------------------------------------------------------------------------------- */

void lti_shim_launch(dim3 grid, dim3 size, size_t shared, cudaStream_t s,
                     const std::function<void()> &body) {
    (void)s;
    const size_t n = (size_t)size.x * size.y * size.z;
    if (fail_launch && --fail_launch == 0) {
        last = cudaErrorLaunchFailure;
        return;
    }
    if (!n || n > MOST_THREADS || size.z > 64 || !grid.x || !grid.y || !grid.z || grid.y > 65535 ||
        grid.z > 65535 || grid.x > 0x7fffffffu || shared > 227u << 10) {
        last = cudaErrorInvalidConfiguration;
        return;
    }
    Block b;
    b.fiber.resize(n);
    b.body = &body;
    b.shared.resize(shared + 16);
    b.now = -1;
    for (size_t i = 0; i < n; i++) b.fiber[i].stack = stacks.at(i);
    block = &b;
    const lti_shim_access access;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) run_block(dim3(x, y, z), size, grid);
    block = nullptr;
}

cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr which, int device) {
    (void)device;
    *v = which == cudaDevAttrComputeCapabilityMajor         ? 9
         : which == cudaDevAttrMultiProcessorCount          ? 4
         : which == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 227 << 10
                                                            : 0;
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    (void)flags;
    *s = (cudaStream_t)malloc(1);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) { return free(s), cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return (void)s, cudaSuccess; }

/* Fresh memory is not zero on a card either. */
cudaError_t lti_shim_malloc(void **p, size_t bytes) {
    *p = nullptr;
    if (fail_alloc && --fail_alloc == 0) return last = cudaErrorMemoryAllocation;
    const lti_shim_access access;
    std::lock_guard<std::mutex> lock(memory_mu);
    unsigned char *q = take_block(bytes);
    if (!q) return last = cudaErrorMemoryAllocation;
    memset(q, 0xff, bytes);
    blocks[(uintptr_t)q] = bytes;
    in_use += bytes;
    *p = q;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    std::lock_guard<std::mutex> lock(memory_mu);
    const auto it = blocks.find((uintptr_t)p);
    if (it == blocks.end()) die("cudaFree of what cudaMalloc did not give");
    in_use -= it->second;
    if (own_range) madvise(p, (it->second + GUARD + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
    else free(p);
    blocks.erase(it);
    return cudaSuccess;
}
size_t lti_shim_allocated() {
    std::lock_guard<std::mutex> lock(memory_mu);
    return in_use;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = (size_t)1 << 30;
    *free_bytes = *total - lti_shim_allocated();
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s) {
    (void)s;
    lti_shim_expect(dst, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, "copy");
    lti_shim_expect(src, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, "copy");
    const lti_shim_access access;
    memcpy(dst, src, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemset(void *p, int v, size_t bytes) {
    lti_shim_expect(p, true, "memset");
    const lti_shim_access access;
    return memset(p, v, bytes), cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *p, int v, size_t bytes, cudaStream_t s) {
    (void)s;
    return cudaMemset(p, v, bytes);
}
cudaError_t cudaPeekAtLastError() { return last; }
cudaError_t cudaGetLastError() {
    const cudaError_t e = last;
    last = cudaSuccess;
    return e;
}
const char *cudaGetErrorString(cudaError_t e) {
    return e == cudaSuccess                     ? "no error"
           : e == cudaErrorMemoryAllocation     ? "out of memory"
           : e == cudaErrorInvalidConfiguration ? "invalid configuration argument"
           : e == cudaErrorLaunchFailure        ? "unspecified launch failure"
                                                : "error";
}
void lti_shim_fail_after(int allocations, int launches) {
    fail_alloc = allocations;
    fail_launch = launches;
}
