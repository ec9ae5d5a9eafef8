/* SPDX-License-Identifier: Apache-2.0
 * cli/progress.c - a bar on a terminal, or JSON lines: frames, speed, time left.
 *
 * Frames arrive in bursts (a chunk at a time), so the rate is over the whole run. The denoiser's
 * thread reports its steps here too: with a big model they are the only sign of life. */
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR 24
#define INTERVAL 0.1

static void time_left(double s, char *buf, size_t size) {
    const long t = lround(s);
    if (s < 0) snprintf(buf, size, "-");
    else if (t >= 3600) snprintf(buf, size, "%ldh%02ldm", t / 3600, t / 60 % 60);
    else snprintf(buf, size, "%ld:%02ld", t / 60, t % 60);
}

static void draw_bar(cli_progress *p, double rate, double left) {
    char bar[BAR + 1], eta[32];
    const int full = p->frames > 0 ? (int)(BAR * p->done / p->frames) : 0;
    for (int i = 0; i < BAR; i++) bar[i] = i < full ? '#' : '.';
    bar[BAR] = 0;
    time_left(left, eta, sizeof eta);
    const char *on = p->colour ? "\033[32m" : "", *off = p->colour ? "\033[0m" : "";
    fprintf(stderr, "\r\033[K%s%s%s %lld", on, bar, off, (long long)p->done);
    if (p->frames > 0) fprintf(stderr, "/%lld", (long long)p->frames);
    fprintf(stderr, " frames  %.1f fps  %.2fx real time  %s left", rate, rate / p->fps, eta);
    if (p->n_step > 0)
        fprintf(stderr, "  chunk %lld step %d/%d", (long long)p->chunk + 1, p->step, p->n_step);
    if (isfinite(p->drift)) fprintf(stderr, "  drift %.2f", p->drift);
    fflush(stderr);
    p->drawn = true;
}

static void draw_json(const cli_progress *p, double rate, double left) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "event", "progress");
    cJSON_AddNumberToObject(o, "frame", (double)p->done);
    cJSON_AddNumberToObject(o, "frames", (double)p->frames);
    cJSON_AddNumberToObject(o, "chunk", (double)p->chunk);
    cJSON_AddNumberToObject(o, "step", p->step);
    cJSON_AddNumberToObject(o, "steps", p->n_step);
    cJSON_AddNumberToObject(o, "fps", round(rate * 100) / 100);
    cJSON_AddNumberToObject(o, "speed", round(rate / p->fps * 1000) / 1000);
    if (left >= 0) cJSON_AddNumberToObject(o, "eta", round(left * 10) / 10);
    if (isfinite(p->drift)) cJSON_AddNumberToObject(o, "drift", round(p->drift * 1000) / 1000);
    cli_event(o);
}

static void draw(cli_progress *p, bool now) {
    const double t = cli_now();
    if (!p->shown || p->kind == PROGRESS_NONE || (!now && t - p->last < INTERVAL)) return;
    p->last = t;
    const double rate = (double)p->done / fmax(t - p->start, 1e-6);
    const double left = p->done > 0 && p->frames > 0 ? (double)(p->frames - p->done) / rate : -1;
    if (p->kind == PROGRESS_BAR) draw_bar(p, rate, left);
    else draw_json(p, rate, left);
}

void cli_progress_start(cli_progress *p, const cli *c, int64_t frames, double fps, bool silent) {
    *p = (cli_progress){.start = cli_now(), .fps = fps, .frames = frames, .drift = NAN};
    pthread_mutex_init(&p->mu, NULL);
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    const bool dumb = !term || strcmp(term, "dumb") == 0;
    p->colour = !(no_colour && *no_colour);
    if (silent || cli_given(c, OPT_QUIET)) p->kind = PROGRESS_NONE;
    else if (cli_given(c, OPT_JSON)) p->kind = PROGRESS_JSON;
    else if (isatty(STDERR_FILENO) && !dumb) p->kind = PROGRESS_BAR;
}

void cli_progress_show(cli_progress *p) {
    pthread_mutex_lock(&p->mu);
    p->shown = true;
    pthread_mutex_unlock(&p->mu);
}

void cli_progress_step(cli_progress *p, const lt_progress *at) {
    pthread_mutex_lock(&p->mu);
    p->chunk = at->chunk;
    p->step = at->step;
    p->n_step = at->n_step;
    draw(p, false);
    pthread_mutex_unlock(&p->mu);
}

void cli_progress_frame(cli_progress *p, int64_t done) {
    pthread_mutex_lock(&p->mu);
    p->done = done;
    draw(p, done == 1 || done == p->frames);
    pthread_mutex_unlock(&p->mu);
}

void cli_progress_drift(cli_progress *p, double score) {
    pthread_mutex_lock(&p->mu);
    p->drift = score;
    pthread_mutex_unlock(&p->mu);
}

static void wipe(cli_progress *p) {
    if (p->drawn) fputs("\r\033[K", stderr);
    fflush(stderr);
    p->drawn = false;
}

void cli_progress_warn(cli_progress *p, const cli *c, const char *msg) {
    pthread_mutex_lock(&p->mu);
    wipe(p);
    cli_warn(c, "%s", msg);
    pthread_mutex_unlock(&p->mu);
}

void cli_progress_end(cli_progress *p) {
    pthread_mutex_lock(&p->mu);
    wipe(p);
    p->kind = PROGRESS_NONE;
    pthread_mutex_unlock(&p->mu);
}
