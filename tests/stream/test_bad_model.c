/* SPDX-License-Identifier: Apache-2.0
 * Model folders that are not what they should be: a copy of tests/tiny is damaged in one way, and
 * opening or running it gives the right status and one line that names the culprit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/stream/tiny.h"

#define WEIGHTS "diffusion_pytorch_model.safetensors"
#define DIT "transformer/" WEIGHTS
#define TEXT "text_encoder/" WEIGHTS
#define VAE "vae/" WEIGHTS
#define MAX_FILE ((size_t)1 << 20)

static const char *const files[] = {"longtake.json",
                                    "transformer/config.json",
                                    DIT,
                                    "text_encoder/config.json",
                                    TEXT,
                                    "vae/config.json",
                                    VAE,
                                    "tokenizer/spiece.model"};
static const char *const folders[] = {"transformer", "text_encoder", "vae", "tokenizer"};
#define N_FILE (sizeof files / sizeof *files)
#define N_FOLDER (sizeof folders / sizeof *folders)

static char dir[64] = "/tmp/lt_bad_model_XXXXXX";
static uint8_t buf[MAX_FILE];

static const char *in(const char *root, const char *name, char *out, size_t size) {
    assert_in_range(snprintf(out, size, "%s/%s", root, name), 1, size - 1);
    return out;
}

static size_t load(const char *root, const char *name) {
    char path[512];
    FILE *f = fopen(in(root, name, path, sizeof path), "rb");
    assert_non_null(f);
    size_t n = fread(buf, 1, sizeof buf, f);
    assert_true(n < sizeof buf);
    fclose(f);
    return n;
}

static void store(const char *name, const void *data, size_t n) {
    char path[512];
    FILE *f = fopen(in(dir, name, path, sizeof path), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void restore(void) {
    char path[512];
    for (size_t i = 0; i < N_FOLDER; i++) mkdir(in(dir, folders[i], path, sizeof path), 0777);
    for (size_t i = 0; i < N_FILE; i++) {
        in(dir, files[i], path, sizeof path);
        if (rmdir(path) != 0) remove(path); /* also where a test made a folder of it */
        store(files[i], buf, load(TINY, files[i]));
    }
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    char path[512];
    (void)state;
    for (size_t i = 0; i < N_FILE; i++) remove(in(dir, files[i], path, sizeof path));
    for (size_t i = 0; i < N_FOLDER; i++) rmdir(in(dir, folders[i], path, sizeof path));
    return rmdir(dir);
}

static lt_status open_copy(lt_engine **e, lt_error *err) {
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = dir;
    p.threads = 1;
    return lt_engine_open(&p, e, err);
}

static void refused(lt_status want, const char *what, const char *const word[2]) {
    lt_engine *e = NULL;
    lt_error err = {0};
    lt_status st = open_copy(&e, &err);
    if (st != want) fail_msg("%s: status %d instead of %d: %s", what, st, want, err.msg);
    assert_null(e);
    assert_int_equal(err.code, want);
    for (int i = 0; i < 2 && word[i]; i++)
        if (!strstr(err.msg, word[i])) fail_msg("%s: '%s' lacks '%s'", what, err.msg, word[i]);
    assert_int_equal(open_copy(&e, NULL), want); /* the record may be NULL */
    assert_null(e);
}

/* A json file with other content. */
static void json_values(void **state) {
    (void)state;
    enum { OURS, OF_DIT, OF_TEXT, OF_VAE };
    static const char *const file[] = {"longtake.json", "transformer/config.json",
                                       "text_encoder/config.json", "vae/config.json"};
    static const struct {
        int file;
        const char *text, *word;
    } bad[] = {
        {OURS, "", "empty"},
        {OURS, "[1,2]", "json object"},
        {OURS, "{\"fps\":NaN}", "not valid json"},
        {OURS, "{\"width\":7}", "width"},
        {OURS, "{\"width\":33}", "multiples of 16"},
        {OURS, "{\"height\":\"480\"}", "height is \"480\""},
        {OURS, "{\"width\":1e9}", "width"},
        {OURS, "{\"fps\":0}", "fps"},
        {OURS, "{\"fps\":1e999}", "fps"},
        {OURS, "{\"chunk\":0}", "chunk is 0"},
        {OURS, "{\"chunk\":1.5}", "chunk is 1.5"},
        {OURS, "{\"window\":1e9}", "window"},
        {OURS, "{\"sink\":-1}", "sink is -1"},
        {OURS, "{\"flow_shift\":0}", "flow_shift"},
        {OURS, "{\"mode\":\"fast\"}", "chunk or rolling"},
        {OURS, "{\"sink_policy\":\"depp\"}", "sink_policy is \"depp\""},
        {OURS, "{\"timesteps\":[]}", "timesteps is []"},
        {OURS, "{\"timesteps\":[\"1000\"]}", "timesteps"},
        {OURS, "{\"timesteps\":[250,500]}", "descending"},
        {OURS, "{\"timesteps\":[17,16,15,14,13,12,11,10,9,8,7,6,5,4,3,2,1]}", "1 to 16"},
        {OURS, "{\"timesteps_first\":[0]}", "above 0"},
        {OURS, "{\"text_len\":13}", "text_len is 13"},
        {OF_DIT, "{\"attention_head_dim\":0}", "attention_head_dim is 0"},
        {OF_DIT, "{\"attention_head_dim\":\"16\"}", "attention_head_dim"},
        {OF_DIT, "{\"attention_head_dim\":15}", "heads of 15"},
        {OF_DIT, "{\"attention_head_dim\":16,\"num_heads\":4}", "4 heads of 16"},
        {OF_DIT, "{\"attention_head_dim\":16,\"text_len\":0}", "text_len is 0"},
        {OF_DIT, "{\"attention_head_dim\":16,\"text_len\":1e9}", "text_len"},
        {OF_DIT, "{\"attention_head_dim\":16,\"eps\":-1}", "eps is -1"},
        {OF_TEXT, "{\"layer_norm_epsilon\":-1}", "layer_norm_epsilon"},
        {OF_TEXT, "{\"relative_attention_max_distance\":8}", "max_distance 8"},
        {OF_VAE, "{\"latents_std\":[1]}", "16 numbers"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *name = file[bad[i].file];
        restore();
        store(name, bad[i].text, strlen(bad[i].text));
        const char *by_shape = bad[i].file >= OF_DIT ? NULL : name; /* may name the weights */
        refused(LT_EFORMAT, bad[i].text, (const char *const[2]){bad[i].word, by_shape});
    }
    restore();
    store("text_encoder/config.json", "{\"feed_forward_proj\":\"relu\"}", 28);
    refused(LT_EFORMAT, "relu", (const char *const[2]){"gated-gelu", "text_encoder"});
}

static void json_is_a_folder(void **state) {
    char path[512];
    (void)state;
    for (size_t i = 0; i < N_FILE; i++) {
        restore();
        remove(in(dir, files[i], path, sizeof path));
        assert_int_equal(mkdir(path, 0777), 0);
        lt_engine *e = NULL;
        lt_error err = {0};
        assert_true(open_copy(&e, &err) < 0);
        if (!strstr(err.msg, dir)) fail_msg("'%s' does not name the folder", err.msg);
    }
}

/* Absent and null settings take the defaults. */
static void json_null_is_absent(void **state) {
    (void)state;
    lt_engine *e = NULL;
    lt_model_info info;
    static const char text[] = "{\"width\":32,\"height\":32,\"chunk\":null,\"timesteps\":null}";
    restore();
    store("longtake.json", text, strlen(text));
    assert_int_equal(open_copy(&e, NULL), LT_OK);
    lt_engine_model(e, &info, sizeof info);
    assert_int_equal(info.chunk, 3);
    assert_int_equal(info.n_step, 4);
    assert_int_equal(info.sink_policy, LT_SINK_ABSOLUTE);
    lt_engine_close(&e);
}

/* The weights of one part in the place of another. */
static void swapped_parts(void **state) {
    (void)state;
    static const char *const part[] = {DIT, TEXT, VAE};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            if (i == j) continue;
            restore();
            store(part[j], buf, load(TINY, part[i]));
            refused(LT_EFORMAT, part[j], (const char *const[2]){part[j], "right file"});
        }
}

/* Replace `from` by `to` of the same length, after the first `entry`, in a weight file's header. */
static void patch(const char *file, const char *entry, const char *from, const char *to) {
    size_t n = load(TINY, file);
    assert_int_equal(strlen(from), strlen(to));
    uint8_t *at = memmem(buf, n, entry, strlen(entry));
    assert_non_null(at);
    uint8_t *hit = memmem(at, n - (size_t)(at - buf), from, strlen(from));
    assert_non_null(hit);
    memcpy(hit, to, strlen(to));
    store(file, buf, n);
}

static void wrong_tensors(void **state) {
    (void)state;
    static const struct {
        const char *file, *entry, *from, *to;
        lt_status want;
        const char *word;
    } bad[] = {
        /* integers where floats are expected: norms, tables and matrices alike */
        {DIT, "norm_q.weight", "\"BF16\"", "\"I16\" ", LT_EUNSUPPORTED, "norm_q"},
        {DIT, "patch_embedding.weight", "\"BF16\"", "\"U16\" ", LT_EUNSUPPORTED, "patch_embedding"},
        {TEXT, "shared.weight", "\"BF16\"", "\"I16\" ", LT_EUNSUPPORTED, "token_embedding"},
        {TEXT, "layer_norm.weight", "\"BF16\"", "\"I16\" ", LT_EUNSUPPORTED, "norm"},
        {VAE, "gamma", "\"BF16\"", "\"I16\" ", LT_EUNSUPPORTED, "gamma"},
        {VAE, "conv_in.weight", "\"BF16\"", "\"I16\" ", LT_EUNSUPPORTED, "decoder.conv1"},
        {DIT, "\"blocks.0.attn1.norm_k.weight\"", "[48]", "[24]", LT_EFORMAT, WEIGHTS},
        {DIT, "\"blocks.0.attn1.norm_k.weight\"", "norm_k", "norm_x", LT_EUNSUPPORTED, "norm_x"},
        {TEXT, "\"shared.weight\"", "shared", "sharee", LT_EFORMAT, "token_embedding"},
        {VAE, "\"decoder.conv_in.bias\"", "bias", "bios", LT_EFORMAT, WEIGHTS},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        restore();
        patch(bad[i].file, bad[i].entry, bad[i].from, bad[i].to);
        refused(bad[i].want, bad[i].entry, (const char *const[2]){bad[i].word, bad[i].file});
    }
}

/* Damaged numbers are found when the network has run: no black video that claims success. */
static void not_a_number(void **state) {
    (void)state;
    static const char *const part[] = {DIT, TEXT};
    for (int i = 0; i < 2; i++) {
        restore();
        size_t n = load(TINY, part[i]), head = 0;
        memcpy(&head, buf, 8);
        memset(buf + 8 + head, 0xff, n - 8 - head);
        store(part[i], buf, n);
        lt_engine *e = NULL;
        lt_stream *s = NULL;
        lt_frame f;
        assert_int_equal(open_copy(&e, NULL), LT_OK);
        lt_stream_params p = tiny_params(5);
        assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
        for (int k = 0; k < 3; k++) { /* and it stays an error */
            assert_int_equal(lt_stream_next(s, &f), LT_EFORMAT);
            assert_null(f.rgb);
            assert_non_null(strstr(lt_stream_error(s), "not finite"));
        }
        lt_stream_close(&s);
        lt_engine_close(&e);
    }
}

/* Component files without a folder find config.json beside them. */
static void component_files(void **state) {
    (void)state;
    lt_engine *e = NULL;
    lt_error err = {0};
    lt_engine_params p;
    lt_model_info info;
    lt_engine_params_init(&p);
    p.dit_path = TINY "/" DIT;
    p.text_path = TINY "/" TEXT;
    p.vae_path = TINY "/" VAE;
    p.tokenizer_path = TINY "/tokenizer/spiece.model";
    if (lt_engine_open(&p, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_engine_model(e, &info, sizeof info);
    assert_int_equal(info.text_len, 12);
    lt_engine_close(&e);

    restore(); /* a file elsewhere takes the folder's */
    char moved[512], from[512];
    assert_int_equal(rename(in(dir, DIT, from, sizeof from), in(dir, "other", moved, sizeof moved)),
                     0);
    lt_engine_params_init(&p);
    p.model_dir = dir;
    p.dit_path = moved;
    if (lt_engine_open(&p, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    lt_engine_close(&e);
    remove(moved);
}

/* A VAE's encoder beside a small decoder: its latents must be the diffusion model's too. */
static void encoder_of_another_model(void **state) {
    (void)state;
    static const char golden[] = LT_SOURCE_DIR "/tests/golden/vae";
    lt_engine *e = NULL;
    lt_error err = {0};
    lt_engine_params p;
    restore();
    store(VAE, buf, load(golden, "odd_encoder.safetensors"));
    store("vae/config.json", buf, load(golden, "odd_config.json"));
    lt_engine_params_init(&p);
    p.model_dir = dir;
    p.tae_path = LT_SOURCE_DIR "/tests/golden/tae/tiny.safetensors";
    p.threads = 1;
    p.parts = LT_PART_DIT | LT_PART_TAE | LT_PART_ENCODER;
    assert_int_equal(lt_engine_open(&p, &e, &err), LT_EFORMAT);
    assert_null(e);
    assert_non_null(strstr(err.msg, "encodes to 5 latent channels"));
    assert_non_null(strstr(err.msg, "transformer"));
    restore();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_values),     cmocka_unit_test(json_is_a_folder),
        cmocka_unit_test(swapped_parts),   cmocka_unit_test(json_null_is_absent),
        cmocka_unit_test(wrong_tensors),   cmocka_unit_test(not_a_number),
        cmocka_unit_test(component_files), cmocka_unit_test(encoder_of_another_model),
    };
    cmocka_set_test_filter(getenv("LT_TEST"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
