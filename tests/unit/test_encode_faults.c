/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_encode_faults.c - frame sinks when something goes wrong: the process is killed,
 * the disk is full, the reader goes away, older files are in the way, parameters make no sense. */
#include "tests/unit/encode_rig.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child writes `count` frames, says so, and is killed without a chance to close. */
static void kill_during(const char *path, int count) {
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        lt_sink_params p = params(path);
        lt_sink *s = NULL;
        if (lt_sink_open(&p, &s, NULL) == LT_OK && write_frames(s, count, NULL, NULL) == LT_OK)
            (void)!write(fd[1], "x", 1);
        for (;;) pause();
    }
    assert_true(pid > 0);
    char c = 0;
    assert_int_equal(read(fd[0], &c, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fd[0]);
    close(fd[1]);
}

static void test_kill(void **state) {
    (void)state;
    const char *names[] = {"kill.mp4", "kill.mkv"};
    for (int i = 0; i < 2; i++) {
        decoded d;
        const char *path = in_dir(names[i]);
        kill_during(path, 4 * CHUNK + 5); /* in the middle of the fifth chunk */
        assert_int_equal(read_video(path, &d), 0);
        assert_int_equal(d.frames, 4 * CHUNK); /* every flushed chunk, whole */
        assert_int_equal(d.errors, 0);
        assert_true(d.last_pts_ok);
        check_colours(d.yuv);
        check_tags(&d);
    }
}

/* The file size limit stands in for a full disk: same path, EFBIG for ENOSPC. */
static void test_full_disk(void **state) {
    (void)state;
    const char *names[] = {"full.mp4", "full.mkv", "full.y4m", "full.rgb", "full%d.png"};
    const rlim_t limit[] = {6000, 6000, 200000, 200000, 100};
    for (int i = 0; i < 5; i++) {
        struct rlimit old, now;
        getrlimit(RLIMIT_FSIZE, &old);
        now = old;
        now.rlim_cur = limit[i];
        lt_sink_params p = params(in_dir(names[i]));
        lt_error err = {0};
        lt_sink *s = NULL;
        int n = 0;
        assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
        setrlimit(RLIMIT_FSIZE, &now);
        const lt_status st = write_frames(s, 2000, &n, &err);
        assert_int_equal(lt_sink_write(s, NULL, 0, NULL), LT_EIO); /* and stays failed */
        const lt_status closed = lt_sink_close(&s, NULL);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(st, LT_EIO);
        assert_int_equal(closed, LT_EIO);
        assert_non_null(strstr(err.msg, "too large"));
        if (i < 2) {
            decoded d;
            assert_int_equal(read_video(p.path, &d), 0);
            char kept[64];
            snprintf(kept, sizeof kept, "first %d frames are kept", d.frames);
            if (!strstr(err.msg, kept)) fail_msg("%s; %s", err.msg, kept);
            assert_true(d.frames >= CHUNK && d.frames % CHUNK == 0 && d.frames <= n);
            assert_int_equal(d.errors, 0);
        }
    }
    assert_int_not_equal(access(in_dir("full0.png.part"), F_OK), 0);
}

/* No room for the second copy: the file stays fragmented, complete and playable, and we say so. */
static void test_no_room_for_classic(void **state) {
    (void)state;
    lt_sink_params p = params(in_dir("room.mp4"));
    lt_error err = {0};
    lt_sink *s = NULL;
    assert_int_equal(mkdir(in_dir("room.mp4.part"), 0777), 0); /* the name is taken */
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    assert_int_equal(write_frames(s, 30, NULL, &err), LT_OK);
    assert_int_equal(lt_sink_close(&s, &err), LT_OK);
    assert_non_null(strstr(err.msg, "stays fragmented"));
    decoded d;
    assert_int_equal(read_video(p.path, &d), 0);
    assert_int_equal(d.frames, 30);
    rmdir(in_dir("room.mp4.part"));
}

static void test_dev_full(void **state) {
    (void)state;
    const char *names[] = {"df.mp4", "df.mkv", "df.y4m", "df.rgb"};
    for (int i = 0; i < 4; i++) {
        lt_error err = {0};
        lt_sink *s = NULL;
        lt_sink_params p = params(in_dir(names[i]));
        assert_int_equal(symlink("/dev/full", p.path), 0);
        assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
        lt_status st = write_frames(s, 40, NULL, &err);
        assert_int_equal(st, LT_EIO);
        assert_non_null(strstr(err.msg, "No space left"));
        assert_int_equal(lt_sink_close(&s, NULL), LT_EIO);
        assert_int_equal(access("/dev/full", F_OK), 0);
    }
}

/* A reader that goes away: EPIPE as a status, no signal, and the program's handler untouched. */
static void test_broken_pipe(void **state) {
    (void)state;
    int fd[2];
    const char *path = in_dir("pipe.y4m");
    assert_int_equal(mkfifo(path, 0600), 0);
    fd[0] = open(path, O_RDONLY | O_NONBLOCK);
    lt_sink_params p = params(path);
    lt_error err = {0};
    lt_sink *s = NULL;
    assert_int_equal(lt_sink_open(&p, &s, &err), LT_OK);
    assert_int_equal(write_frames(s, 2, NULL, &err), LT_OK);
    close(fd[0]);
    assert_int_equal(write_frames(s, 2, NULL, &err), LT_EIO);
    assert_non_null(strstr(err.msg, "Broken pipe"));
    lt_sink_close(&s, NULL);
    struct sigaction sa;
    sigaction(SIGPIPE, NULL, &sa);
    assert_true(sa.sa_handler == SIG_DFL);
    sigset_t pending;
    sigpending(&pending);
    assert_int_equal(sigismember(&pending, SIGPIPE), 0);
}

/* Opening changes nothing; without a frame nothing is left, and an older file stays. */
static void test_nothing_lost(void **state) {
    (void)state;
    const char *names[] = {"old.mp4", "old.mkv", "old.y4m", "old.rgb"};
    for (int i = 0; i < 4; i++) {
        lt_error err = {0};
        lt_sink_params p = params(in_dir(names[i]));
        assert_int_equal(open_status(&p, &err), LT_OK);
        assert_int_not_equal(access(p.path, F_OK), 0);
        FILE *f = fopen(p.path, "w");
        fputs("precious", f);
        fclose(f);
        assert_int_equal(open_status(&p, &err), LT_OK);
        assert_int_equal(find_bytes(p.path, "precious"), 0);
        p.codec = "nosuch";
        if (i < 2) assert_int_equal(open_status(&p, &err), LT_EINVAL);
        assert_int_equal(find_bytes(p.path, "precious"), 0);
    }
    lt_sink_params p = params(in_dir("old.mp4")); /* and a real run replaces it, keeping its mode */
    assert_int_equal(chmod(p.path, 0640), 0);
    make_file(&p, 13);
    struct stat st;
    assert_int_equal(stat(p.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(find_bytes(p.path, "precious"), -1);
}

static void test_bad_params(void **state) {
    (void)state;
    lt_error err;
    static const struct {
        const char *path;
        lt_status want;
        const char *say;
    } paths[] = {
        {"x.avi", LT_EINVAL, ".mp4"},
        {"noext", LT_EINVAL, ".mp4"},
        {"", LT_EINVAL, "empty"},
        {"x.m3u8", LT_EUNSUPPORTED, "not in this version"},
        {"a.mp4/b", LT_EINVAL, "a.mp4/b"},
        {"/nosuch/x.mp4", LT_EIO, "No such file"},
        {"/nosuch/x.mkv", LT_EIO, "/nosuch"},
        {"/nosuch/%d.png", LT_EIO, "/nosuch"},
        {"/nosuch/x.y4m", LT_EIO, "/nosuch"},
        {"%s%n.png", LT_EINVAL, "%06d"},
        {"%d%d.png", LT_EINVAL, "%06d"},
        {"%n.png", LT_EINVAL, "%06d"},
        {"plain.png", LT_EINVAL, "%06d"},
        {"%5d.png", LT_EINVAL, "%06d"},
        {"%010d.png", LT_EINVAL, "%06d"},
        {"%ld.png", LT_EINVAL, "%06d"},
        {"%*d.png", LT_EINVAL, "%06d"},
        {"%%d.png", LT_EINVAL, "%06d"},
        {"%.png", LT_EINVAL, "%06d"},
        {"%d/x.png", LT_EINVAL, "%06d"},
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        lt_sink_params p = params(paths[i].path);
        if (open_status(&p, &err) != paths[i].want || !strstr(err.msg, paths[i].say))
            fail_msg("%s: %d, %s", paths[i].path, err.code, err.msg);
    }
    static const struct {
        int w, h, num, den, crf;
        const char *path, *codec;
        lt_status want;
    } bad[] = {
        {95, 64, 16, 1, 18, "b.mp4", NULL, LT_EINVAL},
        {96, 63, 16, 1, 18, "b.mkv", NULL, LT_EINVAL},
        {96, 63, 16, 1, 18, "b.y4m", NULL, LT_EINVAL},
        {0, 64, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, -2, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, 99999, 16, 1, 18, "null", NULL, LT_EINVAL},
        {96, 64, 0, 1, 18, "null", NULL, LT_EINVAL},
        {96, 64, 16, 0, 18, "null", NULL, LT_EINVAL},
        {96, 64, 16, 1, 52, "b.mp4", NULL, LT_EINVAL},
        {96, 64, 16, 1, -2, "b.mp4", NULL, LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "h265x", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "aac", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mp4", "gif", LT_EINVAL},
        {96, 64, 16, 1, 18, "b.mkv", "prores", LT_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        lt_sink_params p = params(in_dir(bad[i].path));
        if (strcmp(bad[i].path, "null") == 0) p.path = "null";
        p.width = bad[i].w;
        p.height = bad[i].h;
        p.fps_num = bad[i].num;
        p.fps_den = bad[i].den;
        p.crf = bad[i].crf;
        p.codec = bad[i].codec;
        if (open_status(&p, &err) != bad[i].want) fail_msg("row %zu: %d %s", i, err.code, err.msg);
        if (p.codec) assert_non_null(strstr(err.msg, p.codec));
        if (strcmp(p.path, "null") != 0) assert_int_not_equal(access(p.path, F_OK), 0);
    }
}

/* As another user when we are root, who may write anywhere. */
static void test_unwritable(void **state) {
    (void)state;
    const int root = geteuid() == 0;
    const char *names[] = {"locked.mp4", "locked.y4m", "%d.png"};
    lt_status st[3];
    lt_error err;
    assert_int_equal(chmod(dir, 0555), 0);
    if (root) assert_int_equal(seteuid(65534), 0);
    for (int i = 0; i < 3; i++) {
        lt_sink_params p = params(in_dir(names[i]));
        lt_sink *s = NULL;
        err = (lt_error){0};
        st[i] = lt_sink_open(&p, &s, &err);
    }
    if (root) assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(st[i], LT_EIO);
    lt_sink_params p = params(in_dir("folder.mp4"));
    assert_int_equal(mkdir(p.path, 0700), 0);
    assert_int_equal(open_status(&p, &err), LT_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_no_room_for_classic),
        cmocka_unit_test(test_dev_full),
        cmocka_unit_test(test_broken_pipe),
        cmocka_unit_test(test_nothing_lost),
        cmocka_unit_test(test_bad_params),
        cmocka_unit_test(test_unwritable),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
