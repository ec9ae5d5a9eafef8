/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/test_vae_encode.c - the VAE encoder against diffusers' AutoencoderKLWan; streaming;
 * what is refused.
 *
 * Oracle: tests/golden/vae/README.md. Bounds on the relative error: 1e-4 in f32, 1e-5 against
 * encoding all pictures at once, 2e-2 in bf16. */
#include "tests/fast_backend.h"
#include "tests/vae_rig.h"
#include "vae/codec.h"

typedef struct encode_case {
    const char *name, *weights, *config, *io;
} encode_case;

static const encode_case light = {"light", "light_encoder.safetensors", NULL,
                                  "light_encoder_io.safetensors"};
static const encode_case odd = {"odd", "odd_encoder.safetensors", "odd_config.json",
                                "odd_encoder_io.safetensors"};
static const encode_case odd_diffusers = {"odd, diffusers names",
                                          "odd_encoder_diffusers.safetensors", "odd_config.json",
                                          "odd_encoder_io.safetensors"};

typedef struct encode_rig {
    lti_dev *d;
    lti_weights *weights, *io;
    lti_vae_encoder *vae;
    lti_encoder *s;
    int64_t n, h, w, c; /* pictures; latent size */
    float *pictures;    /* [n,8h,8w,3] */
} encode_rig;

/* [n,3,H,W] of the fixture -> pictures [n,H,W,3] */
static void load_pictures(encode_rig *r) {
    lt_error err = {0};
    lti_tensor t;
    rig_check(lti_weights_get(r->io, "rgb", 4, (const int64_t[]){-1, 3, -1, -1}, &t, &err), &err);
    r->n = t.n[0];
    r->h = t.n[2] / 8;
    r->w = t.n[3] / 8;
    int64_t px = t.n[2] * t.n[3];
    float *planes = malloc((size_t)lti_numel(&t) * sizeof *planes);
    r->pictures = malloc((size_t)lti_numel(&t) * sizeof *planes);
    lti_to_f32(&t, planes);
    for (int64_t f = 0; f < r->n; f++)
        for (int64_t i = 0; i < px; i++)
            for (int c = 0; c < 3; c++)
                r->pictures[(f * px + i) * 3 + c] = planes[(f * 3 + c) * px + i];
    free(planes);
}

static void rig_open_encoder(encode_rig *r, const char *backend, int threads, lti_dtype dtype,
                             const encode_case *g) {
    lt_error err = {0};
    *r = (encode_rig){0};
    rig_check(lti_dev_open(backend, threads, NULL, &r->d, &err), &err);
    r->weights = rig_fixture(VAE_FIXTURES, g->weights, LTI_PART_VAE);
    r->io = rig_fixture(VAE_FIXTURES, g->io, LTI_PART_NONE);
    cJSON *json = rig_config(g->config);
    rig_check(lti_vae_encoder_open(r->d, r->weights, json, dtype, &r->vae, &err), &err);
    cJSON_Delete(json);
    load_pictures(r);
    r->c = lti_vae_encoder_channels(r->vae);
    rig_check(lti_encoder_open(r->d, r->vae, NULL, (int)r->h, (int)r->w, &r->s, &err), &err);
}

static void rig_close_encoder(encode_rig *r) {
    lti_encoder_close(&r->s);
    lti_vae_encoder_close(r->d, &r->vae);
    lti_weights_close(&r->weights);
    lti_weights_close(&r->io);
    lti_dev_close(&r->d);
    free(r->pictures);
}

static lti_tensor picture(const encode_rig *r, int64_t i) {
    int64_t n = 64 * r->h * r->w * 3;
    return LTI_VIEW(r->pictures + i * n, LTI_F32, 8 * r->h, 8 * r->w, 3);
}

/* All pictures of the case; returns the latents [T,C,h,w]. */
static float *encode_all(encode_rig *r) {
    int64_t per = r->c * r->h * r->w, done = 0, t = (r->n + 3) / 4;
    float *out = calloc((size_t)(per * t), sizeof *out);
    for (int64_t i = 0; i < r->n; i++) {
        int got = lti_encode(r->s, picture(r, i), out + done * per);
        assert_int_equal(got, i % 4 == 0);
        done += got;
    }
    assert_int_equal(done, t);
    return out;
}

static void check_case(const char *backend, lti_dtype dtype, const encode_case *g, const char *key,
                       double bound) {
    encode_rig r;
    lt_error err = {0};
    lti_tensor want;
    rig_open_encoder(&r, backend, 0, dtype, g);
    rig_check(
        lti_weights_get(r.io, key, 4, (const int64_t[]){(r.n + 3) / 4, r.c, r.h, r.w}, &want, &err),
        &err);
    float *ref = malloc((size_t)lti_numel(&want) * sizeof *ref), *got = encode_all(&r);
    lti_to_f32(&want, ref);
    lti_diff diff = lti_compare_f32(got, ref, lti_numel(&want));
    print_message("%-22s %-3s %-4s %-6s rel %.2e max %.2e\n", g->name, backend,
                  lti_dtype_name(dtype), key, diff.rel, diff.max_abs);
    if (!diff.finite || diff.rel > bound) fail_msg("relative error %g, bound %g", diff.rel, bound);
    free(ref), free(got);
    rig_close_encoder(&r);
}

static void all_cases(const char *backend, lti_dtype dtype, double bound, double bound_odd) {
    check_case(backend, dtype, &light, "latent", bound);
    check_case(backend, dtype, &odd, "latent", bound_odd);
    check_case(backend, dtype, &odd_diffusers, "latent", bound_odd);
}

static void test_ref_f32(void **state) {
    (void)state;
    all_cases("ref", LTI_F32, 1e-4, 1e-4);
}
static void test_cpu_f32(void **state) {
    (void)state;
    all_cases(fast_backend(), LTI_F32, 1e-4, 1e-4);
}
static void test_ref_bf16(void **state) {
    (void)state;
    all_cases("ref", LTI_BF16, 2e-2, 2e-2);
}
static void test_cpu_bf16(void **state) {
    (void)state;
    all_cases(fast_backend(), LTI_BF16, 2e-2, 2e-2);
}

/* Picture by picture equals all at once, computed without any cache. */
static void test_equals_whole_sequence(void **state) {
    (void)state;
    check_case("ref", LTI_F32, &odd, "whole", 1e-5);
    check_case(fast_backend(), LTI_F32, &odd, "whole", 1e-5);
    check_case(fast_backend(), LTI_F32, &light, "whole", 1e-5);
}

static void test_reset_and_bytes(void **state) {
    (void)state;
    encode_rig r;
    rig_open_encoder(&r, fast_backend(), 2, LTI_BF16, &odd);
    size_t bytes = (size_t)((r.n + 3) / 4 * r.c * r.h * r.w) * sizeof(float);
    float *a = encode_all(&r);
    lti_encode(r.s, picture(&r, 2), a + 0 * bytes); /* in the middle of a group */
    lti_encoder_reset(r.s);
    float *b = encode_all(&r);
    lti_encoder_reset(r.s);
    float *c = encode_all(&r);
    assert_memory_equal(b, c, bytes);
    free(a), free(b), free(c);
    rig_close_encoder(&r);
}

/* 8-bit pictures: the same as their floats. */
static void test_takes_bytes(void **state) {
    (void)state;
    encode_rig r;
    rig_open_encoder(&r, fast_backend(), 1, LTI_F32, &light);
    int64_t n = 64 * r.h * r.w * 3;
    uint8_t *rgb = malloc((size_t)n);
    float *x = malloc((size_t)n * sizeof *x), a[16 * 12], b[16 * 12];
    for (int64_t i = 0; i < n; i++) {
        rgb[i] = (uint8_t)(i * 37 + i / 11);
        x[i] = (float)rgb[i] / 127.5f - 1.0f;
    }
    lti_tensor f = LTI_VIEW(x, LTI_F32, 8 * r.h, 8 * r.w, 3), u = f;
    u.data = rgb;
    u.dtype = LTI_U8;
    assert_int_equal(lti_encode(r.s, f, a), 1);
    lti_encoder_reset(r.s);
    assert_int_equal(lti_encode(r.s, u, b), 1);
    assert_true(lti_compare_f32(a, b, r.c * r.h * r.w).rel < 1e-6);
    /* 1 + 2 pictures: the group is not complete, and the VAE does not pad */
    assert_int_equal(lti_encode(r.s, u, b), 0);
    assert_int_equal(lti_encode(r.s, u, b), 0);
    assert_int_equal(lti_encode_finish(r.s, b), 0);
    free(rgb), free(x);
    rig_close_encoder(&r);
}

static void test_refuses_a_decoder_only_file(void **state) {
    (void)state;
    lt_error err = {0};
    lti_dev *d;
    lti_vae_encoder *e;
    rig_check(lti_dev_open("ref", 1, NULL, &d, &err), &err);
    lti_weights *w = rig_fixture(VAE_FIXTURES, "wide.safetensors", LTI_PART_VAE);
    assert_int_equal(lti_vae_encoder_open(d, w, NULL, LTI_F32, &e, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "encoder.conv1.weight"));
    assert_null(e);
    lti_weights_close(&w);
    lti_dev_close(&d);
}

static lt_status open_encoder(lti_dev *d, lti_weights *w, const cJSON *json, lt_error *err) {
    lti_vae_encoder *e;
    const lt_status st = lti_vae_encoder_open(d, w, json, LTI_F32, &e, err);
    if (st < 0) assert_null(e);
    lti_vae_encoder_close(d, &e);
    return st;
}

static void test_refuses_damaged_weights(void **state) {
    (void)state;
    lt_error err = {0};
    lti_dev *d;
    rig_check(lti_dev_open("ref", 1, NULL, &d, &err), &err);
    lti_weights *w = rig_fixture(VAE_FIXTURES, odd.weights, LTI_PART_VAE);
    cJSON *json = rig_config(odd.config);
    rig_refuse_damaged(d, w, LTI_PART_VAE, json, open_encoder, NULL);
    cJSON_Delete(json);
    lti_weights_close(&w);
    lti_dev_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_f32),
        cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_ref_bf16),
        cmocka_unit_test(test_cpu_bf16),
        cmocka_unit_test(test_equals_whole_sequence),
        cmocka_unit_test(test_reset_and_bytes),
        cmocka_unit_test(test_takes_bytes),
        cmocka_unit_test(test_refuses_a_decoder_only_file),
        cmocka_unit_test(test_refuses_damaged_weights),
    };
    return cmocka_run_group_tests_name("golden vae encode", tests, NULL, NULL);
}
