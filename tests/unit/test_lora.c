/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_lora.c - LoRA files of every naming against what torch merged, and wrong ones. */
#include "tests/temp_rig.h"
#include "weights/weights_int.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FORMATS LT_SOURCE_DIR "/tests/golden/formats/"
#define BASE FORMATS "base.safetensors"

static lti_weights *must_open(const char *path, lti_part part, const lti_weights_options *opt) {
    lti_weights *w = NULL;
    lt_error err = {0};
    if (lti_weights_open_with(path, part, opt, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    return w;
}

static lti_tensor must_get(lti_weights *w, const char *name) {
    lti_tensor t;
    lt_error err = {0};
    if (lti_weights_get(w, name, -1, NULL, &t, &err) != LT_OK) fail_msg("%s", err.msg);
    return t;
}

static double difference(lti_weights *got, lti_weights *want, const char *name) {
    const lti_tensor a = must_get(got, name), b = must_get(want, name);
    const int64_t n = lti_numel(&a);
    assert_int_equal(n, lti_numel(&b));
    float *x = malloc((size_t)n * 4), *y = malloc((size_t)n * 4);
    lti_to_f32(&a, x);
    lti_to_f32(&b, y);
    const lti_diff d = lti_compare_f32(x, y, n);
    free(x);
    free(y);
    return d.finite ? d.rel : INFINITY;
}

/* base + loras equals `want` where that has tensors, and base elsewhere. */
static void check_merge(const char *want_file, const lti_lora_ref *lora, int n) {
    const lti_weights_options opt = {.lora = lora, .n_lora = n};
    lti_weights *got = must_open(BASE, LTI_PART_DIT, &opt),
                *base = must_open(BASE, LTI_PART_DIT, NULL);
    lti_weights *want = must_open(want_file, LTI_PART_NONE, NULL);
    double worst = 0;
    assert_int_equal(lti_weights_count(got), lti_weights_count(base));
    for (int i = 0; i < lti_weights_count(base); i++) {
        const char *name = lti_weights_name(base, i, NULL);
        const bool changed = lti_weights_find(want, name) != NULL;
        const double d = difference(got, changed ? want : base, name);
        if (d > (changed ? 1e-6 : 0)) fail_msg("%s: %s is off by %g", want_file, name, d);
        if (changed && difference(base, want, name) < 0.01) fail_msg("%s did not change", name);
        if (d > worst) worst = d;
    }
    print_message("%s: %.2g\n", strrchr(want_file, '/') + 1, worst);
    lti_weights_close(&got);
    lti_weights_close(&base);
    lti_weights_close(&want);
}

static void test_every_naming(void **state) {
    (void)state;
    check_merge(FORMATS "peft.want.safetensors",
                &(lti_lora_ref){FORMATS "peft/adapter_model.safetensors", 1}, 1);
    check_merge(FORMATS "peft.want.safetensors", &(lti_lora_ref){FORMATS "peft", 1}, 1);
    check_merge(FORMATS "comfy.want.safetensors", &(lti_lora_ref){FORMATS "comfy.safetensors", 1},
                1);
    check_merge(FORMATS "kohya.want.safetensors", &(lti_lora_ref){FORMATS "kohya.safetensors", 1},
                1);
    check_merge(FORMATS "diffusers.want.safetensors",
                &(lti_lora_ref){FORMATS "diffusers.safetensors", 1}, 1);
    check_merge(FORMATS "torch.want.safetensors", &(lti_lora_ref){FORMATS "torch.pt", 1}, 1);
}

static void test_several(void **state) {
    (void)state;
    const lti_lora_ref both[] = {{FORMATS "peft/adapter_model.safetensors", 0.5},
                                 {FORMATS "comfy.safetensors", -0.25}};
    check_merge(FORMATS "both.want.safetensors", both, 2);
}

/* rows decodes a part only; find shows shape and type; forget frees. */
static void test_rows(void **state) {
    (void)state;
    const lti_lora_ref lora = {FORMATS "peft/adapter_model.safetensors", 1};
    const lti_weights_options opt = {.lora = &lora, .n_lora = 1};
    lti_weights *w = must_open(BASE, LTI_PART_DIT, &opt);
    static const char name[] = "blocks.0.ffn.0.weight";
    const lti_tensor *seen = lti_weights_find(w, name);
    assert_null(seen->data);
    assert_int_equal(seen->dtype, LTI_F32);
    const lti_tensor all = must_get(w, name);
    assert_int_equal(all.n[0], 34);
    float part[7 * 20];
    assert_int_equal(lti_weights_rows(w, name, 13, 7, part, NULL), LT_OK);
    const lti_diff d = lti_compare_f32(part, (const float *)all.data + 13 * 20, 7 * 20);
    assert_true(d.rel < 1e-6);
    lti_weights_forget(w);
    lti_weights_close(&w);
}

static float *random_f32(int64_t n, uint32_t seed) {
    float *p = malloc((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    return p;
}

static void check_product(int64_t out, int64_t in, int64_t rank, int64_t first, int64_t n) {
    float *a = random_f32(rank * in, 1), *b = random_f32(out * rank, 2), *w = random_f32(n * in, 3);
    const lti_tensor ta = LTI_VIEW(a, LTI_F32, rank, in), tb = LTI_VIEW(b, LTI_F32, out, rank);
    const lti_tensor t = LTI_VIEW(NULL, LTI_F32, out, in);
    const lti_delta d = {.a = &ta, .b = &tb, .scale = 0.75};
    double *want = malloc((size_t)(n * in) * sizeof *want);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < in; c++) {
            want[i * in + c] = w[i * in + c];
            for (int64_t k = 0; k < rank; k++)
                want[i * in + c] += 0.75 * b[(first + i) * rank + k] * a[k * in + c];
        }
    lti_lora_add(&d, &t, first, n, w);
    for (int64_t i = 0; i < n * in; i++)
        if (fabs(want[i] - w[i]) > 1e-5 * sqrt((double)rank))
            fail_msg("%lldx%lld rank %lld: element %lld is %g, expected %g", (long long)out,
                     (long long)in, (long long)rank, (long long)i, w[i], want[i]);
    free(want);
    free(a);
    free(b);
    free(w);
}

static void test_product(void **state) {
    (void)state;
    static const int64_t side[] = {1, 5, 6, 7, 16, 17, 33};
    for (int i = 0; i < 7; i++)
        for (int k = 0; k < 7; k++) {
            check_product(side[i], side[k], 1, 0, side[i]);
            check_product(side[i], side[k], 9, side[i] / 2, side[i] - side[i] / 2);
        }
    check_product(96, 1000, 64, 11, 85); /* enough to use threads */
}

/* -- wrong files --------------------------------------------------------------------------------- */

static float zeros[4096];

#define A(name, ...)                                                                               \
    { name, LTI_VIEW(zeros, LTI_F32, __VA_ARGS__) }
#define SCALAR(name, p)                                                                            \
    {                                                                                              \
        name, {                                                                                    \
            .data = (p), .dtype = LTI_F32, .n = { 1, 1, 1, 1, 1, 1 }                               \
        }                                                                                          \
    }

static void refused(const lti_named *list, int n, lt_status code, const char *part) {
    lt_error err = {0};
    const char *file = in_dir("lora.safetensors");
    assert_int_equal(lti_safetensors_write(file, list, n, &err), LT_OK);
    const lti_lora_ref lora = {file, 1};
    const lti_weights_options opt = {.lora = &lora, .n_lora = 1};
    lti_weights *w = NULL;
    const lt_status st = lti_weights_open_with(BASE, LTI_PART_DIT, &opt, &w, &err);
    assert_null(w);
    if (st != code || !strstr(err.msg, part) || strncmp(err.msg, dir, strlen(dir)))
        fail_msg("gave %d '%s', expected %d with '%s'", st, err.msg, code, part);
}

#define Q "diffusion_model.blocks.0.self_attn.q"

static void test_refused(void **state) {
    (void)state;
    float alpha = NAN;
    const lti_named no_target[] = {A("diffusion_model.blocks.7.self_attn.q.lora_A.weight", 2, 20),
                                   A("diffusion_model.blocks.7.self_attn.q.lora_B.weight", 20, 2)};
    refused(no_target, 2, LT_EFORMAT, "blocks.7.self_attn.q.lora_A");
    const lti_named no_b[] = {A(Q ".lora_A.weight", 2, 20)};
    refused(no_b, 1, LT_EFORMAT, "without its partner");
    const lti_named no_a[] = {A(Q ".lora_up.weight", 20, 2)};
    refused(no_a, 1, LT_EFORMAT, "without its partner");
    const lti_named ranks[] = {A(Q ".lora_A.weight", 2, 20), A(Q ".lora_B.weight", 20, 3)};
    refused(ranks, 2, LT_EFORMAT, "[2,20] with its partner [20,3]");
    const lti_named width[] = {A(Q ".lora_A.weight", 2, 21), A(Q ".lora_B.weight", 20, 2)};
    refused(width, 2, LT_EFORMAT, "for another model");
    const lti_named rows[] = {A(Q ".lora_A.weight", 2, 20), A(Q ".lora_B.weight", 40, 2)};
    refused(rows, 2, LT_EFORMAT, "for another model");
    const lti_named empty[] = {A(Q ".lora_A.weight", 0, 20), A(Q ".lora_B.weight", 20, 0)};
    refused(empty, 2, LT_EFORMAT, "for another model");
    const lti_named flat[] = {A(Q ".lora_A.weight", 20), A(Q ".lora_B.weight", 20)};
    refused(flat, 2, LT_EFORMAT, "for another model");
    const lti_named diff[] = {A(Q ".diff", 20, 21)};
    refused(diff, 1, LT_EFORMAT, "is [20,21]");
    const lti_named ints[] = {{Q ".lora_A.weight", LTI_VIEW(zeros, LTI_I32, 2, 20)},
                              A(Q ".lora_B.weight", 20, 2)};
    refused(ints, 2, LT_EUNSUPPORTED, "I32");
    const lti_named nan[] = {A(Q ".lora_A.weight", 2, 20), A(Q ".lora_B.weight", 20, 2),
                             SCALAR(Q ".alpha", &alpha)};
    refused(nan, 3, LT_EFORMAT, "finite");
    const lti_named vector[] = {A(Q ".lora_A.weight", 2, 20), A(Q ".lora_B.weight", 20, 2),
                                A(Q ".alpha", 2)};
    refused(vector, 3, LT_EFORMAT, "one finite number");
    const lti_named dora[] = {A(Q ".lora_A.weight", 2, 20), A(Q ".lora_B.weight", 20, 2),
                              A(Q ".dora_scale", 20, 1)};
    refused(dora, 3, LT_EUNSUPPORTED, "DoRA");
    const lti_named model[] = {A("blocks.0.self_attn.q.weight", 20, 20)};
    refused(model, 1, LT_EUNSUPPORTED, "is no tensor of a LoRA");
    alpha = 2;
    const lti_named only_alpha[] = {SCALAR(Q ".alpha", &alpha)};
    refused(only_alpha, 1, LT_EFORMAT, "holds no LoRA tensors");
    refused(NULL, 0, LT_EFORMAT, "holds no LoRA tensors");
    const lti_named kohya[] = {A("lora_unet_blocks_0_self_attn_z.lora_down.weight", 2, 20),
                               A("lora_unet_blocks_0_self_attn_z.lora_up.weight", 20, 2)};
    refused(kohya, 2, LT_EFORMAT, "for another model");
}

static void test_config(void **state) {
    (void)state;
    const lti_named pair[] = {A("base_model.model.blocks.0.self_attn.q.lora_A.weight", 2, 20),
                              A("base_model.model.blocks.0.self_attn.q.lora_B.weight", 20, 2)};
    static const struct {
        const char *json, *part;
    } bad[] = {{"{\"lora_alpha\": \"many\"}", "lora_alpha"},
               {"{\"lora_alpha\": 4, \"alpha_pattern\": {\"q\": 2}}", "alpha_pattern"},
               {"{\"use_dora\": true}", "DoRA"},
               {"{", "not valid json"}};
    for (int i = 0; i < 4; i++) {
        FILE *f = fopen(in_dir("adapter_config.json"), "w");
        assert_non_null(f);
        fputs(bad[i].json, f);
        assert_int_equal(fclose(f), 0);
        refused(pair, 2, i == 1 || i == 2 ? LT_EUNSUPPORTED : LT_EFORMAT, bad[i].part);
    }
    remove(in_dir("adapter_config.json"));
}

static void test_arguments(void **state) {
    (void)state;
    lti_weights *w = NULL;
    const lti_lora_ref bad[] = {{FORMATS "comfy.safetensors", NAN}, {FORMATS "no.safetensors", 1}};
    for (int i = 0; i < 2; i++) {
        lt_error err = {0};
        const lti_weights_options opt = {.lora = &bad[i], .n_lora = 1};
        assert_int_not_equal(lti_weights_open_with(BASE, LTI_PART_DIT, &opt, &w, &err), LT_OK);
        assert_non_null(strstr(err.msg, i ? "no.safetensors" : "finite"));
    }
    const lti_lora_ref fine = {FORMATS "comfy.safetensors", 1};
    const lti_weights_options opt = {.lora = &fine, .n_lora = 1};
    assert_int_equal(lti_weights_open_with(BASE, LTI_PART_VAE, &opt, &w, NULL), LT_EUNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_naming), cmocka_unit_test(test_several),
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_product),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_config),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
