/* SPDX-License-Identifier: Apache-2.0
 * tests/ops/test_cuda_dnn.c - attention of the CUDA backend by way of cuDNN's graphs
 * (tests/shim/fake_cudnn.h), held against ref; plans, refusals, errors. Shapes are as small as
 * those that the backend gives to the library: 2^22 products. */
#include "tests/ops/dnn_rig.h"

/* ---- attention ------------------------------------------------------------------------------- */

enum { SPANS = 4 };
typedef struct look {
    const char *name;
    int64_t m, heads, hd, keys[SPANS];
    int64_t beside; /* elements between the rows of k and v that are not theirs */
    bool sink, lse;
    bool length; /* cuDNN 9.15 is given a length */
} look;

static const look looks[] = {
    {"one span", 16, 2, 128, {1024}, 0, false, false, false},
    {"rows apart", 25, 1, 256, {700}, 256, false, false, false},
    {"statistics", 9, 5, 64, {1700}, 0, false, true, false},
    {"sink", 32, 4, 64, {513}, 0, true, false, false},
    {"sink and statistics", 33, 3, 40, {1111}, 8, true, true, false},
    {"two spans", 16, 2, 128, {1000, 29}, 0, false, false, true},
    {"registers, anchors, ring, chunk", 24, 2, 64, {4, 300, 900, 200}, 0, true, true, true},
    {"an empty span", 16, 2, 128, {0, 1030}, 0, false, false, false},
    {"empty spans between", 18, 2, 128, {511, 0, 0, 600}, 16, false, true, true},
    {"few queries", 4, 4, 64, {4090, 10}, 0, false, false, true},
    {"wide head", 55, 1, 384, {200}, 384, false, false, false},
};

/* What the backend is given, on one device. */
typedef struct stage {
    lti_dev *d;
    lti_attn a;
    void *k, *v;
} stage;

static stage set_up(lti_dev *d, const look *l, lti_dtype dt) {
    stage s = {.d = d};
    const int64_t width = l->heads * l->hd, stride = width + l->beside;
    int64_t rows = 0, at = 0;
    for (int i = 0; i < SPANS; i++) rows += l->keys[i];
    s.a.q = LTI_VIEW(filled(d, dt, l->m * width, 1, 1.0f), dt, l->m, l->heads, l->hd);
    s.a.out = s.a.q;
    s.a.out.data = d->ops.alloc(d, lti_nbytes(&s.a.q) + 64);
    s.k = filled(d, dt, rows * stride, 2, 1.0f);
    s.v = filled(d, dt, rows * stride, 3, 1.0f);
    for (int i = 0; i < SPANS; i++) {
        const size_t off = (size_t)(at * stride) * lti_dtype_size(dt);
        s.a.span[s.a.n_span++] =
            (lti_span){(char *)s.k + off, (char *)s.v + off, l->keys[i], stride, dt};
        at += l->keys[i];
    }
    s.a.scale = 1.0f / sqrtf((float)l->hd);
    if (l->sink) s.a.sink_logit = filled(d, LTI_F32, l->heads, 4, 3.0f);
    if (l->lse) s.a.lse = d->ops.alloc(d, (size_t)(l->heads * l->m) * sizeof(float) + 64);
    return s;
}

static void tear_down(stage *s) {
    s->d->ops.free(s->d, s->a.q.data);
    s->d->ops.free(s->d, s->a.out.data);
    s->d->ops.free(s->d, s->k);
    s->d->ops.free(s->d, s->v);
    s->d->ops.free(s->d, (void *)(uintptr_t)s->a.sink_logit);
    s->d->ops.free(s->d, s->a.lse);
}

static void prepare(stage *s) {
    s->d->measuring = true;
    lti_attention(s->d, &s->a);
    s->d->measuring = false;
}

/* Out and lse as ref has them. */
static void expect_ref(const stage *s, const look *l) {
    lti_dev *ref = open_dev("ref");
    stage r = set_up(ref, l, s->a.q.dtype);
    r.a.bias = NULL;
    for (int i = 0; i < s->a.n_span; i++) r.a.span[i].n = s->a.span[i].n;
    lti_attention(ref, &r.a);
    const int64_t n = lti_numel(&r.a.out), rows = l->heads * l->m;
    float *got = fetched(s->d, s->a.out.data, s->a.out.dtype, n);
    float *want = fetched(ref, r.a.out.data, r.a.out.dtype, n);
    /* composed graphs have weights of bf16 */
    expect_close(l->name, got, want, n, 0.01f, lti_fake_cudnn.n_sdpa ? 2e-4f : 1e-3f);
    free(got);
    free(want);
    if (l->lse) {
        got = fetched(s->d, s->a.lse, LTI_F32, rows);
        want = fetched(ref, r.a.lse, LTI_F32, rows);
        expect_close("lse", got, want, rows, 1e-5f, 1e-5f);
        free(got);
        free(want);
    }
    tear_down(&r);
    lti_dev_close(&ref);
}

/* Every look on a library of this version. */
static void run_looks(size_t version, bool sdpa, bool length) {
    for (int i = 0; i < N_OF(looks); i++) {
        const look *l = &looks[i];
        lti_dev *d = open_cuda(version);
        lti_fake_cudnn.workspace = i % 2 ? 5000 : 0;
        stage s = set_up(d, l, LTI_BF16);
        prepare(&s);
        const size_t before = lti_shim_allocated();
        const int plans = lti_fake_cudnn.n_plan;
        lti_attention(d, &s.a);
        expect_no_error(d);
        assert_int_equal(lti_shim_allocated(), before);
        assert_int_equal(lti_fake_cudnn.n_plan, plans);
        if (lti_fake_cudnn.n_execute != 1) fail_msg("%s: %s", l->name, d->note);
        assert_int_equal(lti_fake_cudnn.n_sdpa, sdpa);
        assert_int_equal(lti_fake_cudnn.n_length, length && l->length);
        assert_int_equal(d->n_fallback, 0);
        expect_ref(&s, l);
        tear_down(&s);
        close_cuda(d);
    }
}

static void test_attention(void **state) {
    (void)state;
    run_looks(91900, true, true);
}
static void test_attention_9_13(void **state) {
    (void)state;
    run_looks(91301, true, false);
}
static void test_attention_9_0(void **state) {
    (void)state;
    run_looks(90000, false, false);
}

/* The window fills and its ring wraps: one plan, no memory. */
static void test_stream(void **state) {
    (void)state;
    static const int64_t chunk[][SPANS] = {
        {0, 0, 0, 300},     {100, 0, 0, 300},   {100, 299, 1, 300},
        {100, 600, 0, 300}, {100, 1, 599, 300}, {100, 300, 300, 300},
    };
    const look l = {"stream", 64, 2, 128, {100, 600, 600, 300}, 0, true, true, true};
    lti_dev *d = open_cuda(91900);
    stage s = set_up(d, &l, LTI_BF16);
    prepare(&s);
    const size_t before = lti_shim_allocated();
    for (int i = 0; i < N_OF(chunk); i++) {
        look now = l;
        for (int k = 0; k < SPANS; k++) now.keys[k] = s.a.span[k].n = chunk[i][k];
        /* the same rows as the reference's: spans one after the other */
        int64_t at = 0;
        for (int k = 0; k < SPANS; k++) {
            s.a.span[k].k = (char *)s.k + at * s.a.span[k].stride * 2;
            s.a.span[k].v = (char *)s.v + at * s.a.span[k].stride * 2;
            at += chunk[i][k];
        }
        lti_attention(d, &s.a);
        expect_no_error(d);
        expect_ref(&s, &now);
    }
    assert_int_equal(lti_fake_cudnn.n_execute, N_OF(chunk));
    assert_int_equal(lti_fake_cudnn.n_length, N_OF(chunk));
    assert_int_equal(lti_fake_cudnn.n_plan, 1);
    assert_int_equal(lti_shim_allocated(), before);
    tear_down(&s);
    close_cuda(d);
}

/* A shape that nobody prepared has its plan made, and memory, in the op. */
static void test_unprepared(void **state) {
    (void)state;
    lti_dev *d = open_cuda(91900);
    lti_fake_cudnn.workspace = 100;
    stage s = set_up(d, &looks[6], LTI_BF16);
    lti_attention(d, &s.a);
    lti_attention(d, &s.a);
    expect_no_error(d);
    assert_int_equal(lti_fake_cudnn.n_plan, 1);
    assert_int_equal(lti_fake_cudnn.n_execute, 2);
    expect_ref(&s, &looks[6]);
    tear_down(&s);
    close_cuda(d);
}

/* What is not for cuDNN goes to our own kernel. */
static void run_own(const char *what, size_t version, lti_dtype dt, const look *l, bool bias,
                    size_t offset) {
    lti_dev *d = open_cuda(version);
    stage s = set_up(d, l, dt);
    if (bias) {
        s.a.bias = d->ops.alloc(d, (size_t)(l->heads * l->m * l->keys[0]) * sizeof(float));
    }
    s.a.out.data = (char *)s.a.out.data + offset;
    prepare(&s);
    lti_attention(d, &s.a);
    expect_no_error(d);
    if (lti_fake_cudnn.n_execute) fail_msg("%s: it went to cuDNN", what);
    assert_int_equal(d->n_fallback, offset != 0);
    expect_ref(&s, l);
    s.a.out.data = (char *)s.a.out.data - offset;
    if (bias) d->ops.free(d, (void *)(uintptr_t)s.a.bias);
    tear_down(&s);
    close_cuda(d);
}

static void test_not_taken(void **state) {
    (void)state;
    const look big = {"big", 16, 2, 128, {1024}, 0, false, false, false};
    const look odd = {"odd head", 16, 1, 100, {2700}, 0, false, false, false};
    const look odd_row = {"odd row", 16, 2, 128, {1030}, 4, false, false, false};
    const look small = {"small", 15, 2, 128, {1024}, 0, true, true, false};
    run_own("no library", 0, LTI_BF16, &small, false, 0);
    run_own("f32", 91900, LTI_F32, &big, false, 0);
    run_own("bias", 91900, LTI_BF16, &big, true, 0);
    run_own("head_dim", 91900, LTI_BF16, &odd, false, 0);
    run_own("stride", 91900, LTI_BF16, &odd_row, false, 0);
    run_own("small", 91900, LTI_BF16, &small, false, 0);
    run_own("9.10.0", 91000, LTI_BF16, &big, false, 0);
    run_own("9.10.1", 91001, LTI_BF16, &big, false, 0);
    run_own("alignment", 91900, LTI_BF16, &big, false, 2);
}

/* ---- engines, refusals, errors --------------------------------------------------------------- */

typedef struct choice {
    const char *name;
    lti_fake_cudnn_state
        f;      /* engines, first_good, note, no_sdpa, no_fallback, no_graph, workspace */
    int engine; /* that runs; -1: our own kernel */
    bool sdpa;
} choice;

static const choice choices[] = {
    {"the first", {.engines = 3, .note = -1}, 0, true},
    {"a fine note", {.engines = 3, .note = 0}, 0, true},
    {"results that differ", {.engines = 3, .note = 4}, 1, true},
    {"sums in less than f32", {.engines = 3, .note = 2}, 1, true},
    {"Winograd", {.engines = 3, .note = 6}, 1, true},
    {"not on this card", {.engines = 3, .note = -1, .first_good = 2}, 2, true},
    {"only the fallback", {.engines = 3, .note = -1, .first_good = 90}, 100, true},
    {"no list of mode A", {.engines = 0, .note = -1}, 100, true},
    {"no SDPA", {.engines = 3, .note = -1, .no_sdpa = true}, 0, false},
    {"none", {.engines = 3, .note = -1, .first_good = 101}, -1, false},
    {"none listed", {.engines = 0, .note = -1, .no_fallback = true}, -1, false},
    {"no graph", {.engines = 3, .note = -1, .no_graph = true}, -1, false},
    {"too much workspace", {.engines = 3, .note = -1, .workspace = 300u << 20}, -1, false},
};

static void test_engines(void **state) {
    (void)state;
    const look l = {"engines", 16, 2, 128, {1000, 24}, 0, true, false, false};
    for (int i = 0; i < N_OF(choices); i++) {
        const choice *c = &choices[i];
        lti_dev *d = open_cuda(91900);
        lti_fake_cudnn.engines = c->f.engines;
        lti_fake_cudnn.first_good = c->f.first_good;
        lti_fake_cudnn.note = c->f.note;
        lti_fake_cudnn.no_sdpa = c->f.no_sdpa;
        lti_fake_cudnn.no_fallback = c->f.no_fallback;
        lti_fake_cudnn.no_graph = c->f.no_graph;
        lti_fake_cudnn.workspace = c->f.workspace;
        stage s = set_up(d, &l, LTI_BF16);
        prepare(&s);
        const int live = lti_fake_cudnn.n_live, plans = lti_fake_cudnn.n_plan;
        lti_attention(d, &s.a);
        expect_no_error(d);
        if (lti_fake_cudnn.n_live != live || lti_fake_cudnn.n_plan != plans)
            fail_msg("%s: asked again", c->name);
        if (lti_fake_cudnn.n_execute != (c->engine >= 0) ||
            (c->engine >= 0 && lti_fake_cudnn.engine != c->engine) ||
            lti_fake_cudnn.n_sdpa != c->sdpa)
            fail_msg("%s: engine %d, %d times", c->name, lti_fake_cudnn.engine,
                     lti_fake_cudnn.n_execute);
        if (d->n_fallback != (c->engine < 0))
            fail_msg("%s: %lld fallbacks", c->name, (long long)d->n_fallback);
        if (c->engine < 0) assert_non_null(strstr(d->note, "cuDNN 91900 has no plan"));
        expect_ref(&s, &l);
        tear_down(&s);
        close_cuda(d);
    }
}

static void test_execute_fails(void **state) {
    (void)state;
    const look *l = &looks[6];
    lti_dev *d = open_cuda(91900);
    stage s = set_up(d, l, LTI_BF16);
    prepare(&s);
    lti_fake_cudnn.execute_status = 3007; /* nothing was queued: our own kernel */
    lti_attention(d, &s.a);
    expect_no_error(d);
    expect_ref(&s, l);
    assert_int_equal(lti_fake_cudnn.n_execute, 0);
    assert_int_equal(d->n_fallback, 1);
    assert_non_null(strstr(d->note, "execute"));
    tear_down(&s);
    close_cuda(d);

    static const int status[] = {4005, 5001}; /* the card may have done a part of it: an error */
    for (int i = 0; i < N_OF(status); i++) {
        d = open_cuda(91900);
        s = set_up(d, &looks[0], LTI_BF16);
        prepare(&s);
        lti_fake_cudnn.execute_status = status[i];
        lti_attention(d, &s.a);
        expect_error(d, LT_EDEVICE,
                     i ? "attention: cuDNN: CUDNN_STATUS_EXECUTION_FAILED: as it was told"
                       : "attention: cuDNN: ");
        lti_attention(d, &s.a); /* does nothing */
        assert_int_equal(lti_fake_cudnn.n_execute, 0);
        tear_down(&s);
        close_cuda(d);
    }
}

static void test_no_memory(void **state) {
    (void)state;
    lti_dev *d = open_cuda(91900);
    stage s = set_up(d, &looks[6], LTI_BF16);
    lti_shim_fail_after(1, 0);
    prepare(&s);
    lti_attention(d, &s.a);
    expect_error(d, LT_ENOMEM, "scratch: out of memory");
    assert_int_equal(lti_fake_cudnn.n_execute, 0);
    tear_down(&s);
    close_cuda(d);

    d = open_cuda(91900);
    s = set_up(d, &looks[6], LTI_BF16);
    prepare(&s);
    lti_shim_fail_after(0, 1);
    lti_attention(d, &s.a);
    expect_error(d, LT_EDEVICE, "attention: unspecified launch failure");
    tear_down(&s);
    close_cuda(d);
}

/* ---- the library ----------------------------------------------------------------------------- */

static void expect_unusable(const char *part) {
    lti_dev *d = NULL;
    lt_error err = {0};
    assert_int_equal(lti_dev_open("cuda", 1, NULL, &d, &err), LT_EDEVICE);
    if (!strstr(err.msg, part)) fail_msg("found \"%s\", expected \"%s\"", err.msg, part);
    assert_int_equal(lti_shim_allocated(), 0);
    assert_int_equal(lti_fake_cudnn.n_live, 0);
    lti_fake_remove_all();
}

static void test_unusable(void **state) {
    (void)state;
    lti_fake_remove_all();
    lti_fake_cudnn_install("libcudnn.so.9");
    lti_fake_cudnn.version = 8907;
    expect_unusable("libcudnn.so.9: found version 8907, expected cuDNN 9");
    lti_fake_cudnn_install("libcudnn.so.9");
    lti_fake_cudnn.missing = "cudnnBackendExecute";
    expect_unusable("libcudnn.so.9: no function cudnnBackendExecute");
    lti_fake_cudnn_install("libcudnn.so.9");
    lti_fake_cudnn.create_status = 1001;
    expect_unusable("libcudnn.so.9 (version 91900) does not start: CUDNN_STATUS_NOT_INITIALIZED");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),     cmocka_unit_test(test_attention_9_13),
        cmocka_unit_test(test_attention_9_0), cmocka_unit_test(test_stream),
        cmocka_unit_test(test_unprepared),    cmocka_unit_test(test_not_taken),
        cmocka_unit_test(test_engines),       cmocka_unit_test(test_execute_fails),
        cmocka_unit_test(test_no_memory),     cmocka_unit_test(test_unusable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
