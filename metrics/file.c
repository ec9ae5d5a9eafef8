/* SPDX-License-Identifier: Apache-2.0
 * metrics/file.c - whole files: a thread decodes ahead (source.c), the caller's computes, and with
 * a reference a second thread decodes that, frames being matched by their times.
 *
 * Matching is a merge of two rising lists of times. Equal within `near` means partners; else the
 * earlier one has none. Frames may lack a partner on one side only: that covers equal rates, whole
 * multiples either way, and files in which repeated frames were dropped; a frame alone on each side
 * means that the rates do not fit, and is noticed at once. What stands behind the other file's last
 * frame, later than that one is shown, is a difference in length. */
#include "base/error.h"
#include "metrics/metrics_int.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NEAR 0.0025 /* two times rounded to 1 ms each, against a first frame that was rounded too */

typedef struct side { /* one of the two files */
    const char *path;
    lti_source *src;
    const lti_frame *frame; /* at hand, or NULL behind the end */
    int64_t frames;         /* taken out so far */
    bool alone;             /* one of them had no partner */
    double alone_at;        /* its time */
    double last, step;      /* time of the latest one and its distance to the one before */
} side;

typedef struct job {
    lt_metrics_file_params p;
    uint32_t want;
    side a, b; /* b.src NULL: no reference */
    double near;
    lti_match match;
    lt_metrics *m;
    int64_t compared;
    bool cut; /* `shortest`, and the reference has ended */
} job;

void lt_metrics_file_params_init_sized(lt_metrics_file_params *p, size_t size) {
    memset(p, 0, size);
    p->struct_size = size;
}

/* ---- open ---------------------------------------------------------------------------------------
 */

static lt_status check_params(job *j, const char *path, lt_error *err) {
    const lt_metrics_file_params *p = &j->p;
    const uint32_t all = (UINT32_C(1) << LT_METRIC_COUNT) - 1;
    if (!path || !*path) return lti_fail(err, LT_EINVAL, "input: the path is empty");
    if (p->ref && !*p->ref) return lti_fail(err, LT_EINVAL, "reference: the path is empty");
    if (p->want & ~all)
        return lti_fail(err, LT_EINVAL, "metrics wanted: 0x%x, expected bits below 0x%x", p->want,
                        all + 1);
    if (p->chunk < 0 || p->first_chunk < 0)
        return lti_fail(err, LT_EINVAL, "%d frames per chunk, %d in the first, expected 1 or more",
                        p->chunk, p->first_chunk);
    j->want = p->want ? p->want : p->ref ? all : LT_METRICS_NO_REF;
    if (p->ref && !(j->want & LT_METRICS_REF))
        return lti_fail(err, LT_EINVAL,
                        "%s is given as reference, but none of psnr, ssim, ms_ssim is wanted",
                        p->ref);
    if (!p->ref && j->want & LT_METRICS_REF)
        return lti_fail(err, LT_EINVAL,
                        "psnr, ssim and ms_ssim need a reference to compare with; none is given");
    return LT_OK;
}

static lt_status open_side(job *j, side *s, const char *path, bool rgb, lt_error *err) {
    lt_reader_params r;
    lt_reader_params_init(&r);
    r.path = path;
    r.threads = j->p.threads;
    r.accept_cut = j->p.accept_cut;
    s->path = path;
    return lti_source_open(&r, rgb, &s->src, err);
}

static double rate(const side *s) {
    const lt_reader_info *i = lti_source_info(s->src);
    return i->fps_num > 0 && i->fps_den > 0 ? (double)i->fps_num / i->fps_den : 0;
}

static lt_status open_ref(job *j, lt_error *err) {
    LT_TRY(open_side(j, &j->b, j->p.ref, false, err));
    const lt_reader_info *a = lti_source_info(j->a.src), *b = lti_source_info(j->b.src);
    if (a->width != b->width || a->height != b->height)
        return lti_fail(err, LT_EINVAL,
                        "%s is %dx%d and the reference %s %dx%d; bring both to one size first",
                        j->a.path, a->width, a->height, j->b.path, b->width, b->height);
    const double fastest = fmax(rate(&j->a), rate(&j->b));
    j->near = fastest > 0 ? fmin(NEAR, 0.45 / fastest) : NEAR;
    return LT_OK;
}

static lt_status open_all(job *j, const char *path, lt_error *err) {
    LT_TRY(open_side(j, &j->a, path, j->p.rgb || j->want & LTI_METRICS_RGB, err));
    if (j->p.ref) LT_TRY(open_ref(j, err));
    const lt_reader_info *i = lti_source_info(j->a.src);
    lt_metrics_params m;
    lt_metrics_params_init(&m);
    m.width = i->width;
    m.height = i->height;
    m.fps = rate(&j->a) <= 1e6 ? rate(&j->a) : 0; /* foreign numbers */
    m.want = j->want;
    lti_source_chunks(j->a.src, &m.chunk, &m.first_chunk);
    if (j->p.chunk) {
        m.chunk = j->p.chunk;
        m.first_chunk = 0;
    }
    if (j->p.first_chunk) m.first_chunk = j->p.first_chunk;
    if (!m.chunk) m.first_chunk = 0;
    j->p.chunk = m.chunk;
    j->p.first_chunk = m.first_chunk;
    return lt_metrics_open(&m, &j->m, err);
}

/* ---- matching -----------------------------------------------------------------------------------
 */

/* The next frame of a side; s->frame NULL: there is none. */
static lt_status step_side(side *s, lt_error *err) {
    s->frame = NULL;
    const lt_status st = lti_source_next(s->src, &s->frame, err);
    if (st != LT_OK) {
        s->frame = NULL;
        return st;
    }
    if (s->frames++) s->step = s->frame->seconds - s->last;
    s->last = s->frame->seconds;
    return LT_OK;
}

/* s has a frame at hand that comes when nothing of `ended` is shown any more. */
static bool beyond(const job *j, const side *s, const side *ended) {
    return s->frame && s->frame->seconds > ended->last + ended->step - j->near;
}

/* The frame of s at hand has no partner. */
static lt_status leave_alone(job *j, side *s, lt_error *err) {
    s->alone = true;
    s->alone_at = s->frame->seconds;
    if (!j->a.alone || !j->b.alone) return LT_OK;
    return lti_fail(err, LT_EINVAL,
                    "%s (%.6g frames/s) and the reference %s (%.6g) do not line up: at %.3f s only "
                    "the first has a frame, at %.3f s only the second; make one rate a whole "
                    "multiple of the other",
                    j->a.path, rate(&j->a), j->b.path, rate(&j->b), j->a.alone_at, j->b.alone_at);
}

/* Frames of a side in all: as its container says, else counted. Its frame is gone afterwards. */
static lt_status count_all(side *s, int64_t *n, lt_error *err) {
    const int64_t said = lti_source_info(s->src)->frames;
    lt_status st = LT_OK;
    if (said < s->frames)
        while (st == LT_OK) st = step_side(s, err);
    *n = said > s->frames ? said : s->frames;
    return st < 0 ? st : LT_OK;
}

static lt_status other_length(job *j, lt_error *err) {
    int64_t a = 0, b = 0;
    LT_TRY(count_all(&j->a, &a, err));
    LT_TRY(count_all(&j->b, &b, err));
    return lti_fail(err, LT_EINVAL,
                    "%s has %lld frames (%.6g a second), the reference %s %lld (%.6g); cut one, or "
                    "compare as far as the shorter one goes",
                    j->a.path, (long long)a, rate(&j->a), j->b.path, (long long)b, rate(&j->b));
}

/* The partner of j->a.frame -> *ref, NULL if it has none. j->cut: nothing is left to compare. */
static lt_status partner(job *j, const lt_picture **ref, lt_error *err) {
    side *a = &j->a, *b = &j->b;
    const double now = a->frame->seconds;
    *ref = NULL;
    while (b->frame && b->frame->seconds < now - j->near) {
        LT_TRY(leave_alone(j, b, err));
        LT_TRY(step_side(b, err));
    }
    if (b->frame && b->frame->seconds <= now + j->near) {
        *ref = &b->frame->pic;
        return LT_OK;
    }
    if (b->frame || !beyond(j, a, b)) return leave_alone(j, a, err);
    j->cut = j->p.shortest != 0;
    return j->cut ? LT_OK : other_length(j, err);
}

/* The file has ended: does the reference end with it? */
static lt_status check_end(job *j, lt_error *err) {
    while (j->b.frame && !beyond(j, &j->b, &j->a)) LT_TRY(step_side(&j->b, err));
    return j->b.frame && !j->p.shortest ? other_length(j, err) : LT_OK;
}

/* ---- run ----------------------------------------------------------------------------------------
 */

/* The frame at hand and its partner, which is used up. */
static lt_status compute(job *j, const lt_picture *ref, double *row, lt_error *err) {
    const lti_frame *f = j->a.frame;
    lt_picture matched;
    if (ref) LT_TRY(lti_match_run(&j->match, &f->pic, ref, &matched, err));
    LT_TRY(lt_metrics_push(j->m, &f->pic, ref ? &matched : NULL, f->seconds, row, err));
    if (!ref) return LT_OK;
    j->compared++;
    return step_side(&j->b, err);
}

static lt_status run(job *j, lt_metrics_frame_fn fn, void *user, lt_error *err) {
    double row[LT_METRIC_COUNT];
    if (j->b.src) LT_TRY(step_side(&j->b, err));
    for (;;) {
        const lt_picture *ref = NULL;
        LT_TRY(step_side(&j->a, err));
        if (!j->a.frame) return check_end(j, err);
        if (j->b.src) LT_TRY(partner(j, &ref, err));
        if (j->cut) return LT_OK;
        LT_TRY(compute(j, ref, row, err));
        const lti_frame *f = j->a.frame;
        if (fn && fn(user, j->a.frames - 1, f->seconds, row, f->pic.rgb))
            return lti_fail(err, LT_ECANCELLED, "%s: cancelled at frame %lld", j->a.path,
                            (long long)j->a.frames - 1);
    }
}

static void tell(job *j, lt_metrics_file_info *info) {
    lt_metrics_file_info i = {.struct_size = info->struct_size,
                              .chunk = j->p.chunk,
                              .first_chunk = j->p.first_chunk,
                              .ref_frames = j->compared};
    lti_source_stop(j->a.src);
    i.video = *lti_source_info(j->a.src);
    for (int32_t k = 0; k < LT_METRIC_COUNT; k++) {
        lt_metric_summary s;
        lt_metrics_summary_of(j->m, k, &s, sizeof s);
        if (s.n) i.have |= LT_METRIC_BIT(k);
    }
    memcpy(info, &i, i.struct_size < sizeof i ? i.struct_size : sizeof i);
}

lt_status lt_metrics_file(const char *path, const lt_metrics_file_params *p, lt_metrics_frame_fn fn,
                          void *user, lt_metrics_file_info *info, lt_metrics **out, lt_error *err) {
    job j = {0};
    if (out) *out = NULL;
    lt_metrics_file_params_init(&j.p);
    if (p) memcpy(&j.p, p, p->struct_size < sizeof j.p ? p->struct_size : sizeof j.p);
    lt_status st = check_params(&j, path, err);
    if (st == LT_OK) st = open_all(&j, path, err);
    if (st == LT_OK) st = run(&j, fn, user, err);
    if (st == LT_OK && info) tell(&j, info);
    lti_source_close(&j.a.src);
    lti_source_close(&j.b.src);
    lti_match_close(&j.match);
    if (st != LT_OK || !out) lt_metrics_close(&j.m);
    else *out = j.m;
    return st;
}
