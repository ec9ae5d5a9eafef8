/* SPDX-License-Identifier: Apache-2.0
 * cli/start.c - what a generation starts from: -i PICTURE or --extend VIDEO.
 *
 * A video is read three times: to count its frames (containers are often wrong), for the pictures
 * of its end that the model gets, and to copy all of it in front of what is new. So memory does not
 * depend on its length. The model gets as much of the end as anchors and window hold, in whole
 * chunks: n latent frames are 1 + 4 (n - 1) pictures.
 * A picture is shown to the model as a chunk of video that stood still, which any streaming model
 * understands; clamping it into the first chunk is for models that were trained with it, and say so
 * in their longtake.json or preset (measured
 * on the model in the box, which was not: after a second the mean distance from the picture is 5
 * of 255 held and 19 clamped). */
#include "cli/start.h"
#include "cli/script.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PROMPT (1 << 20)

static int open_reader(cli *c, const cli_start *s, int width, int height, lt_reader **r) {
    lt_reader_params p;
    lt_error err = {0};
    lt_reader_params_init(&p);
    p.path = s->path;
    p.width = width;
    p.height = height;
    p.threads = c->opt[OPT_THREADS].i > 0 ? (int32_t)c->opt[OPT_THREADS].i : 2;
    if (p.threads > 16) p.threads = 16;
    p.accept_cut = 1;
    const lt_status st = lt_reader_open(&p, r, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

/* ---- open --------------------------------------------------------------------------------------
 */

static int check_options(const cli *c) {
    if (cli_given(c, OPT_INIT_IMG) && cli_given(c, OPT_EXTEND))
        return cli_usage_error(c, "--init-img and --extend: give only one of them");
    if (cli_given(c, OPT_INIT_MODE) && !cli_given(c, OPT_INIT_IMG))
        return cli_usage_error(c, "--init-mode: there is no picture; give one with -i");
    if (cli_given(c, OPT_ONLY_NEW) && !cli_given(c, OPT_EXTEND))
        return cli_usage_error(c, "--only-new: there is nothing old without --extend");
    if (!cli_given(c, OPT_EXTEND)) return -1;
    if (cli_given(c, OPT_WIDTH) || cli_given(c, OPT_HEIGHT))
        return cli_usage_error(c, "--extend: the size is that of the video; leave -W and -H out");
    if (cli_given(c, OPT_FPS))
        return cli_usage_error(c, "--extend: the frame rate is that of the video; leave --fps out");
    return -1;
}

/* The output is emptied by its first frame, when the input is still needed. */
static int check_output(const cli *c, const cli_start *s, const char *out) {
    struct stat a, b;
    if (stat(s->path, &a) != 0 || stat(out, &b) != 0) return -1;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return -1;
    return cli_usage_error(c,
                           "%s: it cannot be read and written at once; choose another name with "
                           "-o",
                           out);
}

static void warn_about(const cli *c, const cli_start *s) {
    const lt_reader_info *i = &s->info;
    if (i->rotation)
        cli_warn(c, "%s: players turn it by %d degrees; it is taken as stored", s->path,
                 i->rotation);
    if (i->hdr)
        cli_warn(c, "%s: HDR is taken as if it were SDR: the colours will be pale", s->path);
    if (i->interlaced && !i->picture)
        cli_warn(c, "%s: interlaced; it is taken as stored, deinterlace it first", s->path);
    if (i->cut_short)
        cli_warn(c, "%s: its end is missing; going on behind frame %lld", s->path,
                 (long long)s->frames);
    if (i->variable_rate && s->video)
        cli_warn(c, "%s: frames are not evenly spaced; the result has %g a second", s->path,
                 (double)i->fps_num / i->fps_den);
}

/* Of a schedule the last scene is what the video ends with. */
static int take_prompt(const cli *c, cli_start *s, const char *text) {
    if (!text || !*text || strlen(text) > MAX_PROMPT) return -1;
    s->prompt = strdup(text);
    cli_script *script = s->prompt ? calloc(1, sizeof *script) : NULL;
    if (!script) return cli_fail(c, LT_ENOMEM, false, "out of memory");
    char why[256], *last = NULL;
    if (cli_is_script(s->prompt) && cli_script_parse(s->prompt, script, why, sizeof why))
        last = strdup(script->scene[script->n - 1].text);
    else last = strdup(text);
    free(script);
    free(s->prompt);
    s->prompt = last;
    return last ? -1 : cli_fail(c, LT_ENOMEM, false, "out of memory");
}

static int count_frames(cli *c, cli_start *s, lt_reader *r) {
    lt_error err = {0};
    lt_status st;
    while ((st = lt_reader_next(r, NULL, NULL, &err)) == LT_OK) {
        s->frames++;
        if (cli_interrupted(&c->signals)) {
            cli_fail(c, LT_ECANCELLED, true, "interrupted: no file was made");
            return EXIT_INTERRUPTED;
        }
    }
    return st == LT_END ? -1 : cli_fail(c, st, false, err.msg);
}

int cli_start_open(cli *c, cli_start *s, const char *out) {
    *s = (cli_start){.video = cli_given(c, OPT_EXTEND)};
    int code = check_options(c);
    s->path = c->opt[s->video ? OPT_EXTEND : OPT_INIT_IMG].text;
    if (code >= 0 || !s->path) return code;
    lt_reader *r = NULL;
    code = check_output(c, s, out);
    if (code < 0) code = open_reader(c, s, 0, 0, &r);
    if (code < 0 && s->video) code = take_prompt(c, s, lt_reader_meta(r, "prompt"));
    if (code < 0 && s->video) code = count_frames(c, s, r);
    if (code < 0) {
        lt_reader_get_info(r, &s->info, sizeof s->info);
        warn_about(c, s);
        if (s->video && s->info.picture)
            code = cli_usage_error(c, "--extend %s: that is a picture; start from it with -i",
                                   s->path);
    }
    lt_reader_close(&r);
    return code;
}

void cli_start_mode(const cli *c, cli_start *s, const lt_model_info *m) {
    const int64_t chunk = cli_given(c, OPT_CHUNK) ? c->opt[OPT_CHUNK].i : m->chunk;
    bool clamp = m->init_mode == LT_INIT_CLAMP && chunk > 1; /* alone in its chunk it is the past */
    if (cli_given(c, OPT_INIT_MODE)) clamp = c->opt[OPT_INIT_MODE].i == 1;
    s->hold = s->path && !s->video && !clamp;
    s->n_old = s->hold ? 1 : 0;
}

void cli_start_free(cli_start *s) {
    free(s->prompt);
    free(s->rgb);
    *s = (cli_start){0};
}

int cli_start_parts(const cli *c, const cli_start *s) {
    if (!s->path) return 0;
    const int pictures = cli_given(c, OPT_TAE) ? LT_PART_TAE : LT_PART_VAE | LT_PART_ENCODER;
    return LT_PART_DIT | LT_PART_TEXT | pictures;
}

/* ---- load --------------------------------------------------------------------------------------
 */

/* Latent frames that the model gets of a video: whole chunks, as many as it can remember. */
static int64_t latent_frames(const cli_start *s, const lt_model_info *m,
                             const lt_stream_params *p) {
    const int64_t chunk = p->chunk ? p->chunk : m->chunk;
    const int policy = p->sink_policy ? p->sink_policy : m->sink_policy;
    const int64_t window = p->window == LT_UNSET ? m->window : p->window;
    const int64_t sink = policy == LT_SINK_NONE ? 0 : p->sink == LT_UNSET ? m->sink : p->sink;
    const int64_t most = sink + window > chunk ? sink + window : chunk;
    const int64_t have = 1 + (s->frames - 1) / 4;
    return (have < most ? have : most) / chunk * chunk;
}

static int plan_video(const cli *c, cli_start *s, const lt_model_info *m, lt_stream_params *p) {
    const int by = m->size_multiple, w = s->info.stored_width, h = s->info.stored_height;
    if (w % by || h % by || w < by || h < by)
        return cli_usage_error(c,
                               "--extend %s: it has %dx%d pixels, and the model makes sides that "
                               "divide by %d; scale it first, e.g. to %dx%d",
                               s->path, w, h, by, w < by ? by : w / by * by,
                               h < by ? by : h / by * by);
    const int64_t chunk = p->chunk ? p->chunk : m->chunk, n = latent_frames(s, m, p);
    if (n < 1)
        return cli_usage_error(c,
                               "--extend %s: it has %lld frames, and the model needs %lld to go on "
                               "from; start from a picture of it with -i",
                               s->path, (long long)s->frames, (long long)(1 + 4 * (chunk - 1)));
    p->width = w;
    p->height = h;
    s->n = 1 + 4 * (n - 1);
    s->n_old = cli_given(c, OPT_ONLY_NEW) ? 0 : s->frames;
    return -1;
}

static void plan_picture(const cli *c, cli_start *s, const lt_model_info *m, lt_stream_params *p) {
    if (!p->width) p->width = m->width;
    if (!p->height) p->height = m->height;
    const int chunk = p->chunk ? p->chunk : m->chunk;
    s->frames = 1;
    s->n = s->hold ? 1 + 4 * (chunk - 1) : 1;
    p->init_mode = s->hold ? LT_INIT_PREFILL : LT_INIT_CLAMP;
    if (s->info.stored_width != p->width || s->info.stored_height != p->height)
        cli_warn(c, "%s: %dx%d pixels; its middle, scaled to %dx%d, is the first picture", s->path,
                 s->info.stored_width, s->info.stored_height, p->width, p->height);
}

int cli_start_load(cli *c, cli_start *s, const lt_model_info *m, lt_stream_params *p) {
    if (!s->path) return -1;
    int code = -1;
    if (s->video) code = plan_video(c, s, m, p);
    else plan_picture(c, s, m, p);
    lt_reader *r = NULL;
    if (code < 0) code = open_reader(c, s, p->width, p->height, &r);
    if (code >= 0) return code;
    const size_t one = (size_t)p->width * (size_t)p->height * 3;
    s->rgb = calloc((size_t)s->n, one);
    lt_error err = {0};
    lt_status st = s->rgb ? LT_OK : LT_ENOMEM;
    for (int64_t i = s->n - s->frames; i < s->n && st == LT_OK; i++)
        st = lt_reader_next(r, i < 0 ? NULL : s->rgb + (size_t)i * one, NULL, &err);
    lt_reader_close(&r);
    for (int64_t i = 0; i + 1 < s->n && s->hold; i++)
        memcpy(s->rgb + (size_t)i * one, s->rgb + (size_t)(s->n - 1) * one, one);
    if (st == LT_END) return cli_fail(c, LT_EIO, false, "the video to extend became shorter");
    if (st != LT_OK) return cli_fail(c, st, false, err.msg);
    p->init_rgb = s->rgb;
    p->n_init = s->n;
    return -1;
}

/* ---- copy --------------------------------------------------------------------------------------
 */

lt_status cli_start_copy(cli *c, const cli_start *s, lt_sink *sink, int64_t *done, lt_error *err) {
    if (s->n_old == 0) return LT_OK;
    if (!s->video) {
        *done = 1;
        return lt_sink_write(sink, s->rgb, 1, err);
    }
    lt_reader_params p;
    lt_reader *r = NULL;
    lt_reader_params_init(&p);
    p.path = s->path;
    p.threads = 2;
    p.accept_cut = 1;
    uint8_t *rgb = malloc((size_t)s->info.stored_width * (size_t)s->info.stored_height * 3);
    lt_status st = rgb ? lt_reader_open(&p, &r, err) : LT_ENOMEM;
    while (st == LT_OK && *done < s->n_old) {
        st = lt_reader_next(r, rgb, NULL, err);
        if (st == LT_OK) st = lt_sink_write(sink, rgb, ++*done % 16 == 0 || *done == s->n_old, err);
        if (st == LT_OK && cli_interrupted(&c->signals)) st = LT_ECANCELLED;
    }
    lt_reader_close(&r);
    free(rgb);
    return st == LT_END ? LT_OK : st;
}
