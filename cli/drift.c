/* SPDX-License-Identifier: Apache-2.0
 * cli/drift.c - generate --drift: lt_metrics on every frame, a decision at the end of every chunk.
 *
 * The score is lt_metrics_drift's: the last two seconds against the first two. Decisions rest on
 * frames alone, so that equal seeds give equal videos with any threads and any load. After a
 * reanchor the next one waits until the score is made of new frames only. The motion search is left
 * out: it would take a third of the time of all metrics and no decision needs it. */
#include "cli/drift.h"
#include <math.h>
#include <string.h>

#define SPAN 2.0 /* seconds that the score looks back, lt_metrics_drift */
#define WANT                                                                                       \
    (LT_METRICS_NO_REF & ~(LT_METRIC_BIT(LT_METRIC_MOTION) | LT_METRIC_BIT(LT_METRIC_WARP_ERROR) | \
                           LT_METRIC_BIT(LT_METRIC_SMOOTH)))

int cli_drift_open(const cli *c, cli_drift *d, const lt_stream_info *i, int64_t old_frames,
                   int64_t new_frames, double fps) {
    const bool acts = cli_given(c, OPT_ON_DRIFT), level = cli_given(c, OPT_DRIFT_THRESHOLD);
    d->now.score = NAN;
    if (!cli_given(c, OPT_DRIFT) && !acts && !level) return -1;
    d->threshold = level ? c->opt[OPT_DRIFT_THRESHOLD].num : 1;
    d->act = acts ? DRIFT_WARN + (int)c->opt[OPT_ON_DRIFT].i : level ? DRIFT_WARN : DRIFT_SHOW;
    d->fps = fps;
    d->chunk = 4 * i->chunk;
    d->old = old_frames;
    d->all = new_frames ? old_frames + new_frames : 0;
    lt_metrics_params p;
    lt_metrics_params_init(&p);
    p.width = i->width;
    p.height = i->height;
    p.fps = fps;
    p.chunk = (int32_t)d->chunk;
    p.first_chunk = i->first ? 0 : p.chunk - 3;
    p.want = WANT;
    lt_error err = {0};
    const lt_status st = lt_metrics_open(&p, &d->m, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

void cli_drift_close(cli_drift *d) { lt_metrics_close(&d->m); }

/* "saturation went from 31.2 to 45.0 levels (score 1.3)" */
static void describe(const cli_drift *d, char *buf, size_t size) {
    const char *unit = lt_metric_unit(d->now.metric);
    const int digits = lt_metric_digits(d->now.metric);
    snprintf(buf, size, "%s went from %.*f to %.*f%s%s (score %.2f)", lt_metric_name(d->now.metric),
             digits, d->now.first, digits, d->now.now, *unit ? " " : "", unit, d->now.score);
}

/* Frames are told as the file counts them: after --extend the stream counts otherwise. */
static lt_status act(cli_drift *d, lt_stream *s, const lt_frame *f) {
    const int64_t here = d->old + lt_metrics_frames(d->m) - 1;
    char what[200], then[100] = "";
    describe(d, what, sizeof what);
    if (d->act == DRIFT_REANCHOR) {
        const int64_t from = lt_stream_reanchor(s, f->chunk);
        const int64_t jump = here + 1 + (from - f->chunk - 1) * d->chunk;
        d->wait = from + (int64_t)ceil(SPAN * d->fps / (double)d->chunk);
        if (d->all && jump >= d->all) return LT_OK; /* the end comes first */
        snprintf(then, sizeof then, "; from frame %lld on it goes on from the first frames",
                 (long long)jump);
    } else if (d->act == DRIFT_STOP) {
        d->stopped = true;
        snprintf(then, sizeof then, "; stopped here, the file is finished");
    } else {
        d->wait = INT64_MAX; /* once is enough */
    }
    if (d->acted++ == 0) d->at = here;
    snprintf(d->warning, sizeof d->warning, "drift at frame %lld: %s%s", (long long)here, what,
             then);
    return d->stopped ? LT_END : LT_OK;
}

lt_status cli_drift_frame(cli_drift *d, lt_stream *s, const lt_frame *f, lt_error *err) {
    if (!d->m) return LT_OK;
    d->warning[0] = 0;
    const lt_picture pic = {.width = f->width, .height = f->height, .rgb = f->rgb};
    const double seconds = (double)lt_metrics_frames(d->m) / d->fps;
    const lt_status st = lt_metrics_push(d->m, &pic, NULL, seconds, NULL, err);
    if (st != LT_OK || !f->chunk_end) return st;
    lt_metrics_drift(d->m, &d->now, sizeof d->now);
    const bool over = d->now.score >= d->threshold; /* false for NaN: too early */
    return over && d->act != DRIFT_SHOW && f->chunk >= d->wait ? act(d, s, f) : LT_OK;
}

/* ---- what is kept of it ------------------------------------------------------------------------ */

/* Six digits are more than the frames are worth. */
static void add_number(cJSON *o, const char *key, double v) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", v);
    cJSON_AddRawToObject(o, key, isfinite(v) ? text : "null");
}

static cJSON *summary(const cli_drift *d) {
    cJSON *all = cJSON_CreateObject();
    for (int32_t k = 0; k < LT_METRIC_COUNT; k++) {
        lt_metric_summary s;
        lt_metrics_summary_of(d->m, k, &s, sizeof s);
        if (s.n == 0) continue;
        cJSON *one = cJSON_AddObjectToObject(all, lt_metric_name(k));
        add_number(one, "mean", s.mean);
        add_number(one, "first", s.first);
        add_number(one, "last", s.last);
        add_number(one, "drift", s.drift);
        add_number(one, "slope", s.slope);
    }
    return all;
}

void cli_drift_add(const cli_drift *d, cJSON *o) {
    if (!d->m) return;
    cJSON *j = cJSON_AddObjectToObject(o, "drift");
    add_number(j, "score", d->now.score);
    if (isfinite(d->now.score)) {
        cJSON_AddStringToObject(j, "metric", lt_metric_name(d->now.metric));
        add_number(j, "first", d->now.first);
        add_number(j, "now", d->now.now);
    }
    if (d->act != DRIFT_SHOW) cJSON_AddNumberToObject(j, "threshold", d->threshold);
    if (d->acted) cJSON_AddNumberToObject(j, "acted", (double)d->acted);
    if (d->acted) cJSON_AddNumberToObject(j, "first_acted_frame", (double)d->at);
    if (d->stopped) cJSON_AddTrueToObject(j, "stopped");
    cJSON_AddItemToObject(o, "metrics", summary(d));
}

void cli_drift_line(const cli_drift *d, char *buf, size_t size) {
    *buf = 0;
    if (d->m && isfinite(d->now.score)) describe(d, buf, size);
}

char *cli_drift_summary(const cli_drift *d) {
    cJSON *all = summary(d);
    char *text = cJSON_PrintUnformatted(all);
    cJSON_Delete(all);
    return text;
}
