/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_tokenizer.c - ids from spiece.model, tokenizer.json, GGUF and safetensors against
 * sentencepiece and tokenizers (tools/make_tokenizer_fixtures.py), and hostile files of each kind.
 *
 * With LT_UMT5_TOKENIZER=FILE (the real umt5 tokenizer, in any form) also known ids of that. */
#include "base/filemap.h"
#include "base/json.h"
#include "text/text_int.h"
#include "text/vocab.h"
#include "weights/weights.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DIR LT_SOURCE_DIR "/tests/golden/tokenizer/"

static cJSON *table;

static int open_table(void **state) {
    (void)state;
    lt_error err = {0};
    if (lti_json_load(DIR "ids.json", 1 << 20, &table, &err)) print_error("%s\n", err.msg);
    return table ? 0 : -1;
}

static int close_table(void **state) {
    (void)state;
    cJSON_Delete(table);
    return 0;
}

static lti_tokenizer *open_one(const char *path) {
    lti_tokenizer *t;
    lt_error err = {0};
    if (lti_tokenizer_open(path, &t, &err)) fail_msg("%s", err.msg);
    return t;
}

/* A whole file, NUL terminated. */
static char *read_all(const char *path, size_t *n) {
    lti_filemap m;
    assert_int_equal(lti_filemap_open(path, &m, NULL), LT_OK);
    char *s = malloc(m.size + 1);
    memcpy(s, m.data, m.size);
    s[m.size] = '\0';
    *n = m.size;
    lti_filemap_close(&m);
    return s;
}

static bool equal(const cJSON *want, const int32_t *ids, int n) {
    if (cJSON_GetArraySize(want) != n) return false;
    for (const cJSON *e = want->child; e; e = e->next)
        if (e->valueint != *ids++) return false;
    return true;
}

static void print_ids(const char *what, const int32_t *ids, int n) {
    print_error("  %s", what);
    for (int i = 0; i < n; i++) print_error(" %d", ids[i]);
    print_error("\n");
}

/* What a form must give for one row of the table; NULL: nothing is known. */
typedef const cJSON *expect_fn(const cJSON *row, const char *name);

static const cJSON *as_sentencepiece(const cJSON *row, const char *name) {
    return cJSON_GetObjectItem(row->child->next, name);
}

static const cJSON *as_tokenizers(const cJSON *row, const char *name) {
    char key[32];
    snprintf(key, sizeof key, "%s.json", name);
    const cJSON *own = cJSON_GetObjectItem(row->child->next, key);
    return own ? own : as_sentencepiece(row, name);
}

/* sentencepiece knows no extra ids; for them, tokenizers where nothing else is special. */
static const cJSON *as_gguf(const cJSON *row, const char *name) {
    const char *s = row->child->valuestring;
    if (!strstr(s, "<extra_id_")) return as_sentencepiece(row, name);
    return strstr(s, "</s>") ? NULL : as_tokenizers(row, name);
}

static const cJSON *without_tokens(const cJSON *row, const char *name) {
    return strchr(row->child->valuestring, '<') ? NULL : as_sentencepiece(row, name);
}

/* Rows that differ; more than `allowed` (a list of strings, NULL ends it) fail. */
static void compare(const lti_tokenizer *t, const char *name, expect_fn *expect,
                    const char *const *allowed) {
    int n_bad = 0, n_row = 0;
    for (const cJSON *row = table->child; row; row = row->next) {
        const char *s = row->child->valuestring;
        const cJSON *want = expect(row, name);
        int32_t *ids;
        int n;
        bool known = false;
        lt_error err = {0};
        if (!want) continue;
        for (int i = 0; allowed && allowed[i]; i++) known |= !strcmp(allowed[i], s);
        if (lti_tokenizer_encode(t, s, &ids, &n, &err)) fail_msg("%s", err.msg);
        n_row++;
        if (equal(want, ids, n) == known) {
            print_error("%s: '%s'%s\n", name, s, known ? " no longer differs" : "");
            print_ids("got ", ids, n);
            n_bad++;
        }
        free(ids);
    }
    print_message("%s: %d strings\n", name, n_row);
    assert_true(n_row > 100);
    assert_int_equal(n_bad, 0);
}

static void test_spiece(void **state) {
    (void)state;
    static const char *const names[] = {"bytes", "rules"};
    for (int i = 0; i < 2; i++) {
        char path[256];
        snprintf(path, sizeof path, DIR "%s.model", names[i]);
        lti_tokenizer *t = open_one(path);
        compare(t, names[i], as_sentencepiece, NULL);
        assert_int_equal(lti_tokenizer_eos(t), 1);
        lti_tokenizer_close(&t);
    }
}

/* A word mark typed as a character is where tokenizers and sentencepiece part: the first keeps it at
 * the ends of a text, the second takes it for the spaces that it strips and adds. */
static const char *const typed_mark[] = {"\u2581", "\u2581\u2581 a", NULL};

static void test_json(void **state) {
    (void)state;
    lti_tokenizer *t = open_one(DIR "bytes.json");
    compare(t, "bytes", as_tokenizers, typed_mark);
    assert_int_equal(lti_tokenizer_eos(t), 1);
    lti_tokenizer_close(&t);
    t = open_one(DIR "rules.json");
    compare(t, "rules", as_tokenizers, typed_mark);
    lti_tokenizer_close(&t);
}

static void test_gguf(void **state) {
    (void)state;
    lti_tokenizer *t = open_one(DIR "rules.gguf");
    compare(t, "rules", as_gguf, NULL);
    assert_int_equal(lti_tokenizer_eos(t), 1);
    lti_tokenizer_close(&t);
    t = open_one(DIR "bytes.gguf");
    compare(t, "bytes", as_gguf, NULL);
    lti_tokenizer_close(&t);
}

/* The text with every `from` replaced by `to`; malloced. */
static char *replaced(const char *text, const char *from, const char *to) {
    size_t n = strlen(text), a = strlen(from), b = strlen(to), k = 0;
    char *out = malloc(n * (b / a + 1) + b + 1);
    for (size_t i = 0; i < n;) {
        bool hit = !strncmp(text + i, from, a);
        memcpy(out + k, hit ? to : text + i, hit ? b : 1);
        k += hit ? b : 1;
        i += hit ? a : 1;
    }
    out[k] = '\0';
    return out;
}

static lti_tokenizer *parse(const char *text, lt_status want, const char *part_of_message) {
    lti_tokenizer *t;
    lt_error err = {0};
    lt_status st = lti_tokenizer_parse(text, strlen(text), "it.json", &t, &err);
    if (st != want)
        fail_msg("status %d, expected %d (%s): '%s'", st, want, part_of_message, err.msg);
    if (part_of_message && !strstr(err.msg, part_of_message))
        fail_msg("'%s' lacks '%s'", err.msg, part_of_message);
    return t;
}

static void test_json_forms(void **state) {
    (void)state;
    size_t n;
    char *text = read_all(DIR "bytes.json", &n);
    char *s = replaced(text, "\"byte_fallback\":false", "\"byte_fallback\":true");
    lti_tokenizer *t = parse(s, LT_OK, NULL);
    compare(t, "bytes", without_tokens, NULL); /* sentencepiece's own bytes */
    lti_tokenizer_close(&t);
    free(s);
    /* how older files spell the same */
    s = replaced(text, "\"prepend_scheme\":\"always\"", "\"add_prefix_space\":true");
    t = parse(s, LT_OK, NULL);
    compare(t, "bytes", as_tokenizers, typed_mark);
    lti_tokenizer_close(&t);
    free(s);
    /* an empty piece, also as cJSON reads a NUL, matches no text */
    static const char *const empty[] = {"[\"\",0.0]", "[\"\\u0000\",0.0]"};
    for (int i = 0; i < 2; i++) {
        s = replaced(text, "[\"<0x00>\",0.0]", empty[i]);
        assert_string_not_equal(s, text);
        t = parse(s, LT_OK, NULL);
        compare(t, "bytes", as_tokenizers, typed_mark);
        lti_tokenizer_close(&t);
        free(s);
    }
    free(text);
}

static void ids_are(const lti_tokenizer *t, const char *text, const int32_t *want, int n_want) {
    int32_t *ids;
    int n;
    assert_int_equal(lti_tokenizer_encode(t, text, &ids, &n, NULL), LT_OK);
    if (n != n_want || memcmp(ids, want, sizeof *ids * (size_t)n) != 0) {
        print_ids("got ", ids, n);
        print_ids("want", want, n_want);
        fail_msg("'%s'", text);
    }
    free(ids);
}

/* "y" alone, "_y" with a word mark, the mark, <extra_id_2>: what each scheme makes of the same. */
static void test_prefix(void **state) {
    (void)state;
    size_t n;
    char *text = read_all(DIR "bytes.json", &n);
    lti_tokenizer *t = parse(text, LT_OK, NULL);
    int32_t *x, extra;
    int n_x;
    assert_int_equal(lti_tokenizer_encode(t, "x<extra_id_2>y", &x, &n_x, NULL), LT_OK);
    assert_int_equal(n_x, 5); /* mark x extra mark y */
    const int32_t mark = x[0], letter_x = x[1], y = x[4];
    extra = x[2];
    assert_int_equal(x[3], mark);
    free(x);
    lti_tokenizer_close(&t);
    char *s = replaced(text, "\"prepend_scheme\":\"always\"", "\"prepend_scheme\":\"first\"");
    t = parse(s, LT_OK, NULL);
    ids_are(t, "x<extra_id_2>y", (const int32_t[]){mark, letter_x, extra, y}, 4);
    ids_are(t, "x <extra_id_2> y", (const int32_t[]){mark, letter_x, extra, y}, 4);
    ids_are(t, "<extra_id_2>y", (const int32_t[]){extra, y}, 2);
    lti_tokenizer_close(&t);
    free(s);
    s = replaced(text, "\"prepend_scheme\":\"always\"", "\"prepend_scheme\":\"never\"");
    t = parse(s, LT_OK, NULL);
    ids_are(t, "x<extra_id_2>y", (const int32_t[]){letter_x, extra, y}, 3);
    lti_tokenizer_close(&t);
    free(s);
    free(text);
}

/* ComfyUI's text encoders carry spiece.model as a tensor. */
static void test_inside(void **state) {
    (void)state;
    size_t n;
    char *bytes = read_all(DIR "bytes.model", &n);
    float one = 1;
    const char *path = LT_BINARY_DIR "/tests/spiece_inside.safetensors";
    const lti_named list[] = {{"spiece_model", LTI_VIEW(bytes, LTI_U8, (int64_t)n)},
                              {"shared.weight", LTI_VIEW(&one, LTI_F32, 1, 1)}};
    lti_weights *w;
    lt_error err = {0};
    assert_int_equal(lti_safetensors_write(path, list, 2, &err), LT_OK);
    if (lti_weights_open(path, LTI_PART_TEXT, &w, &err)) fail_msg("%s", err.msg);
    assert_true(lti_tokenizer_inside(w));
    lti_tokenizer *t, *same = open_one(DIR "bytes.model");
    if (lti_tokenizer_open_inside(w, &t, &err)) fail_msg("%s", err.msg);
    lti_weights_close(&w);
    assert_memory_equal(lti_tokenizer_hash(t), lti_tokenizer_hash(same), 32);
    lti_tokenizer_close(&same);
    compare(t, "bytes", as_sentencepiece, NULL);
    lti_tokenizer_close(&t);
    t = open_one(path); /* and as --tokenizer */
    lti_tokenizer_close(&t);
    assert_int_equal(lti_safetensors_write(path, list + 1, 1, &err), LT_OK);
    assert_int_equal(lti_tokenizer_open(path, &t, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "spiece_model"));
    unlink(path);
    free(bytes);
}

static void test_hash(void **state) {
    (void)state;
    static const char *const files[] = {"bytes.model", "rules.model", "bytes.json", "rules.gguf"};
    lti_tokenizer *t[4];
    for (int i = 0; i < 4; i++) {
        char path[256];
        snprintf(path, sizeof path, DIR "%s", files[i]);
        t[i] = open_one(path);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(lti_tokenizer_hash(t[i]), lti_tokenizer_hash(t[k]), 32);
    }
    for (int i = 0; i < 4; i++) lti_tokenizer_close(&t[i]);
}

static void refuse(const char *text, const char *from, const char *to, const char *message) {
    char *s = replaced(text, from, to);
    if (!strcmp(s, text)) fail_msg("'%s' is not in the file", from);
    assert_null(parse(s, LT_EFORMAT, message));
    free(s);
}

static void test_bad_json(void **state) {
    (void)state;
    size_t n;
    char *text = read_all(DIR "rules.json", &n);
    refuse(text, "\"Unigram\"", "\"BPE\"", "BPE");
    refuse(text, "\"Metaspace\"", "\"ByteLevel\"", "ByteLevel");
    refuse(text, "\"Precompiled\"", "\"Lowercase\"", "Lowercase");
    refuse(text, "\"unk_id\":3", "\"unk_id\":99999", "unk_id");
    refuse(text, "\"unk_id\":3", "\"unk\":3", "unk_id");
    refuse(text, "\"prepend_scheme\":\"always\"", "\"prepend_scheme\":\"often\"", "prepend_scheme");
    refuse(text, "[\"<extra_id_9>\",0.0]", "[\"<extra_id_9>\"]", "pair");
    refuse(text, "[\"<unk>\",0.0]", "[\"\",0.0]", "unknown");
    refuse(text, "[\"<extra_id_9>\",0.0]", "[\"<extra_id_9>\",1e999]", "");
    refuse(text, "[\"<extra_id_8>\",0.0]", "[\"<extra_id_7>\",0.0]", "");
    refuse(text, "\"id\":1,", "\"id\":-1,", "id -1");
    refuse(text, "\"id\":1,", "\"id\":2,", "id 2");
    refuse(text, "\"id\":1,", "\"id\":99999999,", "99999999");
    refuse(text, "\"precompiled_charsmap\":\"A", "\"precompiled_charsmap\":\"*", "base64");
    refuse(text, "\"precompiled_charsmap\":\"ABA", "\"precompiled_charsmap\":\"ACA", "damaged");
    refuse(text, "</s>", "<eos>", "</s>");
    assert_null(parse("{}", LT_EFORMAT, "nothing"));
    assert_null(parse("{\"model\":", LT_EFORMAT, "json"));
    assert_null(parse("", LT_EFORMAT, "not a sentencepiece"));
    assert_null(parse("plain text", LT_EFORMAT, "not a sentencepiece"));
    free(text);
}

/* A file cut anywhere, and with any byte changed: an error or a tokenizer, never a crash. */
static void damage(const char *path, size_t step) {
    size_t n;
    char *bytes = read_all(path, &n);
    lti_tokenizer *t;
    int32_t *ids;
    int n_id, n_open = 0, n_try = 0;
    for (size_t i = 0; i < n; i += step, n_try++) {
        if (lti_tokenizer_parse(bytes, i, "cut", &t, NULL) == LT_OK) lti_tokenizer_close(&t);
        const char was = bytes[i];
        bytes[i] = (char)(was ^ (i % 2 ? 0x80 : 0x15));
        if (lti_tokenizer_parse(bytes, n, "changed", &t, NULL) == LT_OK) {
            n_open++;
            if (lti_tokenizer_encode(t, "a red ball \u00e9\u00bd", &ids, &n_id, NULL) == LT_OK)
                free(ids);
            lti_tokenizer_close(&t);
        }
        bytes[i] = was;
    }
    print_message("%s: %d of %d still open\n", path, n_open, n_try);
    assert_true(n_open < n_try);
    free(bytes);
}

static void test_damage(void **state) {
    (void)state;
    damage(DIR "rules.model", 23);
    damage(DIR "rules.json", 61);
    damage(DIR "rules.gguf", 37);
}

static void put_unit(uint8_t *map, size_t i, uint32_t u) {
    for (int k = 0; k < 4; k++) map[4 + 4 * i + (size_t)k] = (uint8_t)(u >> 8 * k);
}

static void test_charsmap(void **state) {
    (void)state;
    enum { A = 1 ^ 'a', B = 4 ^ 'b' }; /* children "a" from 1 on, "b" from 4 on */
    uint8_t map[4 + 1024 + 2] = {0, 4, 0, 0};
    assert_int_equal(lti_charsmap_check(map, 0), LT_OK);
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_OK);
    assert_int_equal(lti_charsmap_check(map, 1028), LT_EFORMAT); /* no strings */
    put_unit(map, 0, 1 << 10 | 1 << 9);                          /* children beyond the array */
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_EFORMAT);
    put_unit(map, 0, 1 << 10);
    put_unit(map, A, 'a' | 0x100 | (A ^ 4) << 10); /* "a" has the value of unit 4 */
    put_unit(map, 4, 0x80000001);
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_OK);
    put_unit(map, 4, 0x80000002); /* a string behind the end */
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_EFORMAT);
    put_unit(map, 4, 0x80000000);
    put_unit(map, B, 'b' | (B ^ 1) << 10); /* "ab" leads back to "a" */
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_EFORMAT);
    put_unit(map, B, 'b' | B << 10);
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_OK);
    map[sizeof map - 1] = 'x'; /* the last string does not end */
    assert_int_equal(lti_charsmap_check(map, sizeof map), LT_EFORMAT);
}

/* Ids that others published for the real vocabulary (umt5-xxl). */
static void test_umt5(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[20];
        int n;
    } known[] = {
        {"a cat running", {289, 6283, 19429}, 3},
        {"hello world", {154424, 3914}, 2},
        {"A cinematic shot of a cat on a skateboard",
         {320, 17443, 8378, 36215, 329, 289, 6283, 369, 289, 197877},
         10},
        {"The quick brown fox jumps over the lazy dog",
         {517, 24598, 47178, 273, 56209, 48150, 281, 702, 312, 298, 3065, 6833},
         12},
        {"Two dogs playing in the snow at dusk",
         {16349, 100574, 25588, 301, 312, 45540, 367, 364, 1377},
         9},
        {"\u4f60\u597d\u4e16\u754c", {273, 4635, 2199, 4503}, 4},
        {"No se como puedo", {826, 321, 671, 25922}, 4},
    };
    const char *path = getenv("LT_UMT5_TOKENIZER");
    if (!path || !*path) {
        print_message("NOT RUN: LT_UMT5_TOKENIZER names no umt5 tokenizer; its %zu known prompts "
                      "are unchecked\n",
                      sizeof known / sizeof *known);
        skip();
    }
    lti_tokenizer *t = open_one(path);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        ids_are(t, known[i].text, known[i].ids, known[i].n);
    assert_int_equal(lti_tokenizer_eos(t), 1);
    lti_tokenizer_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spiece), cmocka_unit_test(test_json),
        cmocka_unit_test(test_gguf),   cmocka_unit_test(test_json_forms),
        cmocka_unit_test(test_prefix), cmocka_unit_test(test_inside),
        cmocka_unit_test(test_hash),   cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_damage), cmocka_unit_test(test_charsmap),
        cmocka_unit_test(test_umt5),
    };
    return cmocka_run_group_tests(tests, open_table, close_table);
}
