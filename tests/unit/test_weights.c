/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_weights.c - safetensors good and bad, shards, folders, names, the writer. */
#include "tests/temp_rig.h"
#include "weights/weights_int.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* -- helpers ------------------------------------------------------------------------------- */

static void write_bytes(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* header + `data` bytes 0, 1, 2 ...; exactly sized, so that ASan sees a read past the end. */
static uint8_t *image(const char *header, size_t data, size_t *size) {
    size_t n = strlen(header);
    *size = 8 + n + data;
    uint8_t *p = malloc(*size);
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(p + 8, header, n);
    for (size_t i = 0; i < data; i++) p[8 + n + i] = (uint8_t)i;
    return p;
}

static lt_status parse(const char *header, size_t data, lt_error *err) {
    size_t size;
    uint8_t *p = image(header, data, &size);
    lti_entries e;
    *err = (lt_error){0};
    lt_status st = lti_safetensors_parse(p, size, "file", &e, err);
    if (st != LT_OK) assert_int_equal(e.n, 0);
    lti_entries_free(&e);
    free(p);
    return st;
}

static void refused(const char *header, size_t data, lt_status code, const char *part) {
    lt_error err;
    lt_status st = parse(header, data, &err);
    if (st != code || !strstr(err.msg, part) || strncmp(err.msg, "file: ", 6))
        fail_msg("%s\n gave %d '%s', expected %d with '%s'", header, st, err.msg, code, part);
}

#define T(name, dtype, shape, b, e)                                                                \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #b "," #e "]" \
    "}"

/* -- one file ------------------------------------------------------------------------------ */

static void test_good(void **state) {
    (void)state;
    lt_error err;
    assert_int_equal(parse("{}", 0, &err), LT_OK);
    assert_int_equal(parse("{}   ", 0, &err), LT_OK); /* padding */
    assert_int_equal(parse("{" T("a", "F32", "2,3", 0, 24) "}", 24, &err), LT_OK);
    assert_int_equal(parse("{" T("scalar", "F32", "", 0, 4) "}", 4, &err), LT_OK);
    assert_int_equal(parse("{" T("b", "U8", "3", 0, 3) "," T("c", "F32", "1", 3, 7) "}", 7, &err),
                     LT_OK); /* unaligned */
    assert_int_equal(parse("{" T("c", "BF16", "1", 2, 4) "," T("e", "F64", "0,7", 2, 2) "," T(
                               "b", "F16", "1", 0, 2) ",\"__metadata__\":{\"format\":\"pt\"}}",
                           4, &err),
                     LT_OK); /* any order, an empty tensor, metadata */
    assert_int_equal(parse("{" T("a", "F8_E4M3", "1", 0, 1) "," T("b", "F8_E5M2", "1", 1, 2) "," T(
                               "c", "BOOL", "1", 2,
                               3) "," T("d", "I64", "1", 3,
                                        11) "," T("e", "I32", "1", 11,
                                                  15) "," T("f", "I8", "1", 15,
                                                            16) "," T("g", "I16", "1", 16, 18) "}",
                           18, &err),
                     LT_OK);
}

static void test_bad(void **state) {
    (void)state;
    refused("{" T("a", "F32", "2,3", 0, 24) "}", 23, LT_EFORMAT, "truncated");
    refused("{" T("a", "F32", "2,3", 0, 24) "}", 25, LT_EFORMAT, "after the last");
    refused("{" T("a", "F32", "2,3", 0, 20) "}", 20, LT_EFORMAT, "its shape needs 24");
    refused("{" T("a", "F32", "1", 4, 0) "}", 4, LT_EFORMAT, "4 to 0");
    refused("{" T("a", "F32", "1", -4, 0) "}", 4, LT_EFORMAT, "data_offsets");
    refused("{" T("a", "F32", "1", 0.5, 4.5) "}", 5, LT_EFORMAT, "data_offsets");
    refused("{" T("a", "F32", "1", 0, 1e300) "}", 4, LT_EFORMAT, "data_offsets");
    refused("{" T("a", "U8", "4", 0, 4) "," T("b", "U8", "4", 2, 6) "}", 6, LT_EFORMAT, "overlap");
    refused("{" T("a", "U8", "4", 0, 4) "," T("b", "U8", "4", 0, 4) "}", 4, LT_EFORMAT, "overlap");
    refused("{" T("a", "U8", "2", 0, 2) "," T("b", "U8", "2", 4, 6) "}", 6, LT_EFORMAT, "hole");
    refused("{" T("a", "U8", "2", 2, 4) "}", 4, LT_EFORMAT, "hole");
    refused("{" T("a", "U8", "1", 0, 1) "," T("a", "U8", "1", 1, 2) "}", 2, LT_EFORMAT, "twice");
    refused("{" T("a", "F4_E2M1", "2", 0, 1) "}", 1, LT_EUNSUPPORTED, "F4_E2M1");
    refused("{" T("a", "U64", "1", 0, 8) "}", 8, LT_EUNSUPPORTED, "U64");
    refused("{" T("a", "F32", "9007199254740992,9007199254740992", 0, 0) "}", 0, LT_EFORMAT,
            "larger");
    refused("{" T("a", "F32", "4294967296,4294967296,0", 0, 0) "}", 0, LT_EFORMAT, "larger");
    refused("{" T("a", "F32", "4611686018427387904", 0, 0) "}", 0, LT_EFORMAT, "extent");
    refused("{" T("a", "F32", "-1", 0, 4) "}", 4, LT_EFORMAT, "extent");
    refused("{" T("a", "F32", "\"1\"", 0, 4) "}", 4, LT_EFORMAT, "extent");
    refused("{" T("a", "U8", "1,1,1,1,1,1,1", 0, 1) "}", 1, LT_EUNSUPPORTED, "7 dimensions");
    refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, LT_EFORMAT, "dtype");
    refused("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, LT_EFORMAT, "shape");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, LT_EFORMAT, "data_offsets");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, LT_EFORMAT,
            "pair");
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            LT_EFORMAT, "two 'dtype'");
    refused("{\"a\":[1,2]}", 0, LT_EFORMAT, "no object");
    refused("{\"a\":null}", 0, LT_EFORMAT, "no object");
    refused("{\"\":{}}", 0, LT_EFORMAT, "name has 0");
    refused("{\"a\\nb\":{}}", 0, LT_EFORMAT, "control");
    refused("[]", 0, LT_EFORMAT, "'{'");
    refused(" {}", 0, LT_EFORMAT, "'{'");
    refused("{", 0, LT_EFORMAT, "'{'");
    refused("{\"a\":", 0, LT_EFORMAT, "json");
    refused("{} x", 0, LT_EFORMAT, "json");
}

static void test_long_name(void **state) {
    (void)state;
    char header[2000], name[LTI_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[LTI_NAME_MAX + 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{}}", name);
    refused(header, 0, LT_EFORMAT, "name has 512");
}

/* Every prefix of a file is refused, and none is read past its end. */
static void test_every_truncation(void **state) {
    (void)state;
    size_t size;
    uint8_t *p = image("{" T("a", "F32", "2", 0, 8) "," T("b", "BF16", "3", 8, 14) "}", 14, &size);
    for (size_t n = 0; n <= size; n++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, p, n);
        lti_entries e;
        lt_error err = {0};
        lt_status st = lti_safetensors_parse(cut, n, "file", &e, &err);
        if (n == size) assert_int_equal(st, LT_OK);
        else if (st != LT_EFORMAT || !*err.msg)
            fail_msg("%zu of %zu bytes: %d '%s'", n, size, st, err.msg);
        lti_entries_free(&e);
        free(cut);
    }
    free(p);
}

static void test_header_length(void **state) {
    (void)state;
    const uint64_t lengths[] = {3, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t p[10] = {0};
        for (int k = 0; k < 8; k++) p[k] = (uint8_t)(lengths[i] >> (8 * k));
        memcpy(p + 8, "{}", 2);
        lti_entries e;
        lt_error err = {0};
        assert_int_equal(lti_safetensors_parse(p, sizeof p, "file", &e, &err), LT_EFORMAT);
        assert_non_null(strstr(err.msg, "header of"));
    }
}

static void test_other_formats(void **state) {
    (void)state;
    const struct {
        const char *bytes, *part;
    } c[] = {{"GGUF\3\0\0\0\0\0\0\0", "GGUF"},
             {"PK\3\4aaaaaaaa", "torch"},
             {"\x80\2ccccccccc", "pickle"}};
    for (int i = 0; i < 3; i++) {
        lti_entries e;
        lt_error err = {0};
        assert_true(lti_weights_parse((const uint8_t *)c[i].bytes, 11, NULL, "file", &e, &err) < 0);
        assert_non_null(strstr(err.msg, c[i].part));
    }
}

/* A header of 0x280 bytes begins as a pickle does: 80 02. */
static void test_no_pickle(void **state) {
    (void)state;
    static const char head[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}";
    uint8_t file[8 + 0x280 + 2] = {0x80, 0x02};
    memset(file + 8, ' ', 0x280);
    memcpy(file + 8, head, sizeof head - 1);
    file[8 + 0x280 - 1] = '}';
    lti_entries e;
    lt_error err = {0};
    if (lti_weights_parse(file, sizeof file, NULL, "file", &e, &err) != LT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(e.n, 1);
    lti_entries_free(&e);
}

/* -- writer -------------------------------------------------------------------------------- */

static void test_round_trip(void **state) {
    (void)state;
    float a[6] = {1, 2, 3, 4, 5, 6};
    uint8_t b[3] = {7, 8, 9};
    int32_t c[2] = {-1, 1 << 30};
    const lti_named list[] = {{"z.a", LTI_VIEW(a, LTI_F32, 2, 3)},
                              {"b \"quoted\" \\ \xc3\xa9", LTI_VIEW(b, LTI_U8, 3)},
                              {"c", LTI_VIEW(c, LTI_I32, 2, 1)},
                              {"empty", LTI_VIEW(c, LTI_F16, 0, 4)},
                              {"scalar", lti_view(a, LTI_F32, 0, NULL)}};
    lt_error err = {0};
    lti_weights *w;
    const char *path = in_dir("round.safetensors");
    assert_int_equal(lti_safetensors_write(path, list, 5, &err), LT_OK);
    assert_int_equal(lti_safetensors_write(path, list, 5, &err), LT_OK); /* replaces */
    if (lti_weights_open(path, LTI_PART_NONE, &w, &err)) fail_msg("%s", err.msg);
    assert_int_equal(lti_weights_count(w), 5);
    assert_string_equal(lti_weights_path(w), path);
    for (int i = 0; i < 5; i++) {
        const lti_tensor *t = lti_weights_find(w, list[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, list[i].t.dtype);
        assert_int_equal(t->rank, list[i].t.rank);
        assert_memory_equal(t->n, list[i].t.n, sizeof t->n);
        if (lti_nbytes(t)) assert_memory_equal(t->data, list[i].t.data, lti_nbytes(t));
        const lti_tensor *by_index;
        if (i)
            assert_true(
                strcmp(lti_weights_name(w, i - 1, NULL), lti_weights_name(w, i, &by_index)) < 0);
    }
    assert_null(lti_weights_find(w, "nothing"));
    lti_tensor t;
    assert_int_equal(lti_weights_get(w, "z.a", 2, (const int64_t[]){-1, 3}, &t, &err), LT_OK);
    assert_int_equal(lti_weights_get(w, "z.a", -1, NULL, &t, &err), LT_OK);
    assert_int_equal(lti_weights_get(w, "z.a", 2, (const int64_t[]){2, 4}, &t, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "'z.a' is [2,3], expected [2,4]"));
    err = (lt_error){0};
    assert_int_equal(lti_weights_get(w, "z.a", 1, (const int64_t[]){6}, &t, &err), LT_EFORMAT);
    err = (lt_error){0};
    assert_int_equal(lti_weights_get(w, "q", -1, NULL, &t, &err), LT_EFORMAT);
    assert_non_null(strstr(err.msg, "'q' is missing"));
    lti_weights_close(&w);
    assert_null(w);
    lti_weights_close(&w);
}

static int files_in(const char *path) {
    DIR *d = opendir(path);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Renaming over a device or pipe would replace it. */
static void test_write_to_no_file(void **state) {
    (void)state;
    float x = 1;
    const lti_named one = {"a", LTI_VIEW(&x, LTI_F32, 1)};
    struct stat st;
    lt_error err = {0};
    assert_int_equal(mkfifo(in_dir("pipe"), 0666), 0);
    assert_int_equal(lti_safetensors_write(in_dir("pipe"), &one, 1, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "/pipe"));
    assert_int_equal(stat(in_dir("pipe"), &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(lti_safetensors_write(dir, &one, 1, NULL), LT_EIO);
}

static void test_write_fails(void **state) {
    (void)state;
    static float big[1 << 16];
    const lti_named one[] = {{"a", LTI_VIEW(big, LTI_F32, 1 << 16)}};
    const lti_named two[] = {{"a", LTI_VIEW(big, LTI_F32, 1)}, {"a", LTI_VIEW(big, LTI_F32, 1)}};
    lt_error err = {0};
    assert_int_equal(lti_safetensors_write(in_dir("x"), two, 2, &err), LT_EINVAL);
    err = (lt_error){0};
    assert_int_equal(lti_safetensors_write(in_dir("no/such/x"), one, 1, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "no/such/x"));
    mkdir(in_dir("full"), 0700);
    write_bytes(in_dir("full/old"), "old", 3);
    struct rlimit was, small = {100000, 100000};
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small); /* a disk with room for 100 kB */
    err = (lt_error){0};
    lt_status st = lti_safetensors_write(in_dir("full/old"), one, 1, &err);
    lt_status st2 = lti_safetensors_write(in_dir("full/new"), one, 1, NULL);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(st, LT_EIO);
    assert_int_equal(st2, LT_EIO);
    assert_int_equal(files_in(in_dir("full")), 1); /* the old file, nothing half-written */
    struct stat s;
    assert_int_equal(stat(in_dir("full/old"), &s), 0);
    assert_int_equal(s.st_size, 3);
}

/* -- folders and shards -------------------------------------------------------------------- */

static void put_shard(const char *path, const char *a, const char *b) {
    static float v[2] = {1, 2};
    const lti_named list[] = {{a, LTI_VIEW(v, LTI_F32, 1)}, {b, LTI_VIEW(v + 1, LTI_F32, 1)}};
    assert_int_equal(lti_safetensors_write(path, list, 2, NULL), LT_OK);
}

static void put_text(const char *path, const char *text) { write_bytes(path, text, strlen(text)); }

static void open_fails(const char *path, lti_part part, lt_status code, const char *part_of_msg) {
    lti_weights *w = (lti_weights *)1;
    lt_error err = {0};
    lt_status st = lti_weights_open(path, part, &w, &err);
    assert_null(w);
    if (st != code || !strstr(err.msg, part_of_msg))
        fail_msg("%s gave %d '%s', expected %d with '%s'", path, st, err.msg, code, part_of_msg);
}

static void test_shards(void **state) {
    (void)state;
    lt_error err = {0};
    lti_weights *w;
    mkdir(in_dir("sh"), 0700);
    put_shard(in_dir("sh/m-1.safetensors"), "a", "b");
    put_shard(in_dir("sh/m-2.safetensors"), "c", "d");
    const char *index =
        "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"d\":\"m-2.safetensors\","
        "\"a\":\"m-1.safetensors\",\"b\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}";
    put_text(in_dir("sh/m.safetensors.index.json"), index);
    if (lti_weights_open(in_dir("sh"), LTI_PART_NONE, &w, &err)) fail_msg("%s", err.msg);
    assert_int_equal(lti_weights_count(w), 4);
    assert_string_equal(lti_weights_name(w, 3, NULL), "d");
    assert_true(lti_get_f32(lti_weights_find(w, "d"), 0) == 2.0f);
    lti_weights_close(&w);
    assert_int_equal(
        lti_weights_open(in_dir("sh/m.safetensors.index.json"), LTI_PART_NONE, &w, &err), LT_OK);
    lti_weights_close(&w);
    put_text(in_dir("sh/m.safetensors.index.json"),
             "{\"weight_map\":{\"zz\":\"m-2.safetensors\"}}");
    open_fails(in_dir("sh"), LTI_PART_NONE, LT_EFORMAT, "'zz' is not in this shard");
    put_text(in_dir("sh/m.safetensors.index.json"), index);
    unlink(in_dir("sh/m-2.safetensors"));
    open_fails(in_dir("sh"), LTI_PART_NONE, LT_EIO, "m-2.safetensors: this shard");
    write_bytes(in_dir("sh/m-2.safetensors"), "cut", 3);
    open_fails(in_dir("sh"), LTI_PART_NONE, LT_EFORMAT, "m-2.safetensors: 3 bytes");
}

static void test_bad_index(void **state) {
    (void)state;
    const struct {
        const char *text, *part;
    } c[] = {
        {"", "empty"},
        {"{", "json"},
        {"{}", "weight_map"},
        {"[]", "weight_map"},
        {"{\"weight_map\":[]}", "weight_map"},
        {"{\"weight_map\":{}}", "weight_map"},
        {"{\"weight_map\":{\"a\":1}}", "file name"},
        {"{\"weight_map\":{\"a\":\"\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "'..'"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"x\\\\y.safetensors\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"x\\ny.safetensors\"}}", "file name"},
        {"{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"x.safetensors\"}}", "'a' twice"},
        {"{\"weight_map\":{\"a\":\"gone.safetensors\"}}", "shard"},
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        put_text(in_dir("bad.safetensors.index.json"), c[i].text);
        lti_weights *w;
        lt_error err = {0};
        assert_true(
            lti_weights_open(in_dir("bad.safetensors.index.json"), LTI_PART_NONE, &w, &err) < 0);
        if (!strstr(err.msg, c[i].part)) fail_msg("%s gave '%s'", c[i].text, err.msg);
    }
}

static void test_folders(void **state) {
    (void)state;
    lti_weights *w;
    open_fails(in_dir("nowhere"), LTI_PART_DIT, LT_EIO, "cannot open");
    mkdir(in_dir("f"), 0700);
    open_fails(in_dir("f"), LTI_PART_DIT, LT_EIO, "no weights in this folder");
    put_shard(in_dir("f/one.safetensors"), "a", "b");
    assert_int_equal(lti_weights_open(in_dir("f"), LTI_PART_NONE, &w, NULL), LT_OK);
    lti_weights_close(&w);
    write_bytes(in_dir("f/same.pt"), "PK", 2); /* a second form of the same is not looked at */
    assert_int_equal(lti_weights_open(in_dir("f"), LTI_PART_NONE, &w, NULL), LT_OK);
    lti_weights_close(&w);
    put_shard(in_dir("f/two.safetensors"), "a", "b");
    open_fails(in_dir("f"), LTI_PART_NONE, LT_EINVAL, "2 weight files");
    put_shard(in_dir("f/model.safetensors"), "usual", "b");
    assert_int_equal(lti_weights_open(in_dir("f"), LTI_PART_NONE, &w, NULL), LT_OK);
    assert_non_null(lti_weights_find(w, "usual"));
    lti_weights_close(&w);
    write_bytes(in_dir("empty.safetensors"), "", 0);
    open_fails(in_dir("empty.safetensors"), LTI_PART_NONE, LT_EFORMAT, "0 bytes");
    write_bytes(in_dir("none.safetensors"), "\2\0\0\0\0\0\0\0{}", 10);
    open_fails(in_dir("none.safetensors"), LTI_PART_VAE, LT_EFORMAT, "no tensors");
}

/* -- names --------------------------------------------------------------------------------- */

/* A file of U8 scalars, tensor i holding i & 255. */
static void write_names(const char *path, char *const *name, int n) {
    static uint8_t value[4096];
    lti_named *list = calloc((size_t)n, sizeof *list);
    for (int i = 0; i < n; i++) {
        value[i] = (uint8_t)i;
        list[i] = (lti_named){name[i], lti_view(&value[i], LTI_U8, 0, NULL)};
    }
    lt_error err = {0};
    if (lti_safetensors_write(path, list, n, &err)) fail_msg("%s", err.msg);
    free(list);
}

static void expect_names(lti_part part, char *const *file, char *const *want, int n) {
    write_names(in_dir("names.safetensors"), file, n);
    lti_weights *w;
    lt_error err = {0};
    if (lti_weights_open(in_dir("names.safetensors"), part, &w, &err)) fail_msg("%s", err.msg);
    assert_int_equal(lti_weights_count(w), n);
    for (int i = 0; i < n; i++) {
        const lti_tensor *t = lti_weights_find(w, want[i]);
        if (!t) fail_msg("%s was expected from %s", want[i], file[i]);
        assert_int_equal(*(uint8_t *)t->data, i & 255);
    }
    lti_weights_close(&w);
}

/* tests/golden/text/names_*.txt: from the converters of diffusers. */
static void check_table(const char *what, lti_part part, int count) {
    char path[256], line[512], *original[1024], *foreign[1024], *prefixed[1024];
    snprintf(path, sizeof path, LT_SOURCE_DIR "/tests/golden/text/names_%s.txt", what);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *space = strchr(line, ' ');
        assert_non_null(space);
        *space = '\0';
        original[n] = strdup(line);
        foreign[n] = strdup(space + 1);
        prefixed[n] = malloc(600);
        snprintf(prefixed[n], 600, "model.%s%s", n % 2 ? "_fsdp_wrapped_module." : "", line);
        n++;
    }
    fclose(f);
    assert_int_equal(n, count);
    expect_names(part, foreign, original, n);
    expect_names(part, original, original, n);
    if (part == LTI_PART_DIT) expect_names(part, prefixed, original, n);
    for (int i = 0; i < n; i++) {
        free(original[i]);
        free(foreign[i]);
        free(prefixed[i]);
    }
}

static void test_name_tables(void **state) {
    (void)state;
    check_table("dit", LTI_PART_DIT, 376);
    check_table("vae", LTI_PART_VAE, 194);
    check_table("text", LTI_PART_TEXT, 112);
}

/* A decoder with 2 and 4 residual blocks in its stages, and no encoder. */
static void test_vae_other_depths(void **state) {
    (void)state;
    char *file[] = {"decoder.conv_in.weight",
                    "decoder.up_blocks.0.resnets.0.norm1.gamma",
                    "decoder.up_blocks.0.resnets.1.conv2.bias",
                    "decoder.up_blocks.0.upsamplers.0.resample.1.weight",
                    "decoder.up_blocks.1.resnets.3.conv_shortcut.weight",
                    "decoder.up_blocks.1.upsamplers.0.time_conv.bias",
                    "decoder.up_blocks.2.resnets.0.conv1.weight"};
    char *want[] = {"decoder.conv1.weight",
                    "decoder.upsamples.0.residual.0.gamma",
                    "decoder.upsamples.1.residual.6.bias",
                    "decoder.upsamples.2.resample.1.weight",
                    "decoder.upsamples.6.shortcut.weight",
                    "decoder.upsamples.7.time_conv.bias",
                    "decoder.upsamples.8.residual.2.weight"};
    expect_names(LTI_PART_VAE, file, want, 7);
}

static void test_dit_extras(void **state) {
    (void)state;
    /* our sink tensors under either naming; what training left behind is dropped */
    char *file[] = {"condition_embedder.time_proj.weight",
                    "blocks.0.attn1.sinks",
                    "blocks.0.self_attn.register_k",
                    "register_tokens",
                    "freqs",
                    "blocks.0.attn2.norm_added_q.weight",
                    "_cls_pred_branch.0.weight",
                    "_register_tokens.0",
                    "_gan_ca_blocks.0.x"};
    write_names(in_dir("extra.safetensors"), file, 9);
    lti_weights *w;
    lt_error err = {0};
    if (lti_weights_open(in_dir("extra.safetensors"), LTI_PART_DIT, &w, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(lti_weights_count(w), 4);
    assert_non_null(lti_weights_find(w, "blocks.0.self_attn.sinks"));
    assert_non_null(lti_weights_find(w, "blocks.0.self_attn.register_k"));
    assert_non_null(lti_weights_find(w, "register_tokens"));
    assert_int_equal(lti_weights_layers(w, "blocks."), 1);
    assert_int_equal(lti_weights_layers(w, "nothing."), 0);
    lti_tensor t;
    assert_int_equal(
        lti_weights_get(w, "time_projection.1.weight", 1, (const int64_t[]){2}, &t, &err),
        LT_EFORMAT); /* the message names the file's own spelling too */
    assert_non_null(strstr(err.msg, "condition_embedder.time_proj.weight"));
    lti_weights_close(&w);
}

static void test_name_clashes(void **state) {
    (void)state;
    char *twice[] = {"blocks.0.norm3.weight", "model.blocks.0.norm3.weight"};
    write_names(in_dir("clash.safetensors"), twice, 2);
    open_fails(in_dir("clash.safetensors"), LTI_PART_DIT, LT_EFORMAT,
               "both mean 'blocks.0.norm3.weight'");
    char *scaled[] = {"blocks.0.ffn.0.weight", "blocks.0.ffn.0.scale_weight"};
    write_names(in_dir("clash.safetensors"), scaled, 2);
    open_fails(in_dir("clash.safetensors"), LTI_PART_DIT, LT_EUNSUPPORTED, "only F8 and I8");
    char *tied[] = {"shared.weight", "encoder.embed_tokens.weight",
                    "decoder.final_layer_norm.weight", "lm_head.weight"};
    write_names(in_dir("tied.safetensors"), tied, 4);
    lti_weights *w;
    assert_int_equal(lti_weights_open(in_dir("tied.safetensors"), LTI_PART_TEXT, &w, NULL), LT_OK);
    assert_int_equal(lti_weights_count(w), 1);
    assert_int_equal(*(uint8_t *)lti_weights_find(w, "token_embedding.weight")->data, 0);
    lti_weights_close(&w);
    write_names(in_dir("tied.safetensors"), tied + 1, 1);
    assert_int_equal(lti_weights_open(in_dir("tied.safetensors"), LTI_PART_TEXT, &w, NULL), LT_OK);
    assert_non_null(lti_weights_find(w, "token_embedding.weight"));
    lti_weights_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_no_pickle),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_write_fails),
        cmocka_unit_test(test_write_to_no_file),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_bad_index),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_name_tables),
        cmocka_unit_test(test_vae_other_depths),
        cmocka_unit_test(test_dit_extras),
        cmocka_unit_test(test_name_clashes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
