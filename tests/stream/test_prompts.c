/* SPDX-License-Identifier: Apache-2.0
 * Prompts that follow on each other, and presets, as the users of the library see them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"

enum { N = 57 }; /* frames: 9 + 12 * 4 */

static lt_engine *engine;

static int setup(void **state) {
    (void)state;
    return tiny_engine(fast_backend(), 1, &engine, NULL) == LT_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    lt_engine_close(&engine);
    return 0;
}

static uint8_t *frames_of(const lt_stream_params *p) {
    uint8_t *rgb = calloc(N, TINY_RGB);
    assert_non_null(rgb);
    assert_int_equal(tiny_collect(engine, p, rgb, N), N);
    return rgb;
}

static int first_difference(const uint8_t *a, const uint8_t *b) {
    for (int i = 0; i < N; i++)
        if (memcmp(a + i * TINY_RGB, b + i * TINY_RGB, TINY_RGB) != 0) return i;
    return N;
}

/* Chunks begin at frames 0, 9, 21, 33, 45. A prompt waits for the next of them. */
static void takes_effect_at_the_next_chunk(void **state) {
    (void)state;
    static const struct {
        int asked, begins;
    } at[] = {{1, 9}, {8, 9}, {9, 9}, {10, 21}, {21, 21}, {22, 33}, {45, 45}, {46, N}, {900, N}};
    lt_stream_params p = tiny_params(N);
    uint8_t *plain = frames_of(&p);
    lt_prompt q = {.text = "a blue cube turns"};
    p.prompts = &q;
    p.n_prompts = 1;
    for (int how = LT_SWITCH_NONE; how <= LT_SWITCH_LERP; how++)
        for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
            p.prompt_switch = how;
            q.frame = at[i].asked;
            uint8_t *got = frames_of(&p);
            assert_int_equal(first_difference(plain, got), at[i].begins);
            free(got);
        }
    free(plain);
}

/* The same words again change nothing when nothing is done to the cache. */
static void the_same_prompt_is_no_change(void **state) {
    (void)state;
    lt_stream_params p = tiny_params(N);
    uint8_t *plain = frames_of(&p);
    lt_prompt q[2] = {{.text = p.prompt, .frame = 9}, {.text = p.prompt, .frame = 33}};
    p.prompts = q;
    p.n_prompts = 2;
    p.prompt_switch = LT_SWITCH_NONE;
    uint8_t *again = frames_of(&p);
    assert_memory_equal(plain, again, N * TINY_RGB);
    free(plain), free(again);
}

/* Modes differ; each is the same twice; a fade over one chunk is no fade; two prompts for one chunk
 * are the last of them. */
static void modes(void **state) {
    (void)state;
    lt_stream_params p = tiny_params(N);
    lt_prompt q[2] = {{.text = "a blue cube turns", .frame = 33}};
    uint8_t *got[LT_SWITCH_LERP + 1] = {0};
    p.prompts = q;
    p.n_prompts = 1;
    p.prompt_fade = 2;
    p.sink = 1; /* at frame 33 the cache has been full for long: 1 + 4 + 3 of 9 latent frames */
    p.window = 4;
    for (int how = LT_SWITCH_NONE; how <= LT_SWITCH_LERP; how++) {
        p.prompt_switch = how;
        got[how] = frames_of(&p);
        uint8_t *twice = frames_of(&p);
        assert_memory_equal(got[how], twice, N * TINY_RGB);
        free(twice);
        for (int other = LT_SWITCH_NONE; other < how; other++)
            assert_int_equal(first_difference(got[how], got[other]), 33);
    }
    p.prompt_fade = 1;
    uint8_t *hard = frames_of(&p);
    assert_memory_equal(hard, got[LT_SWITCH_NONE], N * TINY_RGB);
    free(hard);
    q[1] = q[0];
    q[0].text = "something else";
    q[0].frame = 32;
    p.n_prompts = 2;
    p.prompt_switch = LT_SWITCH_NONE;
    uint8_t *both = frames_of(&p);
    assert_memory_equal(both, got[LT_SWITCH_NONE], N * TINY_RGB);
    free(both);
    for (int how = LT_SWITCH_NONE; how <= LT_SWITCH_LERP; how++) free(got[how]);
}

/* A cut changes its own chunk, and rolling mode takes prompts too. */
static void cut_and_rolling(void **state) {
    (void)state;
    lt_stream_params p = tiny_params(N);
    lt_prompt q = {.text = "a blue cube turns", .frame = 21};
    p.prompts = &q;
    p.n_prompts = 1;
    p.sink_policy = LT_SINK_SLOT;
    uint8_t *soft = frames_of(&p);
    q.cut = 1;
    uint8_t *hard = frames_of(&p);
    assert_int_equal(first_difference(soft, hard), 21);
    free(hard);
    q.cut = 0;
    p.mode = LT_MODE_ROLLING;
    uint8_t *rolling = frames_of(&p);
    p.n_prompts = 0;
    uint8_t *plain = frames_of(&p);
    int first = first_difference(plain, rolling); /* the chunks that are in flight hear it too */
    assert_true(first > 0 && first <= 21);
    free(soft), free(rolling), free(plain);
}

static void refuse(const lt_stream_params *p, const char *word) {
    lt_stream *s = (void *)1;
    lt_error err = {0};
    assert_int_equal(lt_stream_open(engine, p, &s, &err), LT_EINVAL);
    assert_null(s);
    if (!strstr(err.msg, word)) fail_msg("'%s' does not name %s", err.msg, word);
}

static void refused(void **state) {
    (void)state;
    static lt_prompt many[257];
    for (int i = 0; i < 257; i++) many[i] = (lt_prompt){.text = "x", .frame = 10 + i};
    lt_prompt q[2] = {{.text = "a", .frame = 9}, {.text = "b", .frame = 5}};
    lt_stream_params p = tiny_params(N);
    p.prompts = many, p.n_prompts = 257, refuse(&p, "257");
    p.n_prompts = -1, refuse(&p, "-1");
    p.prompts = q, p.n_prompts = 2, refuse(&p, "order");
    q[1].frame = 0, refuse(&p, "frame");
    q[1] = (lt_prompt){.text = "", .frame = 20}, refuse(&p, "empty");
    q[1].text = NULL, refuse(&p, "empty");
    q[1].text = "\xff\xfe", refuse(&p, "prompt");
    q[1] = (lt_prompt){.text = "b", .frame = 20, .cut = 1};
    p.sink_policy = LT_SINK_ABSOLUTE, refuse(&p, "cut");
    p.n_prompts = 1;
    p.prompt_switch = 6, refuse(&p, "prompt-switch");
    p.prompt_switch = 0, p.prompt_fade = 1001, refuse(&p, "prompt-fade");
    p.prompt_fade = 0, p.compat = 3, refuse(&p, "compat");
    p.compat = 0, p.sink_policy = LT_SINK_DEEP, p.window = 8;
    p.prompt_switch = LT_SWITCH_RECACHE, refuse(&p, "deep");
    p.prompt_switch = 0, p.mode = LT_MODE_ROLLING, refuse(&p, "rolling");
    p.sink_policy = 7, refuse(&p, "sink-policy");
}

/* ---- presets -------------------------------------------------------------------------------- */

static char folder[64];

static const char *write_preset(const char *json) {
    static char path[128];
    snprintf(path, sizeof path, "%s/p.json", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(json, f);
    fclose(f);
    return path;
}

static lt_status open_with(const char *dir, const char *preset, lt_engine **e, lt_error *err) {
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = dir;
    p.backend = fast_backend();
    p.threads = 1;
    p.preset = preset;
    return lt_engine_open(&p, e, err);
}

static void preset_overlays_the_folder(void **state) {
    (void)state;
    lt_engine *e;
    lt_error err = {0};
    lt_model_info m, plain;
    lt_engine_model(engine, &plain, sizeof plain);
    const char *path = write_preset("{\"name\":\"mine\",\"window\":5,\"sink_policy\":\"realign\","
                                    "\"timesteps\":[1000,400],\"flow_shift\":3,\"compat\":true,"
                                    "\"prompt_switch\":\"flush\"}");
    if (open_with(TINY, path, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_engine_model(e, &m, sizeof m);
    assert_string_equal(m.preset, "mine");
    assert_string_equal(m.name, plain.name);
    assert_int_equal(m.width, plain.width);
    assert_int_equal(m.chunk, plain.chunk);
    assert_int_equal(m.window, 5);
    assert_int_equal(m.sink_policy, LT_SINK_REALIGN);
    assert_int_equal(m.n_step, 2);
    assert_int_equal(m.compat, 1);
    assert_int_equal(m.prompt_switch, LT_SWITCH_FLUSH);
    lt_engine_close(&e);
}

static void bad_presets(void **state) {
    (void)state;
    static const struct {
        const char *json, *word;
    } bad[] = {
        {"[]", "object"},
        {"{\"windows\":5}", "windows"},
        {"{\"window\":\"5\"}", "window"},
        {"{\"window\":5000}", "window"},
        {"{\"sink_policy\":\"cyclic\"}", "cyclic"},
        {"{\"compat\":3}", "compat"},
        {"{\"ema\":1}", "ema"},
        {"{\"deep\":7}", "deep"},
        {"{\"deep\":{\"budget\":0}}", "budget"},
        {"{\"timesteps\":[500,1000]}", "timesteps"},
        {"{\"prompt_switch\":\"recash\"}", "recash"},
        {"{\"checkpoint\":[]}", "checkpoint"},
        {"{\"checkpoint\":{\"file\":\"../x.pt\"}}", "file"},
        {"{\"checkpoint\":{\"file\":\"/x.pt\"}}", "file"},
        {"{\"checkpoint\":{\"file\":7}}", "file"},
        {"{\"checkpoint\":{\"url\":\"x\"}}", "url"},
        {"{\"checkpoint\":{\"loras\":[7]}}", "loras"},
        {"{\"checkpoint\":{\"loras\":[{},{},{},{},{}]}}", "loras"},
        {"{\"window\":", "json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lt_engine *e = (void *)1;
        lt_error err = {0};
        char *json = (void *)1;
        const char *path = write_preset(bad[i].json);
        assert_int_equal(open_with(TINY, path, &e, &err), LT_EFORMAT);
        assert_null(e);
        if (!strstr(err.msg, bad[i].word)) fail_msg("%s: '%s'", bad[i].json, err.msg);
        assert_int_equal(lt_preset_json(path, &json, &err), LT_EFORMAT);
        assert_null(json);
    }
    lt_engine *e;
    lt_error err = {0};
    assert_int_equal(open_with(TINY, "/nowhere/x.json", &e, &err), LT_EIO);
}

/* The checkpoint that a preset names is used when it lies in the model folder: as a whole path, or
 * its last part alone. Here it is a file of another shape, which fails by its own name. */
static void preset_finds_its_checkpoint(void **state) {
    (void)state;
    static const char *const parts[] = {"transformer", "text_encoder", "vae", "tokenizer",
                                        "longtake.json"};
    char from[256], to[256];
    for (int i = 0; i < 5; i++) {
        snprintf(from, sizeof from, TINY "/%s", parts[i]);
        snprintf(to, sizeof to, "%s/%s", folder, parts[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    const char *path =
        write_preset("{\"checkpoint\":{\"repo\":\"a/b\",\"file\":\"sub/dmd.safetensors\"}}");
    lt_engine *e = NULL;
    lt_error err = {0};
    if (open_with(folder, path, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_engine_close(&e);
    snprintf(to, sizeof to, "%s/dmd.safetensors", folder);
    assert_int_equal(symlink(TINY "/vae/diffusion_pytorch_model.safetensors", to), 0);
    assert_int_equal(open_with(folder, path, &e, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "dmd.safetensors"));
    assert_int_equal(unlink(to), 0);
    assert_int_equal(symlink(TINY "/transformer/diffusion_pytorch_model.safetensors", to), 0);
    if (open_with(folder, path, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_engine_close(&e);
    err = (lt_error){0};
    path = write_preset("{\"checkpoint\":{\"file\":\"sub/dmd.safetensors\","
                        "\"loras\":[{\"file\":\"sub/lora.pt\"}]}}");
    assert_int_equal(open_with(folder, path, &e, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "sub/lora.pt"));
}

static int make_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/lt_prompts_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state) {
    (void)state;
    static const char *const names[] = {"p.json", "dmd.safetensors", "transformer",  "text_encoder",
                                        "vae",    "tokenizer",       "longtake.json"};
    char path[256];
    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_effect_at_the_next_chunk),
        cmocka_unit_test(the_same_prompt_is_no_change),
        cmocka_unit_test(modes),
        cmocka_unit_test(cut_and_rolling),
        cmocka_unit_test(refused),
        cmocka_unit_test_setup_teardown(preset_overlays_the_folder, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(bad_presets, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(preset_finds_its_checkpoint, make_folder, drop_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
