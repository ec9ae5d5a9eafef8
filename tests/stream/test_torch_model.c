/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_torch_model.c - a model in torch files is the model in safetensors: the tiny
 * one's transformer (as generator_ema of a training checkpoint, FSDP names) and text encoder
 * (Wan's names), written by torch.save, give the same latents and frames bit for bit.
 * The files are made by tests/unit/torch/make.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/json.h"
#include "pipeline/stream.h"
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TORCH LT_SOURCE_DIR "/tests/unit/torch/"
#define SAFE "diffusion_pytorch_model.safetensors"
enum { H = 4, W = 4, CHANNELS = 16, CHUNKS = 3, FRAMES = 3 * CHUNKS, STEPS = 2 };
enum { FRAME = CHANNELS * H * W, TEXT_LEN = 12, TEXT_DIM = 24 };

static void fill(float *p, int n, uint32_t seed) {
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(int32_t)seed * 0x1p-31f;
    }
}

/* Latents [FRAMES, CHANNELS, H, W] of a rollout with the transformer in `file`. */
static void rollout(const char *backend, lti_dtype dt, const char *file, const char *root,
                    float *out) {
    static float noise[FRAMES * FRAME], renoise[(STEPS - 1) * FRAMES * FRAME];
    static float text[TEXT_LEN * TEXT_DIM];
    lti_dev *d = NULL;
    cJSON *json = NULL;
    lti_weights *w = NULL;
    lti_dit *dit = NULL;
    lti_take *take = NULL;
    lt_error err = {0};
    fill(noise, FRAMES * FRAME, 1);
    fill(renoise, (STEPS - 1) * FRAMES * FRAME, 2);
    fill(text, TEXT_LEN * TEXT_DIM, 3);
    lt_status st = lti_dev_open(backend, 1, NULL, &d, &err);
    if (st == LT_OK) st = lti_json_load(TINY "/transformer/config.json", 1 << 16, &json, &err);
    if (st == LT_OK)
        st = lti_weights_open_with(file, LTI_PART_DIT, &(lti_weights_options){.root = root}, &w,
                                   &err);
    if (st == LT_OK) st = lti_dit_open(d, w, json, dt, &dit, &err);
    lti_take_config c = {.h = H,
                         .w = W,
                         .chunk = 3,
                         .window = 6,
                         .sink = 3,
                         .policy = LTI_POLICY_SLOT,
                         .n_chunk = CHUNKS,
                         .noise = noise,
                         .renoise = renoise,
                         .dtype = dt};
    if (st == LT_OK)
        st = lti_schedule_init(&c.schedule, (const double[]){1000, 500}, STEPS, 5, &err);
    c.first = c.schedule;
    if (st == LT_OK) st = lti_take_open(d, dit, &c, text, &take, &err);
    for (int b = 0; b < CHUNKS && st == LT_OK; b++)
        st = lti_take_next(take, out + b * 3 * FRAME, &err);
    if (st != LT_OK) fail_msg("%s: %s", file, err.msg);
    lti_take_close(&take);
    lti_dit_close(d, &dit);
    lti_weights_close(&w);
    cJSON_Delete(json);
    lti_dev_close(&d);
}

static void test_latents(void **state) {
    (void)state;
    const struct {
        const char *backend;
        lti_dtype dt;
    } c[] = {{"ref", LTI_F32}, {fast_backend(), LTI_F32}, {fast_backend(), LTI_BF16}};
    static float want[FRAMES * FRAME], got[FRAMES * FRAME];
    for (int i = 0; i < 3; i++) {
        rollout(c[i].backend, c[i].dt, TINY "/transformer/" SAFE, NULL, want);
        double sum = 0;
        for (int k = 0; k < FRAMES * FRAME; k++) sum += want[k] * want[k];
        assert_true(sum > 1); /* a rollout of something */
        rollout(c[i].backend, c[i].dt, TORCH "dit.pt", NULL, got);
        assert_memory_equal(got, want, sizeof want);
        memset(got, 0, sizeof got);
        rollout(c[i].backend, c[i].dt, TORCH "dit.pt", "generator_ema", got);
        assert_memory_equal(got, want, sizeof want);
    }
}

/* -- whole folders -------------------------------------------------------------------------------- */

static char root[] = "/tmp/lt_torch_model_XXXXXX";

typedef struct link_to {
    const char *name, *to; /* to NULL: a folder */
} link_to;

/* Frames of a folder made of links. */
static void frames_of(const link_to *l, int n, uint8_t *rgb) {
    char path[256];
    lt_engine *e = NULL;
    lt_engine_params p;
    lt_error err = {0};
    assert_non_null(mkdtemp(strcpy(root, "/tmp/lt_torch_model_XXXXXX")));
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", root, l[i].name);
        assert_int_equal(l[i].to ? symlink(l[i].to, path) : mkdir(path, 0700), 0);
    }
    lt_engine_params_init(&p);
    p.model_dir = root;
    p.backend = "ref";
    p.threads = 1;
    if (lt_engine_open(&p, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_stream_params s = tiny_params(9);
    assert_int_equal(tiny_collect(e, &s, rgb, 9), 9);
    lt_engine_close(&e);
    for (int i = n - 1; i >= 0; i--) {
        snprintf(path, sizeof path, "%s/%s", root, l[i].name);
        assert_int_equal(l[i].to ? unlink(path) : rmdir(path), 0);
    }
    assert_int_equal(rmdir(root), 0);
}

static void test_folders(void **state) {
    (void)state;
    static uint8_t want[9 * TINY_RGB], got[9 * TINY_RGB];
    static const link_to diffusers[] = {
        {"longtake.json", TINY "/longtake.json"},
        {"vae", TINY "/vae"},
        {"tokenizer", TINY "/tokenizer"},
        {"transformer", NULL},
        {"transformer/config.json", TINY "/transformer/config.json"},
        {"transformer/any_name.pt", TORCH "dit.pt"},
        {"text_encoder", NULL},
        {"text_encoder/config.json", TINY "/text_encoder/config.json"},
        {"text_encoder/any_name.pth", TORCH "text.pt"}};
    /* Wan's own layout; the VAE file is told by its content. */
    static const link_to wan[] = {{"longtake.json", TINY "/longtake.json"},
                                  {"config.json", TINY "/transformer/config.json"},
                                  {"diffusion_pytorch_model.pt", TORCH "dit.pt"},
                                  {"models_t5_umt5-xxl-enc-bf16.pth", TORCH "text.pt"},
                                  {"Wan2.1_VAE.pth", TINY "/vae/" SAFE},
                                  {"google", NULL},
                                  {"google/umt5-xxl", TINY "/tokenizer"}};
    static const link_to wan_safe[] = {
        {"longtake.json", TINY "/longtake.json"},
        {"config.json", TINY "/transformer/config.json"},
        {SAFE, TINY "/transformer/" SAFE},
        {"models_t5_umt5-xxl-enc-bf16.safetensors", TINY "/text_encoder/" SAFE},
        {"Wan2.1_VAE.safetensors", TINY "/vae/" SAFE},
        {"google", NULL},
        {"google/umt5-xxl", TINY "/tokenizer"}};
    lt_engine *e = NULL;
    lt_error err = {0};
    if (tiny_engine("ref", 1, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_stream_params s = tiny_params(9);
    assert_int_equal(tiny_collect(e, &s, want, 9), 9);
    lt_engine_close(&e);
    frames_of(diffusers, sizeof diffusers / sizeof *diffusers, got);
    assert_memory_equal(got, want, sizeof want);
    frames_of(wan_safe, sizeof wan_safe / sizeof *wan_safe, want);
    frames_of(wan, sizeof wan / sizeof *wan, got);
    assert_memory_equal(got, want, sizeof want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latents),
        cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
