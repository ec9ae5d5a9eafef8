/* SPDX-License-Identifier: Apache-2.0
 * tests/golden/test_text.c - tokens and UMT5 rows against sentencepiece and transformers.
 *
 * The reference runs padded to text_len with an attention mask; we run the real tokens only. */
#include "base/filemap.h"
#include "base/json.h"
#include "text/text.h"
#include "tests/fast_backend.h"
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA LT_SOURCE_DIR "/tests/golden/text/"
#define TEXT_LEN 128

typedef struct fixture {
    lti_weights *w, *cases;
    cJSON *prompts;
} fixture;

static int open_fixture(void **state) {
    static fixture f;
    lt_error err = {0};
    if (lti_weights_open(DATA "encoder.safetensors", LTI_PART_TEXT, &f.w, &err) ||
        lti_weights_open(DATA "cases.safetensors", LTI_PART_NONE, &f.cases, &err) ||
        lti_json_load(DATA "prompts.json", 1 << 16, &f.prompts, &err))
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
    if (lti_text_open(d, f->w, NULL, DATA "spiece.model", TEXT_LEN, compute, &t, &err))
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
static void test_cpu_f32(void **state) { run(state, fast_backend(), LTI_F32, 1e-4); }
static void test_ref_bf16(void **state) { run(state, "ref", LTI_BF16, 2e-2); }
static void test_cpu_bf16(void **state) { run(state, fast_backend(), LTI_BF16, 2e-2); }

static void test_bad_input(void **state) {
    fixture *f = *state;
    lt_error err = {0};
    lti_dev *d = NULL;
    lti_text *t = NULL;
    lti_text_rows r;
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, &err), LT_OK);
    /* not a tokenizer; no such file; tokenizer of another model is covered by its size */
    assert_int_equal(lti_text_open(d, f->w, NULL, DATA "clean.json", 16, LTI_F32, &t, &err),
                     LT_EFORMAT);
    assert_non_null(strstr(err.msg, "clean.json"));
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->w, NULL, DATA "nothing", 16, LTI_F32, &t, &err), LT_EIO);
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->cases, NULL, DATA "spiece.model", 16, LTI_F32, &t, &err),
                     LT_EFORMAT);
    assert_null(t);
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, f->w, NULL, DATA "spiece.model", 1, LTI_F32, &t, &err),
                     LT_OK);
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
    assert_int_equal(lti_text_open(d, f->w, NULL, DATA "spiece.model", 8, LTI_F32, &t, NULL),
                     LT_OK);
    assert_int_equal(lti_text_params(t), sum);
    lti_text_close(d, &t);
    lti_dev_close(&d);
}

/* -- streamed, cached -------------------------------------------------------------------- */

/* The fixture's encoder, tokenizer and tiny prompts under options; rows of prompt i. */
static lti_text_rows encode_with(lti_weights *w, const lti_text_options *o, const char *backend,
                                 lti_dtype compute, const char *prompt) {
    lt_error err = {0};
    lti_dev *d = NULL;
    lti_text *t = NULL;
    lti_text_rows r;
    if (lti_dev_open(backend, 2, NULL, &d, &err)) fail_msg("%s", err.msg);
    if (lti_text_open_with(d, w, NULL, DATA "spiece.model", TEXT_LEN, compute, o, &t, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(lti_text_streamed(t), o->mode == LTI_TEXT_STREAMED || o->cache_dir);
    if (lti_text_encode(t, d, prompt, &r, &err)) fail_msg("%s", err.msg);
    lti_text_close(d, &t);
    lti_dev_close(&d);
    return r;
}

static void assert_same_rows(const lti_text_rows *a, const lti_text_rows *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->n_all, b->n_all);
    assert_memory_equal(a->ids, b->ids, sizeof *a->ids * (size_t)a->n);
    assert_memory_equal(a->rows, b->rows, sizeof(float) * TEXT_LEN * 48);
}

static void test_streamed_is_the_same(void **state) {
    fixture *f = *state;
    const char *const backend[] = {"ref", fast_backend(), fast_backend()};
    static const lti_dtype compute[] = {LTI_F32, LTI_F32, LTI_BF16};
    for (int i = 0; i < 3; i++) {
        const char *prompt = cJSON_GetArrayItem(f->prompts, 5 + i)->valuestring;
        const lti_text_options a = {.mode = LTI_TEXT_RESIDENT}, b = {.mode = LTI_TEXT_STREAMED};
        lti_text_rows x = encode_with(f->w, &a, backend[i], compute[i], prompt);
        lti_text_rows y = encode_with(f->w, &b, backend[i], compute[i], prompt);
        assert_same_rows(&x, &y);
        lti_text_rows_free(&x);
        lti_text_rows_free(&y);
    }
}

typedef struct racer {
    const lti_text *t;
    const char *prompt;
    lti_text_rows r;
} racer;

static void *race(void *p) {
    racer *c = p;
    lti_dev *d = NULL;
    for (int i = 0; i < 8; i++) {
        lti_text_rows_free(&c->r);
        if (lti_dev_open(fast_backend(), 1, NULL, &d, NULL)) return p;
        lt_status st = lti_text_encode(c->t, d, c->prompt, &c->r, NULL);
        lti_dev_close(&d);
        if (st) return p;
    }
    return NULL;
}

/* An engine serves many streams: a streamed encoder lets them take turns. */
static void test_streamed_threads(void **state) {
    fixture *f = *state;
    const lti_text_options o = {.mode = LTI_TEXT_STREAMED};
    lti_dev *d = NULL;
    lti_text *t = NULL;
    racer c[3] = {0};
    pthread_t thread[3];
    assert_int_equal(lti_dev_open(fast_backend(), 1, NULL, &d, NULL), LT_OK);
    assert_int_equal(
        lti_text_open_with(d, f->w, NULL, DATA "spiece.model", TEXT_LEN, LTI_F32, &o, &t, NULL),
        LT_OK);
    for (int i = 0; i < 3; i++) {
        c[i] = (racer){t, i ? "a red ball" : "snow", {0}};
        assert_int_equal(pthread_create(&thread[i], NULL, race, &c[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    assert_same_rows(&c[1].r, &c[2].r);
    for (int i = 0; i < 3; i++) lti_text_rows_free(&c[i].r);
    lti_text_close(d, &t);
    lti_dev_close(&d);
}

#define CACHE LT_BINARY_DIR "/tests/text_cache"
#define COPY LT_BINARY_DIR "/tests/encoder_copy.safetensors"

/* The only file of the cache; "" when there is none. */
static int cache_files(char *path, size_t size) {
    DIR *dir = opendir(CACHE);
    int n = 0;
    if (path) *path = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (path) snprintf(path, size, CACHE "/%s", e->d_name);
    }
    if (dir) closedir(dir);
    return n;
}

static void clear_cache(void) {
    char path[512];
    while (cache_files(path, sizeof path) > 0) assert_int_equal(unlink(path), 0);
    rmdir(CACHE);
}

/* Flip `count` bytes of a file from `at` on; at < 0: from the end. */
static void spoil(const char *path, long at, int count) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (int i = 0; i < count; i++) {
        assert_int_equal(fseek(f, at + i, at < 0 ? SEEK_END : SEEK_SET), 0);
        int c = fgetc(f);
        assert_int_equal(fseek(f, at + i, at < 0 ? SEEK_END : SEEK_SET), 0);
        fputc(c ^ 0x11, f);
    }
    assert_int_equal(fclose(f), 0);
}

static void copy_encoder(void) {
    lti_filemap m;
    assert_int_equal(lti_filemap_open(DATA "encoder.safetensors", &m, NULL), LT_OK);
    FILE *f = fopen(COPY, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(m.data, 1, m.size, f), m.size);
    assert_int_equal(fclose(f), 0);
    lti_filemap_close(&m);
}

static lti_text_rows encode_copy(const char *prompt) {
    const lti_text_options o = {.cache_dir = CACHE};
    lti_weights *w = NULL;
    assert_int_equal(lti_weights_open(COPY, LTI_PART_TEXT, &w, NULL), LT_OK);
    lti_text_rows r = encode_with(w, &o, fast_backend(), LTI_F32, prompt);
    lti_weights_close(&w);
    return r;
}

/* A hit reads nothing of the encoder but its header and the ends of its tensors: spoil the middle
 * of one, and a known prompt does not notice while a new one does. */
static void test_cache_hit(void **state) {
    fixture *f = *state;
    const lti_text_options plain = {.mode = LTI_TEXT_RESIDENT};
    clear_cache();
    copy_encoder();
    lti_text_rows want = encode_with(f->w, &plain, fast_backend(), LTI_F32, "a red ball");
    lti_text_rows other = encode_with(f->w, &plain, fast_backend(), LTI_F32, "snow");
    lti_text_rows first = encode_copy("a red ball");
    assert_same_rows(&want, &first);
    assert_int_equal(cache_files(NULL, 0), 1);
    const lti_tensor *q = NULL;
    lti_weights *w = NULL;
    assert_int_equal(lti_weights_open(COPY, LTI_PART_NONE, &w, NULL), LT_OK);
    q = lti_weights_find(w, "encoder.block.1.layer.0.SelfAttention.q.weight");
    assert_non_null(q);
    size_t bytes = lti_nbytes(q);
    lti_filemap m;
    assert_int_equal(lti_filemap_open(COPY, &m, NULL), LT_OK);
    const uint8_t *at = memmem(m.data, m.size, q->data, bytes);
    assert_non_null(at);
    long middle = (long)(at - m.data) + (long)bytes / 2;
    lti_filemap_close(&m);
    lti_weights_close(&w);
    spoil(COPY, middle, 40);
    lti_text_rows second = encode_copy("  a red   ball "); /* the same when cleaned */
    assert_same_rows(&want, &second);
    assert_int_equal(cache_files(NULL, 0), 1);
    lti_text_rows fresh = encode_copy("snow");
    assert_memory_not_equal(fresh.rows, other.rows, sizeof(float) * 48);
    assert_int_equal(cache_files(NULL, 0), 2);
    lti_text_rows *all[] = {&want, &other, &first, &second, &fresh};
    for (int i = 0; i < 5; i++) lti_text_rows_free(all[i]);
    clear_cache();
    unlink(COPY);
}

/* Anything else about the encoder makes another key. */
static void test_cache_key(void **state) {
    fixture *f = *state;
    clear_cache();
    const lti_text_options o = {.cache_dir = CACHE};
    lti_text_rows r[5];
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open(fast_backend(), 1, NULL, &d, NULL), LT_OK);
    const int keys = strcmp(d->ops.name, "ref") == 0 ? 2 : 3;
    lti_dev_close(&d);
    r[0] = encode_with(f->w, &o, fast_backend(), LTI_F32, "snow");
    r[1] = encode_with(f->w, &o, fast_backend(), LTI_BF16, "snow");
    r[2] = encode_with(f->w, &o, "ref", LTI_F32, "snow");
    assert_int_equal(cache_files(NULL, 0), keys);
    copy_encoder();
    r[3] = encode_copy("snow"); /* another path, the same file: a hit */
    assert_int_equal(cache_files(NULL, 0), keys);
    spoil(COPY, -8, 4); /* the last bytes of the last tensor */
    r[4] = encode_copy("snow");
    assert_int_equal(cache_files(NULL, 0), keys + 1);
    for (int i = 0; i < 5; i++) lti_text_rows_free(&r[i]);
    clear_cache();
    unlink(COPY);
}

static void test_cache_damage(void **state) {
    fixture *f = *state;
    char path[512];
    const lti_text_options o = {.cache_dir = CACHE};
    clear_cache();
    lti_text_rows want = encode_with(f->w, &o, fast_backend(), LTI_F32, "snow");
    assert_int_equal(cache_files(path, sizeof path), 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (long at = 0; at < st.st_size; at += 37) { /* any byte: header, ids, rows, sums */
        spoil(path, at, 1);
        lti_text_rows r = encode_with(f->w, &o, fast_backend(), LTI_F32, "snow");
        assert_same_rows(&want, &r);
        lti_text_rows_free(&r);
    }
    for (long cut = 0; cut < st.st_size; cut += st.st_size / 7 + 1) {
        assert_int_equal(truncate(path, cut), 0);
        lti_text_rows r = encode_with(f->w, &o, fast_backend(), LTI_F32, "snow");
        assert_same_rows(&want, &r);
        lti_text_rows_free(&r);
        struct stat now;
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_size, st.st_size); /* made again */
    }
    lti_text_rows_free(&want);
    clear_cache();
}

/* A folder that cannot be one is an error when the encoder opens, not after an hour. */
static void test_cache_folder(void **state) {
    fixture *f = *state;
    static const char *const bad[] = {DATA "clean.json", "/proc/no/such", "/proc/version/x"};
    lti_dev *d = NULL;
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, NULL), LT_OK);
    for (int i = 0; i < 3; i++) {
        lt_error err = {0};
        lti_text *t = NULL;
        const lti_text_options o = {.cache_dir = bad[i]};
        assert_int_equal(
            lti_text_open_with(d, f->w, NULL, DATA "spiece.model", 16, LTI_F32, &o, &t, &err),
            LT_EIO);
        assert_null(t);
        assert_non_null(strstr(err.msg, bad[i]));
        assert_non_null(strstr(err.msg, "text cache"));
    }
    lti_dev_close(&d);
}

/* A tokenizer for an embedding many times its size belongs to another model. */
static void test_foreign_tokenizer(void **state) {
    (void)state;
    enum { ROWS = 9000 };
    const char *path = LT_BINARY_DIR "/tests/wide.safetensors";
    static float zeros[ROWS * 4];
    const lti_named list[] = {
        {"token_embedding.weight", LTI_VIEW(zeros, LTI_F32, ROWS, 4)},
        {"blocks.0.pos_embedding.embedding.weight", LTI_VIEW(zeros, LTI_F32, 32, 1)},
        {"blocks.0.attn.q.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.attn.k.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.attn.v.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.attn.o.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.ffn.gate.0.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.ffn.fc1.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.ffn.fc2.weight", LTI_VIEW(zeros, LTI_F32, 4, 4)},
        {"blocks.0.norm1.weight", LTI_VIEW(zeros, LTI_F32, 4)},
        {"blocks.0.norm2.weight", LTI_VIEW(zeros, LTI_F32, 4)},
        {"norm.weight", LTI_VIEW(zeros, LTI_F32, 4)}};
    lt_error err = {0};
    lti_dev *d = NULL;
    lti_weights *w = NULL;
    lti_text *t = NULL;
    assert_int_equal(lti_safetensors_write(path, list, 12, &err), LT_OK);
    assert_int_equal(lti_weights_open(path, LTI_PART_TEXT, &w, &err), LT_OK);
    assert_int_equal(lti_dev_open("ref", 1, NULL, &d, NULL), LT_OK);
    assert_int_equal(lti_text_open(d, w, NULL, DATA "spiece.model", 8, LTI_F32, &t, &err),
                     LT_EFORMAT);
    assert_non_null(strstr(err.msg, "not of one model"));
    err = (lt_error){0};
    assert_int_equal(lti_text_open(d, w, NULL, NULL, 8, LTI_F32, &t, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "--tokenizer"));
    lti_dev_close(&d);
    lti_weights_close(&w);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streamed_is_the_same),
        cmocka_unit_test(test_streamed_threads),
        cmocka_unit_test(test_cache_hit),
        cmocka_unit_test(test_cache_key),
        cmocka_unit_test(test_cache_damage),
        cmocka_unit_test(test_cache_folder),
        cmocka_unit_test(test_foreign_tokenizer),
        cmocka_unit_test(test_ref_f32),
        cmocka_unit_test(test_cpu_f32),
        cmocka_unit_test(test_ref_bf16),
        cmocka_unit_test(test_cpu_bf16),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
