/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_sink_meta.c - metadata that is known only after frames were written, and single
 * PNG files: what is there afterwards, also when the copy fails or the process is killed. */
#include "tests/unit/reader_rig.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { COUNT = 21 };

static const lt_sink_meta EARLY[] = {{"prompt", "a red ball"}, {"seed", "1"}};

static lt_sink *open_sink(const char *path, const char *codec) {
    lt_sink_params p = sink_params(path);
    p.codec = codec;
    p.meta = EARLY;
    p.n_meta = 2;
    lt_error err = {0};
    lt_sink *s = NULL;
    if (lt_sink_open(&p, &s, &err) != LT_OK) fail_msg("%s: %s", path, err.msg);
    return s;
}

static void put_frames(lt_sink *s, int from, int to) {
    static uint8_t rgb[H * W * 3];
    for (int i = from; i < to; i++) {
        paint(rgb, i);
        assert_int_equal(lt_sink_write(s, rgb, i % 8 == 7, NULL), LT_OK);
    }
}

static void set_ok(lt_sink *s, const char *key, const char *value) {
    lt_error err = {0};
    if (lt_sink_set_meta(s, key, value, &err) != LT_OK) fail_msg("%s: %s", key, err.msg);
}

/* Frames that can be read, each compared with the file `same` (NULL: not). */
static int count_frames(const char *path, const char *same) {
    static uint8_t a[H * W * 3], b[H * W * 3];
    lt_reader_params p = reader_params(path);
    p.accept_cut = 1;
    lt_reader *r = open_ok(&p), *q = same ? open_path(same) : NULL;
    int n = 0;
    double t = 0, u = 0;
    while (lt_reader_next(r, a, &t, NULL) == LT_OK) {
        if (q) assert_int_equal(lt_reader_next(q, b, &u, NULL), LT_OK);
        if (q && (t != u || memcmp(a, b, sizeof a) != 0))
            fail_msg("%s: frame %d differs from %s", path, n, same);
        n++;
    }
    lt_reader_close(&r);
    lt_reader_close(&q);
    return n;
}

static void expect_meta(const char *path, const char *key, const char *want) {
    lt_reader *r = open_path(path);
    const char *got = lt_reader_meta(r, key);
    if (!got || !want ? got != want : strcmp(got, want) != 0)
        fail_msg("%s: %s is '%s', expected '%s'", path, key, got ? got : "(none)",
                 want ? want : "(none)");
    lt_reader_close(&r);
}

/* The file with late metadata is frame for frame, time for time, the one without. */
static void test_late(void **state) {
    (void)state;
    static const struct {
        const char *name, *plain, *codec;
    } kind[] = {{"late.mp4", "plain.mp4", NULL},
                {"late.mkv", "plain.mkv", NULL},
                {"mpeg4.mp4", "plain4.mp4", "mpeg4"},
                {"ffv1.mkv", "plainf.mkv", "ffv1"},
                {"mpeg4.mkv", "plain4.mkv", "mpeg4"}};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        lt_sink *s = open_sink(in_dir(kind[k].plain), kind[k].codec);
        put_frames(s, 0, COUNT);
        assert_int_equal(lt_sink_close(&s, NULL), LT_OK);
        const char *path = in_dir(kind[k].name);
        s = open_sink(path, kind[k].codec);
        set_ok(s, "chunk_frames", "12");
        put_frames(s, 0, 9);
        set_ok(s, "luma", "mean 1 drift 2");
        put_frames(s, 9, COUNT);
        set_ok(s, "luma", "mean 3.5 drift -0.25");
        set_ok(s, "Seed", "2");
        lt_error err = {0};
        assert_int_equal(lt_sink_close(&s, &err), LT_OK);
        assert_string_equal(err.msg, "");
        assert_int_equal(count_frames(path, in_dir(kind[k].plain)), COUNT);
        expect_meta(path, "prompt", "a red ball");
        expect_meta(path, "chunk_frames", "12");
        expect_meta(path, "luma", "mean 3.5 drift -0.25");
        expect_meta(path, "seed", "2");
        char part[300];
        snprintf(part, sizeof part, "%s.part", path);
        assert_int_not_equal(access(part, F_OK), 0);
    }
}

/* What came before the first frame is in the header: a kill does not take it away. */
static void test_kill(void **state) {
    (void)state;
    const char *names[] = {"kill.mp4", "kill.mkv"};
    for (int k = 0; k < 2; k++) {
        const char *path = in_dir(names[k]);
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        const pid_t pid = fork();
        if (pid == 0) {
            lt_sink *s = open_sink(path, NULL);
            set_ok(s, "chunk_frames", "8");
            put_frames(s, 0, 16);
            set_ok(s, "luma", "late");
            put_frames(s, 16, 28);
            set_ok(s, "seed", "2");
            (void)!write(fd[1], "x", 1);
            for (;;) pause();
        }
        char c = 0;
        assert_int_equal(read(fd[0], &c, 1), 1);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(fd[0]);
        close(fd[1]);
        assert_int_equal(count_frames(path, NULL), 24); /* every chunk that was flushed */
        expect_meta(path, "chunk_frames", "8");
        expect_meta(path, "seed", "1");
        expect_meta(path, "luma", NULL);
    }
}

/* No room for the copy: the file is complete, and the remark says what it lacks. */
static void test_no_room(void **state) {
    (void)state;
    const char *names[] = {"room.mp4", "room.mkv"};
    for (int k = 0; k < 2; k++) {
        const char *path = in_dir(names[k]);
        char part[300];
        snprintf(part, sizeof part, "%s.part", path);
        assert_int_equal(mkdir(part, 0777), 0); /* the name is taken */
        lt_sink *s = open_sink(path, NULL);
        put_frames(s, 0, COUNT);
        set_ok(s, "luma", "late");
        lt_error err = {0};
        assert_int_equal(lt_sink_close(&s, &err), LT_OK);
        assert_non_null(strstr(err.msg, "without the metadata that came late"));
        assert_true(!strstr(err.msg, "stays fragmented") == (k == 1));
        assert_int_equal(count_frames(path, NULL), COUNT);
        expect_meta(path, "prompt", "a red ball");
        rmdir(part);
    }
}

static void test_nowhere_to_put_it(void **state) {
    (void)state;
    const char *names[] = {in_dir("a.y4m"), in_dir("a.rgb"), in_dir("a%d.png")};
    for (int k = 0; k < 5; k++) {
        const char *path = k < 3 ? names[k] : k == 3 ? "md5" : "null";
        lt_sink *s = open_sink(path, NULL);
        lt_error err = {0};
        assert_int_equal(lt_sink_set_meta(s, "luma", "1", &err), LT_EUNSUPPORTED);
        assert_non_null(strstr(err.msg, "no place for metadata"));
        put_frames(s, 0, 2); /* and nothing else happened */
        assert_int_equal(lt_sink_close(&s, NULL), LT_OK);
    }
    /* a pipe takes it as long as nothing was sent */
    const char *fifo = in_dir("fifo.mp4");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    const int fd = open(fifo, O_RDONLY | O_NONBLOCK);
    lt_sink *s = open_sink(fifo, NULL);
    set_ok(s, "luma", "1");
    put_frames(s, 0, 1);
    lt_error err = {0};
    assert_int_equal(lt_sink_set_meta(s, "luma", "2", &err), LT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "regular file"));
    close(fd);
    lt_sink_close(&s, NULL);
}

static void test_bad_entries(void **state) {
    (void)state;
    lt_sink *s = open_sink(in_dir("bad.mp4"), NULL);
    char text[65 + 1];
    memset(text, 'k', 65);
    text[65] = 0;
    const char *keys[] = {"", NULL, "a b", "a=b", "\xc3\xa9", "line\n", text};
    for (int k = 0; k < 7; k++) {
        lt_error err = {0};
        assert_int_equal(lt_sink_set_meta(s, keys[k], "1", &err), LT_EINVAL);
        assert_null(strchr(err.msg, '\n'));
    }
    assert_int_equal(lt_sink_set_meta(s, "key", NULL, NULL), LT_EINVAL);
    text[64] = 0;
    set_ok(s, text, "longest key");
    put_frames(s, 0, 3);
    char *big = malloc(10001); /* e-acutes behind one letter: byte 4096 is in the middle of one */
    for (int i = 0; i < 10000; i++) big[i] = i == 0 ? 'x' : i % 2 ? '\xc3' : '\xa9';
    big[10000] = 0;
    set_ok(s, "big", big);
    big[4095] = 0;
    assert_int_equal(lt_sink_close(&s, NULL), LT_OK);
    expect_meta(in_dir("bad.mp4"), "big", big);
    expect_meta(in_dir("bad.mp4"), text, "longest key");
    free(big);
    int n = 0; /* many entries are refused some time, and the file is good */
    s = open_sink(in_dir("many.mkv"), NULL);
    put_frames(s, 0, 3);
    for (lt_status st = LT_OK; st == LT_OK && n < 5000; n++) {
        snprintf(text, sizeof text, "key%d", n);
        st = lt_sink_set_meta(s, text, "value", NULL);
    }
    assert_in_range(n, 1000, 1100);
    assert_int_equal(lt_sink_close(&s, NULL), LT_OK);
    expect_meta(in_dir("many.mkv"), "key1000", "value");
    assert_int_equal(count_frames(in_dir("many.mkv"), NULL), 3);
}

/* ---- one PNG file ------------------------------------------------------------------------------
 */

static void expect_png(const char *path, const uint8_t *want, int w, int h) {
    static uint8_t rgb[W * H * 3];
    lt_reader *r = open_path(path);
    assert_true(info_of(r).width == w && info_of(r).height == h && info_of(r).picture);
    next_ok(r, rgb);
    assert_memory_equal(rgb, want, (size_t)w * (size_t)h * 3);
    lt_reader_close(&r);
}

static void png_refused(const char *path, lt_status want, const char *word) {
    static uint8_t rgb[W * H * 3];
    lt_error err = {0};
    const lt_status st = lt_png_write(path, rgb, W, H, &err);
    if (st != want || !strstr(err.msg, word) || strchr(err.msg, '\n'))
        fail_msg("%s: %d, expected %d with '%s': %s", path, st, want, word, err.msg);
    char part[600];
    struct stat s;
    snprintf(part, sizeof part, "%s.part", path);
    assert_true(stat(part, &s) != 0 || S_ISDIR(s.st_mode));
}

static void test_png(void **state) {
    (void)state;
    static uint8_t a[W * H * 3], b[W * H * 3];
    paint(a, 0);
    paint(b, 3);
    char *path = in_dir("p.png"), *link = in_dir("link.png");
    assert_int_equal(lt_png_write(path, a, W, H, NULL), LT_OK);
    expect_png(path, a, W, H);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(lt_png_write(link, b, W, H, NULL), LT_OK); /* over the old one */
    expect_png(path, b, W, H);
    struct stat s;
    assert_true(lstat(link, &s) == 0 && S_ISLNK(s.st_mode));
    assert_int_equal(lt_png_write(path, a, 1, 1, NULL), LT_OK);
    expect_png(path, a, 1, 1);
    uint8_t *wide = calloc(8192, 3);
    assert_int_equal(lt_png_write(path, wide, 1, 8192, NULL), LT_OK);
    assert_int_equal(lt_png_write(path, wide, 8192, 1, NULL), LT_OK);
    static const int bad[][2] = {{8193, 1}, {1, 8193}, {0, 1}, {1, -1}};
    for (int k = 0; k < 4; k++) {
        lt_error err = {0};
        assert_int_equal(lt_png_write(path, wide, bad[k][0], bad[k][1], &err), LT_EINVAL);
        assert_non_null(strstr(err.msg, "1 to 8192"));
    }
    free(wide);
    assert_int_equal(lt_png_write(path, NULL, 1, 1, NULL), LT_EINVAL);
    assert_int_equal(lt_png_write("", a, W, H, NULL), LT_EINVAL);
    assert_int_equal(lt_png_write(NULL, a, W, H, NULL), LT_EINVAL);
}

static void test_png_fails(void **state) {
    (void)state;
    static uint8_t a[W * H * 3];
    paint(a, 0);
    png_refused(dir, LT_EIO, "folder");
    png_refused(in_dir("nowhere/p.png"), LT_EIO, "No such file");
    char *fifo = in_dir("fifo.png"); /* neither a pipe nor a device is replaced by a file */
    struct stat s;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    png_refused(fifo, LT_EIO, "no regular file");
    assert_true(stat(fifo, &s) == 0 && S_ISFIFO(s.st_mode));
    char name[400];
    snprintf(name, sizeof name, "%s/%0300d.png", dir, 1);
    png_refused(name, LT_EIO, "too long");
    char *path = in_dir("keep.png"); /* the old picture stays when the new one fails */
    assert_int_equal(lt_png_write(path, a, W, H, NULL), LT_OK);
    struct rlimit old, now;
    getrlimit(RLIMIT_FSIZE, &old);
    now = old;
    now.rlim_cur = 60;
    setrlimit(RLIMIT_FSIZE, &now);
    png_refused(path, LT_EIO, "too large");
    setrlimit(RLIMIT_FSIZE, &old);
    expect_png(path, a, W, H);
    assert_int_equal(mkdir(in_dir("keep.png.part"), 0777), 0);
    png_refused(path, LT_EIO, "directory");
    expect_png(path, a, W, H);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late),        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_no_room),     cmocka_unit_test(test_nowhere_to_put_it),
        cmocka_unit_test(test_bad_entries), cmocka_unit_test(test_png),
        cmocka_unit_test(test_png_fails)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
