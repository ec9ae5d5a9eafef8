/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_budget.c - the memory that is promised at the start against what is really
 * taken, and limits just below and just above it; on the model of tests/tiny. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "pipeline/budget.h"
#include "tests/stream/budget_rig.h"
#include "text/umt5.h"

static lt_engine_params params(const char *backend, int dtype) {
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.backend = backend;
    p.dtype = dtype;
    p.threads = 1;
    return p;
}

static lt_status try_stream(lt_engine *e, const lt_stream_params *sp, lt_stream_info *info,
                            lt_error *err) {
    lt_stream *s = NULL;
    lt_status st = lt_stream_open(e, sp, &s, err);
    if (st == LT_OK && info) lt_stream_get_info(s, info, sizeof *info);
    lt_stream_close(&s);
    return st;
}

/* ---- a device that remembers what it gave ------------------------------------------------------
 */

static const lti_ops *real;
static size_t given; /* and not given back */
static size_t most;  /* of it at once */
static struct {
    void *at;
    size_t bytes;
} piece[4096];
static int n_piece;

static void *count_alloc(lti_dev *d, size_t bytes) {
    assert_true(n_piece < 4096);
    given += bytes;
    if (given > most) most = given;
    piece[n_piece].bytes = bytes;
    return piece[n_piece++].at = real->alloc(d, bytes);
}

static void count_free(lti_dev *d, void *p) {
    for (int i = 0; i < n_piece; i++)
        if (p && piece[i].at == p) {
            given -= piece[i].bytes;
            piece[i].at = NULL;
        }
    real->free(d, p);
}

static lti_packed *count_linear(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype t,
                                lt_error *err) {
    lti_packed *p = real->pack_linear(d, w, b, t, err);
    given += p->bytes + (b && real == &lti_ops_cpu ? (size_t)lti_numel(b) * 4 : 0);
    return p;
}

static lti_packed *count_conv(lti_dev *d, const lti_tensor *w, const lti_tensor *b, lti_dtype t,
                              lt_error *err) {
    lti_packed *p = real->pack_conv(d, w, b, t, err);
    given += p->bytes + (b && real == &lti_ops_cpu ? (size_t)lti_numel(b) * 4 : 0);
    return p;
}

static lti_dev *counting_dev(const lti_ops *ops) {
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open(ops->name, 1, NULL, &d, NULL), LT_OK);
    real = ops;
    given = most = 0;
    n_piece = 0;
    d->ops.alloc = count_alloc;
    d->ops.free = count_free;
    d->ops.pack_linear = count_linear;
    d->ops.pack_conv = count_conv;
    return d;
}

static void near(const char *what, size_t promised, size_t taken) {
    const double off = (double)promised / (double)taken - 1;
    if (taken == 0 || fabs(off) > 0.05)
        fail_msg("%s: promised %zu, taken %zu", what, promised, taken);
}

/* ---- tests -------------------------------------------------------------------------------------
 */

static void check_weights(const lti_ops *ops, int dtype) {
    lt_engine_params p = params(ops->name, dtype);
    p.parts = LT_PART_DIT | LT_PART_TEXT | LT_PART_VAE | LT_PART_ENCODER;
    p.keep_text = 1;
    lt_engine *e = open_ok(&p);
    lti_dev *d = counting_dev(ops);
    lti_dit *dit = NULL;
    lti_vae *vae = NULL;
    lti_vae_encoder *encoder = NULL;
    lti_text *text = NULL;
    cJSON *json = NULL;
    assert_int_equal(lti_json_load(TINY "/transformer/config.json", 1 << 16, &json, NULL), LT_OK);
    assert_int_equal(lti_dit_open(d, e->w_dit, json, e->compute, &dit, NULL), LT_OK);
    cJSON_Delete(json);
    near("dit", e->memory.dit, given);
    given = 0;
    assert_int_equal(lti_vae_open(d, e->w_vae, NULL, e->compute, &vae, NULL), LT_OK);
    assert_int_equal(lti_vae_encoder_open(d, e->w_vae, NULL, e->compute, &encoder, NULL), LT_OK);
    near("vae", e->memory.vae, given);
    given = 0;
    const lti_text_options o = {.mode = LTI_TEXT_RESIDENT};
    assert_int_equal(lti_text_open_with(d, e->w_text, NULL, TINY "/tokenizer/spiece.model", 16,
                                        e->compute, &o, &text, NULL),
                     LT_OK);
    near("text", e->memory.text, given);
    lti_text_close(d, &text);
    lti_vae_encoder_close(d, &encoder);
    lti_vae_close(d, &vae);
    lti_dit_close(d, &dit);
    lti_dev_close(&d);
    lt_engine_close(&e);
}

static void weights_as_promised(void **state) {
    (void)state;
    check_weights(&lti_ops_ref, LT_DTYPE_F32);
    check_weights(&lti_ops_ref, LT_DTYPE_BF16);
    check_weights(&lti_ops_cpu, LT_DTYPE_F32);
    check_weights(&lti_ops_cpu, LT_DTYPE_BF16);
}

/* To the byte. */
static void check_stream(lt_engine *e, const lt_stream_params *sp) {
    lti_plan plan;
    lti_memory m;
    lti_take *take = NULL;
    lti_decoder *decoder = NULL;
    size_t state, work;
    assert_int_equal(lti_plan_make(e, sp, &plan, NULL), LT_OK);
    assert_int_equal(lti_budget_stream(e, &plan, &m, NULL), LT_OK);
    const lti_dit_config *c = lti_dit_get_config(e->dit);
    const size_t rows = (size_t)c->text_len * (size_t)c->text_dim * sizeof(float);
    float *text = calloc(1, rows);
    lti_dev *d = counting_dev(&lti_ops_cpu);
    assert_int_equal(lti_take_open(d, e->dit, &plan.take, text, &take, NULL), LT_OK);
    lti_take_bytes(take, &state, &work);
    assert_int_equal(m.activations, work);
    assert_true(m.cache >= state + rows);
    const size_t copies = plan.take.n_prompt ? 3 + (size_t)plan.take.n_prompt : 1;
    assert_int_equal(m.cache - copies * rows, given - work);
    const size_t before = given;
    assert_int_equal(lti_decoder_open(d, e->vae, NULL, plan.take.h, plan.take.w, &decoder, NULL),
                     LT_OK);
    assert_int_equal(m.vae_state, given - before);
    lti_decoder_close(&decoder);
    lti_take_close(&take);
    lti_dev_close(&d);
    free(text);
}

static void streams_as_promised(void **state) {
    (void)state;
    const lt_engine_params p = params("cpu", LT_DTYPE_F32);
    lt_engine *e = open_ok(&p);
    lt_stream_params sp = tiny_params(100);
    check_stream(e, &sp);
    sp.mode = LT_MODE_ROLLING;
    sp.width = 64;
    check_stream(e, &sp);
    const int32_t policy[] = {LT_SINK_NONE, LT_SINK_ABSOLUTE, LT_SINK_SLOT, LT_SINK_REALIGN};
    const lt_prompt later = {.text = "a blue ball", .frame = 50};
    for (int i = 0; i < 4; i++) {
        sp = tiny_params(100);
        sp.sink_policy = policy[i];
        sp.window = 9;
        sp.prompts = &later;
        sp.n_prompts = 1;
        sp.prompt_switch = i % 2 ? LT_SWITCH_RECACHE : LT_SWITCH_LERP;
        check_stream(e, &sp);
    }
    sp = tiny_params(100);
    sp.sink_policy = LT_SINK_DEEP;
    sp.chunk = 3, sp.window = 9, sp.sink = 6;
    check_stream(e, &sp);
    lt_engine_close(&e);
}

/* A prompt that is encoded, to the byte; the same for an encoder that is streamed. */
static void prompt_as_promised(void **state) {
    (void)state;
    static const char *const prompt[] = {"x", "a red ball bounces"};
    lt_engine_params p = params("cpu", LT_DTYPE_F32);
    lt_engine *e = open_ok(&p);
    p.max_ram_gib = (double)(lti_memory_total(&e->memory) - 1) / GIB;
    lt_engine *streamed = open_ok(&p);
    assert_true(lti_text_streamed(streamed->text) && !lti_text_streamed(e->text));
    for (int i = 0; i < 2; i++) {
        lti_memory m = {0}, same = {0};
        lti_text_rows rows;
        assert_int_equal(lti_count_text(e, prompt[i], &m, NULL), LT_OK);
        assert_int_equal(lti_count_text(streamed, prompt[i], &same, NULL), LT_OK);
        assert_int_equal(m.activations, same.activations);
        lti_dev *d = counting_dev(&lti_ops_cpu);
        assert_int_equal(lti_text_encode(e->text, d, prompt[i], &rows, NULL), LT_OK);
        const int64_t n = rows.n, bias = e->text->n_head * (n * n + 2 * n);
        const int64_t host = bias + e->info.text_len * lti_text_dim(e->text);
        assert_true(most > 0 && given == 0);
        assert_int_equal(m.activations, most + (size_t)host * sizeof(float));
        lti_text_rows_free(&rows);
        lti_dev_close(&d);
    }
    lt_engine_close(&streamed);
    lt_engine_close(&e);
}

static void just_below_and_just_above(void **state) {
    (void)state;
    lt_engine_params p = params("cpu", LT_DTYPE_F32);
    lt_engine *e = open_ok(&p);
    const lt_stream_params sp = tiny_params(20);
    lt_stream_info info;
    assert_int_equal(try_stream(e, &sp, &info, NULL), LT_OK);
    const uint64_t total = info.mem_dit + info.mem_text + info.mem_vae + info.mem_cache +
                           info.mem_activations + info.mem_vae_state + info.mem_frames;
    assert_true(info.mem_total == total && info.mem_frames >= 20 * TINY_RGB / 2);
    assert_true(info.state_bytes + info.work_bytes <=
                info.mem_cache + info.mem_activations + info.mem_vae_state);
    lt_engine_close(&e);

    for (int below = 0; below < 2; below++) {
        lt_error err = {0};
        p.max_ram_gib = (double)(total - (uint64_t)below) / GIB;
        e = open_ok(&p);
        assert_int_equal(try_stream(e, &sp, NULL, &err), below ? LT_ENOMEM : LT_OK);
        if (below) {
            const char *words[] = {"GiB", "--max-ram", "frame cache", "activations", "use "};
            for (size_t i = 0; i < 5; i++) assert_non_null(strstr(err.msg, words[i]));
            assert_true(strlen(err.msg) < 400);
        }
        lt_engine_close(&e);
    }
}

/* Where all of it does not fit, a text encoder that nobody asked to keep is streamed. */
static void text_is_streamed_to_fit(void **state) {
    (void)state;
    lt_error err = {0};
    lt_engine_params p = params("cpu", LT_DTYPE_F32);
    lt_engine *e = open_ok(&p);
    const lti_memory m = e->memory;
    const size_t all = lti_memory_total(&m);
    assert_false(lti_text_streamed(e->text));
    lt_engine_close(&e);

    p.max_ram_gib = (double)(all - 1) / GIB;
    e = open_ok(&p);
    assert_true(lti_text_streamed(e->text));
    assert_true(e->memory.text < m.text);
    const size_t least = lti_memory_total(&e->memory);
    lt_engine_close(&e);

    p.keep_text = 1;
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_ENOMEM);
    assert_null(e);
    p.keep_text = 0;
    p.max_ram_gib = (double)least / GIB;
    e = open_ok(&p);
    lt_engine_close(&e);
    p.max_ram_gib = (double)(least - 1) / GIB;
    err = (lt_error){0};
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_ENOMEM);
    assert_non_null(strstr(err.msg, "diffusion weights"));
}

/* Refused by counting alone: nothing of it is ever asked of the system. */
static void far_too_much(void **state) {
    (void)state;
    lt_error err = {0};
    lt_engine_params p = params("cpu", LT_DTYPE_F32);
    lt_stream_params sp = tiny_params(20);
    p.max_ram_gib = 1;
    lt_engine *e = open_ok(&p);
    sp.width = sp.height = 8192;
    sp.window = 4095;
    assert_int_equal(try_stream(e, &sp, NULL, &err), LT_ENOMEM);
    assert_non_null(strstr(err.msg, "--max-ram allows 1.000"));
    assert_non_null(strstr(err.msg, "--window"));
    lt_engine_close(&e);
    p.max_ram_gib = 0; /* what the machine has */
    e = open_ok(&p);
    err = (lt_error){0};
    assert_int_equal(try_stream(e, &sp, NULL, &err), LT_ENOMEM);
    assert_non_null(strstr(err.msg, "free here"));
    lt_engine_close(&e);
}

static void limits_that_are_none(void **state) {
    (void)state;
    const double bad[] = {-1, -1e-300, NAN, INFINITY, -INFINITY, 1e300, 1048577};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lt_engine *e = NULL;
        lt_error err = {0};
        lt_engine_params p = params("ref", LT_DTYPE_F32);
        p.max_ram_gib = bad[i];
        assert_int_equal(lt_engine_open(&p, &e, &err), LT_EINVAL);
        assert_non_null(strstr(err.msg, "max_ram_gib"));
    }
    lt_engine *e = NULL;
    lt_engine_params p = params("ref", LT_DTYPE_F32);
    p.max_ram_gib = 1e-30; /* a limit too */
    assert_int_equal(lt_engine_open(&p, &e, NULL), LT_ENOMEM);
    p.max_ram_gib = 1048576;
    e = open_ok(&p);
    lt_engine_close(&e);
    p.max_ram_gib = 1e-30;
    p.struct_size = offsetof(lt_engine_params, max_ram_gib); /* an older caller */
    e = open_ok(&p);
    lt_engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_as_promised),     cmocka_unit_test(streams_as_promised),
        cmocka_unit_test(prompt_as_promised),      cmocka_unit_test(just_below_and_just_above),
        cmocka_unit_test(text_is_streamed_to_fit), cmocka_unit_test(far_too_much),
        cmocka_unit_test(limits_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
