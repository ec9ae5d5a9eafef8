/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/test_cuda_lib.c - where backend/cuda/lib.cu finds cuBLASLt, and what it says of one that
 * cannot be used. */
#include "backend/backend.h"
#include "base/error.h"
#include "tests/shim/fake_cublaslt.h"
#include "tests/shim/shim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the four above */
#include <cmocka.h>

#define N_OF(a) (int)(sizeof(a) / sizeof *(a))

/* A device opens; with the library or without. */
static void expect_found(const char *why, bool found) {
    lti_dev *d = NULL;
    lt_error err = {0};
    if (lti_dev_open("cuda", 1, NULL, &d, &err) < 0) fail_msg("%s: %s", why, err.msg);
    if ((lti_fake_cublas.n_live == 1) != found) fail_msg("%s", why);
    lti_dev_close(&d);
    assert_int_equal(lti_fake_cublas.n_live, 0);
    assert_int_equal(lti_shim_allocated(), 0);
    lti_fake_remove_all();
}

static void test_places(void **state) {
    (void)state;
    static const char *const path[] = {"libcublasLt.so.13",
                                       "libcublasLt.so.12",
                                       "libcublasLt.so",
                                       "/shim/lib/libcublasLt.so.13",
                                       "/shim/lib/../../cublas/lib/libcublasLt.so.12",
                                       "/usr/local/cuda/lib64/libcublasLt.so.13",
                                       "/opt/cuda/lib64/libcublasLt.so.12"};
    for (int i = 0; i < N_OF(path); i++) {
        lti_fake_remove_all();
        lti_fake_cublas_install(path[i]);
        if (i % 2) lti_fake_cublas.version = 120805;
        expect_found(path[i], true);
    }
    lti_fake_remove_all();
    lti_fake_cublas_install("./libcublasLt.so.13");
    expect_found("a relative path", false);
    lti_fake_remove_all();
    lti_fake_cublas_install("libcublasLt.so.12");
    lti_fake_broken_install("libcublasLt.so.13");
    expect_found("another one works", true);
}

static void expect_unusable(const char *part) {
    lti_dev *d = NULL;
    lt_error err = {0};
    assert_int_equal(lti_dev_open("cuda", 1, NULL, &d, &err), LT_EDEVICE);
    if (!strstr(err.msg, part)) fail_msg("found \"%s\", expected \"%s\"", err.msg, part);
    assert_null(strchr(err.msg, '\n'));
    assert_int_equal(lti_shim_allocated(), 0);
    assert_int_equal(lti_fake_cublas.n_live, 0);
    lti_fake_remove_all();
}

static void test_unusable(void **state) {
    (void)state;
    lti_fake_cublas_install("libcublasLt.so");
    lti_fake_cublas.version = 11611;
    expect_unusable("libcublasLt.so: found version 11611, expected cuBLASLt 12 or 13");
    lti_fake_cublas_install("libcublasLt.so.13");
    lti_fake_cublas.missing = "cublasLtMatmul";
    expect_unusable("libcublasLt.so.13: no function cublasLtMatmul");
    lti_fake_cublas_install("libcublasLt.so.12");
    lti_fake_cublas.create_status = 1;
    expect_unusable("libcublasLt.so.12 (version 130100) does not start: "
                    "CUBLAS_STATUS_NOT_INITIALIZED");
    lti_fake_broken_install("/usr/local/cuda/lib64/libcublasLt.so.13");
    expect_unusable("/usr/local/cuda/lib64/libcublasLt.so.13 cannot be loaded: ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_unusable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
