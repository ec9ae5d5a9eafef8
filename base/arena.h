/* SPDX-License-Identifier: Apache-2.0
 * base/arena.h - a slab carved with stack discipline, and the measure pass that sizes it.
 *
 * A forward function takes every activation from the arena. Run once with base == NULL it only
 * counts (pointers are fake, ops are muted) and `peak` becomes the size of the slab; run again with
 * the slab it carves the very same offsets. mark/release bracket a block's temporaries.
 * Pitfall: host code must never write through a pointer taken while measuring. */
#ifndef LT_BASE_ARENA_H
#define LT_BASE_ARENA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LTI_ALIGN 64

typedef struct lti_arena {
    uint8_t *base; /* NULL: measuring */
    size_t cap;    /* bytes at base */
    size_t used, peak;
} lti_arena;

static inline bool lti_arena_measuring(const lti_arena *a) { return a->base == NULL; }
/* 64-byte aligned; never NULL; asserts when a real slab is too small (a measure pass that lied). */
void *lti_arena_take(lti_arena *a, size_t bytes);
static inline size_t lti_arena_mark(const lti_arena *a) { return a->used; }
static inline void lti_arena_release(lti_arena *a, size_t mark) { a->used = mark; }

#endif
