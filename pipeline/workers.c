/* SPDX-License-Identifier: Apache-2.0
 * pipeline/workers.c - lt_stream: two worker threads and a pool of frames around the chunk loop.
 *
 *   denoiser --latent chunks--> decoder --frames--> lt_stream_next (the caller, who encodes)
 *      ^--- empty latents ---'     ^--- empty frames ---'  lt_frame_release
 *
 * All buffers exist from open on and travel in circles through bounded queues, so the three stages
 * overlap, a slow consumer stops the others, and nothing grows. Each worker has its own device
 * queue. End and errors: a worker closes the queue it feeds; what is already in it still comes out.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "pipeline/budget.h"
#include "pipeline/engine.h"
#include "pipeline/given.h"

#define N_LATENT 2    /* latent chunks in circulation */
#define POOL_CHUNKS 2 /* chunks' worth of frames in the pool */
#define MAX_POOL 128

typedef struct latent_chunk {
    int64_t chunk;
    float *data; /* [chunk, C, h, w] */
} latent_chunk;

typedef struct pool_frame {
    lt_stream *owner;
    uint8_t *rgb; /* [height, width, 3] */
} pool_frame;

typedef struct ready_frame { /* a pool frame with its label, in order of display */
    pool_frame *frame;
    int64_t index, chunk;
    int chunk_end;
} ready_frame;

struct lt_stream {
    lt_engine *e;
    lti_plan plan;
    lti_memory memory;
    int (*progress)(void *, const lt_progress *);
    void *opaque;
    atomic_int cancel;
    atomic_llong frames_done;
    _Atomic double dit_seconds, vae_seconds;
    double text_seconds;
    int prompt_tokens, prompt_tokens_used; /* of the prompt with most tokens */
    float *prompt_rows[LTI_MAX_PROMPT];    /* of the later prompts, without padding */

    float *given; /* [take.n_given, C, h, w]: the pictures it starts from; NULL none */
    lti_seam seam;

    lti_dev *dit_dev, *vae_dev;
    lti_take *take;
    lti_decoder *decoder; /* VAE or TAE */
    lti_tensor rgb8;      /* u8 [4, H, W, 3], device */

    latent_chunk latent[N_LATENT];
    pool_frame pool[MAX_POOL];
    ready_frame ready_slot[MAX_POOL];
    int n_pool, n_ready; /* n_ready: next ready_slot to use, they go round like the pool */
    atomic_int held;     /* frames the caller holds */
    lti_queue_ptr free_latents, latents, free_frames, frames;

    pthread_t dit_thread, vae_thread;
    bool dit_running, vae_running;
    pthread_mutex_t mu; /* of err, reanchor */
    lt_error err;
    int64_t reanchor; /* chunk that the last lt_stream_reanchor promised */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stream_fail(lt_stream *s, const lt_error *err) {
    pthread_mutex_lock(&s->mu);
    if (s->err.code >= 0) s->err = *err;
    pthread_mutex_unlock(&s->mu);
}

/* ---- denoiser ------------------------------------------------------------------------------- */

static int on_step(void *opaque, int64_t chunk, int step, int n_step) {
    lt_stream *s = opaque;
    lt_progress p = {.chunk = chunk,
                     .step = step,
                     .n_step = n_step,
                     .frames_done = atomic_load(&s->frames_done),
                     .n_frames = s->plan.n_frames};
    return atomic_load(&s->cancel) || (s->progress && s->progress(s->opaque, &p));
}

/* Damaged weights give NaN, which would decode to a black video that claims success. */
static lt_status check_finite(const lt_stream *s, int64_t chunk, const float *latent,
                              lt_error *err) {
    const lti_take_config *c = &s->plan.take;
    int64_t n = (int64_t)c->chunk * s->e->info.latent_channels * c->h * c->w;
    float sum = 0; /* 0 * x is 0, or NaN for NaN and infinity */
    for (int64_t i = 0; i < n; i++) sum += 0 * latent[i];
    if (sum == 0) return LT_OK;
    return lti_fail(err, LT_EFORMAT,
                    "generation: the network's output in chunk %lld is not finite; the weights are "
                    "damaged, or try --dtype f32",
                    (long long)chunk);
}

static void *denoise(void *arg) {
    lt_stream *s = arg;
    void *item;
    const lti_take_config *c = &s->plan.take;
    int64_t chunk = c->clamp ? 0 : c->n_given / c->chunk;
    for (; lti_queue_ptr_pop(&s->free_latents, &item); chunk++) {
        latent_chunk *l = item;
        lt_error err = {0};
        double start = now();
        lt_status st = lti_take_next(s->take, l->data, &err);
        atomic_store(&s->dit_seconds, atomic_load(&s->dit_seconds) + now() - start);
        if (st == LT_OK) st = check_finite(s, chunk, l->data, &err);
        if (st < 0) stream_fail(s, &err);
        if (st != LT_OK) break;
        l->chunk = chunk;
        if (!lti_queue_ptr_push(&s->latents, l)) break;
    }
    lti_queue_ptr_close(&s->latents);
    return NULL;
}

/* ---- decoder -------------------------------------------------------------------------------- */

/* One latent frame -> its pictures into the frames queue. False: stop (closed, or enough frames).
 */
static bool decode_latent(lt_stream *s, const latent_chunk *l, int f) {
    const lti_plan *p = &s->plan;
    lti_dev *d = s->vae_dev;
    lti_tensor rgb;
    int64_t latent = (int64_t)s->e->info.latent_channels * p->take.h * p->take.w;
    double start = now();
    int n = lti_decode(s->decoder, l->data + latent * f, &rgb);
    lti_to_rgb8(d, rgb, lti_rows(s->rgb8, 0, n));
    atomic_store(&s->vae_seconds, atomic_load(&s->vae_seconds) + now() - start);
    for (int i = 0; i < n; i++) {
        void *item;
        int64_t index = atomic_load(&s->frames_done); /* of those that come */
        if (p->n_frames && index >= p->n_frames) return false;
        if (!lti_queue_ptr_pop(&s->free_frames, &item)) return false;
        pool_frame *frame = item;
        lti_tensor one = lti_rows(s->rgb8, i, 1);
        lti_get(d, frame->rgb, one.data, lti_nbytes(&one));
        lti_seam_apply(&s->seam, index, frame->rgb);
        bool last = p->n_frames && index + 1 == p->n_frames;
        ready_frame *r = &s->ready_slot[s->n_ready++ % s->n_pool];
        *r = (ready_frame){frame, p->first + index, l->chunk,
                           last || (f + 1 == p->take.chunk && i + 1 == n)};
        atomic_store(&s->frames_done, index + 1);
        if (!lti_queue_ptr_push(&s->frames, r)) return false;
    }
    return true;
}

/* The past is decoded for the decoder's memory alone, so that the first new frame joins on. */
static bool warm_up(lt_stream *s, lt_error *err) {
    const lti_take_config *c = &s->plan.take;
    const int64_t latent = (int64_t)s->e->info.latent_channels * c->h * c->w;
    lti_tensor rgb;
    for (int64_t f = 0; !c->clamp && f < c->n_given; f++) {
        if (atomic_load(&s->cancel)) return false;
        const int n = lti_decode(s->decoder, s->given + latent * f, &rgb);
        if (s->vae_dev->ops.sync(s->vae_dev, err) < 0) {
            stream_fail(s, err);
            return false;
        }
        if (f + 1 < c->n_given) continue;
        lti_to_rgb8(s->vae_dev, lti_rows(rgb, n - 1, 1), lti_rows(s->rgb8, 0, 1));
        uint8_t *last = s->pool[0].rgb; /* nothing is in the pool's frames yet */
        lti_get(s->vae_dev, last, s->rgb8.data, (size_t)s->seam.n);
        lti_seam_decoded(&s->seam, last);
    }
    return true;
}

static void *decode(void *arg) {
    lt_stream *s = arg;
    void *item;
    lt_error err = {0};
    bool more = warm_up(s, &err);
    while (more && lti_queue_ptr_pop(&s->latents, &item)) {
        const latent_chunk *l = item;
        for (int f = 0; f < s->plan.take.chunk && more; f++) more = decode_latent(s, l, f);
        if (s->vae_dev->ops.sync(s->vae_dev, &err) < 0) {
            stream_fail(s, &err);
            more = false;
        }
        lti_queue_ptr_push(&s->free_latents, item);
    }
    lti_queue_ptr_close(&s->free_latents);
    lti_queue_ptr_close(&s->frames);
    return NULL;
}

/* ---- open ----------------------------------------------------------------------------------- */

/* Of an engine without a text encoder. */
static lt_status given_rows(const lt_engine *e, float **rows, int *n, lt_error *err) {
    const size_t bytes =
        sizeof(float) * (size_t)e->info.text_len * (size_t)lti_dit_get_config(e->dit)->text_dim;
    *n = e->info.text_len;
    *rows = malloc(bytes);
    if (!*rows) return lti_oom(err, bytes);
    memcpy(*rows, e->text_rows, bytes);
    return LT_OK;
}

/* One prompt's rows [text_len, dim], of which *n are not padding. */
static lt_status encode(lt_stream *s, const char *prompt, float **rows, int *n, lt_error *err) {
    lti_text_rows r = {0};
    double start = now();
    if (!s->e->text) return given_rows(s->e, rows, n, err);
    LT_TRY(lti_text_encode(s->e->text, s->dit_dev, prompt, &r, err));
    if (r.n_all > s->prompt_tokens) {
        s->prompt_tokens = r.n_all;
        s->prompt_tokens_used = r.n;
    }
    s->text_seconds += now() - start;
    *rows = r.rows;
    *n = r.n;
    r.rows = NULL;
    lti_text_rows_free(&r);
    return LT_OK;
}

/* The later prompts, all of them now: the text encoder is not needed while the stream runs. */
static lt_status open_prompts(lt_stream *s, const lt_stream_params *p, lt_error *err) {
    const size_t row = (size_t)lti_dit_get_config(s->e->dit)->text_dim * sizeof(float);
    for (int i = 0; i < s->plan.take.n_prompt; i++) {
        lti_prompt *q = &s->plan.prompt[i];
        LT_TRY(encode(s, p->prompts[i].text, &s->prompt_rows[i], &q->n, err));
        float *less = realloc(s->prompt_rows[i], (size_t)q->n * row);
        if (less) s->prompt_rows[i] = less;
        q->text = s->prompt_rows[i];
    }
    s->plan.take.prompt = s->plan.prompt;
    return LT_OK;
}

static lt_status open_denoiser(lt_stream *s, const lt_stream_params *p, lt_error *err) {
    float *rows = NULL;
    int n;
    LT_TRY(lti_engine_dev(s->e, 0, &s->dit_dev, err));
    LT_TRY(open_prompts(s, p, err));
    LT_TRY(encode(s, p->prompt, &rows, &n, err));
    lti_take_config c = s->plan.take;
    c.cancel = &s->cancel;
    c.on_step = on_step;
    c.opaque = s;
    lt_status st = lti_take_open(s->dit_dev, s->e->dit, &c, rows, &s->take, err);
    free(rows);
    return st;
}

static lt_status open_decoder(lt_stream *s, lt_error *err) {
    const lti_plan *p = &s->plan;
    LT_TRY(lti_engine_dev(s->e, 0, &s->vae_dev, err));
    lti_dev *d = s->vae_dev;
    const lti_vae *vae = s->e->tae ? NULL : s->e->vae;
    LT_TRY(lti_decoder_open(d, vae, s->e->tae, p->take.h, p->take.w, &s->decoder, err));
    s->rgb8 = LTI_VIEW(NULL, LTI_U8, LTI_FRAMES_PER_LATENT, p->height, p->width, 3);
    s->rgb8.data = d->ops.alloc(d, lti_nbytes(&s->rgb8));
    return s->rgb8.data ? LT_OK : lti_oom(err, lti_nbytes(&s->rgb8));
}

static int pool_size(const lti_plan *p) {
    int n = POOL_CHUNKS * p->take.chunk * LTI_FRAMES_PER_LATENT;
    return n < MAX_POOL ? n : MAX_POOL;
}

static size_t latent_bytes(const lt_engine *e, const lti_plan *p, int64_t n) {
    return sizeof(float) * (size_t)n * (size_t)e->info.latent_channels * (size_t)p->take.h *
           (size_t)p->take.w;
}

size_t lti_frames_bytes(const lt_engine *e, const lti_plan *p) {
    const size_t rgb = (size_t)p->width * (size_t)p->height * 3;
    const size_t seam = p->take.n_given && !p->take.clamp ? rgb * sizeof(int16_t) : 0;
    return rgb * (size_t)(pool_size(p) + LTI_FRAMES_PER_LATENT) + seam + /* and rgb8 */
           latent_bytes(e, p, N_LATENT * (int64_t)p->take.chunk + p->take.n_given);
}

static lt_status open_queues(lt_stream *s, lt_error *err) {
    const lti_plan *p = &s->plan;
    s->n_pool = pool_size(p);
    LT_TRY(lti_queue_ptr_init(&s->free_latents, N_LATENT, err));
    LT_TRY(lti_queue_ptr_init(&s->latents, N_LATENT, err));
    LT_TRY(lti_queue_ptr_init(&s->free_frames, s->n_pool, err));
    LT_TRY(lti_queue_ptr_init(&s->frames, s->n_pool, err));
    size_t latent = latent_bytes(s->e, p, p->take.chunk);
    size_t rgb = (size_t)p->width * (size_t)p->height * 3;
    for (int i = 0; i < N_LATENT; i++) {
        if (!(s->latent[i].data = malloc(latent))) return lti_oom(err, latent);
        lti_queue_ptr_push(&s->free_latents, &s->latent[i]);
    }
    for (int i = 0; i < s->n_pool; i++) {
        s->pool[i].owner = s;
        if (!lti_memory_fits(rgb) || !(s->pool[i].rgb = malloc(rgb))) return lti_oom(err, rgb);
        memset(s->pool[i].rgb, 0, rgb); /* really taken now, not when the first frame is written */
        lti_queue_ptr_push(&s->free_frames, &s->pool[i]);
    }
    return LT_OK;
}

static lt_status start_threads(lt_stream *s, lt_error *err) {
    s->dit_running = pthread_create(&s->dit_thread, NULL, denoise, s) == 0;
    s->vae_running = s->dit_running && pthread_create(&s->vae_thread, NULL, decode, s) == 0;
    if (s->vae_running) return LT_OK;
    return lti_fail(err, LT_ENOMEM, "stream: cannot start a thread; raise the process limit");
}

static lt_status stream_init(lt_stream *s, const lt_stream_params *p, lt_error *err) {
    if (!s->e->dit || !(s->e->text || s->e->text_rows) || !(s->e->vae || s->e->tae))
        return lti_fail(err, LT_EINVAL,
                        "stream: the engine was opened without all parts; open it with "
                        "parts = 0");
    if (!p->prompt || !*p->prompt)
        return lti_fail(err, LT_EINVAL, "prompt: empty; give -p TEXT or --prompt-file FILE");
    s->progress = p->progress;
    s->opaque = p->opaque;
    LT_TRY(lti_plan_make(s->e, p, &s->plan, err));
    LT_TRY(lti_budget_stream(s->e, &s->plan, &s->memory, err));
    LT_TRY(open_queues(s, err));
    const int64_t picture = (int64_t)s->plan.width * s->plan.height * 3;
    if (p->n_init) LT_TRY(lti_given_encode(s->e, &s->plan, p->init_rgb, &s->given, err));
    if (p->n_init && !s->plan.take.clamp)
        LT_TRY(lti_seam_open(&s->seam, p->init_rgb + (p->n_init - 1) * picture, picture, err));
    s->plan.take.given = s->given;
    LT_TRY(open_denoiser(s, p, err));
    LT_TRY(open_decoder(s, err));
    return start_threads(s, err);
}

lt_status lt_stream_open(lt_engine *e, const lt_stream_params *params, lt_stream **out,
                         lt_error *err) {
    lt_stream_params p;
    *out = NULL;
    lti_stream_params_read(&p, params);
    lt_stream *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->e = e;
    pthread_mutex_init(&s->mu, NULL);
    lt_status st = stream_init(s, &p, err);
    if (st < 0) lt_stream_close(&s);
    *out = s;
    return st;
}

/* ---- the caller's side ---------------------------------------------------------------------- */

lt_status lt_stream_next(lt_stream *s, lt_frame *out) {
    void *item;
    memset(out, 0, sizeof *out);
    if (atomic_load(&s->held) >= s->n_pool) return LT_AGAIN;
    if (!lti_queue_ptr_pop(&s->frames, &item)) {
        pthread_mutex_lock(&s->mu);
        lt_status st = s->err.code < 0 ? s->err.code : LT_END;
        pthread_mutex_unlock(&s->mu);
        return st;
    }
    const ready_frame *r = item;
    *out = (lt_frame){.rgb = r->frame->rgb,
                      .width = s->plan.width,
                      .height = s->plan.height,
                      .index = r->index,
                      .chunk = r->chunk,
                      .chunk_end = r->chunk_end,
                      .priv = r->frame};
    atomic_fetch_add(&s->held, 1);
    return LT_OK;
}

void lt_frame_release(lt_frame *f) {
    if (!f || !f->priv) return;
    pool_frame *frame = f->priv;
    lt_stream *s = frame->owner;
    memset(f, 0, sizeof *f);
    atomic_fetch_sub(&s->held, 1);
    lti_queue_ptr_push(&s->free_frames, frame);
}

/* The worker writes err at most once and never clears it, so the text is stable once seen. */
const char *lt_stream_error(const lt_stream *s) { return s->err.code < 0 ? s->err.msg : ""; }

/* The caller has the last frame of chunk k. The pool's frames may all be of later chunks, the
 * decoder is at the one behind them, and one more chunk is being denoised. */
static int64_t run_ahead(const lt_stream *s) {
    const int64_t per = (int64_t)s->plan.take.chunk * LTI_FRAMES_PER_LATENT;
    return (s->n_pool + per - 1) / per + N_LATENT;
}

/* A wish before the promised chunk adds nothing, and whether that chunk is made already depends on
 * the speed: so the promise stands. From it on, the older wish has come true for certain. */
int64_t lt_stream_reanchor(lt_stream *s, int64_t chunk) {
    if (chunk < 0) chunk = 0;
    if (chunk > INT32_MAX) chunk = INT32_MAX; /* decades */
    pthread_mutex_lock(&s->mu);
    if (chunk >= s->reanchor) s->reanchor = lti_take_reanchor(s->take, chunk + run_ahead(s) + 1);
    const int64_t first = s->reanchor;
    pthread_mutex_unlock(&s->mu);
    return first;
}

void lt_stream_cancel(lt_stream *s) { atomic_store(&s->cancel, 1); }

void lt_stream_close(lt_stream **ps) {
    lt_stream *s = ps ? *ps : NULL;
    if (!s) return;
    lt_stream_cancel(s);
    lti_queue_ptr *all[] = {&s->free_latents, &s->latents, &s->free_frames, &s->frames};
    for (int i = 0; i < 4; i++)
        if (all[i]->slot) lti_queue_ptr_close(all[i]);
    if (s->dit_running) pthread_join(s->dit_thread, NULL);
    if (s->vae_running) pthread_join(s->vae_thread, NULL);
    lti_take_close(&s->take);
    if (s->vae_dev) {
        s->vae_dev->ops.free(s->vae_dev, s->rgb8.data);
        lti_decoder_close(&s->decoder);
    }
    lti_dev_close(&s->vae_dev);
    lti_dev_close(&s->dit_dev);
    for (int i = 0; i < N_LATENT; i++) free(s->latent[i].data);
    for (int i = 0; i < s->n_pool; i++) free(s->pool[i].rgb);
    for (int i = 0; i < LTI_MAX_PROMPT; i++) free(s->prompt_rows[i]);
    free(s->given);
    lti_seam_close(&s->seam);
    for (int i = 0; i < 4; i++)
        if (all[i]->slot) lti_queue_ptr_destroy(all[i]);
    pthread_mutex_destroy(&s->mu);
    free(s);
    *ps = NULL;
}

void lt_stream_get_info(const lt_stream *s, lt_stream_info *info, size_t size) {
    const lti_plan *p = &s->plan;
    lt_stream_info i = {.struct_size = size,
                        .width = p->width,
                        .height = p->height,
                        .chunk = p->take.chunk,
                        .window = p->take.window,
                        .sink = p->take.sink,
                        .sink_policy = LT_SINK_NONE + (int32_t)p->take.policy,
                        .mode = p->take.rolling ? LT_MODE_ROLLING : LT_MODE_CHUNK,
                        .n_step = p->take.schedule.n_step,
                        .fps = s->e->info.fps,
                        .flow_shift = p->shift,
                        .prompt_tokens = s->prompt_tokens,
                        .prompt_tokens_used = s->prompt_tokens_used,
                        .compat = p->take.compat,
                        .prompt_switch = LT_SWITCH_NONE + (int32_t)p->take.on_switch,
                        .prompt_fade = p->take.lerp,
                        .n_prompts = p->take.n_prompt,
                        .init_mode = !s->given       ? 0
                                     : p->take.clamp ? LT_INIT_CLAMP
                                                     : LT_INIT_PREFILL,
                        .first = p->first,
                        .text_seconds = s->text_seconds,
                        .dit_seconds = atomic_load(&s->dit_seconds),
                        .vae_seconds = atomic_load(&s->vae_seconds)};
    size_t state, work, vae_state, vae_work;
    memcpy(i.timesteps, p->timesteps, sizeof i.timesteps);
    lti_take_bytes(s->take, &state, &work);
    lti_decoder_bytes(s->decoder, &vae_state, &vae_work);
    i.state_bytes = state + vae_state;
    i.work_bytes = work + vae_work;
    i.mem_dit = s->memory.dit;
    i.mem_text = s->memory.text;
    i.mem_vae = s->memory.vae;
    i.mem_cache = s->memory.cache;
    i.mem_activations = s->memory.activations;
    i.mem_vae_state = s->memory.vae_state;
    i.mem_frames = s->memory.frames;
    i.mem_total = lti_memory_total(&s->memory);
    memcpy(info, &i, size < sizeof i ? size : sizeof i);
}
