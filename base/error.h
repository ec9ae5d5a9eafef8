/* SPDX-License-Identifier: Apache-2.0
 * base/error.h - how library code reports failure.
 *
 *   if (!p) return lti_fail(err, LT_EFORMAT, "%s: header is %zu bytes, at most %zu allowed", ...);
 *   LT_TRY(lti_weights_open(path, &w, err));          forwards any negative status
 *
 * Bad input, files and memory give a status and one line of text. A broken invariant is a bug:
 * LT_ASSERT, on in every build. Nothing here prints or exits except LT_ASSERT's abort. */
#ifndef LT_BASE_ERROR_H
#define LT_BASE_ERROR_H
#include <assert.h>
#include <stdlib.h>
#include "longtake/status.h"

#ifdef __cplusplus
extern "C" {
#define LT_NORETURN [[noreturn]]
#else
#define LT_NORETURN _Noreturn
#endif

/* Write code and message (first error wins; err may be NULL) and return code. */
lt_status lti_fail(lt_error *err, lt_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
lt_status lti_oom(lt_error *err, size_t bytes); /* the one wording for memory that ran out */

#define LT_TRY(expr)                                                                               \
    do {                                                                                           \
        lt_status lt_try_ = (expr);                                                                \
        if (lt_try_ < 0) return lt_try_;                                                           \
    } while (0)

/* Always-on invariant check: shapes and dtypes between our own modules. */
#define LT_ASSERT(cond) ((cond) ? (void)0 : lti_assert_failed(#cond, __FILE__, __LINE__))
LT_NORETURN void lti_assert_failed(const char *cond, const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
