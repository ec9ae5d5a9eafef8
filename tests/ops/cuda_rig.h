/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/cuda_rig.h - devices and their sticky errors, for the tests of the CUDA backend. The test
 * includes cmocka's headers first. */
#ifndef LT_TESTS_OPS_CUDA_RIG_H
#define LT_TESTS_OPS_CUDA_RIG_H
#include "backend/backend.h"
#include <string.h>

static inline lti_dev *open_dev(const char *name) {
    lti_dev *d = NULL;
    lt_error err = {0};
    if (lti_dev_open(name, 1, NULL, &d, &err) < 0) fail_msg("%s: %s", name, err.msg);
    return d;
}

static inline void expect_error(lti_dev *d, lt_status code, const char *part) {
    lt_error err = {0};
    assert_int_equal(d->ops.sync(d, &err), code);
    if (!strstr(err.msg, part)) fail_msg("found \"%s\", expected \"%s\"", err.msg, part);
    assert_null(strchr(err.msg, '\n'));
}

static inline void expect_no_error(lti_dev *d) {
    lt_error err = {0};
    if (d->ops.sync(d, &err) < 0) fail_msg("%s", err.msg);
}

#endif
