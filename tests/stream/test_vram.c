/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_vram.c - the memory of a card: what lies there is counted against it, the rest
 * against the host's. For a backend with a card (LT_BACKEND), on the model of tests/tiny. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "pipeline/budget.h"
#include "tests/fast_backend.h"
#include "tests/stream/budget_rig.h"
#include "text/umt5.h"

static lt_engine_params params(void) {
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.backend = fast_backend();
    p.threads = 1;
    return p;
}

static lti_memory plan_ok(lt_engine *e, lti_plan *plan) {
    const lt_stream_params sp = tiny_params(20);
    lti_memory m;
    assert_int_equal(lti_plan_make(e, &sp, plan, NULL), LT_OK);
    assert_int_equal(lti_budget_stream(e, plan, &m, NULL), LT_OK);
    return m;
}

static void expect_words(const lt_error *err, const char *const *words) {
    for (; *words; words++)
        if (!strstr(err->msg, *words)) fail_msg("no \"%s\" in: %s", *words, err->msg);
}

/* A stream under limits of the card and of the host, in bytes; 0: none. */
static lt_status try_limits(size_t card, size_t host, lt_error *err) {
    lt_engine_params p = params();
    p.max_vram_gib = (double)card / GIB;
    p.max_ram_gib = (double)host / GIB;
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    const lt_stream_params sp = tiny_params(20);
    lt_status st = lt_engine_open(&p, &e, err);
    if (st == LT_OK) st = lt_stream_open(e, &sp, &s, err);
    lt_stream_close(&s);
    lt_engine_close(&e);
    return st;
}

static void two_sums(void **state) {
    (void)state;
    static const char *const of_card[] = {"--max-vram allows", "of the card", "frame cache",
                                          "VAE state",         "use ",        NULL};
    static const char *const of_host[] = {"--max-ram allows", "beside the card", "frames", NULL};
    const lt_engine_params p = params();
    lti_plan plan;
    lt_error err = {0};
    lt_engine *e = open_ok(&p);
    const lti_memory m = plan_ok(e, &plan);
    lt_engine_close(&e);
    const size_t host = m.frames, card = lti_memory_total(&m) - host;
    assert_true(host > 0 && card > host);
    assert_int_equal(try_limits(card, host, &err), LT_OK);
    assert_int_equal(try_limits(card - 1, host, &err), LT_ENOMEM);
    expect_words(&err, of_card);
    err = (lt_error){0};
    assert_int_equal(try_limits(card, host - 1, &err), LT_ENOMEM);
    expect_words(&err, of_host);
    assert_int_equal(try_limits(0, 0, &err), LT_OK);
}

/* Where not all weights fit on the card, the text encoder is read layer by layer. */
static void text_is_streamed_to_fit(void **state) {
    (void)state;
    static const char *const words[] = {"loading needs", "of the card", "--max-vram",
                                        "diffusion weights", NULL};
    lt_engine_params p = params();
    lt_engine *e = open_ok(&p);
    assert_false(lti_text_streamed(e->text));
    const size_t all = lti_memory_total(&e->memory);
    lt_engine_close(&e);
    p.max_vram_gib = (double)(all - 1) / GIB;
    e = open_ok(&p);
    assert_true(lti_text_streamed(e->text));
    lt_engine_close(&e);
    p.keep_text = 1;
    lt_error err = {0};
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_ENOMEM);
    expect_words(&err, words);
}

/* No limit given: what the card has free. */
static void far_too_much(void **state) {
    (void)state;
    static const char *const words[] = {"still to take", "free on the card", "--window", NULL};
    const lt_engine_params p = params();
    lt_engine *e = open_ok(&p);
    lt_stream_params sp = tiny_params(20);
    lt_stream *s = NULL;
    lt_error err = {0};
    sp.width = sp.height = 8192;
    sp.window = 4095;
    assert_int_equal(lt_stream_open(e, &sp, &s, &err), LT_ENOMEM);
    expect_words(&err, words);
    lt_engine_close(&e);
}

static void card_answers(void **state) {
    (void)state;
    const size_t piece = (size_t)64 << 20;
    lti_dev *d = NULL;
    size_t before, after, all, all_then;
    assert_int_equal(lti_dev_open(fast_backend(), 1, NULL, &d, NULL), LT_OK);
    d->ops.memory(d, &before, &all);
    assert_true(before > piece && before <= all && all < SIZE_MAX);
    void *p = d->ops.alloc(d, piece);
    assert_non_null(p);
    d->ops.memory(d, &after, &all_then);
    assert_true(all_then == all && after <= before - piece);
    d->ops.free(d, p);
    lti_dev_close(&d);
}

static void no_card_no_limit(void **state) {
    (void)state;
    lt_engine *e = NULL;
    lt_error err = {0};
    lt_engine_params p = params();
    p.backend = "ref";
    p.max_vram_gib = 1;
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_EINVAL);
    assert_non_null(strstr(err.msg, "--max-ram"));
    p.struct_size = offsetof(lt_engine_params, max_vram_gib); /* an older caller */
    e = open_ok(&p);
    lt_engine_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sums),         cmocka_unit_test(text_is_streamed_to_fit),
        cmocka_unit_test(far_too_much),     cmocka_unit_test(card_answers),
        cmocka_unit_test(no_card_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
