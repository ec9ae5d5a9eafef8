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
 * A new prompt takes effect between two chunks: the text's keys and values are replaced, and what
 * the cache remembers of the old prompt is treated as `on_switch` says.
 * Given latents (a picture, the tail of a video) come in one of two ways: *clamped*, they stand in
 * for the first frames of chunk 0 at t = 0 and sigma = 0, so no step changes them; or *prefilled*,
 * whole chunks go through the clean pass alone, as if they had been made, and the next chunk is
 * the first one to make.
 * On demand the cache is filled anew from the first finished latents (seat_anew), against drift.
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
#include "pipeline/script.h"

struct lti_take {
    lti_take_config c;
    lti_dev *d;
    const lti_dit *dit;
    lti_script script; /* the text that the network reads */
    lti_kv *kv;
    lti_arena work; /* activations of one pass */
    void *state;    /* one slab behind x, x0, flow, eps */
    size_t state_bytes;
    lti_tensor x;        /* [in_flight, C, h, w] f32: noisy latents */
    lti_tensor x0;       /* the same: clean estimates */
    lti_tensor flow;     /* the same: the network's output */
    lti_tensor eps;      /* [chunk, C, h, w] f32: fresh noise */
    lti_tensor done;     /* [recached, C, h, w] f32: the last finished latents, for a recache */
    int64_t n_done;      /* frames in it */
    int recached;        /* most frames of a recache; 0: there will be none */
    lti_tensor seat;     /* [whole chunks >= sink, C, h, w] f32: the first finished latents */
    int64_t n_seat;      /* frames in it */
    int64_t origin;      /* number of the first frame of what is remembered: 0, or seated anew */
    atomic_llong reseat; /* chunk before which the anchors are seated anew; NEVER: none */
    float *zeros;        /* HOST [recached or chunk]: the clean pass's timesteps */
    int64_t given;       /* chunks to prefill: the first one to make */
    int64_t filled;      /* of them, those that are in the cache */
    int64_t next;        /* chunk (chunk-wise) or window (rolling) to run */
    int64_t roll_start;  /* rolling: chunk that x[0] holds */
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

/* ---- given latents -------------------------------------------------------------------------- */

/* What frame f of chunk b takes for `sigma` or `t` of the schedule: a clamped frame is clean. */
static float noisy(const lti_take *t, int64_t b, int f, float level) {
    return t->c.clamp && b * t->c.chunk + f < t->c.n_given ? 0.0f : level;
}

/* Chunk b enters as pure noise, but for its clamped frames. */
static void enter(lti_take *t, int64_t b, lti_tensor x /*[chunk, C, h, w]*/) {
    const int64_t n = t->c.clamp && b == 0 ? t->c.n_given : 0;
    chunk_noise(t, b, 0, x);
    if (n) lti_put(t->d, x.data, t->c.given, lti_nbytes(&x) / (size_t)t->c.chunk * (size_t)n);
}

/* ---- one pass ------------------------------------------------------------------------------- */

/* flow = DiT(x | cache); level[j] is the schedule step of the j-th chunk of x. */
static lt_status noisy_pass(lti_take *t, const lti_schedule *s, int64_t b, int n,
                            const int *level) {
    const lti_take_config *c = &t->c;
    float ts[LTI_MAX_STEPS * LTI_MAX_CHUNK];
    for (int j = 0; j < n; j++)
        for (int f = 0; f < c->chunk; f++)
            ts[j * c->chunk + f] = noisy(t, b + j, f, s->t[level[j]]);
    lti_dit_pass p = {.x = lti_rows(t->x, 0, n * c->chunk),
                      .t = ts,
                      .first = b * c->chunk,
                      .text = t->script.kv,
                      .kv = t->kv,
                      .no_registers = c->no_registers,
                      .out = lti_rows(t->flow, 0, n * c->chunk),
                      .cancel = c->cancel};
    size_t mark = lti_arena_mark(&t->work);
    lt_status st = lti_dit_forward(t->dit, t->d, &t->work, &p);
    lti_arena_release(&t->work, mark);
    return st;
}

/* Write the keys and values of finished frames first.. , whose latents are x0 [n, C, h, w], to the
 * cache. */
static lt_status clean_pass(lti_take *t, int64_t first, lti_tensor x0) {
    const lti_take_config *c = &t->c;
    lti_dit_pass p = {.x = x0,
                      .t = t->zeros,
                      .first = first,
                      .text = t->script.kv,
                      .kv = t->kv,
                      .no_registers = c->no_registers,
                      .commit = (int)x0.n[0],
                      .cancel = c->cancel};
    size_t mark = lti_arena_mark(&t->work);
    lt_status st = lti_dit_forward(t->dit, t->d, &t->work, &p);
    lti_arena_release(&t->work, mark);
    return st;
}

/* x0 = x - sigma v for chunk b, the j-th in flight. */
static lti_tensor estimate(lti_take *t, const lti_schedule *s, int64_t b, int j, int level) {
    int n = t->c.chunk;
    float one[LTI_MAX_CHUNK], minus_sigma[LTI_MAX_CHUNK];
    for (int f = 0; f < n; f++) one[f] = 1.0f, minus_sigma[f] = -noisy(t, b, f, s->sigma[level]);
    lti_tensor x0 = lti_rows(t->x0, j * n, n);
    lti_lincomb(t->d, lti_rows(t->x, j * n, n), one, lti_rows(t->flow, j * n, n), minus_sigma, x0);
    return x0;
}

/* x = (1 - sigma') x0 + sigma' eps, one level further down. */
static void renoise(lti_take *t, const lti_schedule *s, int64_t b, int j, int level) {
    int n = t->c.chunk;
    float keep[LTI_MAX_CHUNK], add[LTI_MAX_CHUNK];
    for (int f = 0; f < n; f++) {
        add[f] = noisy(t, b, f, s->sigma[level + 1]);
        keep[f] = 1.0f - add[f];
    }
    chunk_noise(t, b, level + 1, t->eps);
    lti_lincomb(t->d, lti_rows(t->x0, j * n, n), keep, t->eps, add, lti_rows(t->x, j * n, n));
}

static lt_status step_done(lti_take *t, int64_t chunk, int step, int n_step) {
    if (t->c.on_step && t->c.on_step(t->c.opaque, chunk, step, n_step)) return LT_ECANCELLED;
    return LT_OK;
}

/* ---- prompts -------------------------------------------------------------------------------- */

#define NEVER (INT64_MAX / LTI_MAX_CHUNK) /* times a chunk it still fits */
#define FLUSH_KEEPS 2                     /* frames: Infinity-RoPE's code; its paper says one */

/* Finished frames stay at hand: the first ones to seat the anchors anew, the last ones while they
 * may be needed for a recache. */
static void remember(lti_take *t, lti_tensor x0 /*[chunk, C, h, w]*/) {
    const int64_t n = t->c.chunk, cap = t->recached;
    if (t->n_seat < t->seat.n[0]) {
        lti_copy(t->d, lti_rows(t->seat, t->n_seat, n).data, x0.data, lti_nbytes(&x0));
        t->n_seat += n;
    }
    if (cap == 0) return;
    if (t->n_done + n > cap) { /* full: all move one chunk down */
        for (int64_t at = n; at < t->n_done; at += n)
            lti_copy(t->d, lti_rows(t->done, at - n, n).data, lti_rows(t->done, at, n).data,
                     lti_nbytes(&x0));
        t->n_done -= n;
    }
    lti_copy(t->d, lti_rows(t->done, t->n_done, n).data, x0.data, lti_nbytes(&x0));
    t->n_done += n;
}

/* One clean pass over the frames of the window makes their keys and values anew. LongLive passes
 * the frames in front of them too, as many as there are anchors, but lets nobody see them and drops
 * their keys: leaving them out is the same at three quarters of the price. */
static lt_status recache(lti_take *t) {
    const lti_take_config *c = &t->c;
    const int64_t now = lti_kv_frames(t->kv), all = c->sink + c->window + c->chunk;
    const int64_t past = now - t->origin;
    const bool whole = past <= all || c->on_switch == LTI_SWITCH_RECACHE_ALL;
    const int64_t n = past <= all ? past : whole ? all : all - c->sink;
    if (n == 0) return LT_OK;
    if (whole) lti_kv_restart(t->kv, now - n);
    return clean_pass(t, now - n, lti_rows(t->done, t->n_done - n, n));
}

/* The cache forgets everything and sees the first frames again, as if they had just been made. What
 * comes next goes on from them: drift is gone, and so is what happened since. */
static lt_status seat_anew(lti_take *t) {
    const int64_t now = lti_kv_frames(t->kv), n = t->n_seat, chunk = t->c.chunk;
    long long from = atomic_load(&t->reseat);
    if (now < from * chunk) return LT_OK;
    atomic_compare_exchange_strong(&t->reseat, &from, NEVER); /* unless there is a newer wish */
    lti_kv_restart(t->kv, now - n);
    t->origin = now - n;
    t->n_done = 0;
    for (int64_t at = 0; at < n; at += chunk) {
        LT_TRY(clean_pass(t, now - n + at, lti_rows(t->seat, at, chunk)));
        remember(t, lti_rows(t->seat, at, chunk));
    }
    return LT_OK;
}

/* Chunk b is about to start: does it begin with another prompt? */
static lt_status follow_script(lti_take *t, int64_t b) {
    const lti_take_config *c = &t->c;
    const lti_prompt *p;
    size_t mark = lti_arena_mark(&t->work);
    lti_script_step(&t->script, t->d, t->dit, &t->work, b, &p);
    lti_arena_release(&t->work, mark);
    lti_kv_cut(t->kv, false);
    if (!p) return LT_OK;
    if (c->on_switch == LTI_SWITCH_FLUSH) lti_kv_flush(t->kv, FLUSH_KEEPS);
    if (t->recached) LT_TRY(recache(t));
    lti_kv_cut(t->kv, p->cut); /* of this chunk, not of what is recached */
    return LT_OK;
}

/* ---- the two schedules ---------------------------------------------------------------------- */

static lt_status next_chunkwise(lti_take *t, lti_tensor *done) {
    int64_t b = t->next;
    if (t->c.n_chunk && b >= t->c.n_chunk) return LT_END;
    const lti_schedule *s = b == 0 ? &t->c.first : &t->c.schedule;
    LT_TRY(follow_script(t, b));
    enter(t, b, lti_rows(t->x, 0, t->c.chunk));
    for (int level = 0; level < s->n_step; level++) {
        LT_TRY(noisy_pass(t, s, b, 1, &level));
        *done = estimate(t, s, b, 0, level);
        if (level + 1 < s->n_step) renoise(t, s, b, 0, level);
        LT_TRY(step_done(t, b, level, s->n_step));
    }
    if (!t->c.n_chunk || b + 1 < t->c.n_chunk) LT_TRY(clean_pass(t, b * t->c.chunk, *done));
    remember(t, *done);
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
    const int64_t left = t->c.n_chunk ? t->c.n_chunk - t->given : 0;
    lti_roll r;
    do {
        if (!lti_roll_window(t->next, s->n_step, left, &r)) return LT_END;
        r.start += t->given;
        r.end += t->given;
        roll_to(t, r.start);
        if (r.enters) LT_TRY(follow_script(t, r.end));
        if (r.enters) enter(t, r.end, lti_rows(t->x, (r.n - 1) * t->c.chunk, t->c.chunk));
        LT_TRY(noisy_pass(t, s, r.start, r.n, r.step));
        for (int j = 0; j < r.n; j++) {
            estimate(t, s, r.start + j, j, r.step[j]);
            if (r.step[j] + 1 < s->n_step) renoise(t, s, r.start + j, j, r.step[j]);
        }
        LT_TRY(step_done(t, r.start, r.step[0], s->n_step));
        t->next++;
    } while (!r.commits);
    *done = lti_rows(t->x0, 0, t->c.chunk);
    if (!t->c.n_chunk || r.start + 1 < t->c.n_chunk)
        LT_TRY(clean_pass(t, r.start * t->c.chunk, *done));
    remember(t, *done);
    return LT_OK;
}

/* What was given goes into the cache as if it had been made. */
static lt_status prefill(lti_take *t) {
    lti_tensor x = lti_rows(t->x, 0, t->c.chunk);
    for (; t->filled < t->given; t->filled++) {
        lti_put(t->d, x.data, t->c.given + t->filled * lti_numel(&x), lti_nbytes(&x));
        LT_TRY(clean_pass(t, t->filled * t->c.chunk, x));
        remember(t, x);
    }
    return LT_OK;
}

lt_status lti_take_next(lti_take *t, float *latent, lt_error *err) {
    lti_tensor done = {0};
    lt_status st = prefill(t);
    if (st == LT_OK) st = seat_anew(t);
    if (st == LT_OK) st = t->c.rolling ? next_rolling(t, &done) : next_chunkwise(t, &done);
    if (st == LT_ECANCELLED) return lti_fail(err, st, "generation: cancelled");
    if (st != LT_OK) return st;
    lti_get(t->d, latent, done.data, lti_nbytes(&done));
    return t->d->ops.sync(t->d, err);
}

int64_t lti_take_reanchor(lti_take *t, int64_t chunk) {
    const int64_t least = t->seat.n[0] / t->c.chunk + 1;
    if (chunk < least) chunk = least;
    atomic_store(&t->reseat, chunk);
    return chunk;
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
    if (st == LT_OK && t->recached) st = clean_pass(t, 0, t->done);
    if (st == LT_OK) st = follow_script(t, 0);
    t->d->measuring = false;
    if (st != LT_OK) return lti_fail(err, st, "generation: cancelled");
    t->work.cap = t->work.peak;
    t->work.base = t->d->ops.alloc(t->d, t->work.cap);
    return t->work.base ? LT_OK : lti_oom(err, t->work.cap);
}

static lt_status take_state(lti_take *t, int channels, lt_error *err) {
    const lti_take_config *c = &t->c;
    int64_t flight = c->rolling ? (int64_t)c->schedule.n_step * c->chunk : c->chunk;
    const int64_t seat = c->sink > 1 ? (c->sink - 1) / c->chunk * c->chunk + c->chunk : c->chunk;
    lti_tensor *list[] = {&t->x, &t->x0, &t->flow, &t->eps, &t->done, &t->seat};
    const int64_t frames[] = {flight, flight, flight, c->chunk, t->recached, seat};
    enum { N = sizeof list / sizeof *list };
    size_t at[N], bytes = 0;
    for (int i = 0; i < N; i++) {
        *list[i] = LTI_VIEW(NULL, LTI_F32, frames[i], channels, c->h, c->w);
        at[i] = bytes;
        bytes += (lti_nbytes(list[i]) + LTI_ALIGN - 1) / LTI_ALIGN * LTI_ALIGN;
    }
    uint8_t *p = t->state = t->d->ops.alloc(t->d, bytes);
    if (!p) return lti_oom(err, bytes);
    for (int i = 0; i < N; i++) list[i]->data = p + at[i];
    t->state_bytes = bytes;
    t->zeros = calloc((size_t)(t->recached > c->chunk ? t->recached : c->chunk), sizeof *t->zeros);
    return t->zeros ? LT_OK : lti_oom(err, (size_t)t->recached * sizeof *t->zeros);
}

static lt_status take_init(lti_take *t, const float *text, lt_error *err) {
    const lti_take_config *c = &t->c;
    const lti_dit_config *m = lti_dit_get_config(t->dit);
    if (c->n_prompt > 0 &&
        (c->on_switch == LTI_SWITCH_RECACHE || c->on_switch == LTI_SWITCH_RECACHE_ALL))
        t->recached = (c->sink + c->window + 2 * c->chunk - 1) / c->chunk * c->chunk;
    lti_kv_config kc = {.n_layer = m->n_layer,
                        .n_head = m->n_head,
                        .head_dim = m->head_dim,
                        .grid_h = c->h / 2,
                        .grid_w = c->w / 2,
                        .chunk = c->chunk,
                        .sink = c->sink,
                        .window = c->window,
                        .in_flight = c->rolling ? c->schedule.n_step * c->chunk : c->chunk,
                        .rewrite = t->recached,
                        .policy = c->policy,
                        .compat = c->compat,
                        .ema = c->ema,
                        .deep_budget = c->deep_budget,
                        .deep_recent = c->deep_recent,
                        .deep_reuse = c->deep_reuse,
                        .dtype = c->dtype};
    LT_TRY(take_state(t, m->in_ch, err));
    LT_TRY(lti_script_open(&t->script, t->d, t->dit, c, text, err));
    LT_TRY(lti_kv_open(t->d, &kc, &t->kv, err));
    return measure(t, err);
}

lt_status lti_take_open(lti_dev *d, const lti_dit *dit, const lti_take_config *c, const float *text,
                        lti_take **out, lt_error *err) {
    LT_ASSERT(c->chunk >= 1 && c->chunk <= LTI_MAX_CHUNK && c->h % 2 == 0 && c->w % 2 == 0);
    lti_take *t = calloc(1, sizeof *t);
    if (!t) return lti_oom(err, sizeof *t);
    LT_ASSERT(c->clamp ? c->n_given < c->chunk : c->n_given % c->chunk == 0);
    t->c = *c;
    t->d = d;
    t->dit = dit;
    t->given = c->clamp ? 0 : c->n_given / c->chunk;
    t->roll_start = t->given;
    atomic_init(&t->reseat, NEVER);
    if (!c->rolling) t->next = t->given;
    lt_status st = take_init(t, text, err);
    if (st < 0) lti_take_close(&t);
    *out = t;
    return st;
}

void lti_take_close(lti_take **pt) {
    lti_take *t = *pt;
    if (!t) return;
    lti_kv_close(t->d, &t->kv);
    lti_script_close(&t->script, t->d);
    free(t->zeros);
    if (t->work.base) t->d->ops.free(t->d, t->work.base);
    if (t->state) t->d->ops.free(t->d, t->state);
    free(t);
    *pt = NULL;
}

void lti_take_bytes(const lti_take *t, size_t *state, size_t *work) {
    *state = lti_kv_bytes(t->kv) + t->state_bytes;
    *work = t->work.cap;
}
