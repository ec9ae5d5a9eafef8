/* SPDX-License-Identifier: Apache-2.0
 * cli/metrics_report.c - what `longtake metrics` says: tables, a verdict, JSON, the baseline file.
 *
 * JSON is printed as it goes: a tree with a node per number would take 64 bytes where a series has
 * 8. JSON knows no NaN and no infinity; both become null. */
#include "cli/metrics.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_WIDTH = 100, NAME_WIDTH = 11, CELL = 11, PAIR_CELL = 10 };

static bool wanted(const cli_measure *j, int m) { return (j->want & LT_METRIC_BIT(m)) != 0; }

static lt_metric_summary summary_of(const cli_video *v, int m) {
    lt_metric_summary s;
    lt_metrics_summary_of(v->m, m, &s, sizeof s);
    return s;
}

static double rate_of(const cli_video *v) {
    const lt_reader_info *i = &v->info.video;
    return i->fps_num > 0 && i->fps_den > 0 ? (double)i->fps_num / i->fps_den : NAN;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static void cell(double v, int digits, int width) {
    if (isfinite(v)) printf("%*.*f", width, digits, v);
    else printf("%*s", width, "-");
}

static void print_title(const cli_video *v) {
    const lt_reader_info *i = &v->info.video;
    const double fps = rate_of(v);
    printf("%s: %dx%d, %lld frame%s", v->name, i->width, i->height,
           (long long)lt_metrics_frames(v->m), lt_metrics_frames(v->m) == 1 ? "" : "s");
    if (isfinite(fps)) printf(" at %g fps, %.2f s", fps, (double)lt_metrics_frames(v->m) / fps);
    if (v->info.chunk > 0) printf(", chunks of %d frames", v->info.chunk);
    if (v->info.chunk > 0 && v->info.first_chunk > 0 && v->info.first_chunk != v->info.chunk)
        printf(", the first of %d", v->info.first_chunk);
    putchar('\n');
}

static void print_table(const cli_measure *j, const cli_video *v) {
    static const char *const head[] = {"mean", "first", "last", "drift", "a minute", "min", "max"};
    print_title(v);
    printf("\n%-*s", NAME_WIDTH, "");
    for (int i = 0; i < 7; i++) printf("%*s", CELL, head[i]);
    putchar('\n');
    for (int m = 0; m < LT_METRIC_COUNT; m++) {
        if (!wanted(j, m)) continue;
        const lt_metric_summary s = summary_of(v, m);
        const double x[] = {s.mean, s.first, s.last, s.drift, 60 * s.slope, s.min, s.max};
        printf("%-*s", NAME_WIDTH, lt_metric_name(m));
        for (int i = 0; i < 7; i++) cell(x[i], lt_metric_digits(m), CELL);
        if (*lt_metric_unit(m)) printf("  %s", lt_metric_unit(m));
        if (m == LT_METRIC_BOUNDARY && s.n == 0 && v->info.chunk == 0) printf("  needs --chunk");
        putchar('\n');
    }
}

/* Right-aligned in width columns, its beginning left out where it is too long. */
static void print_name(const char *name, int width) {
    int n = 0; /* characters, not bytes */
    for (const char *s = name; *s; s++) n += (*s & 0xc0) != 0x80;
    const bool cut = n > width;
    for (; n > (cut ? width - 2 : width); n--) do
            name++;
        while ((*name & 0xc0) == 0x80);
    printf("%*s%s%s", cut ? 0 : width - n, "", cut ? ".." : "", name);
}

/* Mean and drift of each video, as many beside each other as a line holds. */
static void print_comparison(const cli_measure *j) {
    const int width = 2 * PAIR_CELL, most = (LINE_WIDTH - NAME_WIDTH) / (width + 1);
    for (int from = 0; from < j->n; from += most) {
        const int to = from + most < j->n ? from + most : j->n;
        printf("%s%-*s", from ? "\n" : "", NAME_WIDTH, "");
        for (int i = from; i < to; i++) {
            putchar(' ');
            print_name(j->video[i].name, width - 1);
            putchar(i + 1 < to ? ' ' : '\n');
        }
        printf("%-*s", NAME_WIDTH, "");
        for (int i = from; i < to; i++) printf("%*s%*s", PAIR_CELL, "mean", PAIR_CELL, "drift");
        putchar('\n');
        for (int m = 0; m < LT_METRIC_COUNT; m++) {
            if (!wanted(j, m)) continue;
            printf("%-*s", NAME_WIDTH, lt_metric_name(m));
            for (int i = from; i < to; i++) {
                const lt_metric_summary s = summary_of(&j->video[i], m);
                cell(s.mean, lt_metric_digits(m), PAIR_CELL);
                cell(s.drift, lt_metric_digits(m), PAIR_CELL);
            }
            putchar('\n');
        }
    }
}

/* One line that anybody understands. */
static void print_verdict(const cli_measure *j, const cli_video *v) {
    lt_drift d;
    lt_metrics_drift(v->m, &d, sizeof d);
    printf("%s: ", v->name);
    if (isnan(d.score)) {
        printf("%s\n", cli_given(j->c, OPT_ONLY) ? "of these metrics none tells drift"
                                                 : "too short to tell drift");
        return;
    }
    const int digits = lt_metric_digits(d.metric);
    const char *unit = lt_metric_unit(d.metric);
    const char *say = d.score >= 1 ? "drifts" : d.score >= 0.5 ? "drifts a little" : "holds";
    printf("%s; most of all %s, from %.*f to %.*f%s%s (score %.1f; 1 is plain to see)\n", say,
           lt_metric_name(d.metric), digits, d.first, digits, d.now, *unit ? " " : "", unit,
           d.score);
}

void cli_metrics_tables(const cli_measure *j) {
    if (j->n == 1) print_table(j, &j->video[0]);
    else print_comparison(j);
    putchar('\n');
    for (int i = 0; i < j->n; i++) {
        if (j->ref)
            printf("%s: %lld frame%s compared with %s\n", j->video[i].name,
                   (long long)j->video[i].info.ref_frames,
                   j->video[i].info.ref_frames == 1 ? "" : "s", cli_base_name(j->ref));
        print_verdict(j, &j->video[i]);
    }
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void print_number(FILE *f, double v) {
    if (isfinite(v)) fprintf(f, "%.9g", v);
    else fputs("null", f);
}

static void print_string(FILE *f, const char *text) {
    char *clean = cli_clean_text(text, false);
    cJSON *o = cJSON_CreateString(clean ? clean : "");
    char *quoted = cJSON_PrintUnformatted(o);
    fputs(quoted ? quoted : "\"\"", f);
    cJSON_free(quoted);
    cJSON_Delete(o);
    free(clean);
}

static void print_head(FILE *f, const cli_video *v, const char *name) {
    fputs("{\"file\":", f);
    print_string(f, name);
    fprintf(f, ",\"width\":%d,\"height\":%d,\"fps\":", v->info.video.width, v->info.video.height);
    print_number(f, rate_of(v));
    fprintf(f, ",\"frames\":%lld", (long long)lt_metrics_frames(v->m));
}

static void print_series(FILE *f, const cli_measure *j, const cli_video *v) {
    int column = 0;
    fputs(",\"series\":{", f);
    for (int m = 0; m < LT_METRIC_COUNT; m++) {
        if (!wanted(j, m)) continue;
        fprintf(f, "%s\"%s\":[", column ? "," : "", lt_metric_name(m));
        for (int64_t i = 0; i < v->n; i++) {
            if (i) fputc(',', f);
            print_number(f, v->series[i * j->n_want + column]);
        }
        fputc(']', f);
        column++;
    }
    fputc('}', f);
}

/* more: the extremes too; gap: what separates the metrics. */
static void print_summary(FILE *f, const cli_measure *j, const cli_video *v, bool more,
                          const char *gap) {
    const char *comma = "";
    fputs(",\"summary\":{", f);
    for (int m = 0; m < LT_METRIC_COUNT; m++) {
        if (!wanted(j, m)) continue;
        const lt_metric_summary s = summary_of(v, m);
        const struct {
            const char *name;
            double value;
        } x[] = {{"mean", s.mean},   {"first", s.first}, {"last", s.last}, {"drift", s.drift},
                 {"slope", s.slope}, {"min", s.min},     {"max", s.max}};
        fprintf(f, "%s%s\"%s\":{", comma, gap, lt_metric_name(m));
        for (int i = 0; i < (more ? 7 : 5); i++) {
            fprintf(f, "%s\"%s\":", i ? "," : "", x[i].name);
            print_number(f, x[i].value);
        }
        fputc('}', f);
        comma = ",";
    }
    fprintf(f, "%s}", gap);
}

static void print_ref(FILE *f, const cli_measure *j, const cli_video *v, const char *name) {
    fputs(",\"ref\":{", f);
    if (name) {
        fputs("\"file\":", f);
        print_string(f, name);
        fprintf(f, ",\"frames\":%lld", (long long)v->info.ref_frames);
        for (int m = 0; m < LT_METRIC_COUNT; m++) {
            if (!wanted(j, m) || !(LT_METRICS_REF & LT_METRIC_BIT(m))) continue;
            const lt_metric_summary s = summary_of(v, m);
            fprintf(f, ",\"%s\":{\"mean\":", lt_metric_name(m));
            print_number(f, s.mean);
            fputs(",\"min\":", f);
            print_number(f, s.min);
            fputc('}', f);
        }
    }
    fputs("}}", f);
}

void cli_metrics_json(const cli_measure *j) {
    FILE *f = stdout;
    if (j->n > 1) fputs("{\"files\":[", f);
    for (int i = 0; i < j->n; i++) {
        const cli_video *v = &j->video[i];
        if (i) fputc(',', f);
        print_head(f, v, v->path);
        print_series(f, j, v);
        print_summary(f, j, v, false, "");
        print_ref(f, j, v, j->ref);
    }
    fputs(j->n > 1 ? "]}\n" : "\n", f);
}

/* A metric per line: it lives in a repository, where differences are read. */
void cli_metrics_print_baseline(FILE *f, const cli_measure *j, const cli_video *v) {
    print_head(f, v, cli_base_name(v->path));
    print_summary(f, j, v, true, "\n");
    print_ref(f, j, v, j->ref ? cli_base_name(j->ref) : NULL);
    fputc('\n', f);
}

/* ---- help -------------------------------------------------------------------------------------- */

static const char *const meaning[LT_METRIC_COUNT] = {
    [LT_METRIC_FLICKER] = "1 - change to the frame before; VBench's temporal flickering",
    [LT_METRIC_LUMA] = "brightness",
    [LT_METRIC_CONTRAST] = "its standard deviation",
    [LT_METRIC_SATURATION] = "strength of the colours",
    [LT_METRIC_CLIP_LO] = "percent of pixels that are black",
    [LT_METRIC_CLIP_HI] = "percent of pixels that are white",
    [LT_METRIC_SHARPNESS] = "variance of the Laplacian",
    [LT_METRIC_SI] = "spatial information, ITU-T P.910",
    [LT_METRIC_TI] = "temporal information, ITU-T P.910",
    [LT_METRIC_HIST_FIRST] = "how far the colours are from those of the first chunk",
    [LT_METRIC_HIST_PREV] = "how far from those of the chunk before",
    [LT_METRIC_MOTION] = "length of the longest motion vectors",
    [LT_METRIC_WARP_ERROR] = "what block motion cannot explain",
    [LT_METRIC_SMOOTH] = "how well a frame is the middle of its neighbours",
    [LT_METRIC_BOUNDARY] = "step at chunk joins, 1: as inside chunks",
    [LT_METRIC_LOOP] = "0 to 1: how much of the past came back",
    [LT_METRIC_PSNR] = "against --ref: signal to noise, 100: equal",
    [LT_METRIC_SSIM] = "against --ref: structural similarity",
    [LT_METRIC_MS_SSIM] = "against --ref: the same at five scales, on luma",
};

void cli_metrics_help(void) {
    printf("\nmetrics, and how far mean, last and drift may be from a baseline (of boundary and "
           "loop the mean, of\nthose against --ref mean and min, only down):\n");
    for (int m = 0; m < LT_METRIC_COUNT; m++) {
        double plain, share;
        char band[64], wide[32] = "";
        lt_baseline_default(m, &plain, &share);
        if (share > 0) snprintf(wide, sizeof wide, " or %g %%", 100 * share);
        snprintf(band, sizeof band, "%g%s%s%s", plain, *lt_metric_unit(m) ? " " : "",
                 lt_metric_unit(m), wide);
        printf("  %-12s%-62s%s\n", lt_metric_name(m), meaning[m], band);
    }
    printf("The number of frames may differ by 10 %%; size and frame rate must be the same. "
           "Definitions:\ninclude/longtake/metrics.h; what they tell: docs/METRICS.md.\n");
}
