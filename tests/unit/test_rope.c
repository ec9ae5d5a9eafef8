/* SPDX-License-Identifier: Apache-2.0
 * Rotary tables: axis split, identity, axis boundaries, norm, accuracy far out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rope/rope.h"

static void test_split(void **state) {
    (void)state;
    const int want[][4] = {{128, 44, 42, 42}, {64, 24, 20, 20}, {32, 12, 10, 10}, {40, 16, 12, 12},
                           {12, 4, 4, 4},     {6, 2, 2, 2},     {2, 2, 0, 0}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        lti_rope_axes ax = lti_rope_split(want[i][0]);
        assert_int_equal(ax.head_dim, want[i][0]);
        assert_int_equal(ax.t, want[i][1]);
        assert_int_equal(ax.h, want[i][2]);
        assert_int_equal(ax.w, want[i][3]);
    }
}

static void test_identity_and_norm(void **state) {
    (void)state;
    enum { HD = 32, GH = 3, GW = 5, F = 2 };
    float *t = malloc(sizeof *t * F * GH * GW * HD);
    const int64_t pos[F] = {0, 777};
    lti_rope_table(lti_rope_split(HD), pos, F, GH, GW, t);
    for (int i = 0; i < HD; i += 2) {
        assert_true(t[i] == 1.0f);
        assert_true(t[i + 1] == 0.0f);
    }
    for (int i = 0; i < F * GH * GW * HD; i += 2)
        assert_true(fabs(hypot(t[i], t[i + 1]) - 1) < 1e-6);
    free(t);
}

/* Every entry against long double, also at positions far past the references' last row. */
static void test_values(void **state) {
    (void)state;
    enum { HD = 128, GH = 4, GW = 3, F = 5 };
    const int64_t pos[F] = {1, 1023, 1024, 1000000, 123456789};
    float *t = malloc(sizeof *t * F * GH * GW * HD);
    lti_rope_table(lti_rope_split(HD), pos, F, GH, GW, t);
    for (int f = 0; f < F; f++)
        for (int y = 0; y < GH; y++)
            for (int x = 0; x < GW; x++)
                for (int pair = 0; pair < HD / 2; pair++) {
                    int axis = pair < 22 ? 0 : pair < 43 ? 1 : 2;
                    int m = pair - (axis == 0 ? 0 : axis == 1 ? 22 : 43), D = axis == 0 ? 44 : 42;
                    long double p = axis == 0 ? (long double)pos[f] : axis == 1 ? y : x;
                    long double a = p * powl(10000.0L, -2.0L * m / D);
                    const float *got = t + ((f * GH + y) * GW + x) * HD + 2 * pair;
                    double tol = p > 1e7L ? 1e-6 : 2e-7;
                    assert_true(fabsl(got[0] - cosl(a)) < tol);
                    assert_true(fabsl(got[1] - sinl(a)) < tol);
                }
    free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_identity_and_norm),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
