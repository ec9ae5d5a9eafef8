/* SPDX-License-Identifier: Apache-2.0
 * pipeline/stream.c - the chunk loop of streaming video diffusion. Start reading here.
 *
 * chunk-wise (Self Forcing), for every chunk of `chunk` latent frames:
 *     x = noise
 *     for each level s:
 *         v  = DiT(x, t_s | registers, anchors, window)    one pass, frames see each other
 *         x0 = x - sigma_s v
 *         x  = (1 - sigma_{s+1}) x0 + sigma_{s+1} noise'   except after the last level
 *     DiT(x0, t = 0) writes the chunk's keys and values into the frame cache: the *clean pass*
 *     emit x0
 * rolling (Rolling Forcing): n_step chunks are in flight, each one level cleaner than the next; one
 *     joint pass takes all of them one level down, then the first is finished: clean pass, emit,
 *     and pure noise enters at the end. Errors are corrected jointly, at the price of a later first
 *     frame.
 *
 * Noise is a function of (seed, latent frame, level): base/rng.h. So chunking, threads and resume
 * do not change it.
 * Pitfalls: the output is the last level's x0, never the clean pass's result. Keys of noisy passes
 * are never cached. The clean pass of the last chunk is skipped: nobody would read it. */
#include "pipeline/stream.h"
#include "base/error.h"
#include "base/rng.h"

struct lti_take {
    lti_take_config c;
    lti_dev *d;
    const lti_dit *dit;
    lti_text_kv *text;
    lti_kv *kv;
    lti_arena work; /* activations of one pass */
    void *state;    /* one slab behind x, x0, flow, eps */
    size_t state_bytes;
    lti_tensor x;       /* [in_flight, C, h, w] f32: noisy latents */
    lti_tensor x0;      /* the same: clean estimates */
    lti_tensor flow;    /* the same: the network's output */
    lti_tensor eps;     /* [chunk, C, h, w] f32: fresh noise */
    int64_t next;       /* chunk (chunk-wise) or window (rolling) to run */
    int64_t roll_start; /* rolling: chunk that x[0] holds */
};

/* ---- noise ---------------------------------------------------------------------------------- */

/* Fill out [chunk, C, h, w] with the noise of chunk b: level 0 is the initial noise, level s + 1
 * belongs to the transition from step s to s + 1. */
static void chunk_noise(lti_take *t, int64_t b, int level, lti_tensor out) {
    const lti_take_config *c = &t->c;
    int64_t per_frame = lti_numel(&out) / c->chunk, first = b * c->chunk;
    if (c->noise) {
        const float *src =
            level == 0 ? c->noise : c->renoise + (level - 1) * c->n_chunk * c->chunk * per_frame;
        lti_put(t->d, out.data, src + first * per_frame, lti_nbytes(&out));
        return;
    }
    for (int f = 0; f < c->chunk; f++)
        lti_randn_op(t->d, lti_rows(out, f, 1), c->seed, (uint64_t)(first + f), (uint32_t)level);
}

/* ---- one pass ------------------------------------------------------------------------------- */

/* flow = DiT(x | cache); level[j] is the schedule step of the j-th chunk of x. */
static lt_status noisy_pass(lti_take *t, const lti_schedule *s, int64_t b, int n,
                            const int *level) {
    const lti_take_config *c = &t->c;
    float ts[LTI_MAX_STEPS * LTI_MAX_CHUNK];
    for (int j = 0; j < n; j++)
        for (int f = 0; f < c->chunk; f++) ts[j * c->chunk + f] = s->t[level[j]];
    lti_dit_pass p = {.x = lti_rows(t->x, 0, n * c->chunk),
                      .t = ts,
                      .first = b * c->chunk,
                      .text = t->text,
                      .kv = t->kv,
                      .no_registers = c->no_registers,
                      .out = lti_rows(t->flow, 0, n * c->chunk),
                      .cancel = c->cancel};
    size_t mark = lti_arena_mark(&t->work);
    lt_status st = lti_dit_forward(t->dit, t->d, &t->work, &p);
    lti_arena_release(&t->work, mark);
    return st;
}

/* Write the keys and values of finished chunk b, whose latents are x0 [chunk, ...], to the cache.
 */
static lt_status clean_pass(lti_take *t, int64_t b, lti_tensor x0) {
    const lti_take_config *c = &t->c;
    float ts[LTI_MAX_CHUNK] = {0};
    lti_dit_pass p = {.x = x0,
                      .t = ts,
                      .first = b * c->chunk,
                      .text = t->text,
                      .kv = t->kv,
                      .no_registers = c->no_registers,
                      .commit = c->chunk,
                      .cancel = c->cancel};
    size_t mark = lti_arena_mark(&t->work);
    lt_status st = lti_dit_forward(t->dit, t->d, &t->work, &p);
    lti_arena_release(&t->work, mark);
    return st;
}

/* x0 = x - sigma v for the j-th chunk in flight. */
static lti_tensor estimate(lti_take *t, const lti_schedule *s, int j, int level) {
    int n = t->c.chunk;
    float one[LTI_MAX_CHUNK], minus_sigma[LTI_MAX_CHUNK];
    for (int f = 0; f < n; f++) one[f] = 1.0f, minus_sigma[f] = -s->sigma[level];
    lti_tensor x0 = lti_rows(t->x0, j * n, n);
    lti_lincomb(t->d, lti_rows(t->x, j * n, n), one, lti_rows(t->flow, j * n, n), minus_sigma, x0);
    return x0;
}

/* x = (1 - sigma') x0 + sigma' eps, one level further down. */
static void renoise(lti_take *t, const lti_schedule *s, int64_t b, int j, int level) {
    int n = t->c.chunk;
    float keep[LTI_MAX_CHUNK], add[LTI_MAX_CHUNK];
    for (int f = 0; f < n; f++) keep[f] = 1.0f - s->sigma[level + 1], add[f] = s->sigma[level + 1];
    chunk_noise(t, b, level + 1, t->eps);
    lti_lincomb(t->d, lti_rows(t->x0, j * n, n), keep, t->eps, add, lti_rows(t->x, j * n, n));
}

static lt_status step_done(lti_take *t, int64_t chunk, int step, int n_step) {
    if (t->c.on_step && t->c.on_step(t->c.opaque, chunk, step, n_step)) return LT_ECANCELLED;
    return LT_OK;
}

/* ---- the two schedules ---------------------------------------------------------------------- */

static lt_status next_chunkwise(lti_take *t, lti_tensor *done) {
    int64_t b = t->next;
    if (t->c.n_chunk && b >= t->c.n_chunk) return LT_END;
    const lti_schedule *s = b == 0 ? &t->c.first : &t->c.schedule;
    chunk_noise(t, b, 0, lti_rows(t->x, 0, t->c.chunk));
    for (int level = 0; level < s->n_step; level++) {
        LT_TRY(noisy_pass(t, s, b, 1, &level));
        *done = estimate(t, s, 0, level);
        if (level + 1 < s->n_step) renoise(t, s, b, 0, level);
        LT_TRY(step_done(t, b, level, s->n_step));
    }
    if (!t->c.n_chunk || b + 1 < t->c.n_chunk) LT_TRY(clean_pass(t, b, *done));
    t->next = b + 1;
    return LT_OK;
}

/* Make x[0] hold chunk `start`: the chunks still in flight move forward by one. */
static void roll_to(lti_take *t, int64_t start) {
    int n = t->c.chunk;
    size_t bytes = lti_nbytes(&t->eps);
    if (start == t->roll_start) return;
    for (int j = 0; j + 1 < t->c.schedule.n_step; j++)
        lti_copy(t->d, lti_rows(t->x, j * n, n).data, lti_rows(t->x, (j + 1) * n, n).data, bytes);
    t->roll_start = start;
}

static lt_status next_rolling(lti_take *t, lti_tensor *done) {
    const lti_schedule *s = &t->c.schedule;
    lti_roll r;
    do {
        if (!lti_roll_window(t->next, s->n_step, t->c.n_chunk, &r)) return LT_END;
        roll_to(t, r.start);
        if (r.enters) chunk_noise(t, r.end, 0, lti_rows(t->x, (r.n - 1) * t->c.chunk, t->c.chunk));
        LT_TRY(noisy_pass(t, s, r.start, r.n, r.step));
        for (int j = 0; j < r.n; j++) {
            estimate(t, s, j, r.step[j]);
            if (r.step[j] + 1 < s->n_step) renoise(t, s, r.start + j, j, r.step[j]);
        }
        LT_TRY(step_done(t, r.start, r.step[0], s->n_step));
        t->next++;
    } while (!r.commits);
    *done = lti_rows(t->x0, 0, t->c.chunk);
    if (!t->c.n_chunk || r.start + 1 < t->c.n_chunk) LT_TRY(clean_pass(t, r.start, *done));
    return LT_OK;
}

lt_status lti_take_next(lti_take *t, float *latent, lt_error *err) {
    lti_tensor done = {0};
    lt_status st = t->c.rolling ? next_rolling(t, &done) : next_chunkwise(t, &done);
    if (st == LT_ECANCELLED) return lti_fail(err, st, "generation: cancelled");
    if (st != LT_OK) return st;
    lti_get(t->d, latent, done.data, lti_nbytes(&done));
    return t->d->ops.sync(t->d, err);
}

/* ---- memory --------------------------------------------------------------------------------- */

/* Every shape a pass can have runs once muted: the arena's peak is the slab, backends make plans.
 */
static lt_status measure(lti_take *t, lt_error *err) {
    const lti_take_config *c = &t->c;
    int level[LTI_MAX_STEPS] = {0};
    t->d->measuring = true;
    lt_status st = LT_OK;
    for (int n = 1; n <= (c->rolling ? c->schedule.n_step : 1) && st == LT_OK; n++)
        st = noisy_pass(t, &c->schedule, 0, n, level);
    if (st == LT_OK) st = clean_pass(t, 0, lti_rows(t->x0, 0, c->chunk));
    t->d->measuring = false;
    if (st != LT_OK) return lti_fail(err, st, "generation: cancelled");
    t->work.cap = t->work.peak;
    t->work.base = t->d->ops.alloc(t->d, t->work.cap);
    return t->work.base ? LT_OK : lti_oom(err, t->work.cap);
}

static lt_status take_state(lti_take *t, int channels, lt_error *err) {
    const lti_take_config *c = &t->c;
    int64_t flight = c->rolling ? (int64_t)c->schedule.n_step * c->chunk : c->chunk;
    lti_tensor frames = LTI_VIEW(NULL, LTI_F32, flight, channels, c->h, c->w);
    lti_tensor chunk = LTI_VIEW(NULL, LTI_F32, c->chunk, channels, c->h, c->w);
    size_t each = (lti_nbytes(&frames) + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    t->state_bytes = 3 * each + lti_nbytes(&chunk);
    uint8_t *p = t->state = t->d->ops.alloc(t->d, t->state_bytes);
    if (!p) return lti_oom(err, t->state_bytes);
    t->x = t->x0 = t->flow = frames;
    t->eps = chunk;
    t->x.data = p;
    t->x0.data = p + each;
    t->flow.data = p + 2 * each;
    t->eps.data = p + 3 * each;
    return LT_OK;
}

/* The prompt's keys and values, computed once with an arena of their own. */
static lt_status take_text(lti_take *t, const float *text, lt_error *err) {
    lti_arena a = {0};
    LT_TRY(lti_text_kv_open(t->d, t->dit, &t->text, err));
    t->d->measuring = true;
    lti_text_kv_set(t->text, t->d, t->dit, &a, text);
    t->d->measuring = false;
    a.cap = a.peak;
    a.used = 0;
    a.base = t->d->ops.alloc(t->d, a.cap);
    if (!a.base) return lti_oom(err, a.cap);
    lti_text_kv_set(t->text, t->d, t->dit, &a, text);
    t->d->ops.free(t->d, a.base);
    return LT_OK;
}

static lt_status take_init(lti_take *t, const float *text, lt_error *err) {
    const lti_take_config *c = &t->c;
    const lti_dit_config *m = lti_dit_get_config(t->dit);
    lti_kv_config kc = {.n_layer = m->n_layer,
                        .n_head = m->n_head,
                        .head_dim = m->head_dim,
                        .grid_h = c->h / 2,
                        .grid_w = c->w / 2,
                        .chunk = c->chunk,
                        .sink = c->sink,
                        .window = c->window,
                        .in_flight = c->rolling ? c->schedule.n_step * c->chunk : c->chunk,
                        .policy = c->policy,
                        .dtype = c->dtype};
    LT_TRY(take_state(t, m->in_ch, err));
    LT_TRY(take_text(t, text, err));
    LT_TRY(lti_kv_open(t->d, &kc, &t->kv, err));
    return measure(t, err);
}

lt_status lti_take_open(lti_dev *d, const lti_dit *dit, const lti_take_config *c, const float *text,
                        lti_take **out, lt_error *err) {
    LT_ASSERT(c->chunk >= 1 && c->chunk <= LTI_MAX_CHUNK && c->h % 2 == 0 && c->w % 2 == 0);
    lti_take *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    t->c = *c;
    t->d = d;
    t->dit = dit;
    lt_status st = take_init(t, text, err);
    if (st < 0) lti_take_close(&t);
    *out = t;
    return st;
}

void lti_take_close(lti_take **pt) {
    lti_take *t = *pt;
    if (!t) return;
    lti_kv_close(t->d, &t->kv);
    lti_text_kv_close(t->d, &t->text);
    if (t->work.base) t->d->ops.free(t->d, t->work.base);
    if (t->state) t->d->ops.free(t->d, t->state);
    free(t);
    *pt = NULL;
}

void lti_take_bytes(const lti_take *t, size_t *state, size_t *work) {
    *state = lti_kv_bytes(t->kv) + t->state_bytes;
    *work = t->work.cap;
}
