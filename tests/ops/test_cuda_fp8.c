/* SPDX-License-Identifier: Apache-2.0
 * 8-bit products in a whole network: the model in the box on the host's CUDA with a fake cuBLASLt,
 * one pass in bf16 and one with E4M3 blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/json.h"
#include "base/rng.h"
#include "dit/dit.h"
#include "tests/shim/fake_cublaslt.h"

#define DIR LT_SOURCE_DIR "/models/transformer"
enum { FRAMES = 2, H = 4, W = 4 };

/* One pass over random latents, [FRAMES, C, H, W] f32. */
static float *flow(lti_dtype compute, int64_t *n) {
    lti_dev *d = NULL;
    lti_weights *w = NULL;
    cJSON *json = NULL;
    lti_dit *dit = NULL;
    lti_text_kv *text = NULL;
    lt_error err = {0};
    if (lti_dev_open("cuda", 1, NULL, &d, &err) < 0) fail_msg("%s", err.msg);
    assert_true(d->fp8);
    assert_int_equal(lti_json_load(DIR "/config.json", 1 << 16, &json, NULL), LT_OK);
    lt_status st = lti_weights_open(DIR, LTI_PART_DIT, &w, &err);
    if (st == LT_OK) st = lti_dit_open(d, w, json, compute, &dit, &err);
    if (st == LT_OK) st = lti_text_kv_open(d, dit, &text, &err);
    if (st != LT_OK) fail_msg("%s", err.msg);
    const lti_dit_config *c = lti_dit_get_config(dit);
    const int64_t rows = (int64_t)c->text_len * c->text_dim;
    *n = (int64_t)FRAMES * c->in_ch * H * W;
    float *host = malloc(sizeof *host * (size_t)(rows > *n ? rows : *n));
    float t[FRAMES] = {900, 900};
    lti_tensor x = LTI_VIEW(NULL, LTI_F32, FRAMES, c->in_ch, H, W), out = x;
    x.data = d->ops.alloc(d, lti_nbytes(&x));
    out.data = d->ops.alloc(d, lti_nbytes(&out));
    lti_randn(host, *n, 3, 0, 0);
    lti_put(d, x.data, host, lti_nbytes(&x));
    lti_randn(host, rows, 4, 0, 0);
    lti_arena a = {0};
    const lti_dit_pass p = {.x = x, .t = t, .text = text, .out = out};
    d->measuring = true;
    lti_text_kv_set(text, d, dit, &a, NULL);
    assert_int_equal(lti_dit_forward(dit, d, &a, &p), LT_OK);
    d->measuring = false;
    a.cap = a.peak;
    a.base = d->ops.alloc(d, a.cap);
    lti_text_kv_set(text, d, dit, &a, host);
    assert_int_equal(lti_dit_forward(dit, d, &a, &p), LT_OK);
    lti_get(d, host, out.data, lti_nbytes(&out));
    if (d->ops.sync(d, &err) < 0) fail_msg("%s", err.msg);
    d->ops.free(d, a.base);
    d->ops.free(d, x.data);
    d->ops.free(d, out.data);
    lti_text_kv_close(d, &text);
    lti_dit_close(d, &dit);
    lti_weights_close(&w);
    cJSON_Delete(json);
    lti_dev_close(&d);
    return host;
}

static void blocks_in_e4m3(void **state) {
    (void)state;
    lti_fake_cublas_install("libcublasLt.so.13");
    int64_t n;
    float *bf16 = flow(LTI_BF16, &n);
    const int plain = lti_fake_cublas.n_matmul;
    float *fp8 = flow(LTI_F8_E4M3, &n);
    lti_fake_remove_all();
    assert_true(plain > 0 && lti_fake_cublas.n_matmul == 2 * plain);
    const lti_diff e = lti_compare_f32(fp8, bf16, n);
    print_message("relative error %.3g, cosine %.5f\n", e.rel, e.cosine);
    assert_true(e.finite);
    assert_true(e.rel > 1e-3); /* it was really used */
    assert_true(e.rel < 0.1);  /* measured 0.037 */
    free(bf16), free(fp8);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_in_e4m3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
