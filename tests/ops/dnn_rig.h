/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/dnn_rig.h - what the tests of cuDNN's ops share: devices, memory, comparisons. */
#ifndef LT_TESTS_OPS_DNN_RIG_H
#define LT_TESTS_OPS_DNN_RIG_H
#include "backend/backend.h"
#include "base/error.h"
#include "base/rng.h"
#include "tests/shim/fake_cublaslt.h"
#include "tests/shim/fake_cudnn.h"
#include "tests/shim/shim.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the four above */
#include <cmocka.h>
/* after cmocka */
#include "tests/ops/cuda_rig.h"

#define N_OF(a) (int)(sizeof(a) / sizeof *(a))

/* version 0: there is no library. */
static lti_dev *open_cuda(size_t version) {
    lti_fake_remove_all();
    memset(&lti_fake_cudnn, 0, sizeof lti_fake_cudnn);
    if (version) lti_fake_cudnn_install("libcudnn.so.9");
    if (version) lti_fake_cudnn.version = version;
    return open_dev("cuda");
}

static void close_cuda(lti_dev *d) {
    if (lti_fake_cudnn.n_refused) fail_msg("cuDNN was used wrongly: %s", lti_fake_cudnn.refused);
    lti_dev_close(&d);
    assert_int_equal(lti_shim_allocated(), 0);
    assert_int_equal(lti_fake_cudnn.n_live, 0);
    lti_fake_remove_all();
}

/* n values on the device; on `d` of this dtype, the same on every device. */
static void *filled(lti_dev *d, lti_dtype dt, int64_t n, uint64_t seed, float scale) {
    float *f = malloc((size_t)n * sizeof *f);
    void *host = malloc((size_t)n * lti_dtype_size(dt));
    lti_randn(f, n, seed, 0, 0);
    for (int64_t i = 0; i < n; i++) f[i] *= scale;
    lti_from_f32(f, n, dt, host);
    void *p = d->ops.alloc(d, (size_t)n * lti_dtype_size(dt) + 64);
    lti_put(d, p, host, (size_t)n * lti_dtype_size(dt));
    free(f);
    free(host);
    return p;
}

static float *fetched(lti_dev *d, const void *p, lti_dtype dt, int64_t n) {
    float *f = malloc((size_t)n * sizeof *f);
    void *host = malloc((size_t)n * lti_dtype_size(dt));
    lti_get(d, host, p, (size_t)n * lti_dtype_size(dt));
    const lti_tensor t = LTI_VIEW(host, dt, n);
    lti_to_f32(&t, f);
    free(host);
    return f;
}

static void expect_close(const char *what, const float *a, const float *b, int64_t n, float rel,
                         float abs) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= rel * fabsf(b[i]) + abs))
            fail_msg("%s: element %lld of %lld: found %g, expected %g", what, (long long)i,
                     (long long)n, (double)a[i], (double)b[i]);
}

#endif
