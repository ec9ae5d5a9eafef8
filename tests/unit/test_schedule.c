/* SPDX-License-Identifier: Apache-2.0
 * Noise levels against the published table, and the windows of the rolling schedule. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/schedule.h"

static void test_levels(void **state) {
    (void)state;
    const struct {
        int n;
        double shift, in[5], out[5];
    } row[] = {
        {4, 5, {1000, 750, 500, 250}, {1000, 937.5, 833.333, 625}},
        {5, 5, {1000, 800, 600, 400, 200}, {1000, 952.381, 882.353, 769.231, 555.556}},
        {4, 8, {1000, 750, 500, 250}, {1000, 960, 888.889, 727.273}},
        {3, 1, {1000, 757, 522}, {1000, 757, 522}},
    };
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        lti_schedule s;
        assert_int_equal(lti_schedule_init(&s, row[r].in, row[r].n, row[r].shift, NULL), LT_OK);
        assert_int_equal(s.n_step, row[r].n);
        for (int i = 0; i < row[r].n; i++) {
            double u = row[r].in[i] / 1000, k = row[r].shift;
            assert_true(fabs(s.t[i] - row[r].out[i]) < 1e-3);
            assert_true(s.sigma[i] == (float)(k * u / (1 + (k - 1) * u)));
            assert_true(fabs(s.sigma[i] - s.t[i] / 1000.0) < 1e-7);
        }
    }
}

static void refused(const double *t, int n, double shift, const char *word) {
    lti_schedule s;
    lt_error err = {0};
    assert_int_equal(lti_schedule_init(&s, t, n, shift, &err), LT_EINVAL);
    assert_non_null(strstr(err.msg, word));
}

static void test_bad_levels(void **state) {
    (void)state;
    double many[17];
    for (int i = 0; i < 17; i++) many[i] = 1000 - i;
    refused(many, 17, 5, "17");
    refused(many, 0, 5, "0 given");
    refused((const double[]){1000, 1000}, 2, 5, "descending");
    refused((const double[]){500, 750}, 2, 5, "descending");
    refused((const double[]){1000.5}, 1, 5, "1000.5");
    refused((const double[]){1000, 0}, 2, 5, "above 0");
    refused((const double[]){NAN}, 1, 5, "expected");
    refused((const double[]){1000}, 1, 0, "shift");
    refused((const double[]){1000}, 1, 101, "shift");
    refused((const double[]){1000}, 1, NAN, "shift");
}

/* The published list for 7 chunks and 5 levels. */
static void test_roll_7_5(void **state) {
    (void)state;
    const int start[11] = {0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6},
              end[11] = {0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6};
    lti_roll r;
    for (int w = 0; w < 11; w++) {
        assert_true(lti_roll_window(w, 5, 7, &r));
        assert_int_equal(r.start, start[w]);
        assert_int_equal(r.end, end[w]);
        assert_int_equal(r.n, end[w] - start[w] + 1);
        assert_int_equal(r.enters, w < 7);
        assert_int_equal(r.commits, w >= 4);
        for (int j = 0; j < r.n; j++) {
            /* tau counts from clean to noisy: warm-up tau[T-L+j], steady and drain tau[j] */
            int tau = w < 4 ? 5 - r.n + j : j;
            assert_int_equal(r.step[j], 4 - tau);
        }
    }
    assert_false(lti_roll_window(11, 5, 7, &r));
}

/* For any number of chunks and levels: every chunk passes all levels in order, enters once as the
 * newest, leaves once as the oldest. */
static void test_roll_all(void **state) {
    (void)state;
    for (int T = 1; T <= 6; T++)
        for (int N = 1; N <= 9; N++) {
            int level[9] = {0}, entered = 0, left = 0;
            lti_roll r;
            int64_t w = 0;
            for (; lti_roll_window(w, T, N, &r); w++) {
                assert_true(r.n >= 1 && r.n <= T && r.end < N);
                assert_int_equal(r.start, left);
                if (r.enters) assert_int_equal(r.end, entered++);
                assert_int_equal(r.end, entered - 1);
                for (int j = 0; j < r.n; j++) assert_int_equal(r.step[j], level[r.start + j]++);
                assert_int_equal(r.commits, level[r.start] == T);
                left += r.commits;
            }
            assert_int_equal(w, N + T - 1);
            assert_int_equal(entered, N);
            assert_int_equal(left, N);
        }
}

static void test_roll_endless(void **state) {
    (void)state;
    lti_roll r;
    const int64_t far = 1000000000000;
    assert_true(lti_roll_window(far, 4, 0, &r));
    assert_true(r.start == far - 3 && r.end == far && r.n == 4 && r.enters && r.commits);
    for (int j = 0; j < 4; j++) assert_int_equal(r.step[j], 3 - j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),       cmocka_unit_test(test_bad_levels),
        cmocka_unit_test(test_roll_7_5),     cmocka_unit_test(test_roll_all),
        cmocka_unit_test(test_roll_endless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
