/* SPDX-License-Identifier: Apache-2.0
 * Whole rollouts of the published systems, against latents that their own code made from the same
 * random weights and noise (tests/golden/systems/README.md): schedule, cache, eviction, positions
 * and prompt changes together. Each runs from the same weights as safetensors, PyTorch checkpoint
 * and GGUF (tools/make_system_formats.py), with bit-identical latents; LongLive also as base + LoRA.
 * Prints the parity table of docs/MODELS.md: the relative error over all frames and at the last
 * chunk, and how far the better form (without compat) is from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "pipeline/defaults.h"
#include "pipeline/stream.h"
#include "tests/fast_backend.h"

#define DIR LT_SOURCE_DIR "/tests/golden/systems/"
#define MAX_EVENTS 2
enum { CHANNELS = 16, GRID_H = 4, GRID_W = 6, FRAME = CHANNELS * GRID_H * GRID_W };

typedef struct event {
    int frame; /* latent frame from which on the other text is asked for; 0: no event */
    char text; /* 'a' or 'b' */
    bool cut;
} event;

typedef struct system_case {
    const char *name;
    const char *file; /* expected latents */
    int frames, chunk, sink, window;
    const char *preset, *also; /* that must ask for just this; NULL: none does */
    lti_policy policy;
    int n_step, n_first; /* steps of later chunks, of chunk 0 (0: the same) */
    double step[5], first[4];
    bool rolling;
    bool compat;    /* the published code is only met with compat */
    bool has_other; /* and the form without it differs: measure by how much */
    float ema;
    int budget, recent, reuse;
    lti_switch on_switch;
    event event[MAX_EVENTS];
} system_case;

#define FOUR .n_step = 4, .step = {1000, 750, 500, 250}
#define FIRST_FOUR .n_first = 4, .first = {1000, 750, 500, 250}
#define FIVE .n_step = 5, .step = {1000, 800, 600, 400, 200}
#define ABSOLUTE .policy = LTI_POLICY_ABSOLUTE

static const system_case cases[] = {
    {"Self Forcing, 21 frames", "self_forcing_21", 21, 3, 0, 18, .preset = "self-forcing",
     .also = "causal-forcing", FOUR},
    {"Self Forcing, window 9", "self_forcing_w9", 63, 3, 0, 6, FOUR},
    {"Rolling Forcing", "rolling_forcing", 66, 3, 3, 3, .preset = "rolling-forcing", FIVE,
     .policy = LTI_POLICY_REALIGN, .rolling = true, .compat = true, .has_other = true},
    {"LongLive 1; Self Forcing, window 12, sink 3", "self_forcing_w12_s3", 63, 3, 3, 6,
     .preset = "longlive", FOUR, ABSOLUTE},
    {"LongLive 1, two recaches", "longlive_switch", 66, 3, 3, 6, .preset = "longlive", FOUR,
     ABSOLUTE, .on_switch = LTI_SWITCH_RECACHE, .event = {{24, 'b', false}, {45, 'a', false}}},
    {"LongLive 1, early recache", "longlive_switch_early", 24, 3, 3, 6, FOUR, ABSOLUTE,
     .on_switch = LTI_SWITCH_RECACHE, .event = {{6, 'b', false}}},
    {"LongLive 1, recache with anchors", "longlive_switch_sink", 42, 3, 3, 6, FOUR, ABSOLUTE,
     .on_switch = LTI_SWITCH_RECACHE_ALL, .event = {{24, 'b', false}}},
    {"Reward Forcing, a = 0.999", "reward_forcing", 63, 3, 3, 3, .preset = "reward-forcing", FOUR,
     .policy = LTI_POLICY_EMA, .ema = 0.999f},
    {"Reward Forcing, a = 0.9", "reward_forcing_a09", 63, 3, 3, 3, FOUR, .policy = LTI_POLICY_EMA,
     .ema = 0.9f},
    {"Infinity-RoPE, flush and cut", "infinity_rope", 63, 3, 1, 2, .preset = "infinity-rope", FOUR,
     .policy = LTI_POLICY_SLOT, .on_switch = LTI_SWITCH_FLUSH,
     .event = {{24, 'b', false}, {48, 'a', true}}},
    {"Deep Forcing", "deep_forcing", 66, 3, 10, 8, .preset = "deep-forcing", FOUR,
     .policy = LTI_POLICY_DEEP, .budget = 16, .recent = 4, .reuse = 7, .compat = true,
     .has_other = true},
    {"Causal Forcing, four in flight", "causal_forcing_long", 36, 3, 3, 6,
     .preset = "causal-forcing-long", FOUR, .policy = LTI_POLICY_REALIGN, .rolling = true,
     .compat = true, .has_other = true},
    {"LongLive 1 infinity, recache", "longlive_infinity", 36, 3, 3, 6, .preset = "longtake", FOUR,
     .policy = LTI_POLICY_SLOT, .on_switch = LTI_SWITCH_RECACHE, .event = {{24, 'b', false}}},
    {"Causal Forcing, frame by frame", "causal_forcing_framewise", 21, 1, 0, 20, FOUR},
    {"Causal Forcing++, 1 step", "causal_forcing_pp1", 21, 1, 0, 20,
     .preset = "causal-forcing-1step", .n_step = 1, .step = {1000}, FIRST_FOUR},
    {"Causal Forcing++, 2 steps", "causal_forcing_pp2", 63, 1, 0, 8, .n_step = 2,
     .step = {1000, 500}, FIRST_FOUR},
    {"MotionStream (our own reference)", "motionstream", 63, 3, 3, 3, .preset = "motionstream",
     .n_step = 3, .step = {1000, 667, 333}, .policy = LTI_POLICY_SLOT},
};
enum { CASES = sizeof cases / sizeof *cases };

static lti_weights *io;
static float *noise, *text[2]; /* text_a, text_b [text_len, text_dim] */
static lti_tensor text_shape, noise_shape;

static float *read_tensor(lti_weights *w, const char *name, lti_tensor *t) {
    lt_error err = {0};
    if (lti_weights_get(w, name, -1, NULL, t, &err) != LT_OK) fail_msg("%s", err.msg);
    float *f = malloc((size_t)lti_numel(t) * sizeof *f);
    assert_non_null(f);
    lti_to_f32(t, f);
    return f;
}

/* The fixture's renoise has the longest case's frames; a take wants [n_step-1, its frames, ...]. */
static float *renoise_for(int n_step, int frames) {
    lti_tensor t;
    float *all = read_tensor(io, "renoise", &t);
    for (int s = 0; s + 1 < n_step; s++)
        memmove(all + (size_t)s * (size_t)frames * FRAME, all + (size_t)s * (size_t)t.n[1] * FRAME,
                (size_t)frames * FRAME * sizeof *all);
    return all;
}

static float *expected(const system_case *k) {
    char path[512];
    lti_weights *w = NULL;
    lti_tensor t;
    lt_error err = {0};
    snprintf(path, sizeof path, DIR "%s.safetensors", k->file);
    if (lti_weights_open(path, LTI_PART_NONE, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    float *want = read_tensor(w, "latent", &t);
    assert_int_equal(lti_numel(&t), (int64_t)k->frames * FRAME);
    lti_weights_close(&w);
    return want;
}

static lti_dit *open_dit(lti_dev *d, lti_dtype dt, const char *file,
                         const lti_weights_options *opt) {
    char path[512];
    lt_error err = {0};
    cJSON *json = NULL;
    lti_weights *w = NULL;
    lti_dit *dit = NULL;
    snprintf(path, sizeof path, DIR "%s", file);
    assert_int_equal(lti_json_load(DIR "config.json", 1 << 16, &json, NULL), LT_OK);
    lt_status st = lti_weights_open_with(path, LTI_PART_DIT, opt, &w, &err);
    if (st == LT_OK) st = lti_dit_open(d, w, json, dt, &dit, &err);
    if (st != LT_OK) fail_msg("%s", err.msg);
    lti_weights_close(&w);
    cJSON_Delete(json);
    return dit;
}

/* The preset that users name is the case that is measured. */
static void check_preset(const system_case *k, const char *name) {
    char path[512];
    lti_preset p;
    lti_defaults d;
    lt_model_info m;
    lt_error err = {0};
    if (!name) return;
    snprintf(path, sizeof path, LT_SOURCE_DIR "/models/presets/%s.json", name);
    lti_defaults_init(&d, &m);
    if (lti_preset_open(path, NULL, &p, &err) != LT_OK ||
        lti_defaults_read(&d, p.json, path, &err) != LT_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(m.name, name);
    assert_int_equal(m.mode, k->rolling ? LT_MODE_ROLLING : LT_MODE_CHUNK);
    assert_int_equal(m.chunk, k->chunk);
    assert_int_equal(m.window, k->window);
    assert_int_equal(m.sink, k->sink);
    assert_int_equal(m.sink_policy - LT_SINK_NONE, k->policy);
    assert_int_equal(m.n_step, k->n_step);
    assert_memory_equal(m.timesteps, k->step, (size_t)k->n_step * sizeof *k->step);
    assert_true(m.flow_shift == 5 && d.n_first == k->n_first && m.compat == 0);
    if (k->policy == LTI_POLICY_EMA) assert_true((float)m.ema == k->ema);
    if (k->policy == LTI_POLICY_DEEP) {
        assert_int_equal(m.deep_budget, k->budget);
        assert_int_equal(m.deep_recent, k->recent);
        assert_int_equal(m.deep_reuse, k->reuse);
    }
    if (k->event[0].frame) assert_int_equal(m.prompt_switch - LT_SWITCH_NONE, k->on_switch);
    lti_preset_close(&p);
}

static int read_events(const system_case *k, lti_prompt *out) {
    int n = 0;
    for (const event *e = k->event; e < k->event + MAX_EVENTS && e->frame; e++)
        out[n++] = (lti_prompt){.chunk = (e->frame + k->chunk - 1) / k->chunk,
                                .text = text[e->text - 'a'],
                                .n = (int)text_shape.n[0],
                                .cut = e->cut};
    return n;
}

/* Latents [frames, FRAME] of a case. */
static float *rollout(lti_dev *d, const lti_dit *dit, lti_dtype dt, const system_case *k,
                      bool compat) {
    lti_prompt prompt[MAX_EVENTS];
    lti_take_config c = {.h = GRID_H,
                         .w = GRID_W,
                         .chunk = k->chunk,
                         .window = k->window,
                         .sink = k->sink,
                         .policy = k->policy,
                         .compat = compat,
                         .ema = k->ema,
                         .deep_budget = k->budget,
                         .deep_recent = k->recent,
                         .deep_reuse = k->reuse,
                         .rolling = k->rolling,
                         .n_chunk = k->frames / k->chunk,
                         .prompt = prompt,
                         .n_prompt = read_events(k, prompt),
                         .on_switch = k->on_switch,
                         .lerp = 1,
                         .noise = noise,
                         .dtype = dt};
    int most = k->n_first > k->n_step ? k->n_first : k->n_step;
    assert_int_equal(lti_schedule_init(&c.schedule, k->step, k->n_step, 5, NULL), LT_OK);
    c.first = c.schedule;
    if (k->n_first)
        assert_int_equal(lti_schedule_init(&c.first, k->first, k->n_first, 5, NULL), LT_OK);
    float *renoise = renoise_for(most, k->frames);
    c.renoise = renoise;
    lti_take *take;
    lt_error err = {0};
    if (lti_take_open(d, dit, &c, text[0], &take, &err) != LT_OK) fail_msg("%s", err.msg);
    float *got = malloc((size_t)k->frames * FRAME * sizeof *got);
    assert_non_null(got);
    for (int64_t b = 0; b < c.n_chunk; b++)
        assert_int_equal(lti_take_next(take, got + b * k->chunk * FRAME, &err), LT_OK);
    lti_take_close(&take);
    free(renoise);
    return got;
}

static double tail_error(const system_case *k, const float *got, const float *want, int frames) {
    size_t off = (size_t)(k->frames - frames) * FRAME;
    lti_diff e = lti_compare_f32(got + off, want + off, (int64_t)frames * FRAME);
    assert_true(e.finite);
    return e.rel;
}

/* -- the table ------------------------------------------------------------------------------------ */

enum { REF_F32, CPU_F32, CPU_BF16, KINDS };
static const struct {
    const char *backend, *head;
    lti_dtype dt;
    double bound;
} kinds[KINDS] = {
    {"ref", "ref f32", LTI_F32, 1e-5},
    {"cpu", "cpu f32", LTI_F32, 1e-5},
    /* What a user runs by default. Also shows what rounding the running mean costs: in f32 the two
     * forms of ema are one. */
    {"cpu", "cpu bf16", LTI_BF16, 6e-3},
};
static const char *const formats[] = {"safetensors", "pt", "gguf"};
enum { FORMATS = sizeof formats / sizeof *formats };

static struct result {
    double all[KINDS]; /* error over all frames */
    double last;       /* over the last chunk, cpu f32 */
    double other;      /* of the form without compat; 0: not measured */
} results[CASES];

static double other_form(lti_dev *d, const lti_dit *dit, lti_dtype dt, const system_case *k,
                         const float *want) {
    float *other = rollout(d, dit, dt, k, !k->compat);
    double e = tail_error(k, other, want, k->frames);
    free(other);
    return e;
}

/* One case, one column; false when it is not met. */
static bool check_case(int kind, lti_dev *d, lti_dit *const *dit, int i) {
    const system_case *k = &cases[i];
    struct result *r = &results[i];
    lti_dtype dt = kinds[kind].dt;
    float *want = expected(k), *got = rollout(d, dit[0], dt, k, k->compat);
    size_t bytes = (size_t)k->frames * FRAME * sizeof *got;
    double last = tail_error(k, got, want, k->chunk);
    bool good = true;
    r->all[kind] = tail_error(k, got, want, k->frames);
    if (kind == CPU_F32) r->last = last;
    for (int f = 1; f < FORMATS && dit[f]; f++) {
        float *again = rollout(d, dit[f], dt, k, k->compat);
        if (memcmp(again, got, bytes) != 0) {
            print_error("%s, %s: model.%s gives other latents than model.%s\n", k->name,
                        kinds[kind].head, formats[f], formats[0]);
            good = false;
        }
        free(again);
    }
    if (kind == CPU_F32 ? k->has_other : kind == CPU_BF16 && k->policy == LTI_POLICY_EMA)
        r->other = other_form(d, dit[0], dt, k, want);
    if (r->all[kind] > kinds[kind].bound || last > kinds[kind].bound) {
        print_error("%s, %s: error %.2e, last chunk %.2e, expected at most %g\n", k->name,
                    kinds[kind].head, r->all[kind], last, kinds[kind].bound);
        good = false;
    }
    free(got);
    free(want);
    return good;
}

static void check(int kind) {
    lti_dev *d = NULL;
    lti_dit *dit[FORMATS] = {NULL};
    lt_error err = {0};
    /* ref takes minutes under sanitizers; the files are read before any backend */
    int n = kind == REF_F32 ? 1 : FORMATS, bad = 0;
    const char *backend = kind == REF_F32 ? kinds[kind].backend : fast_backend();
    if (lti_dev_open(backend, 1, NULL, &d, &err) != LT_OK) fail_msg("%s", err.msg);
    for (int f = 0; f < n; f++) {
        char file[64];
        snprintf(file, sizeof file, "model.%s", formats[f]);
        dit[f] = open_dit(d, kinds[kind].dt, file, NULL);
    }
    for (int i = 0; i < CASES; i++) bad += !check_case(kind, d, dit, i);
    for (int f = 0; f < n; f++) lti_dit_close(d, &dit[f]);
    lti_dev_close(&d);
    assert_int_equal(bad, 0);
}

static void test_ref_f32(void **state) {
    (void)state;
    check(REF_F32);
}
static void test_cpu_f32(void **state) {
    (void)state;
    check(CPU_F32);
}
static void test_cpu_bf16(void **state) {
    (void)state;
    check(CPU_BF16);
}

static void test_presets(void **state) {
    (void)state;
    for (int i = 0; i < CASES; i++) {
        check_preset(&cases[i], cases[i].preset);
        check_preset(&cases[i], cases[i].also);
    }
}

/* Up to the numbers, which another machine rounds otherwise, a row as docs/MODELS.md has it. */
static void row_start(int i, char *out, size_t size) {
    const system_case *k = &cases[i];
    char preset[80] = "none";
    if (k->preset)
        snprintf(preset, sizeof preset, "`%s`%s%s%s", k->preset, k->also ? ", `" : "",
                 k->also ? k->also : "", k->also ? "`" : "");
    snprintf(out, size, "| %s | %s | safetensors = pt = gguf | %d |", k->name, preset, k->frames);
}

/* The table in the documentation has just the rows that are printed. */
static void test_documented(void **state) {
    (void)state;
    static char doc[1 << 17];
    FILE *f = fopen(LT_SOURCE_DIR "/docs/MODELS.md", "rb");
    assert_non_null(f);
    doc[fread(doc, 1, sizeof doc - 1, f)] = 0;
    fclose(f);
    const char *at = strstr(doc, "\n| system | preset | file format |");
    assert_non_null(at);
    at = strstr(at, "\n|---");
    for (int i = 0; i < CASES; i++) {
        char row[256];
        row_start(i, row, sizeof row);
        at = at ? strchr(at + 1, '\n') : NULL;
        if (!at || strncmp(at + 1, row, strlen(row)) != 0)
            fail_msg("docs/MODELS.md lacks, as row %d of the parity table: %s", i + 1, row);
    }
}

static void print_table(void) {
    printf(
        "| system | preset | file format | frames | %s | %s | its last chunk | %s | other form |\n"
        "|---|---|---|---|---|---|---|---|---|\n",
        kinds[0].head, kinds[1].head, kinds[2].head);
    for (int i = 0; i < CASES; i++) {
        const struct result *r = &results[i];
        char row[256], other[32] = "";
        row_start(i, row, sizeof row);
        if (r->other > 0)
            snprintf(other, sizeof other, "%s%.1e ", cases[i].has_other ? "" : "bf16 ", r->other);
        printf("%s %.1e | %.1e | %.1e | %.1e | %s|\n", row, r->all[0], r->all[1], r->last,
               r->all[2], other);
    }
}

/* -- which tensors of a checkpoint ------------------------------------------------------------------ */

static float *rollout_of(lti_dev *d, const char *file, const lti_weights_options *opt,
                         const system_case *k) {
    lti_dit *dit = open_dit(d, LTI_F32, file, opt);
    float *got = rollout(d, dit, LTI_F32, k, k->compat);
    lti_dit_close(d, &dit);
    return got;
}

/* model.pt holds two sets of weights: asked for, each is found. */
static void test_torch_root(void **state) {
    (void)state;
    const system_case *k = &cases[0];
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open(fast_backend(), 1, NULL, &d, NULL), LT_OK);
    float *want = expected(k);
    float *ema = rollout_of(d, "model.pt", &(lti_weights_options){.root = "generator_ema"}, k);
    float *plain = rollout_of(d, "model.pt", &(lti_weights_options){.root = "generator"}, k);
    assert_true(tail_error(k, ema, want, k->frames) < 1e-5);
    assert_true(tail_error(k, plain, want, k->frames) > 0.02);
    free(plain);
    free(ema);
    free(want);
    lti_dev_close(&d);
}

/* LongLive's form: a base and a LoRA, against the same LoRA that torch merged. */
static void test_lora(void **state) {
    (void)state;
    const system_case *k = &cases[0];
    while (!k->preset || strcmp(k->preset, "longlive") != 0) k++;
    const lti_lora_ref lora = {DIR "lora.pt", 1};
    const lti_weights_options opt = {.lora = &lora, .n_lora = 1};
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open(fast_backend(), 1, NULL, &d, NULL), LT_OK);
    float *base = expected(k);
    float *want = rollout_of(d, "lora_merged.safetensors.index.json", NULL, k);
    double apart = tail_error(k, base, want, k->frames);
    assert_true(apart > 0.02); /* it does something */
    for (int f = 0; f < FORMATS; f++) {
        char file[64];
        snprintf(file, sizeof file, "model.%s", formats[f]);
        float *got = rollout_of(d, file, &opt, k);
        double e = tail_error(k, got, want, k->frames);
        printf("%s + lora.pt: %.1e from torch's merge, %.1e from the base\n", file, e, apart);
        assert_true(e < 1e-5);
        free(got);
    }
    free(want);
    free(base);
    lti_dev_close(&d);
}

static int setup(void **state) {
    (void)state;
    if (lti_weights_open(DIR "common.safetensors", LTI_PART_NONE, &io, NULL) != LT_OK) return -1;
    noise = read_tensor(io, "noise", &noise_shape);
    text[0] = read_tensor(io, "text_a", &text_shape);
    text[1] = read_tensor(io, "text_b", &text_shape);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(noise);
    free(text[0]);
    free(text[1]);
    lti_weights_close(&io);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets),  cmocka_unit_test(test_documented),
        cmocka_unit_test(test_ref_f32),  cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_cpu_bf16), cmocka_unit_test(test_torch_root),
        cmocka_unit_test(test_lora),
    };
    int bad = cmocka_run_group_tests(tests, setup, teardown);
    print_table();
    return bad;
}
