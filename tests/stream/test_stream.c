/* SPDX-License-Identifier: Apache-2.0
 * The stream as its users see it: counts, end, determinism, back-pressure, cancel, two at once. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/fast_backend.h"
#include "tests/stream/tiny.h"

#define N 34 /* frames: chunk 0 gives 9, later ones 12; 34 ends inside a chunk */

static lt_engine *open_tiny(const char *backend, int threads) {
    lt_engine *e = NULL;
    lt_error err = {0};
    if (tiny_engine(backend, threads, &e, &err) != LT_OK) fail_msg("%s", err.msg);
    return e;
}

static uint8_t *frames_of(lt_engine *e, const lt_stream_params *p) {
    uint8_t *rgb = calloc(N, TINY_RGB);
    assert_int_equal(tiny_collect(e, p, rgb, N), N);
    return rgb;
}

static void labels_and_end(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 2);
    lt_stream_params p = tiny_params(N);
    lt_stream *s = NULL;
    lt_frame f;
    assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
    for (int i = 0; i < N; i++) {
        assert_int_equal(lt_stream_next(s, &f), LT_OK);
        assert_int_equal(f.index, i);
        assert_int_equal(f.chunk, i < 9 ? 0 : 1 + (i - 9) / 12);
        assert_int_equal(f.chunk_end != 0, i == 8 || i == 20 || i == 32 || i == N - 1);
        lt_frame_release(&f);
        assert_null(f.rgb);
    }
    assert_int_equal(lt_stream_next(s, &f), LT_END);
    assert_int_equal(lt_stream_next(s, &f), LT_END);
    assert_string_equal(lt_stream_error(s), "");
    lt_stream_close(&s);
    lt_engine_close(&e);
}

static void same_seed_same_frames(void **state) {
    (void)state;
    for (int mode = LT_MODE_CHUNK; mode <= LT_MODE_ROLLING; mode++) {
        lt_engine *one = open_tiny(fast_backend(), 1), *two = open_tiny(fast_backend(), 2);
        lt_stream_params p = tiny_params(N);
        p.mode = mode;
        uint8_t *a = frames_of(one, &p), *b = frames_of(two, &p), *c = frames_of(two, &p);
        assert_memory_equal(a, b, N * TINY_RGB);
        assert_memory_equal(b, c, N * TINY_RGB);
        p.seed++;
        uint8_t *d = frames_of(one, &p);
        assert_true(memcmp(a, d, N * TINY_RGB) != 0);
        free(a), free(b), free(c), free(d);
        lt_engine_close(&one);
        lt_engine_close(&two);
    }
}

/* A longer take starts with the very frames of a shorter one. */
static void prefix_does_not_depend_on_length(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    lt_stream_params p = tiny_params(N), longer = tiny_params(3 * N);
    uint8_t *a = frames_of(e, &p), *b = calloc(3 * N, TINY_RGB);
    assert_int_equal(tiny_collect(e, &longer, b, 3 * N), 3 * N);
    assert_memory_equal(a, b, N * TINY_RGB);
    free(a), free(b);
    lt_engine_close(&e);
}

static void again_when_all_frames_are_held(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    lt_stream_params p = tiny_params(0); /* endless */
    lt_stream *s = NULL;
    lt_frame held[256];
    int n = 0;
    assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
    lt_status st;
    while ((st = lt_stream_next(s, &held[n])) == LT_OK) assert_true(++n < 256);
    assert_int_equal(st, LT_AGAIN);
    int64_t last = held[n - 1].index;
    lt_frame_release(&held[0]);
    assert_int_equal(lt_stream_next(s, &held[0]), LT_OK);
    assert_int_equal(held[0].index, last + 1);
    for (int i = 0; i < n; i++) lt_frame_release(&held[i]);
    lt_stream_close(&s);
    lt_engine_close(&e);
}

typedef struct stop_at {
    int calls, at;
} stop_at;
static int stop_after(void *opaque, const lt_progress *p) {
    stop_at *s = opaque;
    assert_true(p->step < p->n_step);
    return ++s->calls >= s->at;
}

static void cancel_at_each_step(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    for (int at = 1; at <= 7; at++) {
        stop_at stop = {0, at};
        lt_stream_params p = tiny_params(0);
        p.progress = stop_after;
        p.opaque = &stop;
        lt_stream *s = NULL;
        lt_frame f;
        lt_status st;
        int n = 0;
        assert_int_equal(lt_stream_open(e, &p, &s, NULL), LT_OK);
        while ((st = lt_stream_next(s, &f)) == LT_OK) lt_frame_release(&f), n++;
        assert_int_equal(st, LT_ECANCELLED);
        int chunks = (at - 1) / 2; /* two steps a chunk; the cut one gives nothing */
        assert_int_equal(n, chunks ? 9 + 12 * (chunks - 1) : 0);
        assert_non_null(strstr(lt_stream_error(s), "cancel"));
        lt_stream_close(&s);
    }
    lt_engine_close(&e);
}

static void *collect_thread(void *arg) {
    void **a = arg;
    a[2] = frames_of(a[0], a[1]);
    return NULL;
}

static void two_streams_do_not_disturb_each_other(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    lt_stream_params p = tiny_params(N), q = tiny_params(N);
    q.seed = 99;
    q.mode = LT_MODE_ROLLING;
    uint8_t *a = frames_of(e, &p), *b = frames_of(e, &q);
    void *args[2][3] = {{e, &p, NULL}, {e, &q, NULL}};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, collect_thread, args[i]);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    assert_memory_equal(a, args[0][2], N * TINY_RGB);
    assert_memory_equal(b, args[1][2], N * TINY_RGB);
    free(a), free(b), free(args[0][2]), free(args[1][2]);
    lt_engine_close(&e);
}

static void bad_parameters(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    struct {
        const char *word;
        lt_stream_params p;
    } bad[9];
    for (int i = 0; i < 9; i++) bad[i].p = tiny_params(N);
    bad[0].word = "width", bad[0].p.width = 40;
    bad[1].word = "height", bad[1].p.height = -16;
    bad[2].word = "prompt", bad[2].p.prompt = "";
    bad[3].word = "chunk", bad[3].p.chunk = 1000;
    bad[4].word = "window", bad[4].p.window = -7;
    bad[5].word = "sink", bad[5].p.sink_policy = LT_SINK_NONE, bad[5].p.sink = 3;
    bad[6].word = "timestep", bad[6].p.n_timesteps = 2, bad[6].p.timesteps[0] = 100,
    bad[6].p.timesteps[1] = 500;
    bad[7].word = "shift", bad[7].p.flow_shift = -1;
    bad[8].word = "prompt", bad[8].p.prompt = "bad \xff\xfe bytes";
    for (int i = 0; i < 9; i++) {
        lt_stream *s = NULL;
        lt_error err = {0};
        assert_int_equal(lt_stream_open(e, &bad[i].p, &s, &err), LT_EINVAL);
        assert_null(s);
        if (!strstr(err.msg, bad[i].word))
            fail_msg("case %d: '%s' lacks '%s'", i, err.msg, bad[i].word);
    }
    lt_engine_close(&e);
}

/* A caller compiled against a shorter struct: the missing fields take their defaults. */
static void older_struct_size(void **state) {
    (void)state;
    lt_engine *e = open_tiny(fast_backend(), 1);
    lt_stream_params full = tiny_params(N), old;
    memset(&old, 0xee, sizeof old);
    lt_stream_params_init_sized(&old, offsetof(lt_stream_params, chunk));
    assert_int_equal(((uint8_t *)&old)[offsetof(lt_stream_params, chunk)], 0xee);
    old.prompt = full.prompt;
    old.n_frames = full.n_frames;
    old.seed = full.seed;
    uint8_t *a = frames_of(e, &full), *b = frames_of(e, &old);
    assert_memory_equal(a, b, N * TINY_RGB);
    free(a), free(b);
    lt_engine_close(&e);
}

static void null_and_double_close(void **state) {
    (void)state;
    lt_engine *e = NULL;
    lt_stream *s = NULL;
    lt_frame f = {0};
    lt_engine_close(NULL);
    lt_engine_close(&e);
    lt_stream_close(NULL);
    lt_stream_close(&s);
    lt_frame_release(NULL);
    lt_frame_release(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_and_end),
        cmocka_unit_test(same_seed_same_frames),
        cmocka_unit_test(prefix_does_not_depend_on_length),
        cmocka_unit_test(again_when_all_frames_are_held),
        cmocka_unit_test(cancel_at_each_step),
        cmocka_unit_test(two_streams_do_not_disturb_each_other),
        cmocka_unit_test(bad_parameters),
        cmocka_unit_test(older_struct_size),
        cmocka_unit_test(null_and_double_close),
    };
    cmocka_set_test_filter(getenv("LT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
