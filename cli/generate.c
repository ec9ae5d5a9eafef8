/* SPDX-License-Identifier: Apache-2.0
 * cli/generate.c - `longtake generate`: a prompt becomes a file.
 *
 * Order: everything that can be wrong is found before the first frame (exit 2), the output file is
 * opened last. After that a failure is exit 1, and what is already written stays playable. */
#include "cli/cli.h"
#include "longtake/encode.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define DEFAULT_SECONDS 10

typedef struct job {
    cli *c;
    const char *out;
    char *prompt;
    double fps;
    int64_t frames, done; /* frames 0: endless */
    uint64_t seed;
    lt_model_info model;
    lt_stream_info info;
    lt_engine *engine;
    lt_stream *stream;
    lt_sink *sink;
    cli_progress progress;
    double first, started; /* seconds since the process began: first frame, generation */
    char result[128];      /* the sink's own line, e.g. the digest */
} job;

/* ---- plan --------------------------------------------------------------------------------------
 */

/* 23.976 is meant as 24000/1001; everything else with three digits is taken as it is. */
static void frame_rate(double fps, int32_t *num, int32_t *den) {
    const double n = round(fps * 1.001);
    *num = (int32_t)lround(fps);
    *den = 1;
    if (fabs(fps - round(fps)) < 1e-6 && fps >= 0.5) return;
    *den = fabs(n / 1.001 - fps) < 6e-4 ? 1001 : 1000;
    *num = (int32_t)lround(*den == 1001 ? n * 1000 : fps * 1000);
}

static int pick_seed(job *j) {
    const cli_value *v = &j->c->opt[OPT_SEED];
    j->seed = (uint64_t)v->i;
    if (v->text && v->n >= 0) return -1;
    uint32_t r = 0; /* short enough to be typed again */
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        return cli_fail(j->c, LT_EIO, false, "no random numbers here; give a seed with -s N");
    j->seed = r;
    return -1;
}

static int plan_length(job *j) {
    cli *c = j->c;
    if (cli_given(c, OPT_FRAMES) && cli_given(c, OPT_DURATION))
        return cli_usage_error(c, "--frames and --duration: give only one of them");
    j->fps = cli_given(c, OPT_FPS) ? c->opt[OPT_FPS].num : j->model.fps;
    if (cli_given(c, OPT_FRAMES)) {
        j->frames = c->opt[OPT_FRAMES].i;
        return -1;
    }
    const double seconds = cli_given(c, OPT_DURATION) ? c->opt[OPT_DURATION].num : DEFAULT_SECONDS;
    j->frames = llround(seconds * j->fps);
    if (j->frames > 0) return -1;
    return cli_usage_error(c, "--duration %s: shorter than one frame at %g fps",
                           c->opt[OPT_DURATION].text, j->fps);
}

static int on_progress(void *opaque, const lt_progress *at) {
    job *j = opaque;
    cli_progress_step(&j->progress, at);
    return cli_interrupted(&j->c->signals);
}

static int open_stream(job *j) {
    cli *c = j->c;
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    const int code = cli_stream_params(c, &j->model, &sp);
    if (code >= 0) return code;
    sp.prompt = j->prompt;
    sp.width = (int32_t)c->opt[OPT_WIDTH].i;
    sp.height = (int32_t)c->opt[OPT_HEIGHT].i;
    sp.n_frames = j->frames;
    sp.seed = j->seed;
    sp.progress = on_progress;
    sp.opaque = j;
    lt_error err = {0};
    const lt_status st = lt_stream_open(j->engine, &sp, &j->stream, &err);
    if (st != LT_OK) return cli_fail(c, st, false, err.msg);
    cli_signals_watch(&c->signals, j->stream);
    lt_stream_get_info(j->stream, &j->info, sizeof j->info);
    if (j->info.prompt_tokens_used < j->info.prompt_tokens)
        cli_warn(c, "the prompt has %d tokens and the model reads %d: what comes after is not used",
                 j->info.prompt_tokens, j->info.prompt_tokens_used);
    return -1;
}

/* ---- output ------------------------------------------------------------------------------------
 */

static void settings_line(const job *j, char *buf, size_t size) {
    const lt_stream_info *i = &j->info;
    int n = snprintf(buf, size, "mode=%s chunk=%d window=%d sink=%d policy=%s shift=%g timesteps=",
                     cli_mode_name(i->mode), i->chunk, i->window, i->sink,
                     cli_policy_name(i->sink_policy), i->flow_shift);
    for (int k = 0; k < i->n_step && n > 0 && (size_t)n < size; k++)
        n += snprintf(buf + n, size - (size_t)n, "%s%g", k ? "," : "", i->timesteps[k]);
}

static int open_sink(job *j) {
    cli *c = j->c;
    char seed[24], settings[512], maker[64];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)j->seed);
    snprintf(maker, sizeof maker, "longtake %s", lt_version());
    settings_line(j, settings, sizeof settings);
    const lt_sink_meta meta[] = {{"title", j->prompt},   {"prompt", j->prompt},
                                 {"seed", seed},         {"model", j->model.name},
                                 {"settings", settings}, {"comment", maker}};
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = j->out;
    p.width = j->info.width;
    p.height = j->info.height;
    frame_rate(j->fps, &p.fps_num, &p.fps_den);
    p.codec = c->opt[OPT_CODEC].text;
    p.crf = cli_given(c, OPT_CRF) ? (int32_t)c->opt[OPT_CRF].i : -1;
    p.meta = meta;
    p.n_meta = sizeof meta / sizeof *meta;
    lt_error err = {0};
    const lt_status st = lt_sink_open(&p, &j->sink, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

/* Facts known before the first frame: --dry-run's answer and the start of the result. */
static cJSON *plan_json(const job *j) {
    const lt_stream_info *i = &j->info;
    cJSON *o = cJSON_CreateObject();
    cli_add_text(o, "file", j->out);
    cJSON_AddNumberToObject(o, "frames", (double)j->frames);
    cJSON_AddNumberToObject(o, "seconds", (double)j->frames / j->fps);
    cJSON_AddNumberToObject(o, "fps", j->fps);
    cJSON_AddNumberToObject(o, "width", i->width);
    cJSON_AddNumberToObject(o, "height", i->height);
    cli_add_text(o, "model", j->model.name);
    cli_add_text(o, "prompt", j->prompt);
    cJSON_AddNumberToObject(o, "prompt_tokens", i->prompt_tokens);
    cJSON_AddNumberToObject(o, "prompt_tokens_used", i->prompt_tokens_used);
    cli_add_u64(o, "seed", j->seed);
    cJSON_AddStringToObject(o, "mode", cli_mode_name(i->mode));
    cJSON_AddItemToObject(o, "timesteps", cJSON_CreateDoubleArray(i->timesteps, i->n_step));
    cJSON_AddNumberToObject(o, "flow_shift", i->flow_shift);
    cJSON_AddNumberToObject(o, "chunk", i->chunk);
    cJSON_AddNumberToObject(o, "window", i->window);
    cJSON_AddNumberToObject(o, "sink", i->sink);
    cJSON_AddStringToObject(o, "sink_policy", cli_policy_name(i->sink_policy));
    cli_add_u64(o, "state_bytes", i->state_bytes);
    cli_add_u64(o, "work_bytes", i->work_bytes);
    return o;
}

static void set_number(cJSON *o, const char *key, double v) {
    cJSON_DeleteItemFromObject(o, key);
    cJSON_AddNumberToObject(o, key, v);
}

static void print_result(job *j, bool interrupted) {
    cJSON *o = plan_json(j);
    const double wall = cli_now() - j->c->t0, making = wall - j->started;
    set_number(o, "frames", (double)j->done);
    set_number(o, "seconds", (double)j->done / j->fps);
    cJSON_AddBoolToObject(o, "interrupted", interrupted);
    cJSON_AddNumberToObject(o, "first_frame_seconds", j->first);
    cJSON_AddNumberToObject(o, "wall_seconds", wall);
    cJSON_AddNumberToObject(o, "generated_fps", (double)j->done / making);
    cJSON_AddNumberToObject(o, "speed", (double)j->done / making / j->fps);
    cJSON_AddNumberToObject(o, "text_seconds", j->info.text_seconds);
    cJSON_AddNumberToObject(o, "dit_seconds", j->info.dit_seconds);
    cJSON_AddNumberToObject(o, "vae_seconds", j->info.vae_seconds);
    if (strncmp(j->result, "md5 ", 4) == 0) cJSON_AddStringToObject(o, "md5", j->result + 4);
    cli_print_json(strcmp(j->out, "-") == 0 ? stderr : stdout, o); /* stdout holds the video */
    cJSON_Delete(o);
}

static void print_summary(const job *j, bool interrupted) {
    const double wall = cli_now() - j->c->t0, rate = (double)j->done / (wall - j->started);
    if (*j->result) puts(j->result);
    fflush(stdout);
    if (cli_given(j->c, OPT_QUIET)) return;
    fprintf(stderr,
            "%s: %s%lld frames, %.2f s at %g fps, %dx%d, seed %llu; took %.1f s, %.1f fps, "
            "%.2fx real time, first frame after %.2f s\n",
            j->out, interrupted ? "interrupted, finished with " : "", (long long)j->done,
            (double)j->done / j->fps, j->fps, j->info.width, j->info.height,
            (unsigned long long)j->seed, wall, rate, rate / j->fps, j->first);
}

static void print_details(const job *j) {
    const lt_stream_info *i = &j->info;
    fprintf(stderr,
            "%s\ntext %.3f s, diffusion %.3f s, decoder %.3f s of worker time; %llu KiB cache, "
            "%llu KiB activations\n",
            lt_build_info(), i->text_seconds, i->dit_seconds, i->vae_seconds,
            (unsigned long long)i->state_bytes / 1024, (unsigned long long)i->work_bytes / 1024);
}

/* The seed must be known whatever happens later: at once where a person or a program looks on. */
static void print_start(const job *j) {
    const cli *c = j->c;
    const bool drawn = j->progress.kind == PROGRESS_BAR || cli_given(c, OPT_VERBOSE);
    const bool random = !cli_given(c, OPT_SEED) || c->opt[OPT_SEED].n < 0;
    if (cli_given(c, OPT_JSON) && !cli_given(c, OPT_QUIET)) {
        cJSON *o = plan_json(j);
        cJSON_AddStringToObject(o, "event", "start");
        cli_event(o);
    } else if (drawn) {
        fprintf(stderr, "%s: %dx%d, %lld frames at %g fps, model %s, seed %llu\n", j->out,
                j->info.width, j->info.height, (long long)j->frames, j->fps, j->model.name,
                (unsigned long long)j->seed);
    } else if (cli_given(c, OPT_QUIET) && random && !cli_given(c, OPT_JSON)) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)j->seed);
    }
}

/* ---- run ---------------------------------------------------------------------------------------
 */

/* All frames into the sink. LT_END when all came, LT_ECANCELLED after Ctrl-C, or the error. */
static lt_status pump(job *j, lt_error *err) {
    lt_frame f;
    lt_status st;
    while ((st = lt_stream_next(j->stream, &f)) == LT_OK) {
        if (j->done == 0) j->first = cli_now() - j->c->t0;
        const lt_status wrote = lt_sink_write(j->sink, f.rgb, f.chunk_end, err);
        lt_frame_release(&f);
        if (wrote != LT_OK) return wrote;
        cli_progress_frame(&j->progress, ++j->done);
    }
    if (st < 0) {
        err->code = st;
        snprintf(err->msg, sizeof err->msg, "%s", lt_stream_error(j->stream));
    }
    return st;
}

static void add_kept(const job *j, lt_error *err) {
    if (j->done == 0 || strcmp(j->out, "null") == 0 || strcmp(j->out, "md5") == 0) return;
    const size_t n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, "; the %lld frames so far are in %s",
             (long long)j->done, j->out);
}

static int produce(job *j) {
    cli *c = j->c;
    lt_error err = {0}, closing = {0};
    j->started = cli_now() - c->t0;
    const lt_status st = pump(j, &err);
    cli_progress_end(&j->progress);
    lt_stream_get_info(j->stream, &j->info, sizeof j->info);
    snprintf(j->result, sizeof j->result, "%s", j->done > 0 ? lt_sink_result(j->sink) : "");
    const lt_status closed = lt_sink_close(&j->sink, &closing);
    const bool stopped = st == LT_ECANCELLED && cli_interrupted(&c->signals);
    if (st < 0 && !stopped) {
        if (closed == LT_OK) add_kept(j, &err);
        return cli_fail(c, st, true, err.msg);
    }
    if (closed != LT_OK) return cli_fail(c, closed, true, closing.msg);
    if (stopped && j->done == 0) {
        cli_fail(c, st, true, "interrupted before the first frame: no file was made");
        return EXIT_INTERRUPTED;
    }
    if (*closing.msg) cli_warn(c, "%s", closing.msg);
    if (cli_given(c, OPT_JSON)) print_result(j, stopped);
    else print_summary(j, stopped);
    if (cli_given(c, OPT_VERBOSE) && !cli_given(c, OPT_JSON)) print_details(j);
    return stopped ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int dry_run(job *j) {
    lt_error err = {0};
    lt_sink_close(&j->sink, &err); /* without a frame nothing is left */
    cJSON *o = plan_json(j);
    FILE *f = strcmp(j->out, "-") == 0 ? stderr : stdout;
    if (cli_given(j->c, OPT_JSON)) cli_print_json(f, o);
    else cli_print_table(f, o, 0);
    cJSON_Delete(o);
    return EXIT_DONE;
}

static int run_job(job *j) {
    cli *c = j->c;
    int code = cli_read_prompt(c, &j->prompt);
    if (code < 0) code = pick_seed(j);
    if (code < 0) code = cli_open_engine(c, 0, &j->engine);
    if (code >= 0) return code;
    lt_engine_model(j->engine, &j->model, sizeof j->model);
    if ((code = plan_length(j)) >= 0) return code;
    const bool dry = cli_given(c, OPT_DRY_RUN);
    cli_progress_start(&j->progress, c, j->frames, j->fps, dry);
    code = open_stream(j);
    if (code < 0) code = open_sink(j);
    if (code >= 0) return code;
    if (dry) return dry_run(j);
    print_start(j);
    cli_progress_show(&j->progress);
    return produce(j);
}

static int run_generate(cli *c) {
    job j = {.c = c, .out = cli_given(c, OPT_OUTPUT) ? c->opt[OPT_OUTPUT].text : "out.mp4"};
    c->signals.quiet = cli_given(c, OPT_QUIET) || cli_given(c, OPT_JSON);
    if (!cli_signals_start(&c->signals))
        return cli_fail(c, LT_ENOMEM, true, "cannot start the thread that waits for Ctrl-C");
    int code = run_job(&j);
    cli_signals_watch(&c->signals, NULL);
    lt_stream_close(&j.stream);
    lt_sink_close(&j.sink, NULL);
    lt_engine_close(&j.engine);
    free(j.prompt);
    return code;
}

static const char NOTES[] =
    "\nThe file plays at every moment, also after a kill: at most the chunk in flight is lost.\n"
    "Ctrl-C finishes it and leaves with status 130; a second Ctrl-C leaves at once.\n"
    "\nexample: longtake generate -p \"a red ball bouncing at night\" --duration 1m -s 7 -o "
    "ball.mp4\n";

const cli_command cli_generate = {
    "generate", "-p TEXT [options]", "Make a video from a prompt.", NOTES, 0, run_generate};
