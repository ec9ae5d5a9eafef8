/* SPDX-License-Identifier: Apache-2.0
 * tests/fault/alloc_wrap.h - the linker sends longtake's own malloc family here (-Wl,--wrap): count
 * calls, fail the n-th. Libraries (oneDNN, libav, sentencepiece) are not wrapped. */
#ifndef LT_TESTS_ALLOC_WRAP_H
#define LT_TESTS_ALLOC_WRAP_H
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_long wrap_calls;   /* allocations so far */
static atomic_long wrap_fail_at; /* this one (1-based) and all later ones fail; 0 none */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t a, size_t n);
int __real_posix_memalign(void **p, size_t a, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t a, size_t n);
int __wrap_posix_memalign(void **p, size_t a, size_t n);
char *__wrap_strdup(const char *s);

static int wrap_ok(void) {
    long at = atomic_load(&wrap_fail_at), call = atomic_fetch_add(&wrap_calls, 1) + 1;
    return at == 0 || call < at;
}
void *__wrap_malloc(size_t n) { return wrap_ok() ? __real_malloc(n) : NULL; }
void *__wrap_calloc(size_t n, size_t m) { return wrap_ok() ? __real_calloc(n, m) : NULL; }
void *__wrap_realloc(void *p, size_t n) { return wrap_ok() ? __real_realloc(p, n) : NULL; }
void *__wrap_aligned_alloc(size_t a, size_t n) {
    return wrap_ok() ? __real_aligned_alloc(a, n) : NULL;
}
int __wrap_posix_memalign(void **p, size_t a, size_t n) {
    return wrap_ok() ? __real_posix_memalign(p, a, n) : ENOMEM;
}
char *__wrap_strdup(const char *s) { return wrap_ok() ? __real_strdup(s) : NULL; }
#endif
