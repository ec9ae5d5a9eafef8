/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/test_text.c - tokens and UMT5 rows against sentencepiece and transformers.
 *
 * The reference runs padded to text_len with an attention mask; we run the real tokens only. */
#include "base/json.h"
#include "text/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DIR LT_SOURCE_DIR "/tests/golden/text/"
#define TEXT_LEN 128

typedef struct fixture {
    lti_weights *w, *cases;
    cJSON *prompts;
} fixture;

static int open_fixture(void **state) {
    static fixture f;
    lt_error err = {0};
    if (lti_weights_open(DIR "encoder.safetensors", LTI_PART_TEXT, &f.w, &err) ||
        lti_weights_open(DIR "cases.safetensors", LTI_PART_NONE, &f.cases, &err) ||
        lti_json_load(DIR "prompts.json", 1 << 16, &f.prompts, &err))
        print_error("%s\n", err.msg);
    *state = &f;
    return f.w && f.cases && f.prompts ? 0 : -1;
}

static int close_fixture(void **state) {
    fixture *f = *state;
    lti_weights_close(&f->w);
    lti_weights_close(&f->cases);
    cJSON_Delete(f->prompts);
    return 0;
}

/* What the reference has for prompt i: "ids.i" or "rows.i". */
static lti_tensor expected(const fixture *f, const char *what, int i) {
    char name[32];
    snprintf(name, sizeof name, "%s.%d", what, i);
    const lti_tensor *t = lti_weights_find(f->cases, name);
    assert_non_null(t);
    return *t;
}

static void check_rows(const fixture *f, int i, const lti_text_rows *r, int64_t dim, double bound,
                       const char *label) {
    lti_tensor ids = expected(f, "ids", i), rows = expected(f, "rows", i);
    assert_int_equal(r->n, ids.n[0]);
    for (int k = 0; k < r->n; k++) {
        int32_t want;
        memcpy(&want, (char *)ids.data + 4 * k, 4);
        assert_int_equal(r->ids[k], want);
    }
    float *want = malloc(lti_nbytes(&rows));
    lti_to_f32(&rows, want);
    lti_diff d = lti_compare_f32(r->rows, want, lti_numel(&rows));
    free(want);
    if (!d.finite || d.rel > bound)
        fail_msg("%s: prompt %d: rel %g > %g, worst at %lld", label, i, d.rel, bound,
                 (long long)d.worst);
    print_message("%s prompt %d: n %d of %d, rel %.2g\n", label, i, r->n, r->n_all, d.rel);
    for (int64_t k = r->n * dim; k < TEXT_LEN * dim; k++)
        if (r->rows[k] != 0.0f) fail_msg("%s: a row past the prompt is not zero", label);
}

static void run(void **state, const char *backend, lti_dtype compute, double bound) {
    fixture *f = *state;
    lt_error err = {0};
    lti_dev *d = NULL;
    lti_text *t = NULL;
    if (lti_dev_open(backend, 2, NULL, &d, &err)) fail_msg("%s", err.msg);
    if (lti_text_open(d, f->w, NULL, DIR "spiece.model", TEXT_LEN, compute, &t, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(lti_text_dim(t), 48);
    const int n = cJSON_GetArraySize(f->prompts);
    int n_cut = 0;
    for (int i = 0; i < n; i++) {
        lti_text_rows r;
        const char *prompt = cJSON_GetArrayItem(f->prompts, i)->valuestring;
        if (lti_text_encode(t, d, prompt, &r, &err)) fail_msg("%s", err.msg);
        check_rows(f, i, &r, 48, bound, backend);
        n_cut += r.n_all > r.n;
        lti_text_rows_free(&r);
    }
    assert_true(n >= 8 && n_cut >= 1);
    lti_text_close(d, &t);
    lti_dev_close(&d);
}

static void test_ref_f32(void **state) { run(state, "ref", LTI_F32, 1e-4); }
static void test_cpu_f32(void **state) { run(state, "cpu", LTI_F32, 1e-4); }
static void test_ref_bf16(void **state) { run(state, "ref", LTI_BF16, 2e-2); }
static void test_cpu_bf16(void **state) { run(state, "cpu", LTI_BF16, 2e-2); }

static void test_bad_input(void **state) {
    fixture *f = *state;
    lt_error err = {0};
    lti_dev *d = NULL;
    lti_text *t = NULL;
    lti_text_rows r;
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, &err), LT_OK);
    /* not a tokenizer; no such file; tokenizer of another model is covered by its size */
    assert_int_equal(lti_text_open(d, f->w, NULL, DIR "clean.json", 16, LTI_F32, &t, &err),
                     LT_EFORMAT);
    assert_non_null(strstr(err.msg, "clean.json"));
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->w, NULL, DIR "nothing", 16, LTI_F32, &t, &err), LT_EIO);
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->cases, NULL, DIR "spiece.model", 16, LTI_F32, &t, &err),
                     LT_EFORMAT);
    assert_null(t);
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->w, NULL, DIR "spiece.model", 1, LTI_F32, &t, &err), LT_OK);
    assert_int_equal(lti_text_encode(t, d, " \n&nbsp; ", &r, &err), LT_EINVAL);
    assert_null(r.rows);
    err = (lt_error){0};
    assert_int_equal(lti_text_encode(t, d, "\xff", &r, &err), LT_EINVAL);
    assert_int_equal(lti_text_encode(t, d, "a b c", &r, NULL), LT_OK); /* text_len 1: only </s> */
    assert_int_equal(r.n, 1);
    assert_int_equal(r.ids[0], 1);
    lti_text_rows_free(&r);
    lti_text_close(d, &t);
    lti_dev_close(&d);
}

/* 3 blocks of 7 matrices, 2 norms and a table; final norm; embedding. */
static void test_params(void **state) {
    fixture *f = *state;
    lti_dev *d = NULL;
    lti_text *t = NULL;
    int64_t sum = 0;
    for (int i = 0; i < lti_weights_count(f->w); i++) {
        const lti_tensor *x;
        lti_weights_name(f->w, i, &x);
        sum += lti_numel(x);
    }
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, NULL), LT_OK);
    assert_int_equal(lti_text_open(d, f->w, NULL, DIR "spiece.model", 8, LTI_F32, &t, NULL), LT_OK);
    assert_int_equal(lti_text_params(t), sum);
    lti_text_close(d, &t);
    lti_dev_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_f32),   cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_ref_bf16),  cmocka_unit_test(test_cpu_bf16),
        cmocka_unit_test(test_bad_input), cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
