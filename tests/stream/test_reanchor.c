/* SPDX-License-Identifier: Apache-2.0
 * Anchors seated anew: what follows is what followed on the first frames, and it happens at the
 * same chunk however fast the caller is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/rng.h"
#include "pipeline/stream.h"
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"

enum { CHUNK = 3, CHANNELS = 8, H = 4, W = 6, N_CHUNK = 12, PERIOD = 5, AT = 6 };
enum { FRAME = CHANNELS * H * W, LATENT = CHUNK * FRAME, ALL = N_CHUNK * LATENT };

/* ---- the method ------------------------------------------------------------------------------ */

static lti_dev *dev;
static lti_dit *dit;
static float *text;

static int open_network(void **state) {
    (void)state;
    const char *dir = LT_SOURCE_DIR "/tests/golden/dit/";
    char path[512];
    cJSON *json = NULL;
    lti_weights *w = NULL;
    snprintf(path, sizeof path, "%sconfig.json", dir);
    if (lti_dev_open(fast_backend(), 1, NULL, &dev, NULL) < 0) return -1;
    if (lti_json_load(path, 1 << 16, &json, NULL) < 0) return -1;
    snprintf(path, sizeof path, "%soriginal.safetensors", dir);
    lt_status st = lti_weights_open(path, LTI_PART_DIT, &w, NULL);
    if (st == LT_OK) st = lti_dit_open(dev, w, json, LTI_F32, &dit, NULL);
    lti_weights_close(&w);
    cJSON_Delete(json);
    if (st < 0) return -1;
    const lti_dit_config *c = lti_dit_get_config(dit);
    if (c->in_ch != CHANNELS) return -1;
    const size_t n = (size_t)c->text_len * (size_t)c->text_dim;
    text = malloc(n * sizeof *text);
    if (text) lti_randn(text, (int64_t)n, 9, 0, 0);
    return text ? 0 : -1;
}

static int close_network(void **state) {
    (void)state;
    free(text);
    lti_dit_close(dev, &dit);
    lti_dev_close(&dev);
    return 0;
}

/* Noise that repeats itself: chunk b + PERIOD gets that of chunk b, from chunk 1 on. */
static float *periodic(uint64_t seed) {
    float *all = malloc(sizeof *all * ALL);
    assert_non_null(all);
    for (int b = 0; b < N_CHUNK; b++) {
        const int like = b > PERIOD ? 1 + (b - 1) % PERIOD : b;
        lti_randn(all + b * LATENT, LATENT, seed, (uint64_t)like, 0);
    }
    return all;
}

static float *rollout(lti_take_config *c, int64_t reanchor) {
    const double steps[2] = {1000, 500};
    assert_int_equal(lti_schedule_init(&c->schedule, steps, 2, 5, NULL), LT_OK);
    c->first = c->schedule;
    float *noise = periodic(1), *renoise = periodic(2), *got = malloc(sizeof *got * ALL);
    c->noise = noise;
    c->renoise = renoise;
    lti_take *take = NULL;
    lt_error err = {0};
    if (lti_take_open(dev, dit, c, text, &take, &err) != LT_OK) fail_msg("%s", err.msg);
    for (int b = 0; b < N_CHUNK; b++) {
        if (b == 2 && reanchor) lti_take_reanchor(take, reanchor);
        assert_int_equal(lti_take_next(take, got + b * LATENT, &err), LT_OK);
    }
    lti_take_close(&take);
    free(noise), free(renoise);
    return got;
}

static lti_take_config config(lti_policy policy, int sink, bool rolling) {
    return (lti_take_config){.h = H,
                             .w = W,
                             .chunk = CHUNK,
                             .window = 6,
                             .sink = sink,
                             .policy = policy,
                             .ema = 0.9f,
                             .deep_budget = sink + 5,
                             .deep_recent = 4,
                             .rolling = rolling,
                             .n_chunk = N_CHUNK};
}

/* Equal noise behind equal memory: chunks 6, 7, .. are chunks 1, 2, .. once more. `absolute` is not
 * among the policies: there the distance to the anchors counts. */
static void history_repeats(void **state) {
    (void)state;
    static const struct {
        lti_policy policy;
        int sink;
    } cases[] = {{LTI_POLICY_NONE, 0},    {LTI_POLICY_SLOT, 3}, {LTI_POLICY_SLOT, 2},
                 {LTI_POLICY_REALIGN, 3}, {LTI_POLICY_EMA, 3},  {LTI_POLICY_DEEP, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lti_take_config c = config(cases[i].policy, cases[i].sink, false);
        /* registers stand still while absolute positions move on */
        c.no_registers = c.policy == LTI_POLICY_NONE || c.policy == LTI_POLICY_REALIGN;
        float *plain = rollout(&c, 0), *anew = rollout(&c, AT);
        assert_memory_equal(plain, anew, sizeof *plain * AT * LATENT);
        const lti_diff e = lti_compare_f32(anew + AT * LATENT, anew + LATENT, PERIOD * LATENT);
        const lti_diff not = lti_compare_f32(plain + AT * LATENT, plain + LATENT, PERIOD * LATENT);
        if (!e.finite || e.rel > 2e-5 || not .rel < 1e-3)
            fail_msg("case %zu: %g from the first time (%g without)", i, e.rel, not .rel);
        free(plain), free(anew);
    }
}

/* Rolling: chunks in flight see it too, so nothing repeats exactly. Sinks of more than one chunk,
 * and a wish that comes before there is anything to forget. */
static void other_forms(void **state) {
    (void)state;
    const lti_take_config forms[] = {config(LTI_POLICY_SLOT, 3, true),
                                     config(LTI_POLICY_ABSOLUTE, 3, false),
                                     config(LTI_POLICY_SLOT, 5, false)};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        lti_take_config c = forms[i];
        float *plain = rollout(&c, 0), *anew = rollout(&c, AT), *soon = rollout(&c, 1);
        assert_memory_equal(plain, anew, sizeof *plain * AT * LATENT);
        assert_true(lti_compare_f32(plain, anew, ALL).finite);
        assert_true(memcmp(plain + AT * LATENT, anew + AT * LATENT, sizeof *plain * LATENT) != 0);
        assert_true(memcmp(plain, soon, sizeof *plain * ALL) != 0);
        free(plain), free(anew), free(soon);
    }
}

/* ---- the stream ------------------------------------------------------------------------------ */

enum { FRAMES = 153 }; /* 9 + 12 * 12 */

#define END_OF(chunk) (1u << (chunk))

/* Asks at the ends of the chunks in `ask`; a slow caller lets the workers run ahead as far as they
 * can. Returns the chunk that was promised last. */
static int64_t watch(lt_engine *e, const lt_stream_params *p, unsigned ask, bool slow,
                     uint8_t *rgb) {
    lt_stream *s = NULL;
    lt_frame f;
    int64_t n = 0, from = 0;
    assert_int_equal(lt_stream_open(e, p, &s, NULL), LT_OK);
    while (lt_stream_next(s, &f) == LT_OK) {
        memcpy(rgb + n++ * TINY_RGB, f.rgb, TINY_RGB);
        const bool now = ask & END_OF(f.chunk) && f.chunk_end;
        if (slow && f.chunk_end && f.chunk < 5) nanosleep(&(struct timespec){0, 100000000}, NULL);
        if (now) from = lt_stream_reanchor(s, f.chunk);
        lt_frame_release(&f);
    }
    assert_int_equal(n, FRAMES);
    lt_stream_close(&s);
    return from;
}

static void whatever_the_speed(void **state) {
    (void)state;
    lt_engine *e = NULL;
    assert_int_equal(tiny_engine(fast_backend(), 1, &e, NULL), LT_OK);
    uint8_t *rgb[3];
    for (int mode = LT_MODE_CHUNK; mode <= LT_MODE_ROLLING; mode++) {
        lt_stream_params p = tiny_params(FRAMES);
        p.mode = mode;
        for (int i = 0; i < 3; i++) assert_non_null(rgb[i] = malloc(FRAMES * TINY_RGB));
        watch(e, &p, 0, false, rgb[0]);
        const int64_t from = watch(e, &p, END_OF(2), false, rgb[1]);
        assert_int_equal(watch(e, &p, END_OF(2), true, rgb[2]), from);
        assert_int_equal(from, 7); /* 2 chunks in the pool, 2 of latents, and the next */
        const size_t before = (size_t)(9 + 12 * (from - 1)) * TINY_RGB;
        assert_memory_equal(rgb[0], rgb[1], before);
        assert_true(memcmp(rgb[0] + before, rgb[1] + before, TINY_RGB) != 0);
        assert_memory_equal(rgb[1], rgb[2], FRAMES * TINY_RGB);
        for (int i = 0; i < 3; i++) free(rgb[i]);
    }
    lt_engine_close(&e);
}

/* A slow caller asks again when the workers are past the promised chunk already, a fast one when
 * they are not: neither moves it. */
static void asked_again(void **state) {
    (void)state;
    lt_engine *e = NULL;
    assert_int_equal(tiny_engine(fast_backend(), 1, &e, NULL), LT_OK);
    const lt_stream_params p = tiny_params(FRAMES);
    uint8_t *once = malloc(FRAMES * TINY_RGB), *more = malloc(FRAMES * TINY_RGB);
    assert_true(once && more);
    assert_int_equal(watch(e, &p, END_OF(2), false, once), 7);
    for (int slow = 0; slow < 2; slow++) {
        assert_int_equal(watch(e, &p, END_OF(2) | END_OF(4) | END_OF(6), slow, more), 7);
        assert_memory_equal(once, more, FRAMES * TINY_RGB);
    }
    assert_int_equal(watch(e, &p, END_OF(2) | END_OF(7), false, more), 12);
    assert_memory_equal(once, more, (9 + 12 * 11) * TINY_RGB);
    assert_true(memcmp(once, more, FRAMES * TINY_RGB) != 0);
    free(once), free(more);
    lt_engine_close(&e);
}

/* Anchors of many chunks: the promise waits until there is more than them. */
static void many_anchors(void **state) {
    (void)state;
    lt_engine *e = NULL;
    assert_int_equal(tiny_engine(fast_backend(), 1, &e, NULL), LT_OK);
    lt_stream_params p = tiny_params(FRAMES);
    p.sink = 26; /* chunks 0 to 8 */
    uint8_t *plain = malloc(FRAMES * TINY_RGB), *anew = malloc(FRAMES * TINY_RGB);
    assert_true(plain && anew);
    watch(e, &p, 0, false, plain);
    assert_int_equal(watch(e, &p, END_OF(2), false, anew), 10);
    const size_t before = (9 + 12 * 9) * TINY_RGB;
    assert_memory_equal(plain, anew, before);
    assert_true(memcmp(plain + before, anew + before, 12 * TINY_RGB) != 0);
    free(plain), free(anew);
    lt_engine_close(&e);
}

/* A prompt that is recached soon after finds only what there is since. */
static void then_another_prompt(void **state) {
    (void)state;
    lt_engine *e = NULL;
    assert_int_equal(tiny_engine(fast_backend(), 1, &e, NULL), LT_OK);
    const lt_prompt q = {.text = "a blue cube turns", .frame = 9 + 12 * 7};
    uint8_t *a = malloc(FRAMES * TINY_RGB), *b = malloc(FRAMES * TINY_RGB);
    for (int how = LT_SWITCH_RECACHE; how <= LT_SWITCH_FLUSH; how++) {
        lt_stream_params p = tiny_params(FRAMES);
        p.prompts = &q;
        p.n_prompts = 1;
        p.prompt_switch = how;
        watch(e, &p, 0, false, a);
        assert_int_equal(watch(e, &p, END_OF(2), false, b), 7);
        assert_memory_equal(a, b, (size_t)(9 + 12 * 6) * TINY_RGB);
        assert_true(memcmp(a, b, FRAMES * TINY_RGB) != 0);
    }
    free(a), free(b);
    lt_engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(history_repeats, open_network, close_network),
        cmocka_unit_test_setup_teardown(other_forms, open_network, close_network),
        cmocka_unit_test(whatever_the_speed),
        cmocka_unit_test(asked_again),
        cmocka_unit_test(many_anchors),
        cmocka_unit_test(then_another_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
