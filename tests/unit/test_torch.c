/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_torch.c - torch archives: what torch.save wrote equals the same tensors in
 * safetensors (tests/unit/torch/make.py), and archives of an enemy are one clear line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/torch_rig.h"
#include "weights/weights_int.h"
#include <sys/stat.h>
#include <unistd.h>

#define DIR LT_SOURCE_DIR "/tests/unit/torch/"
#define DATA                                                                                       \
    LT_SOURCE_DIR "/../shared/data/wan_latents.pth" /* a published file, when it is there */

static lti_weights *open_as(const char *file, lti_part part, const char *root) {
    lti_weights *w = NULL;
    lt_error err = {0};
    lti_weights_options opt = {.root = root};
    if (lti_weights_open_with(file, part, &opt, &w, &err) != LT_OK) fail_msg("%s", err.msg);
    return w;
}

static lti_tensor get(lti_weights *w, const char *name) {
    lti_tensor t = {0};
    lt_error err = {0};
    if (lti_weights_get(w, name, -1, NULL, &t, &err) != LT_OK) fail_msg("%s", err.msg);
    return t;
}

/* Bit for bit; decoded tensors as f32. */
static void assert_same_tensor(const char *name, const lti_tensor *a, const lti_tensor *b,
                               bool decoded) {
    assert_int_equal(a->rank, b->rank);
    for (int i = 0; i < LTI_MAX_RANK; i++)
        if (a->n[i] != b->n[i]) fail_msg("%s: extent %d differs", name, i);
    assert_int_equal(a->dtype, decoded ? LTI_F32 : b->dtype);
    size_t n = (size_t)lti_numel(a);
    float *fa = malloc(n * 4 + 1), *fb = malloc(n * 4 + 1);
    lti_to_f32(a, fa);
    lti_to_f32(b, fb);
    if (n && memcmp(fa, fb, n * 4)) fail_msg("%s: values differ", name);
    if (n && !decoded && memcmp(a->data, b->data, lti_nbytes(a))) fail_msg("%s: bytes", name);
    free(fa);
    free(fb);
}

/* Every tensor of pt is in st under `prefix` and the same, and there are n. */
static void assert_same(const char *pt, const char *root, lti_part part, const char *st,
                        const char *prefix, int n) {
    lti_weights *a = open_as(pt, part, root), *b = open_as(st, LTI_PART_NONE, NULL);
    assert_int_equal(lti_weights_count(a), n);
    for (int i = 0; i < n; i++) {
        const lti_tensor *shape;
        const char *name = lti_weights_name(a, i, &shape);
        char full[256];
        snprintf(full, sizeof full, "%s%s", prefix, name);
        lti_tensor x = get(a, name), y = get(b, full);
        bool decoded = !shape->data;
        assert_string_equal(lti_weights_stored(a, i, NULL), lti_dtype_name(y.dtype));
        assert_same_tensor(name, &x, &y, decoded);
        lti_weights_forget(a);
    }
    lti_weights_close(&a);
    lti_weights_close(&b);
}

static void test_dtypes(void **state) {
    (void)state;
    assert_same(DIR "types.pt", NULL, LTI_PART_NONE, DIR "types.safetensors", "", 16);
    assert_same(DIR "protocol4.pt", NULL, LTI_PART_NONE, DIR "types.safetensors", "", 16);
}

static void test_views(void **state) {
    (void)state;
    assert_same(DIR "views.pt", NULL, LTI_PART_NONE, DIR "views.safetensors", "", 13);
    lti_weights *w = open_as(DIR "views.pt", LTI_PART_NONE, NULL);
    const char *base = lti_weights_find(w, "base")->data; /* shared storage, plain views */
    assert_ptr_equal(lti_weights_find(w, "last")->data, base + 60 * 4);
    assert_ptr_equal(lti_weights_find(w, "middle")->data, base + 20 * 4);
    static const char *const lazy[] = {"transposed", "columns",     "every_third",
                                       "expanded",   "zero_stride", "channels_last",
                                       "permuted",   "ints",        "fp8"};
    for (int i = 0; i < 9; i++) assert_null(lti_weights_find(w, lazy[i])->data);
    lti_tensor t = get(w, "transposed"), again = get(w, "transposed");
    assert_ptr_equal(t.data, again.data); /* decoded once */
    lti_weights_forget(w);
    assert_null(lti_weights_find(w, "transposed")->data);
    t = get(w, "transposed");
    float row[3 * 7], plain[3 * 5];
    assert_int_equal(lti_weights_rows(w, "transposed", 4, 3, row, NULL), LT_OK);
    assert_memory_equal(row, (float *)t.data + 4 * 7, sizeof row);
    assert_true(lti_weights_rows(w, "transposed", 8, 2, row, NULL) < 0);
    assert_true(lti_weights_rows(w, "transposed", -1, 1, row, NULL) < 0);
    lti_weights_close(&w);
    w = open_as(DIR "types.pt", LTI_PART_NONE, NULL);
    assert_int_equal(lti_weights_rows(w, "bfloat16", 0, 3, plain, NULL), LT_OK);
    t = get(w, "bfloat16");
    for (int i = 0; i < 15; i++) assert_true(plain[i] == lti_get_f32(&t, i));
    lti_weights_close(&w);
}

static void test_ordered_dict(void **state) {
    (void)state;
    assert_same(DIR "ordered.pt", NULL, LTI_PART_NONE, DIR "ordered.safetensors", "", 6);
}

static void test_checkpoint(void **state) {
    (void)state;
    const char *file = DIR "nested.pt", *want = DIR "nested.safetensors";
    assert_same(file, NULL, LTI_PART_DIT, want, "ema.", 3);
    assert_same(file, "generator_ema", LTI_PART_DIT, want, "ema.", 3);
    assert_same(file, "generator", LTI_PART_DIT, want, "gen.", 3);
    lti_weights *w = open_as(file, LTI_PART_DIT, "critic");
    assert_int_equal(lti_weights_find(w, "blocks.0.ffn.0.bias")->n[0], 9);
    lti_weights_close(&w);
    lt_error err = {0};
    assert_int_equal(
        lti_weights_open_with(file, LTI_PART_DIT, &(lti_weights_options){.root = "gan"}, &w, &err),
        LT_EFORMAT);
    assert_non_null(strstr(err.msg, "no dict 'gan'"));
    assert_non_null(strstr(err.msg, "'generator', 'critic', 'generator_ema', 'optimizer'"));
    w = open_as(DIR "types.pt", LTI_PART_NONE, "generator"); /* flat: nothing to choose */
    assert_int_equal(lti_weights_count(w), 16);
    lti_weights_close(&w);
}

static void test_bare_tensor(void **state) {
    (void)state;
    lti_weights *w = open_as(DIR "bare.pt", LTI_PART_NONE, NULL);
    lti_tensor t = get(w, "tensor");
    assert_int_equal(t.dtype, LTI_BF16);
    assert_int_equal(t.rank, 2);
    assert_int_equal(t.n[1], 3);
    lti_weights_close(&w);
    struct stat st;
    if (stat(DATA, &st) != 0) {
        print_message("no ../shared/data/wan_latents.pth here: the published file is not tried\n");
        return;
    }
    w = open_as(DATA, LTI_PART_NONE, NULL);
    assert_int_equal(lti_weights_count(w), 1);
    const lti_tensor *x;
    lti_weights_name(w, 0, &x);
    const int64_t n[5] = {1, 16, 16, 40, 64};
    assert_int_equal(x->dtype, LTI_BF16);
    assert_memory_equal(x->n, n, sizeof n);
    double sum = 0;
    for (int64_t i = 0; i < lti_numel(x); i++) sum += lti_get_f32(x, i) * lti_get_f32(x, i);
    assert_true(sum / (double)lti_numel(x) > 0.1 && sum / (double)lti_numel(x) < 10);
    lti_weights_close(&w);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *part;
        lt_status want;
    } c[] = {{DIR "old.pt", "before 1.6", LT_EUNSUPPORTED},
             {DIR "script.pt", "TorchScript", LT_EUNSUPPORTED},
             {DIR "big_endian.pt", "byte order is 'big'", LT_EUNSUPPORTED},
             {DIR "deflated.pt", "compressed", LT_EUNSUPPORTED}};
    for (int i = 0; i < 4; i++) {
        lti_weights *w = NULL;
        lt_error err = {0};
        assert_int_equal(lti_weights_open(c[i].file, LTI_PART_NONE, &w, &err), c[i].want);
        assert_null(w);
        if (!strstr(err.msg, c[i].part)) fail_msg("%s: %s", c[i].file, err.msg);
    }
}

/* -- damage --------------------------------------------------------------------------------------- */

static uint8_t *load(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint8_t *p = malloc(1 << 20);
    *n = fread(p, 1, 1 << 20, f);
    fclose(f);
    return p;
}

/* Parse a copy of exact size (so that ASan sees a read past the end) and touch what came out. */
static lt_status parse(const uint8_t *p, size_t n, lt_error *err) {
    uint8_t *exact = malloc(n ? n : 1);
    lti_entries list;
    *err = (lt_error){0};
    memcpy(exact, p, n);
    lt_status st = lti_torch_parse(exact, n, NULL, "file", &list, err);
    for (int i = 0; i < list.n; i++) {
        const lti_entry *e = &list.e[i];
        int64_t all = e->t.rank ? e->t.n[0] : 1;
        float *out = lti_numel(&e->t) < 10000 ? malloc((size_t)lti_numel(&e->t) * 4 + 1) : NULL;
        if (out) lti_entry_rows(e, 0, all, out);
        free(out);
    }
    lti_entries_free(&list);
    free(exact);
    if (st != LT_OK) assert_true(err->msg[0] && !strchr(err->msg, '\n'));
    return st;
}

static void test_truncated(void **state) {
    (void)state;
    static const char *const file[] = {DIR "types.pt", DIR "nested.pt", DIR "protocol4.pt"};
    for (int k = 0; k < 3; k++) {
        size_t n;
        lt_error err;
        uint8_t *p = load(file[k], &n);
        assert_int_equal(parse(p, n, &err), LT_OK);
        for (size_t cut = 0; cut < n; cut += cut % 64 < 16 || n - cut < 900 ? 1 : 9)
            assert_true(parse(p, cut, &err) < 0);
        free(p);
    }
}

static void test_any_byte(void **state) {
    (void)state;
    static const uint8_t with[] = {0x00, 0xff, 0x80, 0x01};
    size_t n;
    lt_error err;
    uint8_t *p = load(DIR "types.pt", &n);
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t was = p[i];
        p[i] = was ^ with[i % 4] ? was ^ with[i % 4] : was;
        failed += parse(p, n, &err) < 0;
        p[i] = was;
    }
    assert_true(failed > 200); /* most of the file is padding and names */
    free(p);
}

static void expect(const pt_zip *z, lt_status want, const char *part) {
    pt_buf b = {0};
    lt_error err;
    pt_write(z, &b);
    lt_status st = parse(b.p, b.n, &err);
    if (st != want || (part && !strstr(err.msg, part)))
        fail_msg("gave %d '%s', expected %d '%s'", st, err.msg, want, part ? part : "");
    pt_free(&b);
}

/* A zip with one tensor "w" [2, 2] of the storage. */
static pt_zip good(pt_buf *pkl) {
    static const float storage[16] = {1, 2, 3, 4};
    pt_zip z = {0};
    pt_text(pkl, "\x80\x02}");
    pk_str(pkl, "w");
    pk_tensor(pkl, 1, 2, (const int64_t[]){2, 2}, (const int64_t[]){2, 1});
    pt_text(pkl, "s.");
    pt_add(&z, "a/data.pkl", pkl->p, pkl->n);
    pt_add(&z, "a/byteorder", "little", 6);
    pt_add(&z, "a/data/0", storage, sizeof storage);
    return z;
}

static void test_zip(void **state) {
    (void)state;
    pt_buf pkl = {0};
    const pt_zip base = good(&pkl);
    pt_zip z = base;
    expect(&z, LT_OK, NULL);
    z.zip64 = true;
    expect(&z, LT_OK, NULL);
    z.e[2].claim = 1ull << 40; /* larger than the file, 64 and 32 bits */
    expect(&z, LT_EFORMAT, "before the directory");
    z.zip64 = false, z.e[2].claim = 1 << 20;
    expect(&z, LT_EFORMAT, "before the directory");
    z = base, z.e[2].at = 1 << 30;
    expect(&z, LT_EFORMAT, "does not begin where");
    z = base, z.e[2].at = 7;
    expect(&z, LT_EFORMAT, "does not begin where");
    z = base, z.e[2].at = 30 + strlen("a/data.pkl") + 5 + pkl.n; /* another entry's header */
    expect(&z, LT_EFORMAT, "does not begin where");
    z = base, z.e[2].method = 8;
    expect(&z, LT_EUNSUPPORTED, "compressed");
    z = base, z.e[2].flags = 1;
    expect(&z, LT_EUNSUPPORTED, "encrypted");
    z = base, z.shift = 1 << 20;
    expect(&z, LT_EFORMAT, "zip archive");
    z = base, z.repeat = 5; /* more entries than there are */
    expect(&z, LT_EFORMAT, "zip archive");
    z = base, z.zip64 = true, z.shift = INT64_MAX;
    expect(&z, LT_EFORMAT, "zip archive");
    z = base, z.e[1].name = "a/data/0";
    expect(&z, LT_EFORMAT, "two entries of one name");
    z = base, z.e[1].name = "b/data.pkl";
    expect(&z, LT_EFORMAT, "two data.pkl");
    z = base, z.e[0].name = "data.pkl";
    expect(&z, LT_EUNSUPPORTED, "no data.pkl");
    z = base, z.e[2].name = "a/data/1";
    expect(&z, LT_EFORMAT, "not in the archive");
    z = base, z.e[2].n = 16; /* elements 1 .. 4 need 20 bytes */
    expect(&z, LT_EFORMAT, "reaches to element 5");
    z = base, z.repeat = 1u << 16;
    z.zip64 = true;
    expect(&z, LT_EFORMAT, "entries than it says");
    z = base, z.n = 0;
    expect(&z, LT_EUNSUPPORTED, "no data.pkl");
    pt_free(&pkl);
}

/* A storage and a directory beyond 4 GiB, as in most published checkpoints; the file is a hole. */
static void test_beyond_4_gib(void **state) {
    (void)state;
    char path[] = "/tmp/lt_torch_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    pt_buf pkl = {0}, b = {0};
    pt_zip z = good(&pkl);
    z.zip64 = true;
    z.base = 5ull << 30;
    pt_write(&z, &b);
    assert_int_equal(pwrite(fd, "PK\3\4", 4, 0), 4);
    assert_int_equal(pwrite(fd, b.p, b.n, (off_t)z.base), b.n);
    close(fd);
    lti_weights *w = open_as(path, LTI_PART_NONE, NULL);
    lti_tensor t = get(w, "w");
    assert_true(lti_get_f32(&t, 0) == 2.0f && lti_get_f32(&t, 2) == 4.0f);
    lti_weights_close(&w);
    unlink(path);
    pt_free(&pkl);
    pt_free(&b);
}

/* -- pickles of an enemy -------------------------------------------------------------------------- */

static void expect_pickle(const void *p, size_t n, lt_status want, const char *part) {
    pt_buf b = {0};
    lt_error err;
    pt_archive(p, n, &b);
    lt_status st = parse(b.p, b.n, &err);
    if (st != want || (part && !strstr(err.msg, part)))
        fail_msg("gave %d '%s', expected %d '%s'", st, err.msg, want, part ? part : "");
    pt_free(&b);
}

/* {"w": tensor} */
static void expect_tensor(int64_t offset, int rank, const int64_t *n, const int64_t *stride,
                          lt_status want, const char *part) {
    pt_buf b = {0};
    pt_text(&b, "}");
    pk_str(&b, "w");
    pk_tensor(&b, offset, rank, n, stride);
    pt_text(&b, "s.");
    expect_pickle(b.p, b.n, want, part);
    pt_free(&b);
}
#define DIMS(...)                                                                                  \
    (const int64_t[]) { __VA_ARGS__ }

static void test_geometry(void **state) {
    (void)state;
    expect_tensor(0, 2, DIMS(4, 4), DIMS(4, 1), LT_OK, NULL);
    expect_tensor(0, 2, DIMS(4, 4), DIMS(1, 4), LT_OK, NULL);
    expect_tensor(15, 0, NULL, NULL, LT_OK, NULL);
    expect_tensor(16, 1, DIMS(0), DIMS(1), LT_OK, NULL); /* nothing is read */
    expect_tensor(1, 2, DIMS(4, 4), DIMS(4, 1), LT_EFORMAT, "reaches to element 17");
    expect_tensor(16, 0, NULL, NULL, LT_EFORMAT, "reaches to element 17");
    expect_tensor(0, 2, DIMS(4, 4), DIMS(5, 1), LT_EFORMAT, "reaches to element 19");
    expect_tensor(INT64_MAX, 1, DIMS(4), DIMS(1), LT_EFORMAT, "reaches further");
    expect_tensor(0, 1, DIMS(3), DIMS(INT64_MAX / 2 + 1), LT_EFORMAT, "reaches further");
    expect_tensor(-1, 1, DIMS(4), DIMS(1), LT_EFORMAT, "offset");
    expect_tensor(0, 1, DIMS(4), DIMS(-1), LT_EFORMAT, "strides");
    expect_tensor(0, 1, DIMS(-4), DIMS(1), LT_EFORMAT, "shape");
    expect_tensor(0, 2, DIMS(1ll << 40, 1ll << 40), DIMS(0, 0), LT_EFORMAT, "larger than any");
    expect_tensor(0, 7, DIMS(1, 1, 1, 1, 1, 1, 1), DIMS(1, 1, 1, 1, 1, 1, 1), LT_EUNSUPPORTED,
                  "7 dimensions");
}

/* 2^50 elements over one: legal to describe, impossible to hold. */
static void test_huge_expanded(void **state) {
    (void)state;
    char path[] = "/tmp/lt_torch_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    pt_buf p = {0}, b = {0};
    pt_text(&p, "}");
    pk_str(&p, "w");
    pk_tensor(&p, 0, 2, DIMS(1ll << 25, 1ll << 25), DIMS(0, 0));
    pt_text(&p, "s.");
    pt_archive(p.p, p.n, &b);
    assert_int_equal(write(fd, b.p, b.n), b.n);
    close(fd);
    lti_weights *w = open_as(path, LTI_PART_NONE, NULL);
    lti_tensor t;
    lt_error err = {0};
    assert_int_equal(lti_weights_get(w, "w", -1, NULL, &t, &err), LT_ENOMEM);
    lti_weights_close(&w);
    unlink(path);
    pt_free(&p);
    pt_free(&b);
}

#define PICKLE(s, want, part) expect_pickle(s, sizeof(s) - 1, want, part)

static void test_machine(void **state) {
    (void)state;
    PICKLE("", LT_EFORMAT, "ends without STOP");
    PICKLE("N", LT_EFORMAT, "ends without STOP");
    PICKLE(".", LT_EFORMAT, "stack is empty");
    PICKLE("(.", LT_EFORMAT, "a mark where");
    PICKLE("N.", LT_EUNSUPPORTED, "neither a dict nor a tensor");
    PICKLE("}.", LT_EFORMAT, "no tensors");
    PICKLE("\x80\x06}.", LT_EFORMAT, "protocol");
    PICKLE("}(X\xff\xff\xff\xff", LT_EFORMAT, "byte 2: it ends inside an operand");
    PICKLE("}(\x8d\xff\xff\xff\xff\xff\xff\xff\xff", LT_EFORMAT, "operand");
    PICKLE("}(\x8d\0\0\0\0\0\0\0\x80", LT_EFORMAT, "operand");
    PICKLE("}\x8b\xff\xff\xff\xff", LT_EFORMAT, "operand");
    PICKLE("}K", LT_EFORMAT, "operand");
    PICKLE("}J\1\2", LT_EFORMAT, "operand");
    PICKLE("}q", LT_EFORMAT, "operand");
    PICKLE("}r\xff\xff\xff\xff.", LT_EFORMAT, "memo number beyond");
    PICKLE("}r\xff\xff\x3c\0.", LT_EFORMAT, "no tensors"); /* 3997695: a large memo is fine */
    PICKLE("h\0.", LT_EFORMAT, "never set");
    PICKLE("}q\1h\2.", LT_EFORMAT, "never set");
    PICKLE("j\xff\xff\xff\xff.", LT_EFORMAT, "never set");
    PICKLE("q\0.", LT_EFORMAT, "stack is empty");
    PICKLE("(q\0.", LT_EFORMAT, "a mark where");
    PICKLE("t.", LT_EFORMAT, "no mark");
    PICKLE("u.", LT_EFORMAT, "no mark");
    PICKLE("(u.", LT_EFORMAT, "items for no container");
    PICKLE("((u.", LT_EFORMAT, "another kind");
    PICKLE("}(K\1u.", LT_EFORMAT, "a key without a value");
    PICKLE("](K\1K\2u.", LT_EFORMAT, "another kind");
    PICKLE(")K\1a.", LT_EFORMAT, "another kind");
    PICKLE("}K\1a.", LT_EFORMAT, "another kind");
    PICKLE("K\1s.", LT_EFORMAT, "stack is empty");
    PICKLE("\x87.", LT_EFORMAT, "stack is empty");
    PICKLE("(K\1\x87.", LT_EFORMAT, "a mark where");
    PICKLE("(K\1d.", LT_EFORMAT, "a key without a value");
    PICKLE("K\1Q.", LT_EFORMAT, "no tuple");
    PICKLE("ccollections\nOrderedDict\nK\1R.", LT_EFORMAT, "without a tuple");
    PICKLE("ctorch._utils\n_rebuild_parameter\n)R.", LT_EFORMAT, "without a tensor");
    PICKLE("c"
           "abc",
           LT_EFORMAT, "a name without an end");
    PICKLE("K\1K\2\x93.", LT_EFORMAT, "a name that is no string");
    PICKLE("(i__main__\nX\n.", LT_EUNSUPPORTED, "opcode 0x69"); /* INST */
    PICKLE("P1\n.", LT_EUNSUPPORTED, "opcode 0x50");            /* PERSID */
    PICKLE("\x82\1.", LT_EUNSUPPORTED, "opcode 0x82");          /* EXT1 */
    PICKLE("\x97.", LT_EUNSUPPORTED, "opcode 0x97");            /* NEXT_BUFFER */
}

/* What a real exploit looks like, beside a tensor and as the whole file. */
static void test_nothing_runs(void **state) {
    (void)state;
    static const char mark[] = "/tmp/lt_torch_was_here";
    pt_buf b = {0}, z = {0};
    lt_error err;
    unlink(mark);
    pt_text(&b, "\x80\x02}(");
    pk_str(&b, "w");
    pk_tensor(&b, 0, 1, DIMS(2), DIMS(1));
    pk_str(&b, "x");
    pt_text(&b, "cposix\nsystem\n");
    pk_str(&b, "touch /tmp/lt_torch_was_here");
    pt_text(&b, "\x85R");
    pk_str(&b, "y");
    pt_text(&b, "cbuiltins\neval\n");
    pk_str(&b, "open('/tmp/lt_torch_was_here', 'w')");
    pt_text(&b, "\x85\x81}(K\1K\2ubu.");
    pt_archive(b.p, b.n, &z);
    lti_entries list;
    assert_int_equal(lti_torch_parse(z.p, z.n, NULL, "file", &list, &err), LT_OK);
    assert_int_equal(list.n, 1); /* x and y are None */
    assert_string_equal(list.e[0].name, "w");
    assert_true(lti_get_f32(&list.e[0].t, 1) == 2.0f);
    lti_entries_free(&list);
    PICKLE("cposix\nsystem\n(X\x1c\0\0\0touch /tmp/lt_torch_was_heretR.", LT_EUNSUPPORTED,
           "neither");
    assert_int_equal(access(mark, F_OK), -1);
    pt_free(&b);
    pt_free(&z);
}

static void test_bombs(void **state) {
    (void)state;
    pt_buf b = {0};
    pt_text(&b, "}q\x01(");
    pk_str(&b, "w");
    pk_tensor(&b, 0, 1, DIMS(2), DIMS(1));
    pk_str(&b, "laughs"); /* 10^60 elements when walked as a tree */
    pt_text(&b, "]q\x02");
    for (int i = 2; i < 62; i++) {
        pt_text(&b, "](");
        for (int k = 0; k < 10; k++) pt_put(&b, (char[]){'h', (char)i}, 2);
        pt_put(&b, (char[]){'e', 'q', (char)(i + 1)}, 3);
    }
    pt_text(&b, "\x94"
                "0"); /* under "laughs" lies the first list, the rest goes: */
    for (int i = 0; i < 59; i++) pt_text(&b, "0");
    pk_str(&b, "self");
    pt_put(&b, "h\x01u.", 4);
    expect_pickle(b.p, b.n, LT_OK, NULL);
    b.n = 0;
    pt_put(&b, "}q\0X\5\0\0\0modelh\0s.", 17); /* {"model": itself} */
    expect_pickle(b.p, b.n, LT_EFORMAT, "nested more than");
    b.n = 0;
    for (int i = 0; i < 300000; i++) pt_text(&b, "]");
    for (int i = 0; i < 299999; i++) pt_text(&b, "a");
    pt_text(&b, ".");
    expect_pickle(b.p, b.n, LT_EUNSUPPORTED, "neither");
    b.n = 0;
    for (int i = 0; i < 4000001; i++) pt_text(&b, "(");
    expect_pickle(b.p, b.n, LT_EFORMAT, "more objects");
    pt_free(&b);
}

/* {name: tensor of storage (type, key)} */
static void expect_stored(const char *name, const char *rebuild, const char *type, const char *key,
                          lt_status want, const char *part) {
    pt_buf b = {0};
    pt_text(&b, "}");
    pk_str(&b, name);
    pt_text(&b, rebuild);
    pt_text(&b, "(");
    pk_storage(&b, type, key);
    pk_int(&b, 0);
    pk_ints(&b, 1, DIMS(2));
    pk_ints(&b, 1, DIMS(1));
    pt_text(&b, "tRs.");
    expect_pickle(b.p, b.n, want, part);
    pt_free(&b);
}

static void test_storages_and_names(void **state) {
    (void)state;
    static const char v2[] = "ctorch._utils\n_rebuild_tensor_v2\n",
                      f32[] = "ctorch\nFloatStorage\n";
    char large[600];
    memset(large, 'n', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    expect_stored("w", v2, f32, "0", LT_OK, NULL);
    expect_stored("w", v2, f32, "1", LT_EFORMAT, "not in the archive");
    expect_stored("w", v2, f32, "../../etc/passwd", LT_EFORMAT, "not in the archive");
    expect_stored("w", v2, f32, large, LT_EFORMAT, "no storage");
    expect_stored("w", v2, f32, "", LT_EFORMAT, "no storage");
    expect_stored("w", v2, "ctorch\nComplexFloatStorage\n", "0", LT_EUNSUPPORTED, "storage type");
    expect_stored("w", v2, "cos\nsystem\n", "0", LT_EUNSUPPORTED, "storage type");
    expect_stored("w", v2, "ctorch\nfloat32\n", "0", LT_EUNSUPPORTED, "storage type");
    expect_stored("w", v2, "ctorch.storage\nUntypedStorage\n", "0", LT_EUNSUPPORTED, "dtype");
    expect_stored("w", "ctorch._utils\n_rebuild_tensor_v3\n", f32, "0", LT_EUNSUPPORTED, "dtype");
    expect_stored("", v2, f32, "0", LT_EFORMAT, "0 bytes");
    expect_stored("a\nb", v2, f32, "0", LT_EFORMAT, "control characters");
    expect_stored(large, v2, f32, "0", LT_EFORMAT, "599 bytes");
    pt_buf b = {0};
    pt_text(&b, "}(");
    for (int i = 0; i < 2; i++) {
        pk_str(&b, "w");
        pk_tensor(&b, 0, 1, DIMS(2), DIMS(1));
    }
    pt_text(&b, "u.");
    expect_pickle(b.p, b.n, LT_EFORMAT, "there twice");
    pt_free(&b);
    PICKLE("}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n)Rs.", LT_EFORMAT, "no storage");
    PICKLE("}K\1ctorch._utils\n_rebuild_tensor_v2\n)Rs.", LT_EFORMAT, "no string");
    PICKLE("}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(NNNNtRs.", LT_EFORMAT, "no storage");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtypes),       cmocka_unit_test(test_views),
        cmocka_unit_test(test_ordered_dict), cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_bare_tensor),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_any_byte),
        cmocka_unit_test(test_zip),          cmocka_unit_test(test_beyond_4_gib),
        cmocka_unit_test(test_geometry),     cmocka_unit_test(test_huge_expanded),
        cmocka_unit_test(test_machine),      cmocka_unit_test(test_nothing_runs),
        cmocka_unit_test(test_bombs),        cmocka_unit_test(test_storages_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
