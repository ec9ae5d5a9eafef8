/* SPDX-License-Identifier: Apache-2.0
 * base/arena.c - carve 64-byte aligned pieces from a slab, or only count them. */
#include "base/arena.h"
#include "base/error.h"

/* Where fake pointers start: 2^62 is no user address on any 64-bit machine, so a write through a
 * pointer that was taken while measuring faults at once instead of corrupting memory. */
#define FAKE_BASE ((UINTPTR_MAX >> 2) + 1)

void *lti_arena_take(lti_arena *a, size_t bytes) {
    LT_ASSERT(bytes <= SIZE_MAX / 4 && a->used <= SIZE_MAX / 4);
    size_t at = a->used;
    size_t end = at + (bytes + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    a->used = end;
    if (end > a->peak) a->peak = end;
    if (lti_arena_measuring(a)) return (void *)(FAKE_BASE + at);
    LT_ASSERT(end <= a->cap); /* the measure pass took another path than this run */
    return a->base + at;
}
