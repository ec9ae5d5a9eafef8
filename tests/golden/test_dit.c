/* SPDX-License-Identifier: Apache-2.0
 * The transformer against diffusers and against the f64 reference (tests/golden/dit/README.md), the
 * measure pass, cancel, the clean pass, and files that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "dit/dit.h"
#include "tests/fast_backend.h"

#define DIR LT_SOURCE_DIR "/tests/golden/dit/"

static const char *const cases[] = {"frames", "pairs", "same"};

/* A device, a model and the arena, opened together. */
typedef struct rig {
    lti_dev *d;
    lti_dit *dit;
    lti_text_kv *text;
    lti_arena arena;
} rig;

static lti_weights *io; /* inputs and expected flows */

static lti_weights *open_weights(const char *path, lti_part part) {
    lti_weights *w = NULL;
    lt_error err = {0};
    if (lti_weights_open(path, part, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    return w;
}

static cJSON *config_json(void) {
    cJSON *json = NULL;
    assert_int_equal(lti_json_load(DIR "config.json", 1 << 16, &json, NULL), LT_OK);
    assert_non_null(json);
    return json;
}

static lt_status open_dit(lti_dev *d, const char *path, lti_dtype dt, lti_dit **out,
                          lt_error *err) {
    cJSON *json = config_json();
    lti_weights *w = open_weights(path, LTI_PART_DIT);
    lt_status st = lti_dit_open(d, w, json, dt, out, err);
    lti_weights_close(&w); /* packing copies: the file may go */
    cJSON_Delete(json);
    return st;
}

/* A tensor of io as f32; freed by the caller. */
static float *read_io(const char *name, lti_tensor *shape) {
    lti_tensor t;
    lt_error err = {0};
    if (lti_weights_get(io, name, -1, NULL, &t, &err) != LT_OK) fail_msg("%s", err.msg);
    float *f = malloc((size_t)lti_numel(&t) * sizeof *f);
    assert_non_null(f);
    lti_to_f32(&t, f);
    if (shape) *shape = t;
    return f;
}

static float *read_case(const char *name, const char *what, lti_tensor *shape) {
    char full[64];
    snprintf(full, sizeof full, "%s.%s", name, what);
    return read_io(full, shape);
}

static lti_tensor device_copy(lti_dev *d, const float *host, lti_tensor shape) {
    shape.dtype = LTI_F32;
    shape.data = d->ops.alloc(d, lti_nbytes(&shape));
    assert_non_null(shape.data);
    if (host) lti_put(d, shape.data, host, lti_nbytes(&shape));
    return shape;
}

/* Measure the pass, give the arena exactly that much, run it. */
static lt_status measured_forward(rig *r, const lti_dit_pass *p) {
    lti_arena count = {0};
    r->d->measuring = true;
    assert_int_equal(lti_dit_forward(r->dit, r->d, &count, p), LT_OK);
    r->d->measuring = false;
    assert_true(count.peak > 0 && count.used == 0);
    lti_arena a = {.cap = count.peak};
    a.base = r->d->ops.alloc(r->d, a.cap);
    assert_non_null(a.base);
    lt_status st = lti_dit_forward(r->dit, r->d, &a, p);
    assert_true(a.peak <= count.peak);
    assert_int_equal(a.used, 0);
    assert_int_equal(r->d->ops.sync(r->d, NULL), LT_OK);
    r->d->ops.free(r->d, a.base);
    return st;
}

static rig rig_open(const char *backend, const char *file, lti_dtype dt) {
    rig r = {0};
    lt_error err = {0};
    if (lti_dev_open(backend, 1, NULL, &r.d, &err) != LT_OK) fail_msg("%s", err.msg);
    if (open_dit(r.d, file, dt, &r.dit, &err) != LT_OK) fail_msg("%s", err.msg);
    assert_int_equal(lti_text_kv_open(r.d, r.dit, &r.text, &err), LT_OK);
    float *text = read_io("text", NULL);
    r.d->measuring = true;
    lti_text_kv_set(r.text, r.d, r.dit, &r.arena, NULL);
    r.d->measuring = false;
    r.arena.cap = r.arena.peak;
    r.arena.base = r.d->ops.alloc(r.d, r.arena.cap);
    lti_text_kv_set(r.text, r.d, r.dit, &r.arena, text);
    free(text);
    return r;
}

static void rig_close(rig *r) {
    r->d->ops.free(r->d, r->arena.base);
    lti_text_kv_close(r->d, &r->text);
    lti_dit_close(r->d, &r->dit);
    lti_dev_close(&r->d);
}

/* Relative error of one case; kv NULL or a cache to run it in. */
static double case_error(rig *r, const char *name, bool registers, int64_t first, lti_kv *kv) {
    lti_tensor shape, tshape;
    float *x = read_case(name, "x", &shape), *t = read_case(name, "t", &tshape);
    float *want = read_case(name, registers ? "flow_registers" : "flow", NULL);
    lti_dit_pass p = {
        .t = t, .first = first, .text = r->text, .kv = kv, .no_registers = !registers};
    p.x = device_copy(r->d, x, shape);
    p.out = device_copy(r->d, NULL, shape);
    assert_int_equal(measured_forward(r, &p), LT_OK);
    float *got = malloc(lti_nbytes(&p.out));
    lti_get(r->d, got, p.out.data, lti_nbytes(&p.out));
    lti_diff e = lti_compare_f32(got, want, lti_numel(&p.out));
    assert_true(e.finite);
    r->d->ops.free(r->d, p.x.data);
    r->d->ops.free(r->d, p.out.data);
    free(got);
    free(want);
    free(t);
    free(x);
    return e.rel;
}

static void check_backend(const char *backend, lti_dtype dt, double bound) {
    const char *const files[] = {DIR "diffusers.safetensors", DIR "original.safetensors"};
    for (int f = 0; f < 2; f++) {
        rig r = rig_open(backend, files[f], dt);
        for (int i = 0; i < 3; i++)
            for (int reg = 0; reg <= f; reg++) {
                /* positions matter only against registers; the fixture has those at frame 7 */
                double e = case_error(&r, cases[i], reg, reg ? 7 : 0, NULL);
                if (e > bound)
                    fail_msg("%s %s, case %s, registers %d: relative error %g", backend,
                             lti_dtype_name(dt), cases[i], reg, e);
            }
        rig_close(&r);
    }
}

static void test_ref_f32(void **state) {
    (void)state;
    check_backend("ref", LTI_F32, 2e-5);
}
static void test_ref_bf16(void **state) {
    (void)state;
    check_backend("ref", LTI_BF16, 1e-2);
}
static void test_cpu_f32(void **state) {
    (void)state;
    check_backend(fast_backend(), LTI_F32, 2e-5);
}
static void test_cpu_bf16(void **state) {
    (void)state;
    check_backend(fast_backend(), LTI_BF16, 1e-2);
}

static void test_config(void **state) {
    (void)state;
    rig r = rig_open("ref", DIR "original.safetensors", LTI_F32);
    const lti_dit_config *c = lti_dit_get_config(r.dit);
    assert_int_equal(c->dim, 40);
    assert_int_equal(c->n_head, 2);
    assert_int_equal(c->head_dim, 20);
    assert_int_equal(c->n_layer, 3);
    assert_int_equal(c->ffn, 84);
    assert_int_equal(c->freq_dim, 18);
    assert_int_equal(c->in_ch, 8);
    assert_int_equal(c->out_ch, 8);
    assert_int_equal(c->text_dim, 20);
    assert_int_equal(c->text_len, 11);
    assert_int_equal(c->n_register, 3);
    assert_int_equal(c->n_register_token, 2);
    assert_true(c->has_sinks);
    lti_weights *w = open_weights(DIR "original.safetensors", LTI_PART_DIT);
    int64_t total = 0;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        lti_weights_name(w, i, &t);
        total += lti_numel(t);
    }
    assert_int_equal(c->n_param, total);
    lti_weights_close(&w);
    rig_close(&r);
}

static lti_kv *open_cache(rig *r, lti_policy policy, int chunk) {
    const lti_dit_config *c = lti_dit_get_config(r->dit);
    lti_kv_config k = {.n_layer = c->n_layer,
                       .n_head = c->n_head,
                       .head_dim = c->head_dim,
                       .grid_h = 3,
                       .grid_w = 5,
                       .chunk = chunk,
                       .sink = 1,
                       .window = 2,
                       .in_flight = chunk,
                       .policy = policy,
                       .dtype = LTI_F32};
    lti_kv *kv;
    assert_int_equal(lti_kv_open(r->d, &k, &kv, NULL), LT_OK);
    return kv;
}

/* An empty cache changes nothing. */
static void test_empty_cache(void **state) {
    (void)state;
    rig r = rig_open("ref", DIR "original.safetensors", LTI_F32);
    for (int p = LTI_POLICY_NONE; p <= LTI_POLICY_REALIGN; p++) {
        lti_kv *kv = open_cache(&r, (lti_policy)p, 5);
        assert_true(case_error(&r, "frames", false, 0, kv) < 2e-5);
        lti_kv_close(r.d, &kv);
    }
    rig_close(&r);
}

/* The clean pass without a head leaves the same keys and values as a whole pass. */
static void test_clean_pass(void **state) {
    (void)state;
    rig r = rig_open("ref", DIR "original.safetensors", LTI_F32);
    lti_tensor shape;
    float *x = read_case("same", "x", &shape);
    const float zero[3] = {0};
    float *flow[2];
    for (int whole = 0; whole < 2; whole++) {
        lti_kv *kv = open_cache(&r, LTI_POLICY_REALIGN, 3);
        lti_dit_pass p = {.t = zero, .text = r.text, .kv = kv, .commit = 3};
        p.x = device_copy(r.d, x, shape);
        lti_tensor out = device_copy(r.d, NULL, shape);
        if (whole) p.out = out;
        for (int chunk = 0; chunk < 3; chunk++) {
            p.first = 3 * chunk;
            assert_int_equal(measured_forward(&r, &p), LT_OK);
            assert_int_equal(lti_kv_frames(kv), p.first + 3);
        }
        p.first = 9;
        p.out = out;
        assert_int_equal(measured_forward(&r, &p), LT_OK);
        flow[whole] = malloc(lti_nbytes(&out));
        lti_get(r.d, flow[whole], out.data, lti_nbytes(&out));
        r.d->ops.free(r.d, p.x.data);
        r.d->ops.free(r.d, out.data);
        lti_kv_close(r.d, &kv);
    }
    shape.dtype = LTI_F32;
    assert_memory_equal(flow[0], flow[1], lti_nbytes(&shape));
    free(flow[0]);
    free(flow[1]);
    free(x);
    rig_close(&r);
}

static void test_cancel(void **state) {
    (void)state;
    rig r = rig_open("ref", DIR "diffusers.safetensors", LTI_F32);
    lti_tensor shape;
    float *x = read_case("same", "x", &shape);
    const float zero[3] = {0};
    const atomic_int stop = 1;
    lti_kv *kv = open_cache(&r, LTI_POLICY_SLOT, 3);
    lti_dit_pass p = {.t = zero, .text = r.text, .kv = kv, .commit = 3, .cancel = &stop};
    p.x = device_copy(r.d, x, shape);
    lti_arena a = {0};
    assert_int_equal(lti_dit_forward(r.dit, r.d, &a, &p), LT_ECANCELLED);
    assert_int_equal(lti_kv_frames(kv), 0);
    assert_int_equal(a.used, 0);
    r.d->ops.free(r.d, p.x.data);
    lti_kv_close(r.d, &kv);
    free(x);
    rig_close(&r);
}

/* -- files that must be refused ---------------------------------------------------------------- */

static float zeros[65536];

/* original.safetensors without `drop`, plus `add`; the open must fail with a line that has `word`.
 */
static void refused(const char *drop, const char *add, lti_tensor t, lt_status code,
                    const char *word) {
    lti_weights *w = open_weights(DIR "original.safetensors", LTI_PART_NONE);
    lti_named list[256];
    int n = 0;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *have;
        const char *name = lti_weights_name(w, i, &have);
        if (drop && !strcmp(name, drop)) continue;
        if (add && !strcmp(name, add)) continue;
        assert_true(n < 255);
        list[n++] = (lti_named){name, *have};
    }
    t.data = zeros;
    assert_true(!add || lti_nbytes(&t) <= sizeof zeros);
    if (add) list[n++] = (lti_named){add, t};
    char path[512];
    snprintf(path, sizeof path, "%s/test_dit_%d.safetensors", LT_BINARY_DIR, (int)getpid());
    lt_error err = {0};
    if (lti_safetensors_write(path, list, n, &err) != LT_OK) fail_msg("%s", err.msg);
    lti_weights_close(&w);
    lti_dev *d;
    lti_dit *dit = (void *)1;
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, NULL), LT_OK);
    lt_status st = open_dit(d, path, LTI_F32, &dit, &err);
    remove(path);
    if (st != code || !strstr(err.msg, word))
        fail_msg("without %s, with %s: status %d, message '%s', expected %d and '%s'", drop, add,
                 st, err.msg, code, word);
    assert_null(dit);
    lti_dev_close(&d);
}

static void test_refused(void **state) {
    (void)state;
    const lti_tensor none = {0}, vec = LTI_VIEW(NULL, LTI_F32, 40),
                     reg = LTI_VIEW(NULL, LTI_F32, 3, 2, 20);
    const char *rk = "blocks.1.self_attn.register_k", *rv = "blocks.1.self_attn.register_v";
    const char *sinks = "blocks.1.self_attn.sinks", *q = "blocks.2.self_attn.q.weight";
    refused("blocks.1.norm3.bias", NULL, none, LT_EFORMAT, "blocks.1.norm3.bias");
    refused("patch_embedding.weight", NULL, none, LT_EFORMAT, "patch_embedding.weight");
    refused("head.head.bias", NULL, none, LT_EFORMAT, "head.head.bias");
    refused(NULL, q, vec, LT_EFORMAT, q);
    refused(NULL, "head.modulation", vec, LT_EFORMAT, "head.modulation");
    refused(NULL, "head.head.weight", LTI_VIEW(NULL, LTI_F32, 16, 40), LT_EUNSUPPORTED, "channels");
    refused(NULL, "time_embedding.0.weight", LTI_VIEW(NULL, LTI_F32, 40, 17), LT_EFORMAT, "even");
    refused(rk, NULL, none, LT_EFORMAT, "register_k is in 2 of 3 blocks, block 1");
    refused(rv, NULL, none, LT_EFORMAT, "register_v is in 2 of 3 blocks, block 1");
    refused(sinks, NULL, none, LT_EFORMAT, "sinks is in 2 of 3 blocks");
    refused(NULL, sinks, vec, LT_EFORMAT, sinks);
    refused(NULL, rk, LTI_VIEW(NULL, LTI_F32, 2, 2, 20), LT_EFORMAT, rk);
    refused(NULL, rv, LTI_VIEW(NULL, LTI_F32, 3, 40), LT_EFORMAT, rv);
    refused(NULL, "register_tokens", LTI_VIEW(NULL, LTI_F32, 2, 40), LT_EFORMAT, "register_tokens");
    refused(NULL, "blocks.0.self_attn.register_q", reg, LT_EUNSUPPORTED, "register_q");
    refused(NULL, "blocks.0.self_attn.q.lora_A.weight", vec, LT_EUNSUPPORTED, "lora_A");
    refused(NULL, "blocks.0.cross_attn.k_img.weight", vec, LT_EUNSUPPORTED, "image-to-video");
    refused(NULL, "blocks.4000.norm3.bias", vec, LT_EFORMAT, "4001 blocks");
}

/* Registers of one kind only: every block has keys, none has values. */
static void test_half_registers(void **state) {
    (void)state;
    lti_weights *w = open_weights(DIR "original.safetensors", LTI_PART_NONE);
    lti_named list[256];
    int n = 0;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *have;
        const char *name = lti_weights_name(w, i, &have);
        if (!strstr(name, "register_v")) list[n++] = (lti_named){name, *have};
    }
    char path[512];
    snprintf(path, sizeof path, "%s/test_dit_%d.safetensors", LT_BINARY_DIR, (int)getpid());
    assert_int_equal(lti_safetensors_write(path, list, n, NULL), LT_OK);
    lti_weights_close(&w);
    lti_dev *d;
    lti_dit *dit;
    lt_error err = {0};
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, NULL), LT_OK);
    assert_int_equal(open_dit(d, path, LTI_F32, &dit, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "register_k without self_attn.register_v"));
    remove(path);
    lti_dev_close(&d);
}

static int setup(void **state) {
    (void)state;
    return lti_weights_open(DIR "io.safetensors", LTI_PART_NONE, &io, NULL) == LT_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    lti_weights_close(&io);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),     cmocka_unit_test(test_ref_f32),
        cmocka_unit_test(test_ref_bf16),   cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_cpu_bf16),   cmocka_unit_test(test_empty_cache),
        cmocka_unit_test(test_clean_pass), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_half_registers),
    };
    cmocka_set_test_filter(getenv("LT_TEST"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
