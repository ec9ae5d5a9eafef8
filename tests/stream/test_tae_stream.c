/* SPDX-License-Identifier: Apache-2.0
 * tests/stream/test_tae_stream.c - a stream that decodes with a small autoencoder instead of the
 * VAE: the very pictures that its latents give when decoded in one go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above */
#include <cmocka.h>
#include "base/error.h"
#include "pipeline/engine.h"
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"

#define TAE LT_SOURCE_DIR "/tests/golden/tae/tiny.safetensors"
enum { CHUNKS = 3, LATENTS = 3 * CHUNKS, FRAMES = 1 + 4 * (LATENTS - 1) };

static lt_engine *open_engine(const char *tae, int parts) {
    lt_engine *e = NULL;
    lt_error err = {0};
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.backend = fast_backend();
    p.threads = 2;
    p.tae_path = tae;
    p.parts = parts;
    if (lt_engine_open(&p, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    return e;
}

/* The latents of tiny_params(FRAMES), from the chunk loop alone. */
static void latents_of(lt_engine *e, lti_dev *d, float *out, lti_plan *plan) {
    lt_error err = {0};
    lt_stream_params sp = tiny_params(FRAMES), full;
    lti_text_rows text = {0};
    lti_take *take = NULL;
    lti_stream_params_read(&full, &sp);
    assert_int_equal(lti_plan_make(e, &full, plan, &err), LT_OK);
    assert_int_equal(plan->take.chunk, 3);
    assert_int_equal(lti_text_encode(e->text, d, sp.prompt, &text, &err), LT_OK);
    assert_int_equal(lti_take_open(d, e->dit, &plan->take, text.rows, &take, &err), LT_OK);
    for (int i = 0; i < CHUNKS; i++)
        assert_int_equal(lti_take_next(take, out + i * 3 * 16 * 4 * 4, &err), LT_OK);
    lti_take_close(&take);
    lti_text_rows_free(&text);
}

static void chunks_equal_the_whole(void **state) {
    (void)state;
    lt_error err = {0};
    lt_engine *e = open_engine(TAE, 0);
    assert_non_null(e->tae);
    assert_null(e->vae);
    lti_dev *d = NULL;
    lti_decoder *decoder = NULL;
    lti_plan plan;
    float *z = calloc(LATENTS, 16 * 4 * 4 * sizeof *z);
    uint8_t *want = calloc(FRAMES + 4, TINY_RGB), *got = calloc(FRAMES, TINY_RGB);
    assert_int_equal(lti_engine_dev(e, 0, &d, &err), LT_OK);
    latents_of(e, d, z, &plan);
    assert_int_equal(lti_decoder_open(d, NULL, e->tae, 4, 4, &decoder, &err), LT_OK);
    int64_t done = 0;
    for (int i = 0; i < LATENTS; i++) {
        lti_tensor rgb;
        int n = lti_decode(decoder, z + i * 16 * 4 * 4, &rgb);
        lti_to_rgb8(d, rgb, LTI_VIEW(want + done * TINY_RGB, LTI_U8, n, 32, 32, 3));
        done += n;
    }
    assert_int_equal(done, FRAMES);
    lt_stream_params sp = tiny_params(FRAMES);
    assert_int_equal(tiny_collect(e, &sp, got, FRAMES), FRAMES);
    assert_memory_equal(got, want, FRAMES * TINY_RGB);
    int differ = 0; /* the pictures are not flat or all alike */
    for (int i = 0; i < TINY_RGB; i++) differ += got[i] != got[(FRAMES - 1) * TINY_RGB + i];
    assert_true(differ > TINY_RGB / 4);
    lti_decoder_close(&decoder);
    lti_dev_close(&d);
    free(z), free(want), free(got);
    lt_engine_close(&e);
}

static void it_is_not_the_vae(void **state) {
    (void)state;
    lt_engine *vae = open_engine(NULL, 0), *tae = open_engine(TAE, 0);
    uint8_t *a = calloc(9, TINY_RGB), *b = calloc(9, TINY_RGB);
    lt_stream_params sp = tiny_params(9);
    assert_int_equal(tiny_collect(vae, &sp, a, 9), 9);
    assert_int_equal(tiny_collect(tae, &sp, b, 9), 9);
    assert_memory_not_equal(a, b, 9 * TINY_RGB);
    free(a), free(b);
    lt_engine_close(&vae);
    lt_engine_close(&tae);
}

static void refuses(void **state) {
    (void)state;
    lt_error err = {0};
    lt_engine *e = NULL;
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = TINY;
    p.tae_path = TINY "/no such file";
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "no such file"));
    err = (lt_error){0};
    p.tae_path = TINY "/vae"; /* a VAE is not a TAE */
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_EFORMAT);
    if (!strstr(err.msg, "decoder.1.weight")) fail_msg("%s", err.msg);
    err = (lt_error){0};
    p.tae_path = NULL;
    p.parts = LT_PART_TAE;
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_EINVAL);
    assert_non_null(strstr(err.msg, "--tae"));
    assert_null(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_equal_the_whole),
        cmocka_unit_test(it_is_not_the_vae),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("stream tae", tests, NULL, NULL);
}
