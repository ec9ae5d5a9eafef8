/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/budget_rig.h - what the tests of promised memory share. After cmocka's headers. */
#ifndef LT_TESTS_BUDGET_RIG_H
#define LT_TESTS_BUDGET_RIG_H
#include "tests/stream/tiny.h"

#define GIB ((double)(1u << 30))

static inline lt_engine *open_ok(const lt_engine_params *p) {
    lt_engine *e = NULL;
    lt_error err = {0};
    if (lt_engine_open(p, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    return e;
}

#endif
