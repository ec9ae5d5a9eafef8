/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_random.c - models of random numbers: every name of a complete model, shapes that
 * the published ones have, values that are the same again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "weights/random.h"
#include "weights/systems.h"

static lti_weights *make(lti_part part, int dim, int layers) {
    const lti_random_sizes s = lti_random_wan(dim, layers);
    lti_weights *w = NULL;
    lt_error err = {0};
    if (lti_weights_random(part, &s, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    return w;
}

typedef struct counted {
    const lti_weights *w;
    const char *prefix;
    int n;
} counted;

static void expect(void *opaque, const char *name) {
    counted *c = opaque;
    if (strncmp(name, c->prefix, strlen(c->prefix)) != 0) return;
    c->n++;
    if (!lti_weights_find(c->w, name)) fail_msg("%s is missing", name);
}

static void has_every_name(void **state) {
    (void)state;
    lti_weights *dit = make(LTI_PART_DIT, 1536, 30), *vae = make(LTI_PART_VAE, 1536, 30);
    counted all = {dit, "", 0}, decoder = {vae, "decoder.", 0};
    lti_expected_names(LTI_KIND_DIT, dit, expect, &all);
    assert_true(all.n == 825 && lti_weights_count(dit) == 825);
    lti_expected_names(LTI_KIND_VAE, vae, expect, &decoder);
    assert_int_equal(lti_weights_count(vae), decoder.n + 2); /* and conv2 */
    lti_weights_close(&dit);
    lti_weights_close(&vae);
}

static void has_wans_shapes(void **state) {
    (void)state;
    lti_weights *dit = make(LTI_PART_DIT, 1536, 30), *tae = make(LTI_PART_TAE, 1536, 30);
    lti_tensor t;
    assert_int_equal(lti_weights_expect(dit, "blocks.29.ffn.0.weight", 2,
                                        (const int64_t[]){8960, 1536}, &t, NULL),
                     LT_OK);
    assert_int_equal(lti_weights_expect(dit, "text_embedding.0.weight", 2,
                                        (const int64_t[]){1536, 4096}, &t, NULL),
                     LT_OK);
    assert_int_equal(lti_weights_expect(tae, "decoder.3.conv.0.weight", 4,
                                        (const int64_t[]){256, 512, 3, 3}, &t, NULL),
                     LT_OK);
    int64_t n = 0;
    for (int i = 0; i < lti_weights_count(dit); i++) {
        const lti_tensor *one;
        lti_weights_name(dit, i, &one);
        n += lti_numel(one);
    }
    assert_int_equal(n, 1418996800); /* of the published 1.3B */
    lti_weights_close(&dit);
    lti_weights_close(&tae);
}

static void values(void **state) {
    (void)state;
    static float first[256];
    for (int again = 0; again < 2; again++) {
        lti_weights *w = make(LTI_PART_DIT, 128, 1);
        lti_tensor t;
        assert_int_equal(lti_weights_get(w, "blocks.0.self_attn.q.weight", -1, NULL, &t, NULL),
                         LT_OK);
        const float *v = t.data;
        const int64_t n = lti_numel(&t);
        double sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++) sum += v[i], square += (double)v[i] * v[i];
        assert_true(fabs(sum / (double)n) < 0.01);
        assert_true(fabs(sqrt(square / (double)n * 128) - 1) < 0.02);
        if (again) assert_memory_equal(first, v, sizeof first);
        memcpy(first, v, sizeof first);
        assert_int_equal(lti_weights_get(w, "blocks.0.self_attn.k.weight", -1, NULL, &t, NULL),
                         LT_OK);
        assert_true(memcmp(first, t.data, sizeof first) != 0);
        lti_weights_close(&w);
    }
}

static void refuses_sizes(void **state) {
    (void)state;
    const int bad[][2] = {{0, 1}, {100, 1}, {128, 0}, {-128, 1}, {128, 1001}, {1 << 20, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lti_random_sizes s = lti_random_wan(128, 1);
        lti_weights *w = NULL;
        lt_error err = {0};
        s.dim = bad[i][0];
        s.layers = bad[i][1];
        assert_int_equal(lti_weights_random(LTI_PART_DIT, &s, &w, &err), LT_EINVAL);
        assert_null(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_every_name),
        cmocka_unit_test(has_wans_shapes),
        cmocka_unit_test(values),
        cmocka_unit_test(refuses_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
