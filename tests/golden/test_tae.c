/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/test_tae.c - the small autoencoder against plain PyTorch (and so TAEHV's own code);
 * streaming; both latent conventions; what is refused.
 *
 * Oracle: tests/golden/tae/README.md, all frames at once. Bounds on the relative error of pictures
 * in [0,1] and of latents: 1e-4 in f32, 2e-2 in bf16. */
#include "tests/fast_backend.h"
#include "tests/vae_rig.h"
#include "vae/codec.h"
#include "vae/tae_graph.h"

#define TAE_FIXTURES LT_SOURCE_DIR "/tests/golden/tae/"

enum { H = 3, W = 4, C = 16, T = 3, FRAMES = 9, PX = 64 * H * W, PER = C * H * W };

typedef struct tae_case {
    const char *weights, *json, *io;
} tae_case;

static const tae_case plain = {"tiny.safetensors", NULL, "tiny_io.safetensors"};
static const tae_case prefixed = {"prefixed.safetensors", "{\"latents\":\"normalised\"}",
                                  "tiny_io.safetensors"};
static const tae_case light = {"tiny.safetensors", "{\"latents\":\"denormalised\"}",
                               "lighttae_io.safetensors"};

typedef struct tae_rig {
    lti_dev *d;
    lti_weights *weights, *io;
    lti_tae *tae;
    float latent[T * PER], rgb[FRAMES * PX * 3], pictures[FRAMES * PX * 3], encoded[T * PER],
        padded[2 * PER];
} tae_rig;

static void fetch(tae_rig *r, const char *name, int64_t n, float *out) {
    lt_error err = {0};
    lti_tensor t;
    rig_check(lti_weights_get(r->io, name, -1, NULL, &t, &err), &err);
    assert_int_equal(lti_numel(&t), n);
    lti_to_f32(&t, out);
}

/* [n,3,px] -> [n,px,3] */
static void channels_last(float *x, int64_t n) {
    float *tmp = malloc((size_t)(n * PX * 3) * sizeof *tmp);
    memcpy(tmp, x, (size_t)(n * PX * 3) * sizeof *tmp);
    for (int64_t f = 0; f < n; f++)
        for (int64_t i = 0; i < PX; i++)
            for (int c = 0; c < 3; c++) x[(f * PX + i) * 3 + c] = tmp[(f * 3 + c) * PX + i];
    free(tmp);
}

static tae_rig *open_rig(const char *backend, int threads, lti_dtype dtype, const tae_case *g) {
    lt_error err = {0};
    tae_rig *r = calloc(1, sizeof *r);
    rig_check(lti_dev_open(backend, threads, NULL, &r->d, &err), &err);
    r->weights = rig_fixture(TAE_FIXTURES, g->weights, LTI_PART_TAE);
    r->io = rig_fixture(TAE_FIXTURES, g->io, LTI_PART_NONE);
    cJSON *json = g->json ? cJSON_Parse(g->json) : NULL;
    rig_check(lti_tae_open(r->d, r->weights, json, dtype, &r->tae, &err), &err);
    cJSON_Delete(json);
    fetch(r, "latent", T * PER, r->latent);
    fetch(r, "rgb", FRAMES * PX * 3, r->rgb);
    fetch(r, "pictures", FRAMES * PX * 3, r->pictures);
    fetch(r, "encoded", T * PER, r->encoded);
    if (g != &light) fetch(r, "padded", 2 * PER, r->padded);
    channels_last(r->rgb, FRAMES);
    channels_last(r->pictures, FRAMES);
    return r;
}

static void close_rig(tae_rig *r) {
    lti_tae_close(r->d, &r->tae);
    lti_weights_close(&r->weights);
    lti_weights_close(&r->io);
    lti_dev_close(&r->d);
    free(r);
}

static lti_decoder *open_decoder(tae_rig *r) {
    lt_error err = {0};
    lti_decoder *s;
    rig_check(lti_decoder_open(r->d, NULL, r->tae, H, W, &s, &err), &err);
    return s;
}

/* All latents through s; pictures in [0,1], [FRAMES,H,W,3]. */
static void decode_all(tae_rig *r, lti_decoder *s, float *out) {
    int64_t done = 0;
    for (int i = 0; i < T; i++) {
        lti_tensor rgb;
        int n = lti_decode(s, r->latent + i * PER, &rgb);
        assert_int_equal(n, i ? 4 : 1);
        assert_int_equal(rgb.n[0], n);
        lti_get(r->d, out + done * PX * 3, rgb.data, lti_nbytes(&rgb));
        done += n;
    }
    assert_int_equal(done, FRAMES);
    for (int64_t i = 0; i < FRAMES * PX * 3; i++) out[i] = out[i] * 0.5f + 0.5f;
}

static int encode_some(tae_rig *r, lti_encoder *s, int n, float *out) {
    int done = 0;
    float *x = malloc((size_t)(PX * 3) * sizeof *x);
    for (int i = 0; i < n; i++) {
        for (int64_t j = 0; j < PX * 3; j++) x[j] = r->pictures[i * PX * 3 + j] * 2 - 1;
        int got = lti_encode(s, LTI_VIEW(x, LTI_F32, 8 * H, 8 * W, 3), out + done * PER);
        assert_int_equal(got, i % 4 == 3);
        done += got;
    }
    done += lti_encode_finish(s, out + done * PER);
    free(x);
    return done;
}

static void compare(const char *what, const float *got, const float *want, int64_t n,
                    double bound) {
    lti_diff diff = lti_compare_f32(got, want, n);
    print_message("%-40s rel %.2e max %.2e\n", what, diff.rel, diff.max_abs);
    if (!diff.finite || diff.rel > bound) fail_msg("relative error %g, bound %g", diff.rel, bound);
}

static void check_case(const char *backend, lti_dtype dtype, const tae_case *g, double bound) {
    lt_error err = {0};
    char what[64];
    tae_rig *r = open_rig(backend, 0, dtype, g);
    float *rgb = malloc(sizeof r->rgb), *z = malloc(sizeof r->encoded);
    lti_decoder *d = open_decoder(r);
    lti_encoder *e;
    rig_check(lti_encoder_open(r->d, NULL, r->tae, H, W, &e, &err), &err);
    decode_all(r, d, rgb);
    snprintf(what, sizeof what, "%s %s %s decode", g->weights, backend, lti_dtype_name(dtype));
    compare(what, rgb, r->rgb, FRAMES * PX * 3, bound);
    assert_int_equal(encode_some(r, e, FRAMES, z), T);
    snprintf(what, sizeof what, "%s %s %s encode", g->weights, backend, lti_dtype_name(dtype));
    compare(what, z, r->encoded, T * PER, bound);
    if (g != &light) {
        lti_encoder_reset(e);
        assert_int_equal(encode_some(r, e, 6, z), 2);
        compare("  6 pictures, padded", z, r->padded, 2 * PER, bound);
    }
    lti_decoder_close(&d);
    lti_encoder_close(&e);
    free(rgb), free(z);
    close_rig(r);
}

static void test_f32(void **state) {
    (void)state;
    check_case("ref", LTI_F32, &plain, 1e-4);
    check_case(fast_backend(), LTI_F32, &plain, 1e-4);
    check_case("ref", LTI_F32, &prefixed, 1e-4);
    check_case(fast_backend(), LTI_F32, &light, 1e-4);
}

static void test_bf16(void **state) {
    (void)state;
    check_case("ref", LTI_BF16, &plain, 2e-2);
    check_case(fast_backend(), LTI_BF16, &plain, 2e-2);
    check_case(fast_backend(), LTI_BF16, &light, 2e-2);
}

/* The other convention gives other pictures, and a file's name is enough to choose it. */
static void test_the_name_tells(void **state) {
    (void)state;
    lt_error err = {0};
    char dir[] = "/tmp/lt_tae_XXXXXX", path[64];
    tae_rig *r = open_rig("ref", 1, LTI_F32, &light);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/LightTAEw2_1.safetensors", dir);
    assert_int_equal(symlink(TAE_FIXTURES "tiny.safetensors", path), 0);
    lti_weights *w;
    lti_tae *named, *told;
    rig_check(lti_weights_open(path, LTI_PART_TAE, &w, &err), &err);
    rig_check(lti_tae_open(r->d, w, NULL, LTI_F32, &named, &err), &err);
    assert_true(named->denormalised);
    cJSON *json = cJSON_Parse("{\"latents\":\"normalised\"}");
    rig_check(lti_tae_open(r->d, w, json, LTI_F32, &told, &err), &err);
    assert_false(told->denormalised);
    cJSON_Delete(json);
    lti_tae *none = NULL;
    json = cJSON_Parse("{\"latents\":\"both\"}");
    assert_int_equal(lti_tae_open(r->d, w, json, LTI_F32, &none, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "latents"));
    assert_null(none);
    cJSON_Delete(json);
    lti_tae_close(r->d, &named);
    lti_tae_close(r->d, &told);
    lti_weights_close(&w);
    unlink(path);
    rmdir(dir);
    close_rig(r);
}

/* Reset, two streams at once, any thread count, frame by frame or all at once: the same bytes. */
static void test_streams(void **state) {
    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        tae_rig *r = open_rig(fast_backend(), threads, LTI_BF16, &plain);
        float *a = malloc(sizeof r->rgb), *b = malloc(sizeof r->rgb);
        lti_decoder *s = open_decoder(r), *s2 = open_decoder(r);
        lti_tensor rgb;
        decode_all(r, s, a);
        lti_decode(s2, r->latent + PER, &rgb);
        lti_decoder_reset(s);
        decode_all(r, s, b);
        assert_memory_equal(a, b, sizeof r->rgb);
        lti_decoder_reset(s2);
        decode_all(r, s2, b);
        assert_memory_equal(a, b, sizeof r->rgb);
        lti_decoder_close(&s);
        lti_decoder_close(&s2);
        free(a), free(b);
        close_rig(r);
    }
}

static size_t decode_split(tae_rig *r, size_t split, float *out) {
    lt_error err = {0};
    lti_tae_state *s;
    lti_arena a = {0};
    int64_t done = 0;
    float z[PER];
    rig_check(lti_tae_state_open(r->d, r->tae, false, H, W, &s, &err), &err);
    s->split_bytes = split;
    lti_tensor latent = LTI_VIEW(z, LTI_F32, C, H, W);
    lti_tensor rgb = LTI_VIEW(out, LTI_F32, 4, 8 * H, 8 * W, 3);
    r->d->measuring = true;
    for (int i = 0; i < 2; i++) lti_tae_decode(r->tae, r->d, &a, s, latent, rgb);
    r->d->measuring = false;
    lti_tae_state_reset(r->d, s);
    a.cap = a.peak;
    a.base = r->d->ops.alloc(r->d, a.cap);
    for (int i = 0; i < T; i++) {
        lti_tae_prepare(r->tae, r->latent + i * PER, H * W, z);
        rgb.data = out + done * PX * 3;
        rgb.n[0] = i ? 4 : 1;
        done += lti_tae_decode(r->tae, r->d, &a, s, latent, rgb);
    }
    r->d->ops.free(r->d, a.base);
    lti_tae_state_close(r->d, &s);
    return a.cap;
}

static void test_frame_by_frame_is_the_same(void **state) {
    (void)state;
    tae_rig *r = open_rig("ref", 1, LTI_BF16, &plain);
    float *a = malloc(sizeof r->rgb), *b = malloc(sizeof r->rgb);
    size_t whole = decode_split(r, SIZE_MAX, a), split = decode_split(r, 0, b);
    print_message("arena %zu bytes at once, %zu frame by frame\n", whole, split);
    assert_memory_equal(a, b, sizeof r->rgb);
    assert_true(split < whole * 2 / 3);
    free(a), free(b);
    close_rig(r);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static lt_status open_tae(lti_dev *d, lti_weights *w, const cJSON *json, lt_error *err) {
    lti_tae *tae;
    const lt_status st = lti_tae_open(d, w, json, LTI_F32, &tae, err);
    if (st < 0) assert_null(tae);
    lti_tae_close(d, &tae);
    return st;
}

/* Without its first tensor there is no encoder; the other has rows to spare. */
static bool harmless(const char *name, rig_damage how) {
    return how == RIG_MISSING ? strcmp(name, "encoder.0.weight") == 0
                              : strcmp(name, "decoder.7.conv.weight") == 0;
}

static void test_refuses_damaged_weights(void **state) {
    (void)state;
    tae_rig *r = open_rig("ref", 1, LTI_F32, &plain);
    rig_refuse_damaged(r->d, r->weights, LTI_PART_TAE, NULL, open_tae, harmless);
    close_rig(r);
}

/* Another variant: its decoder begins with a convolution. */
static void test_refuses_another_variant(void **state) {
    (void)state;
    char path[] = "/tmp/lt_tae_variant_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    tae_rig *r = open_rig("ref", 1, LTI_F32, &plain);
    lt_error err;
    int first = 0;
    while (strcmp(lti_weights_name(r->weights, first, NULL), "decoder.1.weight")) first++;
    rig_write_damaged(r->weights, first, RIG_RENAMED, "decoder.0.weight", path);
    assert_int_equal(rig_open_file(r->d, path, LTI_PART_TAE, NULL, open_tae, &err),
                     LT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "super"));
    unlink(path);
    close_rig(r);
}

/* Each device allocation of open fails once: LT_ENOMEM, no leak (ASan). */
static void *(*real_alloc)(lti_dev *d, size_t bytes);
static int allocs, fail_at;
static void *counting_alloc(lti_dev *d, size_t bytes) {
    return ++allocs == fail_at ? NULL : real_alloc(d, bytes);
}

static void test_open_without_memory(void **state) {
    (void)state;
    tae_rig *r = open_rig("ref", 1, LTI_F32, &plain);
    real_alloc = r->d->ops.alloc;
    r->d->ops.alloc = counting_alloc;
    int failures = 0;
    for (fail_at = 1;; fail_at++, failures++) {
        lt_error err = {0};
        lti_decoder *dec = NULL;
        lti_encoder *enc = NULL;
        allocs = 0;
        lt_status st = lti_decoder_open(r->d, NULL, r->tae, H, W, &dec, &err);
        if (st == LT_OK) st = lti_encoder_open(r->d, NULL, r->tae, H, W, &enc, &err);
        lti_decoder_close(&dec);
        lti_encoder_close(&enc);
        if (st == LT_OK) break;
        assert_int_equal(st, LT_ENOMEM);
    }
    assert_int_equal(failures, 8); /* history, two buffers and the arena, of both */
    fail_at = 0;
    r->d->ops.alloc = real_alloc;
    close_rig(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_the_name_tells),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_frame_by_frame_is_the_same),
        cmocka_unit_test(test_refuses_damaged_weights),
        cmocka_unit_test(test_refuses_another_variant),
        cmocka_unit_test(test_open_without_memory),
    };
    return cmocka_run_group_tests_name("golden tae", tests, NULL, NULL);
}
