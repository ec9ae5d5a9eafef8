/* SPDX-License-Identifier: Apache-2.0
 * metrics/source.c - a video file decoded ahead: one thread reads into a ring of a few frames, the
 * caller's takes them out.
 *
 * A slot travels free -> (thread fills it) -> full -> (caller uses it) -> free. The planes of
 * lt_reader_picture live until the reader's next call and are copied; RGB is converted straight
 * into the slot. Whoever ends first closes: the thread `full`, behind the last frame; close() both
 * queues, so that the thread, wherever it waits, falls through to its end.
 *
 * The reader belongs to the thread while it runs: facts are taken before it starts and after it has
 * been joined. */
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "metrics/metrics_int.h"
#include <stdlib.h>
#include <string.h>

#define SLOTS 4
#define BIG ((int64_t)1 << 24) /* pixels from which two slots must do */
#define ALIGN 64

typedef struct slot {
    lti_frame frame;
    uint8_t *rgb;    /* [height, width, 3] or NULL */
    uint8_t *planes; /* y, u, v, rows padded to ALIGN */
    size_t cap;      /* of planes */
} slot;

struct lti_source {
    lt_reader *reader;
    lt_reader_info info;
    slot slot[SLOTS];
    lti_queue_ptr free, full;
    int32_t chunk, first_chunk;
    slot *held; /* by the caller */
    pthread_t thread;
    bool running;
    double step; /* between frames, where the file does not say it */
    double last; /* time of the last frame */
    lt_status ended;
    lt_error why;
};

/* ---- the reading thread -------------------------------------------------------------------------
 */

static size_t padded(int32_t w) { return ((size_t)w + ALIGN - 1) / ALIGN * ALIGN; }

static void copy_plane(uint8_t *out, size_t os, const uint8_t *in, ptrdiff_t is, int32_t w,
                       int32_t h) {
    for (int32_t y = 0; y < h; y++) memcpy(out + (size_t)y * os, in + y * is, (size_t)w);
}

/* p's planes into the slot. The first frame allocates; a later one only if the layout grows. */
static lt_status keep(slot *s, lt_picture p, lt_error *err) {
    const size_t ys = padded(p.width), cs = p.u ? padded(p.c_width) : 0;
    const size_t y_size = ys * (size_t)p.height, c_size = cs * (size_t)p.c_height;
    if (s->cap < y_size + 2 * c_size) {
        free(s->planes);
        s->cap = 0;
        s->planes = aligned_alloc(ALIGN, y_size + 2 * c_size);
        if (!s->planes) return lti_oom(err, y_size + 2 * c_size);
        s->cap = y_size + 2 * c_size;
    }
    uint8_t *y = s->planes, *u = y + y_size, *v = u + c_size;
    copy_plane(y, ys, p.y, p.y_stride, p.width, p.height);
    if (p.u) {
        copy_plane(u, cs, p.u, p.c_stride, p.c_width, p.c_height);
        copy_plane(v, cs, p.v, p.c_stride, p.c_width, p.c_height);
        p.u = u;
        p.v = v;
    }
    p.y = y;
    p.y_stride = (ptrdiff_t)ys;
    p.c_stride = (ptrdiff_t)cs;
    s->frame.pic = p;
    return LT_OK;
}

static lt_status read_frame(lti_source *s, slot *to, lt_error *err) {
    lt_picture pic = {0};
    double now = 0;
    const lt_status st = lt_reader_picture(s->reader, to->rgb, &pic, &now, err);
    if (st != LT_OK) return st;
    LT_TRY(keep(to, pic, err));
    /* Broken files repeat time stamps or jump back; time goes on all the same. */
    if (!(now > s->last)) now = s->last < 0 ? 0 : s->last + s->step;
    to->frame.seconds = s->last = now;
    return LT_OK;
}

static void *read_all(void *arg) {
    lti_source *s = arg;
    void *to;
    while (lti_queue_ptr_pop(&s->free, &to)) {
        s->ended = read_frame(s, to, &s->why);
        if (s->ended != LT_OK || !lti_queue_ptr_push(&s->full, to)) break;
    }
    lti_queue_ptr_close(&s->full);
    return NULL;
}

/* ---- the caller's side --------------------------------------------------------------------------
 */

static lt_status start(lti_source *s, bool rgb, lt_error *err) {
    const int64_t pixels = (int64_t)s->info.width * s->info.height;
    const int slots = pixels < BIG ? SLOTS : 2;
    if (!lti_memory_fits((size_t)pixels * (rgb ? 6 : 3) * (size_t)slots))
        return lti_oom(err, (size_t)pixels * (rgb ? 6 : 3) * (size_t)slots);
    LT_TRY(lti_queue_ptr_init(&s->free, SLOTS, err));
    LT_TRY(lti_queue_ptr_init(&s->full, SLOTS, err));
    for (int i = 0; i < slots; i++) {
        if (rgb && !(s->slot[i].rgb = malloc((size_t)pixels * 3)))
            return lti_oom(err, (size_t)pixels * 3);
        lti_queue_ptr_push(&s->free, &s->slot[i]);
    }
    if (pthread_create(&s->thread, NULL, read_all, s) != 0)
        return lti_fail(err, LT_ENOMEM, "cannot start a thread that reads; the system has no more");
    s->running = true;
    return LT_OK;
}

/* Foreign text: 1 to 1000000 and nothing else, or 0. */
static int32_t whole_number(const char *text) {
    int32_t n = 0;
    for (; text && *text; text++) {
        if (*text < '0' || *text > '9' || n > 100000) return 0;
        n = n * 10 + (*text - '0');
    }
    return n <= 1000000 ? n : 0;
}

lt_status lti_source_open(const lt_reader_params *p, bool rgb, lti_source **out, lt_error *err) {
    *out = NULL;
    lti_source *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    lt_status st = lt_reader_open(p, &s->reader, err);
    if (st == LT_OK) {
        lt_reader_get_info(s->reader, &s->info, sizeof s->info);
        const double fps = s->info.fps_den ? (double)s->info.fps_num / s->info.fps_den : 0;
        s->step = fps > 0 ? 1 / fps : 0.001;
        s->last = -1;
        s->chunk = whole_number(lt_reader_meta(s->reader, "chunk_frames"));
        s->first_chunk = whole_number(lt_reader_meta(s->reader, "first_chunk_frames"));
        st = start(s, rgb, err);
    }
    if (st != LT_OK) lti_source_close(&s);
    *out = s;
    return st;
}

static void join(lti_source *s) {
    if (!s->running) return;
    pthread_join(s->thread, NULL);
    s->running = false;
    lt_reader_get_info(s->reader, &s->info, sizeof s->info);
}

void lti_source_stop(lti_source *s) {
    if (!s->running) return;
    lti_queue_ptr_close(&s->free);
    lti_queue_ptr_close(&s->full);
    join(s);
}

void lti_source_close(lti_source **ps) {
    lti_source *s = ps ? *ps : NULL;
    if (!s) return;
    lti_source_stop(s);
    lti_queue_ptr_destroy(&s->free);
    lti_queue_ptr_destroy(&s->full);
    for (int i = 0; i < SLOTS; i++) {
        free(s->slot[i].rgb);
        free(s->slot[i].planes);
    }
    lt_reader_close(&s->reader);
    free(s);
    *ps = NULL;
}

lt_status lti_source_next(lti_source *s, const lti_frame **f, lt_error *err) {
    void *next;
    if (s->held) lti_queue_ptr_push(&s->free, s->held);
    s->held = NULL;
    if (lti_queue_ptr_pop(&s->full, &next)) {
        s->held = next;
        *f = &s->held->frame;
        return LT_OK;
    }
    join(s);
    return s->ended < 0 ? lti_fail(err, s->ended, "%s", s->why.msg) : s->ended;
}

const lt_reader_info *lti_source_info(const lti_source *s) { return &s->info; }

void lti_source_chunks(const lti_source *s, int32_t *chunk, int32_t *first) {
    *chunk = s->chunk;
    *first = s->first_chunk;
}
