/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_gguf.c - GGUF good and bad: keys, tensors, blocks, names. */
#include "base/filemap.h"
#include "tests/gguf_builder.h"
#include "weights/ggml.h"
#include "weights/gguf.h"
#include "weights/weights_int.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const char fixture[] = LT_SOURCE_DIR "/tests/golden/gguf/types.gguf";

/* -- helpers -------------------------------------------------------------------------------- */

/* Parse an exactly sized copy, so that ASan sees a read past the end; frees the builder. */
static lt_status parse(gguf_builder *b, lti_entries *list, uint8_t **copy, lt_error *err) {
    *err = (lt_error){0};
    *copy = malloc(b->n ? b->n : 1);
    assert_non_null(*copy);
    if (b->n) memcpy(*copy, b->p, b->n);
    lt_status st = lti_gguf_parse(*copy, b->n, "file", list, err);
    free(b->p);
    if (st != LT_OK) assert_int_equal(list->n, 0);
    return st;
}

static void accepted(gguf_builder b, int n) {
    lt_error err;
    lti_entries list;
    uint8_t *copy;
    if (parse(&b, &list, &copy, &err) != LT_OK) fail_msg("%s", err.msg);
    assert_int_equal(list.n, n);
    lti_entries_free(&list);
    free(copy);
}

#define refused(b, code, part) refused_at((b), (code), (part), __LINE__)
static void refused_at(gguf_builder b, lt_status code, const char *part, int line) {
    lt_error err;
    lti_entries list;
    uint8_t *copy;
    lt_status st = parse(&b, &list, &copy, &err);
    free(copy);
    if (st != code || !strstr(err.msg, part) || strncmp(err.msg, "file: ", 6) ||
        strchr(err.msg, '\n'))
        fail_msg("line %d gave %d '%s', expected %d with '%s'", line, st, err.msg, code, part);
}

/* One tensor of one type over `data` bytes. */
static gguf_builder one(int rank, const uint64_t *ne, uint32_t type, uint64_t offset, size_t data) {
    gguf_builder b = gb_new(3, 1, 0);
    gb_tensor(&b, "a", rank, ne, type, offset);
    gb_data(&b, 32, data);
    return b;
}

/* -- what ggml's own package wrote ------------------------------------------------------------ */

static void same_values(const lti_weights *w, int i, lti_weights *want_file) {
    const lti_tensor *shape;
    const char *name = lti_weights_name(w, i, &shape);
    lti_tensor got, want;
    lt_error err = {0};
    assert_int_equal(lti_weights_get(want_file, name, -1, NULL, &want, &err), LT_OK);
    if (lti_weights_get((lti_weights *)(uintptr_t)w, name, want.rank, want.n, &got, &err) != LT_OK)
        fail_msg("%s", err.msg);
    float *f = malloc((size_t)lti_numel(&got) * sizeof *f), *g = malloc(lti_nbytes(&want));
    lti_to_f32(&got, f);
    lti_to_f32(&want, g);
    for (int64_t k = 0; k < lti_numel(&got); k++) /* to the bit; any NaN is as good as another */
        if (memcmp(&f[k], &g[k], 4) && !(f[k] != f[k] && g[k] != g[k]))
            fail_msg("%s[%lld] is %.9g, expected %.9g", name, (long long)k, f[k], g[k]);
    free(f);
    free(g);
}

static void test_types(void **state) {
    (void)state;
    lti_weights *w, *want;
    lt_error err = {0};
    assert_int_equal(lti_weights_open(fixture, LTI_PART_NONE, &w, &err), LT_OK);
    assert_int_equal(lti_weights_open(LT_SOURCE_DIR "/tests/golden/gguf/types.safetensors",
                                      LTI_PART_NONE, &want, &err),
                     LT_OK);
    assert_int_equal(lti_weights_count(w), lti_weights_count(want));
    assert_int_equal(lti_weights_count(w), 15);
    for (int i = 0; i < lti_weights_count(w); i++) {
        same_values(w, i, want);
        uint64_t bytes;
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t), *stored = lti_weights_stored(w, i, &bytes);
        if (strcmp(name, "five")) assert_int_equal(strcasecmp(name, stored), 0);
        if (!strcmp(name, "q4_k")) assert_int_equal(bytes, 3 * 2 * 144);
    }
    lti_weights_close(&w);
    lti_weights_close(&want);
}

/* Rows and blocks in the middle of a tensor are those of the whole. */
static void test_partial(void **state) {
    (void)state;
    static const char *const name[] = {"q4_0", "q8_0", "q3_k", "q6_k", "iq4_nl", "bf16"};
    lti_weights *w;
    lt_error err = {0};
    assert_int_equal(lti_weights_open(fixture, LTI_PART_NONE, &w, &err), LT_OK);
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        lti_tensor all;
        assert_int_equal(lti_weights_get(w, name[i], -1, NULL, &all, &err), LT_OK);
        const int64_t cols = all.n[1];
        float *full = malloc((size_t)lti_numel(&all) * 4), *part = malloc((size_t)cols * 2 * 4);
        lti_to_f32(&all, full);
        assert_int_equal(lti_weights_rows(w, name[i], 1, 2, part, &err), LT_OK);
        assert_memory_equal(part, full + cols, (size_t)cols * 2 * 4);
        free(full);
        free(part);
        lti_weights_forget(w);
    }
    lti_weights_close(&w);
}

/* -- keys ------------------------------------------------------------------------------------- */

static bool is(lti_gguf_str s, const char *want) {
    return s.n == strlen(want) && !memcmp(s.p, want, s.n);
}

/* A scalar as the array of one that it is. */
static bool number(const lti_gguf_meta *m, const char *key, double *out) {
    const lti_gguf_value *at = lti_gguf_find(m, key);
    assert_non_null(at);
    lti_gguf_value v = *at;
    return lti_gguf_next_num(&v, out);
}

static void check_keys(const lti_gguf_meta *m) {
    static const struct {
        const char *key;
        int64_t want;
    } ints[] = {{"test.u8", 200},        {"test.i8", -100},        {"test.u16", 60000},
                {"test.i16", -30000},    {"test.u32", 4000000000}, {"test.i32", -2000000000},
                {"test.i64", INT64_MIN}, {"test.bool", 1}};
    int64_t i;
    double d;
    bool flag = false;
    lti_gguf_str s;
    for (size_t k = 0; k < sizeof ints / sizeof *ints; k++) {
        assert_true(lti_gguf_int(m, ints[k].key, &i));
        assert_true(i == ints[k].want);
        assert_true(number(m, ints[k].key, &d) && d == (double)ints[k].want);
    }
    assert_false(lti_gguf_int(m, "test.u64", &i)); /* beyond int64 */
    assert_true(number(m, "test.u64", &d) && d == 18446744073709551616.0);
    assert_true(number(m, "test.f32", &d) && d == 0.25);
    assert_true(number(m, "test.f64", &d) && d == 0.1);
    assert_false(lti_gguf_int(m, "test.f32", &i));
    assert_true(lti_gguf_bool(m, "test.bool", &flag) && flag);
    assert_true(lti_gguf_string(m, "general.architecture", &s) && is(s, "wan"));
    assert_true(lti_gguf_string(m, "test.string", &s) && is(s, "caf\xc3\xa9"));
    assert_false(lti_gguf_string(m, "test.u8", &s));
    assert_false(lti_gguf_string(m, "test.strings", &s));
    assert_false(lti_gguf_string(m, "test.strin", &s));
    assert_null(lti_gguf_find(m, ""));
}

static void check_arrays(const lti_gguf_meta *m) {
    lti_gguf_value v;
    lti_gguf_str s;
    double d;
    int64_t i;
    assert_true(lti_gguf_array(m, "test.strings", LTI_GGUF_STRING, &v));
    assert_int_equal(v.n, 4);
    assert_false(lti_gguf_next_int(&v, &i));
    assert_true(lti_gguf_next_string(&v, &s) && s.n == 0);
    assert_true(lti_gguf_next_string(&v, &s) && is(s, "a"));
    assert_true(lti_gguf_next_string(&v, &s) && is(s, "\xe2\x96\x81the"));
    assert_true(lti_gguf_next_string(&v, &s) && s.n == 300);
    assert_false(lti_gguf_next_string(&v, &s));
    assert_true(lti_gguf_array(m, "test.floats", LTI_GGUF_F32, &v));
    assert_false(lti_gguf_next_string(&v, &s));
    assert_true(lti_gguf_next_num(&v, &d) && d == -1.5);
    assert_true(lti_gguf_next_num(&v, &d) && d == 0);
    assert_true(lti_gguf_next_num(&v, &d) && d == 2.25);
    assert_false(lti_gguf_next_num(&v, &d));
    assert_true(lti_gguf_array(m, "test.ints", LTI_GGUF_ARRAY, &v)); /* any numbers */
    assert_true(lti_gguf_next_int(&v, &i) && i == -1);
    assert_true(lti_gguf_next_int(&v, &i) && i == 0);
    assert_true(lti_gguf_next_num(&v, &d) && d == 7);
    assert_false(lti_gguf_array(m, "test.strings", LTI_GGUF_ARRAY, &v));
    assert_false(lti_gguf_array(m, "test.floats", LTI_GGUF_STRING, &v));
    assert_false(lti_gguf_array(m, "test.u8", LTI_GGUF_U8, &v));
    assert_false(lti_gguf_array(m, "none", LTI_GGUF_U8, &v));
}

static void test_keys(void **state) {
    (void)state;
    lti_filemap map;
    lti_gguf_meta m;
    lt_error err = {0};
    assert_int_equal(lti_filemap_open(fixture, &map, &err), LT_OK);
    assert_int_equal(lti_gguf_meta_read(map.data, map.size, "file", &m, &err), LT_OK);
    assert_int_equal(m.version, 3);
    assert_int_equal(m.n_tensor, 15);
    check_keys(&m);
    check_arrays(&m);
    lti_gguf_meta_free(&m);
    lti_filemap_close(&map);
}

/* A vocabulary of 256k pieces must not cost more than a pass. */
static void test_many_strings(void **state) {
    (void)state;
    enum { N = 256384 };
    gguf_builder b = gb_new(3, 0, 1);
    gb_key(&b, "tokenizer.ggml.tokens", LTI_GGUF_ARRAY);
    gb_u(&b, LTI_GGUF_STRING, 4);
    gb_u(&b, N, 8);
    char text[16];
    for (int i = 0; i < N; i++) {
        snprintf(text, sizeof text, "%d", i);
        gb_str(&b, text);
    }
    lti_gguf_meta m;
    lti_gguf_value v;
    lti_gguf_str s = {0};
    lt_error err = {0};
    clock_t start = clock();
    assert_int_equal(lti_gguf_meta_read(b.p, b.n, "file", &m, &err), LT_OK);
    assert_true(lti_gguf_array(&m, "tokenizer.ggml.tokens", LTI_GGUF_STRING, &v));
    int n = 0;
    while (lti_gguf_next_string(&v, &s)) n++;
    assert_int_equal(n, N);
    assert_true(is(s, "256383"));
    assert_true(clock() - start < CLOCKS_PER_SEC); /* 2 ms in fact */
    lti_gguf_meta_free(&m);
    free(b.p);
}

/* -- files that are fine ------------------------------------------------------------------------ */

static void test_good(void **state) {
    (void)state;
    accepted(gb_new(3, 0, 0), 0);
    accepted(gb_new(2, 0, 0), 0);
    accepted(one(1, NE(3), 0, 0, 12), 1);
    accepted(one(0, NE(0), 0, 0, 4), 1);                 /* a number */
    accepted(one(6, NE(1, 2, 1, 3, 1, 1), 1, 0, 12), 1); /* more axes than ggml has */
    accepted(one(2, NE(0, 5), 0, 0, 0), 1);              /* empty */
    accepted(one(2, NE(256, 2), 12, 32, 32 + 288), 1);   /* a hole before it */
    accepted(one(1, NE(4), 0, 0, 100), 1);               /* bytes after it */
    gguf_builder b = gb_new(3, 3, 1);
    gb_key(&b, "general.alignment", LTI_GGUF_U32);
    gb_u(&b, 4, 4);
    gb_tensor(&b, "b", 1, NE(2), 0, 8); /* any order */
    gb_tensor(&b, "a", 1, NE(4), 1, 0);
    gb_tensor(&b, "c", 2, NE(0, 0), 0, 8); /* empty ones take no room */
    gb_data(&b, 4, 16);
    accepted(b, 3);
    static const char *const archs[] = {"", "wan", "pig", "cow", "t5", "t5encoder"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        b = gb_new(3, 0, 1);
        gb_key(&b, "general.architecture", LTI_GGUF_STRING);
        gb_str(&b, archs[i]);
        accepted(b, 0);
    }
}

static void test_shape(void **state) {
    (void)state;
    gguf_builder b = gb_new(3, 1, 0);
    gb_tensor(&b, "w", 3, NE(4, 3, 2), 24, 0);
    gb_data(&b, 32, 24);
    lti_entries list;
    lt_error err;
    uint8_t *copy;
    assert_int_equal(parse(&b, &list, &copy, &err), LT_OK);
    const lti_tensor *t = &list.e[0].t;
    assert_int_equal(t->rank, 3);
    assert_true(t->n[0] == 2 && t->n[1] == 3 && t->n[2] == 4);
    assert_int_equal(t->dtype, LTI_I8);
    for (int i = 0; i < 24; i++) assert_true(lti_get_f32(t, i) == (float)i);
    lti_entries_free(&list);
    free(copy);
}

/* -- files that are not --------------------------------------------------------------------------- */

static void test_bad_head(void **state) {
    (void)state;
    gguf_builder b = {0};
    refused(b, LT_EFORMAT, "GGUF");
    b = (gguf_builder){0};
    gb_bytes(&b, "GGUF\3", 5);
    refused(b, LT_EFORMAT, "truncated");
    refused(gb_new(1, 0, 0), LT_EUNSUPPORTED, "version 1");
    refused(gb_new(4, 0, 0), LT_EUNSUPPORTED, "version 4");
    refused(gb_new(0, 0, 0), LT_EFORMAT, "version 0");
    refused(gb_new(0x03000000, 0, 0), LT_EUNSUPPORTED, "big-endian");
    refused(gb_new(3, 0, 1), LT_EFORMAT, "pairs");
    refused(gb_new(3, 0, UINT64_MAX), LT_EFORMAT, "pairs");
    refused(gb_new(3, 1, 0), LT_EFORMAT, "1 tensors");
    refused(gb_new(3, UINT64_MAX, 0), LT_EFORMAT, "tensors");
    for (size_t n = 0; n < 24; n++) { /* every truncation of the header */
        b = gb_new(3, 0, 0);
        b.n = n;
        refused(b, LT_EFORMAT, "");
    }
}

/* A header with one key of `type`, ended by the caller. */
static gguf_builder keyed(const char *key, uint32_t type) {
    gguf_builder b = gb_new(3, 0, 1);
    gb_key(&b, key, type);
    return b;
}

static gguf_builder array_of(uint32_t type, uint64_t n) {
    gguf_builder b = keyed("a", LTI_GGUF_ARRAY);
    gb_u(&b, type, 4);
    gb_u(&b, n, 8);
    return b;
}

static void test_bad_keys(void **state) {
    (void)state;
    gguf_builder b = keyed("", LTI_GGUF_U8);
    gb_u(&b, 1, 8);
    refused(b, LT_EFORMAT, "key of 0 bytes");
    b = keyed("a\nb", LTI_GGUF_U8);
    gb_u(&b, 1, 1);
    refused(b, LT_EFORMAT, "control");
    b = keyed("a", LTI_GGUF_TYPE_COUNT);
    gb_u(&b, 1, 8);
    refused(b, LT_EFORMAT, "type 13");
    b = keyed("a", LTI_GGUF_F64);
    gb_u(&b, 1, 4);
    refused(b, LT_EFORMAT, "truncated");
    b = keyed("a", LTI_GGUF_STRING);
    gb_u(&b, UINT64_MAX, 8);
    refused(b, LT_EFORMAT, "bytes of text");
    b = keyed("a", LTI_GGUF_STRING);
    gb_u(&b, 2, 8);
    gb_u(&b, 0, 1);
    refused(b, LT_EFORMAT, "bytes of text");
    b = gb_new(3, 0, 2);
    for (int i = 0; i < 2; i++) {
        gb_key(&b, "twice", LTI_GGUF_U8);
        gb_u(&b, 1, 1);
    }
    refused(b, LT_EFORMAT, "'twice' is there twice");
    refused(array_of(LTI_GGUF_U64, UINT64_MAX / 8 + 1), LT_EFORMAT, "elements");
    refused(array_of(LTI_GGUF_STRING, 1), LT_EFORMAT, "elements");
    refused(array_of(LTI_GGUF_ARRAY, 1), LT_EFORMAT, "elements");
    refused(array_of(99, 1), LT_EFORMAT, "type 99");
    b = gb_new(3, 0, 1); /* a key longer than the format allows */
    gb_u(&b, 70000, 8);
    for (int i = 0; i < 70004; i++) gb_u(&b, 'k', 1);
    refused(b, LT_EFORMAT, "70000");
}

static void test_nested(void **state) {
    (void)state;
    for (int depth = 1; depth <= 6; depth++) {
        gguf_builder b = keyed("a", LTI_GGUF_ARRAY);
        for (int i = 1; i < depth; i++) {
            gb_u(&b, LTI_GGUF_ARRAY, 4);
            gb_u(&b, 1, 8);
        }
        gb_u(&b, LTI_GGUF_U8, 4);
        gb_u(&b, 1, 8);
        gb_u(&b, 5, 1);
        if (depth <= 4) accepted(b, 0);
        else refused(b, LT_EFORMAT, "nested");
    }
}

static void test_bad_general(void **state) {
    (void)state;
    static const int64_t alignments[] = {0, 3, 33, -32, 1 << 21};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        gguf_builder b = keyed("general.alignment", LTI_GGUF_I32);
        gb_u(&b, (uint64_t)alignments[i], 4);
        refused(b, LT_EFORMAT, "alignment");
    }
    gguf_builder b = keyed("general.alignment", LTI_GGUF_F32);
    gb_u(&b, 0x42000000, 4); /* 32.0f */
    refused(b, LT_EFORMAT, "alignment");
    b = keyed("split.count", LTI_GGUF_U16);
    gb_u(&b, 3, 2);
    refused(b, LT_EUNSUPPORTED, "3 files");
    b = keyed("split.count", LTI_GGUF_U16);
    gb_u(&b, 1, 2);
    accepted(b, 0);
    b = keyed("general.architecture", LTI_GGUF_STRING);
    gb_str(&b, "llama");
    refused(b, LT_EUNSUPPORTED, "'llama'");
    b = keyed("general.architecture", LTI_GGUF_STRING);
    gb_str(&b, "a\nb\xff and a very long name of an architecture");
    refused(b, LT_EUNSUPPORTED, "'a?b?");
}

static void test_bad_tensor(void **state) {
    (void)state;
    refused(one(7, NE(1, 1, 1, 1, 1, 1, 1), 0, 0, 4), LT_EUNSUPPORTED, "7 dimensions");
    refused(one(1, NE(UINT64_MAX), 0, 0, 4), LT_EFORMAT, "larger");
    refused(one(2, NE(1ull << 32, 1ull << 32), 0, 0, 4), LT_EFORMAT, "larger");
    refused(one(3, NE(1ull << 50, 0, 1ull << 50), 0, 0, 4), LT_EFORMAT, "larger");
    refused(one(2, NE(1ull << 30, 1ull << 28), 0, 0, 64), LT_EFORMAT, "truncated");
    refused(one(1, NE(4), 5, 0, 64), LT_EUNSUPPORTED, "type 5");
    refused(one(1, NE(4), UINT32_MAX, 0, 64), LT_EUNSUPPORTED, "not known");
    refused(one(1, NE(256), 23, 0, 256), LT_EUNSUPPORTED, "IQ4_XS");
    refused(one(1, NE(31), 8, 0, 64), LT_EFORMAT, "multiple of 32");
    refused(one(2, NE(128, 2), 12, 0, 256), LT_EFORMAT, "multiple of 256");
    refused(one(0, NE(0), 2, 0, 64), LT_EFORMAT, "multiple of 32");
    refused(one(1, NE(4), 0, 16, 64), LT_EFORMAT, "multiple of 32");
    refused(one(1, NE(4), 0, 64, 64), LT_EFORMAT, "truncated");
    refused(one(1, NE(4), 0, UINT64_MAX - 31, 64), LT_EFORMAT, "truncated");
    refused(one(1, NE(4), 0, 0, 15), LT_EFORMAT, "truncated");
    refused(one(2, NE(256, 2), 14, 0, 419), LT_EFORMAT, "truncated");
    gguf_builder b = gb_new(3, 1, 0);
    gb_tensor(&b, "", 1, NE(4), 0, 0);
    gb_data(&b, 32, 16);
    refused(b, LT_EFORMAT, "0 bytes");
    b = gb_new(3, 1, 0);
    gb_tensor(&b, "a\tb", 1, NE(4), 0, 0);
    gb_data(&b, 32, 16);
    refused(b, LT_EFORMAT, "control");
    b = gb_new(3, 1, 0);
    gb_u(&b, 500, 8); /* a name longer than the file */
    gb_data(&b, 32, 100);
    refused(b, LT_EFORMAT, "truncated");
    b = gb_new(3, 1, 0);
    gb_u(&b, UINT64_MAX, 8);
    gb_data(&b, 32, 100);
    refused(b, LT_EFORMAT, "name");
}

static gguf_builder two(const char *name, uint64_t offset) {
    gguf_builder b = gb_new(3, 2, 0);
    gb_tensor(&b, "a", 1, NE(9), 0, 0);
    gb_tensor(&b, name, 1, NE(4), 0, offset);
    gb_data(&b, 32, 128);
    return b;
}

static void test_two(void **state) {
    (void)state;
    accepted(two("b", 64), 2);
    refused(two("b", 32), LT_EFORMAT, "overlap");
    refused(two("b", 0), LT_EFORMAT, "overlap");
    refused(two("a", 64), LT_EFORMAT, "twice");
    gguf_builder all = two("b", 64);
    for (size_t n = 0; n < all.n - 64; n++) { /* every truncation */
        gguf_builder b = {0};
        gb_bytes(&b, all.p, n);
        refused(b, LT_EFORMAT, "");
    }
    free(all.p);
}

/* -- names ----------------------------------------------------------------------------------------- */

static void test_text_names(void **state) {
    (void)state;
    static const char *const names[][2] = {
        {"token_embd.weight", "token_embedding.weight"},
        {"enc.output_norm.weight", "norm.weight"},
        {"enc.blk.7.attn_norm.weight", "blocks.7.norm1.weight"},
        {"enc.blk.7.attn_q.weight", "blocks.7.attn.q.weight"},
        {"enc.blk.7.attn_k.weight", "blocks.7.attn.k.weight"},
        {"enc.blk.7.attn_v.weight", "blocks.7.attn.v.weight"},
        {"enc.blk.7.attn_o.weight", "blocks.7.attn.o.weight"},
        {"enc.blk.23.attn_rel_b.weight", "blocks.23.pos_embedding.embedding.weight"},
        {"enc.blk.0.ffn_norm.weight", "blocks.0.norm2.weight"},
        {"enc.blk.0.ffn_gate.weight", "blocks.0.ffn.gate.0.weight"},
        {"enc.blk.0.ffn_up.weight", "blocks.0.ffn.fc1.weight"},
        {"enc.blk.0.ffn_down.weight", "blocks.0.ffn.fc2.weight"},
        {"dec.blk.0.attn_q.weight", NULL},
        {"dec.output_norm.weight", NULL},
        {"output.weight", NULL}};
    enum { N = sizeof names / sizeof *names };
    gguf_builder b = gb_new(3, N, 0);
    for (int i = 0; i < N; i++) gb_tensor(&b, names[i][0], 1, NE(8), 0, 32 * (uint64_t)i);
    gb_data(&b, 32, 32 * N);
    lti_entries list;
    lt_error err;
    uint8_t *copy;
    assert_int_equal(parse(&b, &list, &copy, &err), LT_OK);
    assert_int_equal(lti_names_translate(LTI_PART_TEXT, "file", &list, &err), LT_OK);
    assert_int_equal(list.n, N - 3);
    for (int i = 0; i < N; i++) {
        if (!names[i][1]) continue;
        const lti_entry *e = lti_entries_find(&list, names[i][1]);
        if (!e) fail_msg("no %s", names[i][1]);
        assert_string_equal(e->raw, names[i][0]);
    }
    lti_entries_free(&list);
    free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),      cmocka_unit_test(test_partial),
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_many_strings),
        cmocka_unit_test(test_good),       cmocka_unit_test(test_shape),
        cmocka_unit_test(test_bad_head),   cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_nested),     cmocka_unit_test(test_bad_general),
        cmocka_unit_test(test_bad_tensor), cmocka_unit_test(test_two),
        cmocka_unit_test(test_text_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
