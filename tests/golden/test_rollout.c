/* SPDX-License-Identifier: Apache-2.0
 * Whole rollouts against tools/make_rollout_fixtures.py: schedule, cache, positions, registers and
 * the transformer together, for every mode and sink policy. See tests/golden/rollout/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "pipeline/stream.h"
#include "tests/fast_backend.h"

#define DIR LT_SOURCE_DIR "/tests/golden/"

static const struct rollout_case {
    const char *name;
    bool rolling;
    lti_policy policy;
    int sink, window, chunk, frames, n_step;
    bool registers;
} cases[] = {
    /* as CASES of the script */
    {"chunk_none", false, LTI_POLICY_NONE, 0, 6, 3, 15, 4, false},
    {"chunk_absolute", false, LTI_POLICY_ABSOLUTE, 3, 6, 3, 15, 4, false},
    {"chunk_slot", false, LTI_POLICY_SLOT, 3, 6, 3, 15, 4, true},
    {"chunk_realign", false, LTI_POLICY_REALIGN, 3, 6, 3, 15, 4, true},
    {"chunk_odd", false, LTI_POLICY_ABSOLUTE, 2, 5, 3, 15, 2, true},
    {"chunk_one", false, LTI_POLICY_SLOT, 1, 2, 1, 7, 2, false},
    {"rolling_slot", true, LTI_POLICY_SLOT, 3, 3, 3, 21, 4, true},
    {"rolling_realign", true, LTI_POLICY_REALIGN, 3, 3, 3, 21, 4, false},
    {"rolling_absolute", true, LTI_POLICY_ABSOLUTE, 2, 4, 3, 21, 4, true},
    {"rolling_short", true, LTI_POLICY_SLOT, 3, 3, 3, 6, 4, false},
};
enum { CASES = sizeof cases / sizeof *cases };

static lti_weights *io;
static float *noise, *text;
static lti_tensor noise_shape;

static float *read_io(const char *name, lti_tensor *t) {
    lt_error err = {0};
    if (lti_weights_get(io, name, -1, NULL, t, &err) != LT_OK) fail_msg("%s", err.msg);
    float *f = malloc((size_t)lti_numel(t) * sizeof *f);
    assert_non_null(f);
    lti_to_f32(t, f);
    return f;
}

/* The fixture's renoise has the longest case's frames; a take wants [n_step-1, its frames, ...]. */
static float *renoise_for(int n_step, int frames) {
    lti_tensor t;
    float *all = read_io("renoise", &t);
    size_t frame = (size_t)(t.n[2] * t.n[3] * t.n[4]);
    for (int s = 0; s + 1 < n_step; s++)
        memmove(all + (size_t)s * (size_t)frames * frame, all + (size_t)s * (size_t)t.n[1] * frame,
                (size_t)frames * frame * sizeof *all);
    return all;
}

static lti_dit *open_dit(lti_dev *d, lti_dtype dt) {
    lt_error err = {0};
    cJSON *json = NULL;
    lti_weights *w = NULL;
    lti_dit *dit = NULL;
    assert_int_equal(lti_json_load(DIR "dit/config.json", 1 << 16, &json, NULL), LT_OK);
    lt_status st = lti_weights_open(DIR "dit/original.safetensors", LTI_PART_DIT, &w, &err);
    if (st == LT_OK) st = lti_dit_open(d, w, json, dt, &dit, &err);
    if (st != LT_OK) fail_msg("%s", err.msg);
    lti_weights_close(&w);
    cJSON_Delete(json);
    return dit;
}

static double case_error(lti_dev *d, const lti_dit *dit, lti_dtype dt,
                         const struct rollout_case *k) {
    const double four[4] = {1000, 750, 500, 250}, two[2] = {1000, 500};
    lti_take_config c = {.h = 4,
                         .w = 6,
                         .chunk = k->chunk,
                         .window = k->window,
                         .sink = k->sink,
                         .policy = k->policy,
                         .rolling = k->rolling,
                         .no_registers = !k->registers,
                         .n_chunk = k->frames / k->chunk,
                         .noise = noise,
                         .dtype = dt};
    assert_int_equal(
        lti_schedule_init(&c.schedule, k->n_step == 4 ? four : two, k->n_step, 5, NULL), LT_OK);
    c.first = c.schedule;
    float *renoise = renoise_for(k->n_step, k->frames);
    c.renoise = renoise;
    lti_take *take;
    lt_error err = {0};
    if (lti_take_open(d, dit, &c, text, &take, &err) != LT_OK) fail_msg("%s", err.msg);
    int64_t chunk = k->chunk * noise_shape.n[1] * 4 * 6;
    float *got = malloc((size_t)(chunk * c.n_chunk) * sizeof *got);
    assert_non_null(got);
    for (int64_t b = 0; b < c.n_chunk; b++)
        assert_int_equal(lti_take_next(take, got + b * chunk, &err), LT_OK);
    float extra[1];
    assert_int_equal(lti_take_next(take, extra, &err), LT_END);
    lti_take_close(&take);
    lti_tensor t;
    float *want = read_io(k->name, &t);
    assert_int_equal(lti_numel(&t), chunk * c.n_chunk);
    lti_diff e = lti_compare_f32(got, want, chunk * c.n_chunk);
    assert_true(e.finite);
    free(want);
    free(got);
    free(renoise);
    return e.rel;
}

static void check(const char *backend, lti_dtype dt, double bound) {
    lti_dev *d = NULL;
    lt_error err = {0};
    if (lti_dev_open(backend, 1, NULL, &d, &err) != LT_OK) fail_msg("%s", err.msg);
    lti_dit *dit = open_dit(d, dt);
    for (int i = 0; i < CASES; i += fast_stride()) {
        double e = case_error(d, dit, dt, &cases[i]);
        if (e > bound)
            fail_msg("%s %s, case %s: relative error %g, at most %g expected", backend,
                     lti_dtype_name(dt), cases[i].name, e, bound);
    }
    lti_dit_close(d, &dit);
    lti_dev_close(&d);
}

static void test_ref_f32(void **state) {
    (void)state;
    check("ref", LTI_F32, 2e-5);
}
static void test_cpu_f32(void **state) {
    (void)state;
    check(fast_backend(), LTI_F32, 2e-5);
}
static void test_cpu_bf16(void **state) {
    (void)state;
    check(fast_backend(), LTI_BF16, 1e-2);
}

static int setup(void **state) {
    (void)state;
    if (lti_weights_open(DIR "rollout/io.safetensors", LTI_PART_NONE, &io, NULL) != LT_OK)
        return -1;
    noise = read_io("noise", &noise_shape);
    lti_tensor t;
    text = read_io("text", &t);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(noise);
    free(text);
    lti_weights_close(&io);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_f32),
        cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_cpu_bf16),
    };
    cmocka_set_test_filter(getenv("LT_TEST"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
