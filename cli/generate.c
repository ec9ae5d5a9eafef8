/* SPDX-License-Identifier: Apache-2.0
 * cli/generate.c - `longtake generate`: a prompt becomes a file.
 *
 * Order: everything that can be wrong is found before the first frame (exit 2), the output file is
 * opened last. After that a failure is exit 1, and what is already written stays playable. */
#include "cli/cli.h"
#include "cli/drift.h"
#include "cli/script.h"
#include "cli/start.h"
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
    char *prompt; /* what was given: the whole schedule, when it is one */
    char *scenes; /* the schedule's texts; NULL: there is one prompt */
    cli_script script;
    lt_prompt later[CLI_MAX_SCENES];
    cli_start start;
    int64_t copied; /* of its frames */
    double fps;
    int64_t frames, done; /* frames 0: endless */
    uint64_t seed;
    lt_model_info model;
    lt_stream_info info;
    lt_engine *engine;
    lt_stream *stream;
    lt_sink *sink;
    cli_progress progress;
    cli_drift drift;
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
    if (j->start.video && j->start.info.fps_num) {
        j->fps = (double)j->start.info.fps_num / j->start.info.fps_den;
        if (fabs(j->fps / j->model.fps - 1) > 0.02)
            cli_warn(c,
                     "%s: %g frames a second, and the model makes %g: what is new moves %.1f "
                     "times as fast",
                     j->start.path, j->fps, j->model.fps, j->fps / j->model.fps);
    }
    const int picture = j->start.hold ? 1 : 0; /* is a frame too */
    if (cli_given(c, OPT_FRAMES)) {
        j->frames = c->opt[OPT_FRAMES].i;
        if (j->frames > 1) j->frames -= picture;
        return -1;
    }
    const double seconds = cli_given(c, OPT_DURATION) ? c->opt[OPT_DURATION].num : DEFAULT_SECONDS;
    j->frames = llround(seconds * j->fps) - picture;
    if (j->frames > 0) return -1;
    return cli_usage_error(c, "--duration %s: shorter than one frame at %g fps",
                           c->opt[OPT_DURATION].text, j->fps);
}

/* A video goes on with its own prompt if there is no other. */
static int read_prompt(job *j) {
    const cli *c = j->c;
    const bool own = j->start.video && !cli_given(c, OPT_PROMPT) && !cli_given(c, OPT_PROMPT_FILE);
    if (!own) return cli_read_prompt(c, &j->prompt);
    if (!j->start.prompt)
        return cli_usage_error(c,
                               "no prompt: %s has none in its metadata; say what to show with "
                               "-p TEXT",
                               j->start.path);
    j->prompt = strdup(j->start.prompt);
    return j->prompt ? -1 : cli_fail(c, LT_ENOMEM, false, "out of memory");
}

/* The video to extend was made from a schedule: its last scene goes on. */
static int keep_last_scene(job *j) {
    char why[256], *text = strdup(j->prompt), *last = NULL;
    if (text && cli_script_parse(text, &j->script, why, sizeof why))
        last = strdup(j->script.scene[j->script.n - 1].text);
    j->script.n = 0;
    free(text);
    if (!last) return -1; /* not ours: a prompt like any other */
    free(j->prompt);
    j->prompt = last;
    return -1;
}

/* The prompt file may hold times. */
static int read_script(job *j) {
    char why[256];
    if (cli_given(j->c, OPT_PROMPT) || !cli_is_script(j->prompt)) return -1;
    if (!cli_given(j->c, OPT_PROMPT_FILE)) return keep_last_scene(j);
    if (!(j->scenes = strdup(j->prompt))) return cli_fail(j->c, LT_ENOMEM, false, "out of memory");
    if (cli_script_parse(j->scenes, &j->script, why, sizeof why)) return -1;
    return cli_usage_error(j->c, "%s: %s", j->c->opt[OPT_PROMPT_FILE].text, why);
}

/* The scenes behind the first, with times as frames of the file. */
static void plan_scenes(job *j, lt_stream_params *sp) {
    sp->prompt = j->scenes ? j->script.scene[0].text : j->prompt;
    for (int i = 1; i < j->script.n; i++) {
        const cli_scene *s = &j->script.scene[i];
        const int64_t frame = s->frame >= 0 ? s->frame : llround(s->seconds * j->fps);
        j->later[i - 1] =
            (lt_prompt){.text = s->text, .frame = frame > 0 ? frame : 1, .cut = s->cut};
    }
    sp->prompts = j->later;
    sp->n_prompts = j->script.n > 1 ? j->script.n - 1 : 0;
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
    plan_scenes(j, &sp);
    sp.width = (int32_t)c->opt[OPT_WIDTH].i;
    sp.height = (int32_t)c->opt[OPT_HEIGHT].i;
    const int loaded = cli_start_load(c, &j->start, &j->model, &sp);
    if (loaded >= 0) return loaded;
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
    int n = snprintf(
        buf, size, "%s%s%smode=%s chunk=%d window=%d sink=%d policy=%s%s shift=%g timesteps=",
        *j->model.preset ? "preset=" : "", j->model.preset, *j->model.preset ? " " : "",
        cli_mode_name(i->mode), i->chunk, i->window, i->sink, cli_policy_name(i->sink_policy),
        i->compat ? " compat" : "", i->flow_shift);
    for (int k = 0; k < i->n_step && n > 0 && (size_t)n < size; k++)
        n += snprintf(buf + n, size - (size_t)n, "%s%g", k ? "," : "", i->timesteps[k]);
}

static int open_sink(job *j) {
    cli *c = j->c;
    char seed[24], settings[512], maker[64], per_chunk[24], in_first[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)j->seed);
    snprintf(maker, sizeof maker, "longtake %s", lt_version());
    settings_line(j, settings, sizeof settings);
    const char *title = j->scenes ? j->script.scene[0].text : j->prompt;
    const int chunk = 4 * j->info.chunk, old = (int)j->start.n_old;
    snprintf(per_chunk, sizeof per_chunk, "%d", chunk);
    snprintf(in_first, sizeof in_first, "%d", old ? old : chunk - 3);
    const lt_sink_meta meta[] = {{"title", title},
                                 {"prompt", j->prompt},
                                 {"seed", seed},
                                 {"model", j->model.name},
                                 {"settings", settings},
                                 {"comment", maker},
                                 {"chunk_frames", per_chunk}, /* for longtake metrics */
                                 {"first_chunk_frames", in_first}};
    lt_sink_params p;
    lt_sink_params_init(&p);
    p.path = j->out;
    p.width = j->info.width;
    p.height = j->info.height;
    frame_rate(j->fps, &p.fps_num, &p.fps_den);
    p.codec = c->opt[OPT_CODEC].text;
    p.crf = cli_given(c, OPT_CRF) ? (int32_t)c->opt[OPT_CRF].i : -1;
    p.meta = meta;
    p.n_meta =
        (int32_t)(sizeof meta / sizeof *meta) - (j->start.video ? 2 : 0); /* not its chunks */
    lt_error err = {0};
    const lt_status st = lt_sink_open(&p, &j->sink, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

/* Bytes, or GiB for people. */
static void add_bytes(cJSON *o, const char *key, uint64_t bytes, bool people) {
    char text[32];
    snprintf(text, sizeof text, "%.3f GiB", (double)bytes / (1 << 30));
    if (people) cJSON_AddStringToObject(o, key, text);
    else cli_add_u64(o, key, bytes);
}

static void add_memory(cJSON *o, const lt_stream_info *i, bool people) {
    cJSON *m = cJSON_AddObjectToObject(o, "memory");
    add_bytes(m, "dit", i->mem_dit, people);
    add_bytes(m, "text", i->mem_text, people);
    add_bytes(m, "vae", i->mem_vae, people);
    add_bytes(m, "cache", i->mem_cache, people);
    add_bytes(m, "activations", i->mem_activations, people);
    add_bytes(m, "vae_state", i->mem_vae_state, people);
    add_bytes(m, "frames", i->mem_frames, people);
    add_bytes(m, "total", i->mem_total, people);
}

/* Facts known before the first frame: --dry-run's answer and the start of the result. */
static cJSON *plan_json(const job *j) {
    const lt_stream_info *i = &j->info;
    cJSON *o = cJSON_CreateObject();
    cli_add_text(o, "file", j->out);
    const int64_t all = j->frames ? j->frames + j->start.n_old : 0;
    cJSON_AddNumberToObject(o, "frames", (double)all);
    cJSON_AddNumberToObject(o, "seconds", (double)all / j->fps);
    if (j->start.path) {
        cli_add_text(o, j->start.video ? "extend" : "init_img", j->start.path);
        cJSON_AddNumberToObject(o, "pictures_seen", (double)j->start.n);
        cJSON_AddNumberToObject(o, "old_frames", (double)j->start.n_old);
        cJSON_AddStringToObject(o, "init_mode",
                                i->init_mode == LT_INIT_CLAMP ? "clamp" : "prefill");
    }
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
    cJSON_AddBoolToObject(o, "compat", i->compat);
    if (*j->model.preset) cli_add_text(o, "preset", j->model.preset);
    if (i->n_prompts > 0) {
        cJSON_AddNumberToObject(o, "later_prompts", i->n_prompts);
        cJSON_AddStringToObject(o, "prompt_switch", cli_switch_name(i->prompt_switch));
    }
    cli_add_u64(o, "state_bytes", i->state_bytes);
    cli_add_u64(o, "work_bytes", i->work_bytes);
    add_memory(o, i, !cli_given(j->c, OPT_JSON));
    return o;
}

static void set_number(cJSON *o, const char *key, double v) {
    cJSON_DeleteItemFromObject(o, key);
    cJSON_AddNumberToObject(o, key, v);
}

static void print_result(job *j, bool interrupted) {
    cJSON *o = plan_json(j);
    const double wall = cli_now() - j->c->t0, making = wall - j->started;
    set_number(o, "frames", (double)(j->copied + j->done));
    set_number(o, "seconds", (double)(j->copied + j->done) / j->fps);
    cJSON_AddBoolToObject(o, "interrupted", interrupted);
    cJSON_AddNumberToObject(o, "first_frame_seconds", j->first);
    cJSON_AddNumberToObject(o, "wall_seconds", wall);
    cJSON_AddNumberToObject(o, "generated_fps", (double)j->done / making);
    cJSON_AddNumberToObject(o, "speed", (double)j->done / making / j->fps);
    cJSON_AddNumberToObject(o, "text_seconds", j->info.text_seconds);
    cJSON_AddNumberToObject(o, "dit_seconds", j->info.dit_seconds);
    cJSON_AddNumberToObject(o, "vae_seconds", j->info.vae_seconds);
    cli_drift_add(&j->drift, o);
    if (strncmp(j->result, "md5 ", 4) == 0) cJSON_AddStringToObject(o, "md5", j->result + 4);
    cli_print_json(strcmp(j->out, "-") == 0 ? stderr : stdout, o); /* stdout holds the video */
    cJSON_Delete(o);
}

static void print_summary(const job *j, bool interrupted) {
    const double wall = cli_now() - j->c->t0, rate = (double)j->done / (wall - j->started);
    const int64_t n = j->done + (j->start.video ? 0 : j->copied);
    if (*j->result) puts(j->result);
    fflush(stdout);
    if (cli_given(j->c, OPT_QUIET)) return;
    fprintf(stderr,
            "%s: %s%lld%s frames, %.2f s at %g fps, %dx%d, seed %llu; took %.1f s, %.1f fps, "
            "%.2fx real time, first frame after %.2f s\n",
            j->out, interrupted ? "interrupted, finished with " : "", (long long)n,
            j->start.video ? " new" : "", (double)n / j->fps, j->fps, j->info.width, j->info.height,
            (unsigned long long)j->seed, wall, rate, rate / j->fps, j->first);
    char line[160];
    cli_drift_line(&j->drift, line, sizeof line);
    if (j->drift.m) fprintf(stderr, "%s: drift: %s\n", j->out, *line ? line : "too short to tell");
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
        lt_status wrote = lt_sink_write(j->sink, f.rgb, f.chunk_end, err);
        if (wrote == LT_OK) wrote = cli_drift_frame(&j->drift, j->stream, &f, err);
        lt_frame_release(&f);
        if (wrote < 0) return wrote;
        if (*j->drift.warning) cli_progress_warn(&j->progress, j->c, j->drift.warning);
        cli_progress_drift(&j->progress, j->drift.now.score);
        cli_progress_frame(&j->progress, ++j->done);
        if (wrote == LT_END) return wrote;
    }
    if (st < 0) {
        err->code = st;
        snprintf(err->msg, sizeof err->msg, "%s", lt_stream_error(j->stream));
    }
    return st;
}

/* What was measured, into the file. A kind of file that has nowhere to put it is no error. */
static void keep_metrics(job *j) {
    char line[160];
    if (!j->drift.m || lt_metrics_frames(j->drift.m) == 0) return;
    char *text = cli_drift_summary(&j->drift);
    cli_drift_line(&j->drift, line, sizeof line);
    if (*line) lt_sink_set_meta(j->sink, "drift", line, NULL);
    if (text) lt_sink_set_meta(j->sink, "metrics", text, NULL);
    free(text);
}

static void add_kept(const job *j, lt_error *err) {
    const int64_t made = j->copied + j->done;
    if (made == 0 || strcmp(j->out, "null") == 0 || strcmp(j->out, "md5") == 0) return;
    const size_t n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, "; the %lld frames so far are in %s",
             (long long)made, j->out);
}

static int produce(job *j) {
    cli *c = j->c;
    lt_error err = {0}, closing = {0};
    j->started = cli_now() - c->t0;
    lt_status st = cli_start_copy(c, &j->start, j->sink, &j->copied, &err);
    if (st == LT_OK) st = pump(j, &err);
    cli_progress_end(&j->progress);
    lt_stream_get_info(j->stream, &j->info, sizeof j->info);
    snprintf(j->result, sizeof j->result, "%s",
             j->copied + j->done > 0 ? lt_sink_result(j->sink) : "");
    keep_metrics(j);
    const lt_status closed = lt_sink_close(&j->sink, &closing);
    const bool stopped = st == LT_ECANCELLED && cli_interrupted(&c->signals);
    if (st < 0 && !stopped) {
        if (closed == LT_OK) add_kept(j, &err);
        return cli_fail(c, st, true, err.msg);
    }
    if (closed != LT_OK) return cli_fail(c, closed, true, closing.msg);
    if (stopped && j->copied + j->done == 0) {
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
    int code = cli_start_open(c, &j->start, j->out);
    if (code < 0) code = read_prompt(j);
    if (code < 0) code = read_script(j);
    if (code < 0) code = pick_seed(j);
    if (code < 0) code = cli_open_engine(c, cli_start_parts(c, &j->start), &j->engine);
    if (code >= 0) return code;
    lt_engine_model(j->engine, &j->model, sizeof j->model);
    cli_start_mode(c, &j->start, &j->model);
    if ((code = plan_length(j)) >= 0) return code;
    const bool dry = cli_given(c, OPT_DRY_RUN);
    cli_progress_start(&j->progress, c, j->frames, j->fps, dry);
    code = open_stream(j);
    if (code < 0) code = cli_drift_open(c, &j->drift, &j->info, j->start.n_old, j->frames, j->fps);
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
    cli_drift_close(&j.drift);
    lt_engine_close(&j.engine);
    free(j.prompt);
    free(j.scenes);
    cli_start_free(&j.start);
    return code;
}

static const char NOTES[] =
    "\nThe file plays at every moment, also after a kill: at most the chunk in flight is lost.\n"
    "Ctrl-C finishes it and leaves with status 130; a second Ctrl-C leaves at once.\n"
    "--extend shows the model the end of the video, as much as anchors and window hold; the old\n"
    "frames are encoded again. Times in a prompt file count from the first new frame.\n"
    "\nexample: longtake generate -p \"a red ball bouncing at night\" --duration 1m -s 7 -o "
    "ball.mp4\n";

const cli_command cli_generate = {
    "generate", "-p TEXT [options]", "Make a video from a prompt.", NOTES, 0, run_generate};
