/* SPDX-License-Identifier: Apache-2.0
 * cli/metrics.c - `longtake metrics`: what drifts in a video; the same against a baseline, for CI.
 *
 * Order: everything that can be wrong is found before the first frame is measured: options, outputs,
 * the baseline, and that every file opens. Then file after file; pictures and JSON are written when
 * all of them are done. A baseline that does not hold is exit 1, like a failure while running. */
#include "cli/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PLOTTED = 8 };

typedef struct job {
    cli_measure all;
    lt_baseline *baseline;
    cli_progress progress;
    lt_error frame_error; /* why on_frame stopped */
} job;

const char *cli_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- options ----------------------------------------------------------------------------------- */

static int unknown_metric(const cli *c, const char *word, int n) {
    char list[512] = "";
    for (int i = 0; i < LT_METRIC_COUNT; i++) {
        const size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? " " : "", lt_metric_name(i));
    }
    return cli_usage_error(c, "--only %.*s: no such metric; there are %s", n, word, list);
}

/* The results of all parsers here: -1, or an exit code after printing the error. */
static int parse_only(job *j) {
    const cli *c = j->all.c;
    const char *s = c->opt[OPT_ONLY].text;
    uint32_t want = 0;
    if (!s) want = LT_METRICS_NO_REF | (j->all.ref ? LT_METRICS_REF : 0);
    while (s) {
        const int n = (int)strcspn(s, ",");
        char word[32];
        snprintf(word, sizeof word, "%.*s", n, s);
        const int32_t m = lt_metric_by_name(word);
        if (m < 0) return unknown_metric(c, s, n < 40 ? n : 40);
        if (LT_METRIC_BIT(m) & LT_METRICS_REF && !j->all.ref)
            return cli_usage_error(c,
                                   "--only %s: is measured against another video; give it with "
                                   "--ref VIDEO",
                                   word);
        want |= LT_METRIC_BIT(m);
        s = s[n] ? s + n + 1 : NULL;
    }
    j->all.want = want;
    for (int m = 0; m < LT_METRIC_COUNT; m++) j->all.n_want += (want >> m) & 1;
    return -1;
}

static const char *option_name(cli_opt o) {
    return o == OPT_PLOT ? "--plot" : o == OPT_CONTACT ? "--contact" : "--write-baseline";
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Into dir [PATH_MAX], with its last slash; false: too long. */
static bool folder_of(const char *path, char *dir) {
    const int n = (int)(cli_base_name(path) - path);
    return snprintf(dir, PATH_MAX, "%.*s", n ? n : 1, n ? path : ".") < PATH_MAX;
}

/* An output that cannot be written is found now, not after minutes of measuring. */
static int check_output(const job *j, cli_opt o) {
    const cli *c = j->all.c;
    const char *path = c->opt[o].text, *name = option_name(o);
    char dir[PATH_MAX];
    struct stat st;
    if (!path) return -1;
    if (*cli_base_name(path) == 0)
        return cli_usage_error(c, "%s %s: expected a file name", name, path);
    if (!folder_of(path, dir)) return cli_usage_error(c, "%s: the name is too long", name);
    if (access(dir, W_OK) != 0)
        return cli_usage_error(c, "%s %s: cannot write in %s: %s", name, path, dir,
                               strerror(errno));
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return cli_usage_error(c, "%s %s: is there and is no file", name, path);
    const char *const more[] = {j->all.ref, c->opt[OPT_BASELINE].text, c->opt[OPT_TOLERANCE].text};
    for (int i = 0; i < c->n_arg + 3; i++) {
        const char *in = i < c->n_arg ? c->arg[i] : more[i - c->n_arg];
        if (in && same_file(in, path))
            return cli_usage_error(c, "%s %s: would be read and written", name, path);
    }
    return -1;
}

/* Two names of one file that need not be there yet. */
static bool same_output(const char *a, const char *b) {
    char x[PATH_MAX], y[PATH_MAX];
    return a && b && strcmp(cli_base_name(a), cli_base_name(b)) == 0 && folder_of(a, x) &&
           folder_of(b, y) && same_file(x, y);
}

static int check_outputs(const job *j) {
    static const cli_opt out[] = {OPT_PLOT, OPT_CONTACT, OPT_WRITE_BASELINE};
    const cli *c = j->all.c;
    for (int i = 0; i < 3; i++) {
        const int code = check_output(j, out[i]);
        if (code >= 0) return code;
        for (int k = 0; k < i; k++)
            if (same_output(c->opt[out[k]].text, c->opt[out[i]].text))
                return cli_usage_error(c, "%s and %s: both are %s", option_name(out[k]),
                                       option_name(out[i]), c->opt[out[i]].text);
    }
    return -1;
}

static int check_options(const job *j) {
    const cli *c = j->all.c;
    const struct {
        cli_opt given, needs;
        const char *line;
    } pair[] = {{OPT_SHORTEST, OPT_REF, "--shortest: needs --ref VIDEO"},
                {OPT_FIRST_CHUNK, OPT_FRAMES_PER_CHUNK, "--first-chunk: needs --chunk N"},
                {OPT_TILES, OPT_CONTACT, "--tiles: needs --contact PNG"},
                {OPT_TOLERANCE, OPT_BASELINE, "--tolerance: needs --baseline JSON"}};
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++)
        if (cli_given(c, pair[i].given) && !cli_given(c, pair[i].needs))
            return cli_usage_error(c, "%s", pair[i].line);
    if (c->n_arg == 0)
        return cli_usage_error(c, "no file; usage: longtake metrics %s", c->command->usage);
    if (cli_given(c, OPT_BASELINE) && cli_given(c, OPT_WRITE_BASELINE))
        return cli_usage_error(c, "--baseline and --write-baseline: give only one of them");
    if (c->n_arg > 1 && cli_given(c, OPT_WRITE_BASELINE))
        return cli_usage_error(c, "--write-baseline: is of one video, and there are %d", c->n_arg);
    if (c->n_arg > MAX_PLOTTED && (cli_given(c, OPT_PLOT) || cli_given(c, OPT_CONTACT)))
        return cli_usage_error(c, "%s: of %d videos at most, and there are %d",
                               option_name(cli_given(c, OPT_PLOT) ? OPT_PLOT : OPT_CONTACT),
                               MAX_PLOTTED, c->n_arg);
    return check_outputs(j);
}

/* ---- what is read before ----------------------------------------------------------------------- */

/* At most `most` bytes and one more, which tells the parser that there is too much. */
static int read_text(const job *j, const char *path, size_t most, char **text, size_t *n) {
    const cli *c = j->all.c;
    struct stat st;
    FILE *f =
        stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? (errno = EISDIR, NULL) : fopen(path, "rb");
    if (!f) return cli_usage_error(c, "%s: cannot be read: %s", path, strerror(errno));
    *text = malloc(most + 1);
    *n = *text ? fread(*text, 1, most + 1, f) : 0;
    const int error = ferror(f) ? errno : 0; /* a folder is opened and cannot be read */
    fclose(f);
    if (!*text) return cli_fail(c, LT_ENOMEM, false, "out of memory");
    return error ? cli_usage_error(c, "%s: cannot be read: %s", path, strerror(error)) : -1;
}

/* Twice, so that an error is known to be of the one file or of the other. */
static int parse_baseline(job *j, const char *text, size_t n, const char *tol, size_t tol_n) {
    lt_error err = {0};
    lt_baseline_close(&j->baseline);
    const lt_status st = lt_baseline_parse(text, n, tol, tol_n, &j->baseline, &err);
    if (st == LT_OK) return -1;
    if (st == LT_ENOMEM) return cli_fail(j->all.c, st, false, err.msg);
    return cli_usage_error(j->all.c, "%s: %s",
                           j->all.c->opt[tol ? OPT_TOLERANCE : OPT_BASELINE].text, err.msg);
}

static int load_baseline(job *j) {
    const cli_value *base = &j->all.c->opt[OPT_BASELINE], *tol = &j->all.c->opt[OPT_TOLERANCE];
    char *text = NULL, *more = NULL;
    size_t n = 0, more_n = 0;
    if (!base->text) return -1;
    int code = read_text(j, base->text, LT_BASELINE_BYTES, &text, &n);
    if (code < 0) code = parse_baseline(j, text, n, NULL, 0);
    if (code < 0 && tol->text) code = read_text(j, tol->text, LT_TOLERANCE_BYTES, &more, &more_n);
    if (code < 0 && tol->text) code = parse_baseline(j, text, n, more, more_n);
    free(text);
    free(more);
    return code;
}

/* Opens a video and looks at its first frame. */
static int probe(const job *j, const char *path, lt_reader_info *info) {
    lt_reader_params p;
    lt_reader *r = NULL;
    lt_error err = {0};
    lt_reader_params_init(&p);
    p.path = path;
    p.accept_cut = cli_given(j->all.c, OPT_ACCEPT_CUT);
    const lt_status st = lt_reader_open(&p, &r, &err);
    if (st != LT_OK) return cli_fail(j->all.c, st, false, err.msg);
    if (info) lt_reader_get_info(r, info, sizeof *info);
    lt_reader_close(&r);
    return -1;
}

static int name_videos(job *j) {
    bool clash = false;
    for (int i = 0; i < j->all.n; i++)
        for (int k = 0; k < i; k++)
            clash = clash || strcmp(cli_base_name(j->all.video[i].path),
                                    cli_base_name(j->all.video[k].path)) == 0;
    for (int i = 0; i < j->all.n; i++) {
        cli_video *v = &j->all.video[i];
        v->name = cli_clean_text(clash ? v->path : cli_base_name(v->path), true);
        if (!v->name) return cli_fail(j->all.c, LT_ENOMEM, false, "out of memory");
    }
    return -1;
}

static int open_videos(job *j) {
    cli *c = j->all.c;
    int code = j->all.ref ? probe(j, j->all.ref, NULL) : -1;
    for (; code < 0 && j->all.n < c->n_arg; j->all.n++) {
        cli_video *v = &j->all.video[j->all.n];
        v->path = c->arg[j->all.n];
        code = probe(j, v->path, &v->info.video);
        if (code >= 0 || !cli_given(c, OPT_CONTACT)) continue;
        lt_error err = {0};
        const lt_status st = lt_contact_open(v->info.video.width, v->info.video.height,
                                             c->opt[OPT_TILES].text ? (int)c->opt[OPT_TILES].i : 12,
                                             &v->contact, &err);
        if (st != LT_OK) code = cli_fail(c, st, false, err.msg);
    }
    return code < 0 ? name_videos(j) : code;
}

/* ---- measuring --------------------------------------------------------------------------------- */

static lt_status keep(const cli_measure *all, cli_video *v, const double *row) {
    if (v->n == v->cap) {
        const int64_t cap = v->cap ? 2 * v->cap : 1024;
        double *more = realloc(v->series, (size_t)cap * (size_t)all->n_want * sizeof *more);
        if (!more) return LT_ENOMEM;
        v->series = more;
        v->cap = cap;
    }
    double *to = v->series + v->n++ * all->n_want;
    for (int m = 0; m < LT_METRIC_COUNT; m++)
        if (all->want & LT_METRIC_BIT(m)) *to++ = row[m];
    return LT_OK;
}

typedef struct at {
    job *j;
    cli_video *v;
} at;

static int on_frame(void *user, int64_t frame, double seconds, const double *row,
                    const uint8_t *rgb) {
    const at *a = user;
    cli *c = a->j->all.c;
    lt_status st = LT_OK;
    if (cli_interrupted(&c->signals)) return 1;
    if (cli_given(c, OPT_JSON)) {
        st = keep(&a->j->all, a->v, row);
        if (st < 0) snprintf(a->j->frame_error.msg, sizeof a->j->frame_error.msg, "out of memory");
    }
    if (st == LT_OK && a->v->contact && rgb)
        st = lt_contact_push(a->v->contact, rgb, seconds, &a->j->frame_error);
    cli_progress_frame(&a->j->progress, frame + 1);
    a->j->frame_error.code = st;
    return st < 0;
}

static void remarks(const cli *c, const cli_video *v) {
    const lt_reader_info *i = &v->info.video;
    if (i->cut_short)
        cli_warn(c, "%s: its end is missing; measured up to frame %lld", v->path,
                 (long long)i->frames_read);
    if (i->variable_rate)
        cli_warn(c,
                 "%s: its frames are not evenly spaced; each is compared with the one before it, "
                 "however long ago",
                 v->path);
    if (i->interlaced)
        cli_warn(c, "%s: is interlaced: the combs count as detail and motion", v->path);
    if (!cli_given(c, OPT_VERBOSE) || cli_given(c, OPT_JSON)) return;
    fprintf(stderr, "%s: %s, %s, %s; %lld frames in %.2f s, %.1f fps\n", v->name, i->format,
            i->codec, i->pixel_format, (long long)i->frames_read, v->took,
            (double)i->frames_read / fmax(v->took, 1e-6));
}

static int stopped(job *j, const cli_video *v, lt_status st, const lt_error *err) {
    cli *c = j->all.c;
    if (st == LT_ECANCELLED && j->frame_error.code < 0)
        return cli_fail(c, j->frame_error.code, false, j->frame_error.msg);
    if (st != LT_ECANCELLED) return cli_fail(c, st, false, err->msg);
    char line[256];
    snprintf(line, sizeof line, "interrupted in %.150s: nothing was written", v->name);
    cli_fail(c, st, true, line);
    return EXIT_INTERRUPTED;
}

static int measure(job *j, cli_video *v) {
    cli *c = j->all.c;
    lt_metrics_file_params p;
    lt_error err = {0};
    const lt_reader_info first = v->info.video;
    const double fps = first.fps_num > 0 ? (double)first.fps_num / first.fps_den : 16;
    lt_metrics_file_params_init(&p);
    p.ref = j->all.ref;
    p.chunk = (int32_t)c->opt[OPT_FRAMES_PER_CHUNK].i;
    p.first_chunk = (int32_t)c->opt[OPT_FIRST_CHUNK].i;
    p.want = j->all.want;
    p.rgb = v->contact != NULL;
    p.threads = (int32_t)c->opt[OPT_DECODER_THREADS].i;
    p.shortest = cli_given(c, OPT_SHORTEST);
    p.accept_cut = cli_given(c, OPT_ACCEPT_CUT);
    cli_progress_start(&j->progress, c, first.frames, fps, false);
    cli_progress_show(&j->progress);
    v->info.struct_size = sizeof v->info;
    const double start = cli_now();
    const lt_status st = lt_metrics_file(v->path, &p, on_frame, &(at){j, v}, &v->info, &v->m, &err);
    v->took = cli_now() - start;
    cli_progress_end(&j->progress);
    if (st != LT_OK) return stopped(j, v, st, &err);
    remarks(c, v);
    return -1;
}

/* ---- pictures ---------------------------------------------------------------------------------- */

static int write_png(const job *j, cli_opt o, const uint8_t *rgb, int w, int h, lt_status st,
                     lt_error *err) {
    if (st == LT_OK) st = lt_png_write(j->all.c->opt[o].text, rgb, w, h, err);
    return st == LT_OK ? -1 : cli_fail(j->all.c, st, true, err->msg);
}

static int draw_plot(const job *j) {
    lt_plot_line line[MAX_PLOTTED];
    lt_error err = {0};
    int32_t w = 0, h = 0;
    uint32_t have = 0;
    if (!cli_given(j->all.c, OPT_PLOT)) return -1;
    for (int i = 0; i < j->all.n; i++) {
        line[i] = (lt_plot_line){j->all.video[i].name, j->all.video[i].m};
        have |= j->all.video[i].info.have;
    }
    const uint32_t want = j->all.want & have;
    if (!want)
        return cli_usage_error(j->all.c, "--plot: none of these metrics has a value to draw");
    lt_plot_size(line, j->all.n, want, &w, &h);
    uint8_t *rgb = malloc((size_t)w * (size_t)h * 3);
    if (!rgb) return cli_fail(j->all.c, LT_ENOMEM, false, "out of memory");
    const lt_status st = lt_plot_draw(line, j->all.n, want, w, h, rgb, &err);
    const int code = write_png(j, OPT_PLOT, rgb, w, h, st, &err);
    free(rgb);
    return code;
}

static int draw_contact(const job *j) {
    lt_contact *c[MAX_PLOTTED];
    const char *name[MAX_PLOTTED];
    lt_error err = {0};
    int32_t w = 0, h = 0;
    if (!cli_given(j->all.c, OPT_CONTACT)) return -1;
    for (int i = 0; i < j->all.n; i++) {
        c[i] = j->all.video[i].contact;
        name[i] = j->all.video[i].name;
    }
    lt_status st = lt_contact_size(c, j->all.n, &w, &h, &err);
    uint8_t *rgb = st == LT_OK ? malloc((size_t)w * (size_t)h * 3) : NULL;
    if (st == LT_OK && !rgb) return cli_fail(j->all.c, LT_ENOMEM, false, "out of memory");
    if (st == LT_OK) st = lt_contact_draw(c, name, j->all.n, w, h, rgb, &err);
    const int code = write_png(j, OPT_CONTACT, rgb, w, h, st, &err);
    free(rgb);
    return code;
}

/* ---- baseline ---------------------------------------------------------------------------------- */

/* Beside it and renamed: a run that is killed leaves the old one. */
static int write_baseline(const job *j) {
    const cli *c = j->all.c;
    const char *path = c->opt[OPT_WRITE_BASELINE].text;
    char part[PATH_MAX], line[PATH_MAX + 128];
    if (!path) return -1;
    if (snprintf(part, sizeof part, "%s.%d.part", path, (int)getpid()) >= (int)sizeof part)
        return cli_usage_error(c, "--write-baseline: the name is too long");
    const int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f != NULL;
    if (f) {
        cli_metrics_print_baseline(f, &j->all, &j->all.video[0]);
        ok = fflush(f) == 0 && !ferror(f) && fsync(fd) == 0;
        ok = fclose(f) == 0 && ok;
    }
    ok = ok && rename(part, path) == 0;
    if (ok) return -1;
    snprintf(line, sizeof line, "%s: cannot be written: %s", path, strerror(errno));
    if (fd >= 0) unlink(part);
    return cli_fail(c, LT_EIO, true, line);
}

static void on_violation(void *user, const char *text) {
    const at *a = user;
    if (cli_given(a->j->all.c, OPT_JSON)) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "event", "baseline");
        cli_add_text(o, "file", a->v->path);
        cli_add_text(o, "message", text);
        cli_event(o);
    } else {
        fprintf(stderr, "longtake: %s: %s\n", a->v->name, text);
    }
}

static int check_baseline(job *j) {
    const cli *c = j->all.c;
    int code = EXIT_DONE;
    if (!j->baseline) return code;
    for (int i = 0; i < j->all.n; i++) {
        cli_video *v = &j->all.video[i];
        const uint32_t want = cli_given(c, OPT_ONLY) ? j->all.want : 0;
        const int32_t n =
            lt_baseline_check(j->baseline, v->m, &v->info, want, on_violation, &(at){j, v});
        if (n > 0) code = EXIT_FAILED;
        if (cli_given(c, OPT_JSON) || cli_given(c, OPT_QUIET)) continue;
        if (n > 0) printf("%s: baseline %s: %d outside\n", v->name, c->opt[OPT_BASELINE].text, n);
        else printf("%s: baseline %s: holds\n", v->name, c->opt[OPT_BASELINE].text);
    }
    return code;
}

/* ---- run --------------------------------------------------------------------------------------- */

static int run_job(job *j) {
    cli *c = j->all.c;
    int code = parse_only(j);
    if (code < 0) code = check_options(j);
    if (code < 0) code = load_baseline(j);
    if (code < 0) code = open_videos(j);
    for (int i = 0; code < 0 && i < j->all.n; i++) code = measure(j, &j->all.video[i]);
    if (code < 0) code = draw_plot(j);
    if (code < 0) code = draw_contact(j);
    if (code < 0) code = write_baseline(j);
    if (code >= 0) return code;
    if (cli_given(c, OPT_JSON)) cli_metrics_json(&j->all);
    else if (!cli_given(c, OPT_QUIET)) cli_metrics_tables(&j->all);
    fflush(stdout);
    code = check_baseline(j);
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    return cli_fail(c, LT_EIO, true, "standard output cannot be written");
}

static int run_metrics(cli *c) {
    job *j = calloc(1, sizeof *j);
    if (!j) return cli_fail(c, LT_ENOMEM, false, "out of memory");
    j->all.c = c;
    j->all.ref = c->opt[OPT_REF].text;
    c->signals.quiet = true; /* there is no file to finish */
    const int code =
        cli_signals_start(&c->signals)
            ? run_job(j)
            : cli_fail(c, LT_ENOMEM, true, "cannot start the thread that waits for Ctrl-C");
    for (int i = 0; i < CLI_MAX_ARGS; i++) {
        lt_metrics_close(&j->all.video[i].m);
        lt_contact_close(&j->all.video[i].contact);
        free(j->all.video[i].series);
        free(j->all.video[i].name);
    }
    lt_baseline_close(&j->baseline);
    free(j);
    return code;
}

static const char NOTES[] =
    "\nAny video will do, from any system; nothing is downloaded and no network is run. Memory is\n"
    "constant, but with --json every value of every frame is kept until the end.\n"
    "--json prints one object (series per frame, null where a metric has no value), for several\n"
    "files {\"files\": [..]}. --quiet prints no table.\n"
    "A tolerance file changes the bands of a baseline: {\"luma\": 4, \"saturation\": {\"drift\": "
    "\"+3\"},\n"
    "\"motion\": \"30%\", \"psnr\": {\"min\": -1}, \"loop\": null, \"frames\": \"50%\"}. A number "
    "is "
    "a band to both\n"
    "sides, \"+3\" and \"-3\" to one, % of the baseline's mean, null is not checked. Statistics: "
    "mean,\n"
    "first, last (15 % of the frames each), drift (last - first), slope (a second), min, max.\n"
    "\nexamples: longtake metrics out.mp4 --plot plot.png --contact sheet.png\n"
    "          longtake metrics good.mp4 --write-baseline base.json\n"
    "          longtake metrics new.mp4 --baseline base.json\n";

const cli_command cli_metrics = {
    "metrics", "FILE... [options]", "Measure what drifts in a video; check it against a baseline.",
    NOTES,     CLI_MAX_ARGS,        run_metrics};
