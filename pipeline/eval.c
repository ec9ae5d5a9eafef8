/* SPDX-License-Identifier: Apache-2.0
 * pipeline/eval.c - run one part of the model on given tensors, so that anyone can hold it against
 * another implementation. Tensors in and out are f32 (ids i32), C order, in safetensors files.
 *
 *   text        --prompt                          -> ids [n], text [text_len, D]
 *   dit         x [T,C,h,w], t [T], text          -> flow [T,C,h,w]   one pass, no cache
 *   rollout     noise, renoise [S,T,C,h,w], text  -> latent [T,C,h,w]
 *   vae-decode  latent [T,C,h,w]                  -> rgb [1+4(T-1),3,8h,8w] in [-1,1]
 *   vae-encode  rgb [1+4(T-1),3,H,W] in [-1,1]    -> latent [T,C,H/8,W/8]
 *   tae-decode, tae-encode                           the same with rgb in [0,1]
 *
 * Every part looks at the shapes first, then adds up what it will take (budget.c), and only then
 * takes it: `start`. */
#include <math.h>
#include <string.h>
#include "base/error.h"
#include "pipeline/budget.h"
#include "pipeline/engine.h"

#define MAX_LATENT_FRAMES 4096
#define MAX_LATENT_SIDE (LTI_MAX_SIDE / 8)
#define MAX_TENSORS 4

typedef struct eval_run {
    lt_engine *e;
    const lt_eval_params *p;
    lti_dev *d;
    lti_weights *in;
    lti_arena work;
    void *dev_mem[4]; /* freed at the end */
    int n_dev;
    /* Tensors in host memory, f32: without data until `start`. */
    struct {
        const char *name; /* of an input; NULL: of an output */
        lti_tensor *t;
        void *data; /* freed at the end */
    } host[MAX_TENSORS];
    int n_host;
    lti_memory memory; /* with the weights */
    lt_error *err;
} eval_run;

static void *take_dev(eval_run *r, size_t bytes) {
    void *p = r->d->ops.alloc(r->d, bytes);
    if (p) r->dev_mem[r->n_dev++] = p;
    return p;
}

static void on_host(eval_run *r, const char *name, lti_tensor *t) {
    LT_ASSERT(r->n_host < MAX_TENSORS && t->dtype == LTI_F32);
    t->data = NULL;
    r->host[r->n_host].name = name;
    r->host[r->n_host++].t = t;
    r->memory.frames += lti_nbytes(t);
}

/* An f32 input: its shape, checked (-1: any). */
static lt_status input(eval_run *r, const char *name, int rank, const int64_t *n, lti_tensor *out) {
    LT_TRY(lti_weights_expect(r->in, name, rank, n, out, r->err));
    if (out->dtype != LTI_F32)
        return lti_fail(r->err, LT_EFORMAT, "%s: '%s' is %s, expected F32; convert it", r->p->in,
                        name, lti_dtype_name(out->dtype));
    on_host(r, name, out);
    return LT_OK;
}

/* The aligned copy of an input in data. */
static lt_status load(eval_run *r, const char *name, lti_tensor *t, void *data) {
    lti_tensor in;
    LT_TRY(lti_weights_get(r->in, name, t->rank, t->n, &in, r->err));
    lti_to_f32(&in, data);
    lti_weights_forget(r->in);
    lti_weights_evict(r->in);
    return LT_OK;
}

/* All shapes are known and r->memory is complete: takes the host tensors and reads the inputs. */
static lt_status start(eval_run *r) {
    LT_TRY(lti_budget_eval(r->e, &r->memory, r->err));
    for (int i = 0; i < r->n_host; i++) {
        lti_tensor *t = r->host[i].t;
        const size_t bytes = lti_nbytes(t);
        t->data = r->host[i].data = calloc(1, bytes ? bytes : 1);
        if (!t->data) return lti_oom(r->err, bytes);
        if (r->host[i].name) LT_TRY(load(r, r->host[i].name, t, t->data));
    }
    return LT_OK;
}

/* Latents [T,c,h,w] that the model can take. */
static lt_status latents(eval_run *r, const char *name, int64_t c, int multiple, lti_tensor *out) {
    LT_TRY(input(r, name, 4, (const int64_t[]){-1, c, -1, -1}, out));
    if (out->n[0] < 1 || out->n[0] > MAX_LATENT_FRAMES || out->n[2] < 1 || out->n[3] < 1 ||
        out->n[2] > MAX_LATENT_SIDE || out->n[3] > MAX_LATENT_SIDE || out->n[2] % multiple ||
        out->n[3] % multiple)
        return lti_fail(r->err, LT_EINVAL,
                        "%s: '%s' is [%lld,%lld,%lld,%lld], expected 1 to %d frames "
                        "and sides up to %d that divide by %d",
                        r->p->in, name, (long long)out->n[0], (long long)out->n[1],
                        (long long)out->n[2], (long long)out->n[3], MAX_LATENT_FRAMES,
                        MAX_LATENT_SIDE, multiple);
    return LT_OK;
}

static lt_status text_rows(eval_run *r, lti_tensor *out) {
    const lti_dit_config *c = lti_dit_get_config(r->e->dit);
    return input(r, "text", 2, (const int64_t[]){c->text_len, c->text_dim}, out);
}

static lt_status slab(eval_run *r) {
    r->work.cap = r->work.peak;
    r->work.used = 0;
    r->work.base = take_dev(r, r->work.cap);
    return r->work.base ? LT_OK : lti_oom(r->err, r->work.cap);
}

static lt_status eval_text(eval_run *r) {
    lti_text_rows rows = {0};
    if (!r->p->prompt)
        return lti_fail(r->err, LT_EINVAL, "eval text: no prompt; give --prompt TEXT");
    LT_TRY(lti_count_text(r->e, r->p->prompt, &r->memory, r->err));
    LT_TRY(start(r));
    LT_TRY(lti_text_encode(r->e->text, r->d, r->p->prompt, &rows, r->err));
    lti_named out[] = {
        {"ids", LTI_VIEW(rows.ids, LTI_I32, rows.n)},
        {"text", LTI_VIEW(rows.rows, LTI_F32, r->e->info.text_len, lti_text_dim(r->e->text))}};
    lt_status st = lti_safetensors_write(r->p->out, out, 2, r->err);
    lti_text_rows_free(&rows);
    return st;
}

static lt_status run_dit(eval_run *r, lti_dit_pass *p, lti_text_kv *kv, const float *text) {
    const lti_dit *dit = r->e->dit;
    r->d->measuring = true;
    lti_text_kv_set(kv, r->d, dit, &r->work, text);
    r->work.used = 0;
    lti_dit_forward(dit, r->d, &r->work, p);
    r->d->measuring = false;
    LT_TRY(slab(r));
    lti_text_kv_set(kv, r->d, dit, &r->work, text);
    r->work.used = 0;
    return lti_dit_forward(dit, r->d, &r->work, p);
}

static lt_status eval_dit(eval_run *r) {
    lti_tensor x, t, text, flow;
    LT_TRY(latents(r, "x", r->e->info.latent_channels, 2, &x));
    LT_TRY(input(r, "t", 1, (const int64_t[]){x.n[0]}, &t));
    LT_TRY(text_rows(r, &text));
    flow = x;
    on_host(r, NULL, &flow);
    LT_TRY(lti_count_pass(r->e, x, &r->memory, r->err));
    LT_TRY(start(r));
    void *dx = take_dev(r, lti_nbytes(&x)), *dflow = take_dev(r, lti_nbytes(&x));
    if (!dx || !dflow) return lti_oom(r->err, lti_nbytes(&x));
    lti_put(r->d, dx, x.data, lti_nbytes(&x));
    lti_text_kv *kv = NULL;
    LT_TRY(lti_text_kv_open(r->d, r->e->dit, &kv, r->err));
    lti_dit_pass p = {.x = x, .t = t.data, .text = kv, .out = flow};
    p.x.data = dx;
    p.out.data = dflow;
    lt_status st = run_dit(r, &p, kv, text.data);
    lti_text_kv_close(r->d, &kv);
    LT_TRY(st);
    lti_get(r->d, flow.data, dflow, lti_nbytes(&flow));
    LT_TRY(r->d->ops.sync(r->d, r->err));
    return lti_safetensors_write(r->p->out, &(lti_named){"flow", flow}, 1, r->err);
}

static lt_status run_take(eval_run *r, const lti_take_config *c, const float *text,
                          lti_tensor out) {
    lti_take *take = NULL;
    LT_TRY(lti_take_open(r->d, r->e->dit, c, text, &take, r->err));
    lt_status st = LT_OK;
    for (int64_t b = 0; b < c->n_chunk && st == LT_OK; b++)
        st = lti_take_next(take, lti_rows(out, b * c->chunk, c->chunk).data, r->err);
    lti_take_close(&take);
    return st;
}

static lt_status eval_rollout(eval_run *r) {
    lti_tensor noise, text, again = {0}, out;
    lt_stream_params sp;
    lti_plan plan;
    lti_stream_params_read(&sp, r->p->stream);
    LT_TRY(latents(r, "noise", r->e->info.latent_channels, 2, &noise));
    LT_TRY(text_rows(r, &text));
    sp.width = (int32_t)noise.n[3] * 8;
    sp.height = (int32_t)noise.n[2] * 8;
    LT_TRY(lti_plan_make(r->e, &sp, &plan, r->err));
    lti_take_config *c = &plan.take;
    c->first = c->schedule; /* renoise has one entry per transition of the common schedule */
    if (noise.n[0] % c->chunk)
        return lti_fail(r->err, LT_EINVAL,
                        "%s: 'noise' has %lld frames, expected a multiple of the "
                        "chunk (%d)",
                        r->p->in, (long long)noise.n[0], c->chunk);
    if (c->schedule.n_step > 1)
        LT_TRY(input(r, "renoise", 5,
                     (const int64_t[]){c->schedule.n_step - 1, noise.n[0], noise.n[1], noise.n[2],
                                       noise.n[3]},
                     &again));
    out = noise;
    on_host(r, NULL, &out);
    LT_TRY(lti_count_take(r->e, &plan, &r->memory, r->err));
    LT_TRY(start(r));
    c->n_chunk = noise.n[0] / c->chunk;
    c->noise = noise.data;
    c->renoise = again.data;
    LT_TRY(run_take(r, c, text.data, out));
    return lti_safetensors_write(r->p->out, &(lti_named){"latent", out}, 1, r->err);
}

/* ---- pictures ------------------------------------------------------------------------------- */

/* [n,H,W,3] at src, [-1,1] -> planes of frames first.. of out [.,3,H,W], clamped to [-1,1]; unit: as
 * [0,1]. */
static void to_planes(const float *src, lti_tensor out, int64_t first, int n, bool unit) {
    const float mul = unit ? 0.5f : 1.0f, add = unit ? 0.5f : 0.0f, low = unit ? 0.0f : -1.0f;
    int64_t px = out.n[2] * out.n[3];
    for (int i = 0; i < n; i++) {
        float *dst = lti_rows(out, first + i, 1).data;
        for (int64_t p = 0; p < px; p++)
            for (int c = 0; c < 3; c++)
                dst[c * px + p] = fminf(fmaxf(src[(i * px + p) * 3 + c] * mul + add, low), 1.0f);
    }
}

/* buf [4,H,W,3] */
static lt_status run_decode(eval_run *r, lti_decoder *s, lti_tensor z, bool unit, float *buf,
                            lti_tensor out) {
    int64_t done = 0;
    for (int64_t f = 0; f < z.n[0]; f++) {
        lti_tensor rgb;
        int n = lti_decode(s, lti_rows(z, f, 1).data, &rgb);
        lti_get(r->d, buf, rgb.data, lti_nbytes(&rgb));
        to_planes(buf, out, done, n, unit);
        done += n;
    }
    return r->d->ops.sync(r->d, r->err);
}

/* latent -> rgb by the VAE, in [-1,1], or the TAE, in [0,1] */
static lt_status eval_decode(eval_run *r, const lti_vae *vae, const lti_tae *tae) {
    lti_tensor z;
    LT_TRY(latents(r, "latent", tae ? lti_tae_channels(tae) : lti_vae_channels(vae), 1, &z));
    lti_tensor out = LTI_VIEW(NULL, LTI_F32, 1 + 4 * (z.n[0] - 1), 3, 8 * z.n[2], 8 * z.n[3]);
    lti_tensor buf = LTI_VIEW(NULL, LTI_F32, LTI_FRAMES_PER_LATENT, out.n[2], out.n[3], 3);
    const int h = (int)z.n[2], w = (int)z.n[3];
    on_host(r, NULL, &out);
    on_host(r, NULL, &buf);
    LT_TRY(lti_count_decoder(vae, tae, h, w, &r->memory, r->err));
    LT_TRY(start(r));
    lti_decoder *s = NULL;
    LT_TRY(lti_decoder_open(r->d, vae, tae, h, w, &s, r->err));
    lt_status st = run_decode(r, s, z, tae != NULL, buf.data, out);
    lti_decoder_close(&s);
    LT_TRY(st);
    return lti_safetensors_write(r->p->out, &(lti_named){"rgb", out}, 1, r->err);
}

static lt_status eval_vae_decode(eval_run *r) { return eval_decode(r, r->e->vae, NULL); }
static lt_status eval_tae_decode(eval_run *r) { return eval_decode(r, NULL, r->e->tae); }

/* rgb [N,3,H,W] of a size that can be encoded */
static lt_status pictures(eval_run *r, lti_tensor *out) {
    LT_TRY(input(r, "rgb", 4, (const int64_t[]){-1, 3, -1, -1}, out));
    if (out->n[0] >= 1 && out->n[0] <= 4 * MAX_LATENT_FRAMES && out->n[2] >= 8 && out->n[3] >= 8 &&
        out->n[2] <= LTI_MAX_SIDE && out->n[3] <= LTI_MAX_SIDE && out->n[2] % 8 == 0 &&
        out->n[3] % 8 == 0)
        return LT_OK;
    return lti_fail(r->err, LT_EINVAL,
                    "%s: 'rgb' is [%lld,3,%lld,%lld], expected 1 to %d pictures with sides that "
                    "divide by 8, up to %d",
                    r->p->in, (long long)out->n[0], (long long)out->n[2], (long long)out->n[3],
                    4 * MAX_LATENT_FRAMES, LTI_MAX_SIDE);
}

/* Every picture of planes [N,3,H,W] through s by way of one [H,W,3]; out [T,C,h,w]. unit: the planes
 * are in [0,1]. */
static lt_status run_encode(eval_run *r, lti_encoder *s, lti_tensor rgb, bool unit, lti_tensor one,
                            lti_tensor out) {
    int64_t px = rgb.n[2] * rgb.n[3], done = 0;
    const float mul = unit ? 2.0f : 1.0f, add = unit ? -1.0f : 0.0f;
    float *dst = one.data;
    for (int64_t f = 0; f < rgb.n[0]; f++) {
        const float *src = lti_rows(rgb, f, 1).data;
        for (int64_t p = 0; p < px; p++)
            for (int c = 0; c < 3; c++) dst[p * 3 + c] = src[c * px + p] * mul + add;
        if (done < out.n[0]) done += lti_encode(s, one, lti_rows(out, done, 1).data);
    }
    if (done < out.n[0]) done += lti_encode_finish(s, lti_rows(out, done, 1).data);
    LT_ASSERT(done == out.n[0]);
    return r->d->ops.sync(r->d, r->err);
}

/* rgb -> latent. The VAE takes 1 + 4 (T - 1) pictures; the TAE any number, it pads the end. */
static lt_status eval_encode(eval_run *r, const lti_vae_encoder *vae, const lti_tae *tae) {
    lti_tensor rgb;
    LT_TRY(pictures(r, &rgb));
    if (vae && rgb.n[0] % 4 != 1)
        return lti_fail(r->err, LT_EINVAL, "%s: 'rgb' has %lld pictures, expected 1, 5, 9, ...",
                        r->p->in, (long long)rgb.n[0]);
    int64_t t = (rgb.n[0] + 3) / 4, c = tae ? lti_tae_channels(tae) : lti_vae_encoder_channels(vae);
    lti_tensor out = LTI_VIEW(NULL, LTI_F32, t, c, rgb.n[2] / 8, rgb.n[3] / 8);
    lti_tensor one = LTI_VIEW(NULL, LTI_F32, rgb.n[2], rgb.n[3], 3);
    const int h = (int)out.n[2], w = (int)out.n[3];
    on_host(r, NULL, &out);
    on_host(r, NULL, &one);
    LT_TRY(lti_count_encoder(vae, tae, h, w, &r->memory, r->err));
    LT_TRY(start(r));
    lti_encoder *s = NULL;
    LT_TRY(lti_encoder_open(r->d, vae, tae, h, w, &s, r->err));
    lt_status st = run_encode(r, s, rgb, tae != NULL, one, out);
    lti_encoder_close(&s);
    LT_TRY(st);
    return lti_safetensors_write(r->p->out, &(lti_named){"latent", out}, 1, r->err);
}

static lt_status eval_vae_encode(eval_run *r) { return eval_encode(r, r->e->vae_encoder, NULL); }
static lt_status eval_tae_encode(eval_run *r) { return eval_encode(r, NULL, r->e->tae); }

typedef struct eval_part {
    const char *name;
    int parts; /* lt_part bits it needs */
    bool needs_input;
    lt_status (*run)(eval_run *r);
} eval_part;

static const eval_part eval_parts[] = {
    {"text", LT_PART_TEXT, false, eval_text},
    {"dit", LT_PART_DIT, true, eval_dit},
    {"rollout", LT_PART_DIT, true, eval_rollout},
    {"vae-decode", LT_PART_VAE, true, eval_vae_decode},
    {"vae-encode", LT_PART_ENCODER, true, eval_vae_encode},
    {"tae-decode", LT_PART_TAE, true, eval_tae_decode},
    {"tae-encode", LT_PART_TAE, true, eval_tae_encode},
};

static const eval_part *find_part(const char *name) {
    for (size_t i = 0; name && i < sizeof eval_parts / sizeof *eval_parts; i++)
        if (strcmp(eval_parts[i].name, name) == 0) return &eval_parts[i];
    return NULL;
}

int32_t lt_eval_needs(const char *part) {
    const eval_part *p = find_part(part);
    return p ? p->parts : 0;
}

lt_status lt_eval(lt_engine *e, const lt_eval_params *p, lt_error *err) {
    const eval_part *part = find_part(p->part);
    if (!part)
        return lti_fail(err, LT_EINVAL,
                        "eval: unknown part '%s'; expected text, dit, rollout, vae-decode, "
                        "vae-encode, tae-decode or tae-encode",
                        p->part ? p->part : "");
    int have = (e->dit ? LT_PART_DIT : 0) | (e->text ? LT_PART_TEXT : 0) |
               (e->vae ? LT_PART_VAE : 0) | (e->vae_encoder ? LT_PART_ENCODER : 0) |
               (e->tae ? LT_PART_TAE : 0);
    if (part->parts & ~have)
        return lti_fail(err, LT_EINVAL, "eval %s: the engine was opened without that part",
                        part->name);
    if (!p->out || (part->needs_input && !p->in))
        return lti_fail(err, LT_EINVAL, "eval %s: give --in FILE and --out FILE", part->name);
    eval_run r = {.e = e, .p = p, .memory = e->memory, .err = err};
    lt_status st = lti_engine_dev(e, 0, &r.d, err);
    if (st >= 0 && part->needs_input) st = lti_weights_open(p->in, LTI_PART_NONE, &r.in, err);
    if (st >= 0) st = part->run(&r);
    for (int i = 0; i < r.n_dev; i++) r.d->ops.free(r.d, r.dev_mem[i]);
    for (int i = 0; i < r.n_host; i++) free(r.host[i].data);
    lti_weights_close(&r.in);
    lti_dev_close(&r.d);
    return st;
}
