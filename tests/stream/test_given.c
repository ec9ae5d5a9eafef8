/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_given.c - streams that start from pictures: clamped first frames and prefilled
 * caches, on the level of latents (lti_take) and of frames (lt_stream), on the model of tests/tiny.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "pipeline/engine.h"
#include "pipeline/given.h"
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"

enum { CHUNK = 3, CHUNKS = 7, C = 16, SIDE = 4, FRAME = C * SIDE * SIDE };

static lt_engine *engine; /* with the encoder */

static int open_engine(void **state) {
    (void)state;
    lt_engine_params p;
    lt_error err = {0};
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.backend = fast_backend();
    p.threads = 1;
    p.dtype = LT_DTYPE_F32;
    p.parts = LT_PART_DIT | LT_PART_TEXT | LT_PART_VAE | LT_PART_ENCODER;
    if (lt_engine_open(&p, &engine, &err) != LT_OK) fail_msg("%s", err.msg);
    return 0;
}

static int close_engine(void **state) {
    (void)state;
    lt_engine_close(&engine);
    return 0;
}

/* ---- latents -----------------------------------------------------------------------------------
 */

static lti_take_config take_config(bool rolling, lti_policy policy) {
    static const double steps[2] = {1000, 500};
    lti_take_config c = {.h = SIDE,
                         .w = SIDE,
                         .chunk = CHUNK,
                         .window = policy == LTI_POLICY_EMA ? CHUNK : 4,
                         .sink = policy == LTI_POLICY_NONE ? 0 : 3,
                         .policy = policy,
                         .ema = 0.9f,
                         .deep_budget = 8,
                         .deep_recent = 4,
                         .rolling = rolling,
                         .n_chunk = CHUNKS,
                         .seed = 9,
                         .lerp = 1,
                         .dtype = LTI_F32};
    assert_int_equal(lti_schedule_init(&c.schedule, steps, 2, 5, NULL), LT_OK);
    c.first = c.schedule;
    return c;
}

static void random_fill(float *x, int64_t n, uint64_t seed) { lti_randn(x, n, seed, 0, 0); }

/* Chunks from the first that comes to the end, at their place in out [CHUNKS * CHUNK, FRAME].
 * Returns how many came. */
static int run_take(const lti_take_config *c, float *out) {
    const lti_dit_config *m = lti_dit_get_config(engine->dit);
    lti_dev *d = NULL;
    lti_take *t = NULL;
    lt_error err = {0};
    float *text = malloc((size_t)m->text_len * (size_t)m->text_dim * sizeof *text);
    random_fill(text, (int64_t)m->text_len * m->text_dim, 77);
    assert_int_equal(lti_engine_dev(engine, 1, &d, &err), LT_OK);
    if (lti_take_open(d, engine->dit, c, text, &t, &err) != LT_OK) fail_msg("%s", err.msg);
    int n = 0;
    lt_status st;
    float *at = out + (c->clamp ? 0 : c->n_given * FRAME);
    for (; n < CHUNKS && (st = lti_take_next(t, at + n * CHUNK * FRAME, &err)) == LT_OK;) n++;
    float extra[CHUNK * FRAME];
    assert_int_equal(lti_take_next(t, extra, &err), LT_END);
    lti_take_close(&t);
    lti_dev_close(&d);
    free(text);
    return n;
}

/* Cut anywhere and continued from its own latents, a take is what it would have been: bit by bit,
 * since the cache is filled by the same passes. */
static void prefill_continues(void **state) {
    (void)state;
    static float whole[CHUNKS * CHUNK * FRAME], rest[CHUNKS * CHUNK * FRAME];
    const lti_policy policy[] = {LTI_POLICY_NONE, LTI_POLICY_ABSOLUTE, LTI_POLICY_SLOT,
                                 LTI_POLICY_REALIGN, LTI_POLICY_EMA};
    for (size_t i = 0; i < sizeof policy / sizeof *policy; i++) {
        lti_take_config c = take_config(false, policy[i]);
        assert_int_equal(run_take(&c, whole), CHUNKS);
        for (int k = 1; k < CHUNKS; k += 2) {
            c.given = whole;
            c.n_given = k * CHUNK;
            assert_int_equal(run_take(&c, rest), CHUNKS - k);
            const size_t from = (size_t)k * CHUNK * FRAME;
            if (memcmp(whole + from, rest + from, (CHUNKS * CHUNK * FRAME - from) * 4) != 0)
                fail_msg("policy %d, cut after %d chunks: other latents", (int)policy[i], k);
        }
    }
}

/* The given latents are also what a change of prompt recaches. */
static void prefill_remembers(void **state) {
    (void)state;
    static float whole[CHUNKS * CHUNK * FRAME], rest[CHUNKS * CHUNK * FRAME];
    const int dim = lti_dit_get_config(engine->dit)->text_dim;
    float *text = malloc((size_t)dim * sizeof *text);
    random_fill(text, dim, 5);
    const lti_prompt later = {.chunk = 4, .text = text, .n = 1};
    lti_take_config c = take_config(false, LTI_POLICY_SLOT);
    c.prompt = &later;
    c.n_prompt = 1;
    c.on_switch = LTI_SWITCH_RECACHE;
    assert_int_equal(run_take(&c, whole), CHUNKS);
    for (int k = 1; k <= 4; k++) {
        c.given = whole;
        c.n_given = k * CHUNK;
        assert_int_equal(run_take(&c, rest), CHUNKS - k);
        const size_t from = (size_t)k * CHUNK * FRAME;
        assert_memory_equal(whole + from, rest + from, (CHUNKS * CHUNK * FRAME - from) * 4);
    }
    free(text);
}

/* Two policies where the past is more than clean passes: what is in flight (rolling), and which
 * tokens were asked for (deep). They must go on, from the same noise, and listen to the past. */
static void prefill_runs_everywhere(void **state) {
    (void)state;
    static float whole[CHUNKS * CHUNK * FRAME], a[CHUNKS * CHUNK * FRAME],
        b[CHUNKS * CHUNK * FRAME], other[CHUNKS * CHUNK * FRAME];
    for (int deep = 0; deep < 2; deep++) {
        lti_take_config c = take_config(!deep, deep ? LTI_POLICY_DEEP : LTI_POLICY_SLOT);
        assert_int_equal(run_take(&c, whole), CHUNKS);
        for (int k = 1; k < CHUNKS; k++) {
            const size_t from = (size_t)k * CHUNK * FRAME;
            const size_t bytes = (CHUNKS * CHUNK * FRAME - from) * sizeof(float);
            c.given = whole;
            c.n_given = k * CHUNK;
            assert_int_equal(run_take(&c, a), CHUNKS - k);
            assert_int_equal(run_take(&c, b), CHUNKS - k);
            assert_memory_equal(a + from, b + from, bytes);
            random_fill(other, k * CHUNK * FRAME, 3);
            c.given = other;
            assert_int_equal(run_take(&c, b), CHUNKS - k);
            assert_true(memcmp(a + from, b + from, bytes) != 0);
            const lti_diff e = lti_compare_f32(a + from, b + from, (int64_t)(bytes / 4));
            assert_true(e.finite);
        }
    }
}

static void clamp_keeps_the_frames(void **state) {
    (void)state;
    static float free_run[CHUNKS * CHUNK * FRAME], a[CHUNKS * CHUNK * FRAME],
        b[CHUNKS * CHUNK * FRAME];
    float given[2 * FRAME];
    for (int rolling = 0; rolling < 2; rolling++)
        for (int n = 1; n <= 2; n++) {
            lti_take_config c = take_config(rolling, LTI_POLICY_SLOT);
            assert_int_equal(run_take(&c, free_run), CHUNKS);
            random_fill(given, n * FRAME, 21);
            c.given = given;
            c.n_given = n;
            c.clamp = true;
            assert_int_equal(run_take(&c, a), CHUNKS);
            assert_memory_equal(a, given, (size_t)n * FRAME * sizeof(float));
            for (int f = n; f < CHUNKS * CHUNK; f++) /* all others listen to it */
                assert_memory_not_equal(a + f * FRAME, free_run + f * FRAME, FRAME * sizeof(float));
            given[0] += 1;
            assert_int_equal(run_take(&c, b), CHUNKS);
            assert_memory_not_equal(a + n * FRAME, b + n * FRAME, FRAME * sizeof(float));
        }
}

/* One step by hand: the network reads the clamped frame at t = 0, the others at theirs. */
static void clamp_is_clean_to_the_network(void **state) {
    (void)state;
    static float got[CHUNKS * CHUNK * FRAME];
    float given[FRAME], x[CHUNK * FRAME], flow[CHUNK * FRAME];
    const lti_dit_config *m = lti_dit_get_config(engine->dit);
    lti_take_config c = take_config(false, LTI_POLICY_NONE);
    random_fill(given, FRAME, 21);
    assert_int_equal(lti_schedule_init(&c.schedule, (double[]){800}, 1, 5, NULL), LT_OK);
    c.first = c.schedule;
    c.given = given;
    c.n_given = 1;
    c.clamp = true;
    assert_int_equal(run_take(&c, got), CHUNKS);
    memcpy(x, given, sizeof given);
    for (int f = 1; f < CHUNK; f++) lti_randn(x + f * FRAME, FRAME, c.seed, (uint64_t)f, 0);
    lti_dev *d = NULL;
    lti_text_kv *kv = NULL;
    lti_arena work = {0};
    float *text = malloc((size_t)m->text_len * (size_t)m->text_dim * sizeof *text);
    random_fill(text, (int64_t)m->text_len * m->text_dim, 77);
    assert_int_equal(lti_engine_dev(engine, 1, &d, NULL), LT_OK);
    assert_int_equal(lti_text_kv_open(d, engine->dit, &kv, NULL), LT_OK);
    const float t[CHUNK] = {0, c.schedule.t[0], c.schedule.t[0]};
    const lti_dit_pass p = {.x = LTI_VIEW(x, LTI_F32, CHUNK, C, SIDE, SIDE),
                            .t = t,
                            .text = kv,
                            .out = LTI_VIEW(flow, LTI_F32, CHUNK, C, SIDE, SIDE)};
    for (int run = 0; run < 2; run++) {
        d->measuring = run == 0;
        lti_text_kv_set(kv, d, engine->dit, &work, text);
        assert_int_equal(lti_dit_forward(engine->dit, d, &work, &p), LT_OK);
        if (run == 0) work = (lti_arena){.base = d->ops.alloc(d, work.peak), .cap = work.peak};
    }
    for (int i = FRAME; i < CHUNK * FRAME; i++) x[i] -= c.schedule.sigma[0] * flow[i];
    const lti_diff e = lti_compare_f32(got, x, CHUNK * FRAME);
    if (!e.finite || e.rel > 1e-5) fail_msg("relative error %g", e.rel);
    d->ops.free(d, work.base);
    lti_text_kv_close(d, &kv);
    lti_dev_close(&d);
    free(text);
}

/* ---- frames ------------------------------------------------------------------------------------
 */

enum { PICTURE = TINY_RGB, MOST = 64 };

static void paint(uint8_t *rgb, int64_t n) {
    for (int64_t i = 0; i < n * PICTURE; i++)
        rgb[i] = (uint8_t)(128 + 100 * ((i / 3 / 8 + i / PICTURE) % 2) - (i % 3) * 30);
}

/* What the stream should show: encode, take, decode, by hand. Returns how many pictures. */
static int by_hand(const lt_stream_params *p, uint8_t *rgb) {
    static float latent[CHUNKS * CHUNK * FRAME];
    lti_plan plan;
    lti_dev *d = NULL;
    lti_decoder *dec = NULL;
    lt_error err = {0};
    lti_text_rows rows = {0};
    lti_take *t = NULL;
    float *given = NULL;
    assert_int_equal(lti_plan_make(engine, p, &plan, &err), LT_OK);
    assert_int_equal(lti_given_encode(engine, &plan, p->init_rgb, &given, &err), LT_OK);
    assert_int_equal(lti_engine_dev(engine, 1, &d, &err), LT_OK);
    assert_int_equal(lti_text_encode(engine->text, d, p->prompt, &rows, &err), LT_OK);
    lti_take_config c = plan.take;
    c.given = given;
    assert_int_equal(lti_take_open(d, engine->dit, &c, rows.rows, &t, &err), LT_OK);
    int n = 0;
    if (!c.clamp) {
        memcpy(latent, given, (size_t)c.n_given * FRAME * sizeof *latent);
        n = (int)c.n_given;
    }
    for (; lti_take_next(t, latent + n * FRAME, &err) == LT_OK;) n += CHUNK;
    assert_int_equal(lti_decoder_open(d, engine->vae, NULL, SIDE, SIDE, &dec, &err), LT_OK);
    lti_seam seam = {0};
    if (!c.clamp)
        assert_int_equal(
            lti_seam_open(&seam, p->init_rgb + (p->n_init - 1) * PICTURE, PICTURE, &err), LT_OK);
    int64_t done = 0;
    for (int f = 0; f < n; f++) {
        lti_tensor out, out8 = LTI_VIEW(rgb + done * PICTURE, LTI_U8, 4, 8 * SIDE, 8 * SIDE, 3);
        const int k = lti_decode(dec, latent + f * FRAME, &out);
        lti_to_rgb8(d, out, lti_rows(out8, 0, k));
        done += k;
        if (!c.clamp && done == p->n_init) lti_seam_decoded(&seam, rgb + (done - 1) * PICTURE);
        for (int64_t i = done - k; !c.clamp && i >= p->n_init && i < done; i++)
            lti_seam_apply(&seam, i - p->n_init, rgb + i * PICTURE);
    }
    lti_seam_close(&seam);
    lti_decoder_close(&dec);
    lti_take_close(&t);
    lti_text_rows_free(&rows);
    lti_dev_close(&d);
    free(given);
    return (int)done;
}

static void stream_starts_from_pictures(void **state) {
    (void)state;
    static uint8_t pictures[21 * PICTURE], want[4 * CHUNKS * CHUNK * PICTURE];
    paint(pictures, 21);
    const struct {
        int64_t n;
        int mode, how;
    } k[] = {{1, LT_MODE_CHUNK, LT_INIT_CLAMP},    {1, LT_MODE_ROLLING, LT_INIT_CLAMP},
             {5, LT_MODE_CHUNK, LT_INIT_CLAMP},    {9, LT_MODE_CHUNK, LT_INIT_PREFILL},
             {21, LT_MODE_CHUNK, LT_INIT_PREFILL}, {9, LT_MODE_ROLLING, LT_INIT_PREFILL}};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        lt_stream_params p = tiny_params(17);
        p.mode = k[i].mode;
        p.init_rgb = pictures;
        p.n_init = k[i].n;
        p.init_mode = k[i].n == 5 ? LT_INIT_CLAMP : LT_INIT_DEFAULT;
        const int first = k[i].how == LT_INIT_PREFILL ? (int)k[i].n : 0;
        const int made = by_hand(&p, want);
        assert_true(made >= first + 17 && made <= 4 * CHUNKS * CHUNK);
        lt_stream *s = NULL;
        lt_stream_info info;
        lt_frame f;
        assert_int_equal(lt_stream_open(engine, &p, &s, NULL), LT_OK);
        lt_stream_get_info(s, &info, sizeof info);
        assert_int_equal(info.init_mode, k[i].how);
        assert_int_equal(info.first, first);
        for (int n = first; n < first + 17; n++) {
            assert_int_equal(lt_stream_next(s, &f), LT_OK);
            assert_int_equal(f.index, n);
            assert_int_equal(f.chunk, n < 9 ? 0 : 1 + (n - 9) / 12);
            assert_memory_equal(f.rgb, want + n * PICTURE, PICTURE);
            lt_frame_release(&f);
        }
        assert_int_equal(lt_stream_next(s, &f), LT_END);
        lt_stream_close(&s);
    }
}

/* What the decoder loses of the last picture is given back to the first new frames, fading. */
static void seam_fades(void **state) {
    (void)state;
    const uint8_t last[4] = {100, 200, 0, 255}, decoded[4] = {91, 209, 9, 246};
    lti_seam s = {0};
    assert_int_equal(lti_seam_open(&s, last, 4, NULL), LT_OK);
    lti_seam_decoded(&s, decoded);
    for (int f = 0; f < LTI_SEAM_FRAMES + 2; f++) {
        const int by = f < LTI_SEAM_FRAMES ? LTI_SEAM_FRAMES - f : 0;
        uint8_t rgb[4] = {91, 209, 5, 250};
        lti_seam_apply(&s, f, rgb);
        assert_int_equal(rgb[0], 91 + by);
        assert_int_equal(rgb[1], 209 - by);
        assert_int_equal(rgb[2], by < 5 ? 5 - by : 0);
        assert_int_equal(rgb[3], by < 5 ? 250 + by : 255);
    }
    lti_seam_close(&s);
    lti_seam_apply(&s, 0, NULL); /* nothing to do */
}

/* The memory of a stream does not depend on what it starts from. */
static void same_memory(void **state) {
    (void)state;
    static uint8_t pictures[21 * PICTURE];
    paint(pictures, 21);
    uint64_t bytes[3];
    for (int i = 0; i < 3; i++) {
        lt_stream_params p = tiny_params(0);
        p.init_rgb = pictures;
        p.n_init = i == 0 ? 0 : i == 1 ? 1 : 21;
        lt_stream *s = NULL;
        lt_stream_info info;
        assert_int_equal(lt_stream_open(engine, &p, &s, NULL), LT_OK);
        lt_stream_get_info(s, &info, sizeof info);
        bytes[i] = info.state_bytes + info.work_bytes;
        lt_frame f;
        for (int n = 0; n < 5; n++) { /* and it can be left at any time */
            assert_int_equal(lt_stream_next(s, &f), LT_OK);
            lt_frame_release(&f);
        }
        lt_stream_close(&s);
    }
    assert_true(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

static void bad_pictures(void **state) {
    (void)state;
    static uint8_t pictures[21 * PICTURE];
    const struct {
        int64_t n;
        int mode;
        const char *word;
    } k[] = {{2, 0, "expected 1, 5, 9"},
             {-1, 0, "n_init"},
             {0, LT_INIT_CLAMP, "n_init"},
             {1, 3, "init_mode"},
             {1, LT_INIT_PREFILL, "whole chunks"},
             {13, 0, "whole chunks"},
             {9, LT_INIT_CLAMP, "nothing to make"},
             {1 << 20 | 1, 0, "at most"}};
    for (size_t i = 0; i <= sizeof k / sizeof *k; i++) {
        const bool null = i == sizeof k / sizeof *k;
        lt_stream_params p = tiny_params(17);
        lt_error err = {0};
        lt_stream *s = NULL;
        p.init_rgb = null ? NULL : pictures;
        p.n_init = null ? 1 : k[i].n;
        p.init_mode = null ? 0 : k[i].mode;
        assert_int_equal(lt_stream_open(engine, &p, &s, &err), LT_EINVAL);
        if (!strstr(err.msg, null ? "n_init" : k[i].word)) fail_msg("%s", err.msg);
    }
    lt_engine *plain = NULL;
    lt_error err = {0};
    lt_stream *s = NULL;
    lt_stream_params p = tiny_params(17);
    p.init_rgb = pictures;
    p.n_init = 1;
    assert_int_equal(tiny_engine(fast_backend(), 1, &plain, &err), LT_OK);
    assert_int_equal(lt_stream_open(plain, &p, &s, &err), LT_EINVAL);
    assert_non_null(strstr(err.msg, "LT_PART_ENCODER"));
    lt_engine_close(&plain);
}

/* The caller's word goes first, then the model's where the pictures allow it. */
static void model_says_how(void **state) {
    (void)state;
    static uint8_t pictures[9 * PICTURE];
    enum { NO = LT_INIT_DEFAULT, CL = LT_INIT_CLAMP, PF = LT_INIT_PREFILL, REFUSED = -1 };
    const struct {
        int model, asked, n, chunk, how;
    } k[] = {{NO, NO, 1, 3, CL}, {NO, NO, 1, 1, PF},      {NO, NO, 5, 3, REFUSED},
             {NO, NO, 9, 3, PF}, {CL, NO, 1, 3, CL},      {CL, NO, 1, 1, PF},
             {CL, NO, 5, 3, CL}, {CL, NO, 9, 3, PF},      {PF, NO, 1, 1, PF},
             {PF, NO, 9, 3, PF}, {PF, NO, 1, 3, REFUSED}, {PF, CL, 1, 3, CL},
             {CL, PF, 9, 3, PF}, {CL, PF, 1, 3, REFUSED}};
    const int32_t before = engine->info.init_mode;
    assert_int_equal(before, LT_INIT_DEFAULT);
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        lt_stream_params p = tiny_params(17);
        lti_plan plan;
        p.init_rgb = pictures;
        p.n_init = k[i].n;
        p.init_mode = k[i].asked;
        p.chunk = k[i].chunk;
        engine->info.init_mode = k[i].model;
        const lt_status st = lti_plan_make(engine, &p, &plan, NULL);
        const int how = st < 0 ? REFUSED : plan.take.clamp ? CL : PF;
        if (how != k[i].how) fail_msg("row %zu: %d, expected %d", i, how, k[i].how);
    }
    engine->info.init_mode = before;
}

/* Later prompts count from the first new frame on. */
static void prompts_behind_the_past(void **state) {
    (void)state;
    static uint8_t pictures[21 * PICTURE];
    const lt_prompt later[] = {
        {.text = "a", .frame = 1}, {.text = "b", .frame = 12}, {.text = "c", .frame = 13}};
    lt_stream_params p = tiny_params(40);
    lti_plan plan;
    p.init_rgb = pictures;
    p.n_init = 21; /* 6 latent frames, 2 chunks */
    p.prompts = later;
    p.n_prompts = 3;
    assert_int_equal(lti_plan_make(engine, &p, &plan, NULL), LT_OK);
    assert_int_equal(plan.take.n_chunk, 6); /* 61 pictures are 16 latent frames */
    assert_int_equal(plan.prompt[0].chunk, 3);
    assert_int_equal(plan.prompt[1].chunk, 3);
    assert_int_equal(plan.prompt[2].chunk, 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(prefill_continues),
                                       cmocka_unit_test(prefill_runs_everywhere),
                                       cmocka_unit_test(prefill_remembers),
                                       cmocka_unit_test(clamp_is_clean_to_the_network),
                                       cmocka_unit_test(clamp_keeps_the_frames),
                                       cmocka_unit_test(stream_starts_from_pictures),
                                       cmocka_unit_test(seam_fades),
                                       cmocka_unit_test(same_memory),
                                       cmocka_unit_test(bad_pictures),
                                       cmocka_unit_test(model_says_how),
                                       cmocka_unit_test(prompts_behind_the_past)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
