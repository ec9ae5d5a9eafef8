/* SPDX-License-Identifier: Apache-2.0
 * pipeline/params.c - stream parameters: defaults from the model, ranges, the derived plan.
 *
 * Pixel frames and latent frames: the first latent frame decodes to 1 picture, every later one to
 * 4, so n pictures need 1 + ceil((n-1)/4) latent frames, rounded up to whole chunks. */
#include <string.h>
#include "base/error.h"
#include "pipeline/engine.h"
#include "pipeline/given.h"

#define MAX_FRAMES ((int64_t)1 << 40)

void lt_stream_params_init_sized(lt_stream_params *p, size_t size) {
    lt_stream_params full = {.window = LT_UNSET, .sink = LT_UNSET};
    if (size > sizeof full) size = sizeof full;
    full.struct_size = size;
    memcpy(p, &full, size);
}

void lti_stream_params_read(lt_stream_params *full, const lt_stream_params *p) {
    lt_stream_params_init(full);
    if (p) memcpy(full, p, p->struct_size < sizeof *full ? p->struct_size : sizeof *full);
}

static lt_status in_range(const char *what, int64_t v, int64_t lo, int64_t hi, lt_error *err) {
    if (v >= lo && v <= hi) return LT_OK;
    return lti_fail(err, LT_EINVAL, "%s: %lld, expected %lld to %lld", what, (long long)v,
                    (long long)lo, (long long)hi);
}

static lt_status check_side(const char *what, int v, int multiple, lt_error *err) {
    LT_TRY(in_range(what, v, multiple, LTI_MAX_SIDE, err));
    if (v % multiple == 0) return LT_OK;
    int down = v / multiple * multiple;
    return lti_fail(err, LT_EINVAL, "%s: %d does not divide by %d; use %d or %d", what, v, multiple,
                    down, down + multiple);
}

/* Deep Forcing's own proportions for any geometry: recent is a chunk and a third, the chosen tokens
 * are a third of what else would fit. With 10 + 8 + 3 frames: 4 and 16. */
static void plan_deep(const lt_model_info *m, lti_take_config *c) {
    c->deep_recent = m->deep_recent ? m->deep_recent : c->chunk + (c->chunk + 2) / 3;
    int chosen = (c->window + c->chunk - c->deep_recent) / 3;
    c->deep_budget =
        m->deep_budget ? m->deep_budget : c->sink + c->deep_recent + (chosen > 1 ? chosen : 1);
    c->deep_reuse = m->deep_reuse;
}

/* Frame-cache geometry. `none` means no anchors, whatever sink says by default. */
static lt_status plan_cache(const lt_engine *e, const lt_stream_params *p, lti_take_config *c,
                            lt_error *err) {
    const lt_model_info *m = &e->info;
    int policy = p->sink_policy ? p->sink_policy : m->sink_policy;
    LT_TRY(in_range("sink-policy", policy, LT_SINK_NONE, LT_SINK_EMA, err));
    if (policy == LT_SINK_NONE && p->sink > 0)
        return lti_fail(err, LT_EINVAL,
                        "sink: %d frames with sink-policy none; use --sink 0 or another "
                        "policy",
                        p->sink);
    LT_TRY(in_range("compat", p->compat, 0, LT_OFF, err));
    c->policy = (lti_policy)(policy - LT_SINK_NONE);
    c->chunk = p->chunk ? p->chunk : m->chunk;
    c->window = p->window == LT_UNSET ? m->window : p->window;
    c->sink = policy == LT_SINK_NONE ? 0 : p->sink == LT_UNSET ? m->sink : p->sink;
    LT_TRY(in_range("chunk", c->chunk, 1, LTI_MAX_CHUNK, err));
    LT_TRY(in_range("window", c->window, 0, LTI_MAX_CACHED, err));
    LT_TRY(in_range("sink", c->sink, 0, LTI_MAX_CACHED, err));
    c->no_registers = p->no_registers != 0;
    c->compat = p->compat ? p->compat == LT_ON : m->compat != 0;
    c->ema = (float)m->ema;
    plan_deep(m, c);
    return LT_OK;
}

/* The first chunk that begins at pixel frame `frame` or later. */
static int64_t chunk_at(int64_t frame, int chunk) {
    int64_t latent = frame < 1 ? 0 : 1 + (frame - 1 + 3) / 4;
    return (latent + chunk - 1) / chunk;
}

static lt_status plan_switch(const lt_engine *e, const lt_stream_params *p, lti_take_config *c,
                             lt_error *err) {
    const lt_model_info *m = &e->info;
    const bool deep = c->policy == LTI_POLICY_DEEP;
    int how = p->prompt_switch ? p->prompt_switch : m->prompt_switch;
    if (!p->prompt_switch && deep && how != LT_SWITCH_LERP) how = LT_SWITCH_NONE;
    c->lerp = p->prompt_fade ? p->prompt_fade : m->prompt_fade;
    LT_TRY(in_range("prompt-switch", how, LT_SWITCH_NONE, LT_SWITCH_LERP, err));
    LT_TRY(in_range("prompt-fade", c->lerp, 1, LTI_MAX_FADE, err));
    c->on_switch = (lti_switch)(how - LT_SWITCH_NONE);
    if (!deep || c->on_switch == LTI_SWITCH_NONE || c->on_switch == LTI_SWITCH_LERP) return LT_OK;
    return lti_fail(
        err, LT_EINVAL,
        "prompt-switch: recache and flush need whole frames in the cache, and sink-policy "
        "deep keeps single tokens; use none or lerp");
}

/* When the later prompts begin; their text is added by whoever encodes it. */
static lt_status plan_prompts(const lt_stream_params *p, lti_plan *out, lt_error *err) {
    lti_take_config *c = &out->take;
    LT_TRY(in_range("prompts", p->n_prompts, 0, LTI_MAX_PROMPT, err));
    for (int i = 0; i < p->n_prompts; i++) {
        const lt_prompt *q = &p->prompts[i];
        if (!q->text || !*q->text)
            return lti_fail(err, LT_EINVAL, "prompts: number %d is empty; say what to show", i + 2);
        LT_TRY(in_range("prompts: frame", q->frame, 1, MAX_FRAMES, err));
        if (i > 0 && q->frame < p->prompts[i - 1].frame)
            return lti_fail(err, LT_EINVAL,
                            "prompts: frame %lld follows frame %lld; give them in order of time",
                            (long long)q->frame, (long long)p->prompts[i - 1].frame);
        if (q->cut && c->policy != LTI_POLICY_SLOT && c->policy != LTI_POLICY_EMA)
            return lti_fail(err, LT_EINVAL,
                            "prompts: a cut needs positions that count inside the cache; use "
                            "--sink-policy slot or ema, or no cut");
        int64_t chunk = chunk_at(out->first + q->frame, c->chunk);
        if (c->n_chunk && chunk >= c->n_chunk) break; /* never reached */
        out->prompt[i] = (lti_prompt){.chunk = chunk, .cut = q->cut != 0};
        c->n_prompt = i + 1;
    }
    return LT_OK;
}

static lt_status plan_schedule(const lt_engine *e, const lt_stream_params *p, lti_plan *out,
                               lt_error *err) {
    const lt_model_info *m = &e->info;
    lti_take_config *c = &out->take;
    int n = p->n_timesteps ? p->n_timesteps : m->n_step;
    int mode = p->mode ? p->mode : m->mode;
    LT_TRY(in_range("mode", mode, LT_MODE_CHUNK, LT_MODE_ROLLING, err));
    LT_TRY(in_range("timesteps", n, 1, LTI_MAX_STEPS, err));
    memcpy(out->timesteps, p->n_timesteps ? p->timesteps : m->timesteps,
           (size_t)n * sizeof(double));
    out->shift = p->flow_shift != 0 ? p->flow_shift : m->flow_shift;
    c->rolling = mode == LT_MODE_ROLLING;
    LT_TRY(lti_schedule_init(&c->schedule, out->timesteps, n, out->shift, err));
    c->first = c->schedule;
    if (e->defaults.n_first && !p->n_timesteps)
        LT_TRY(
            lti_schedule_init(&c->first, e->defaults.first, e->defaults.n_first, out->shift, err));
    return LT_OK;
}

lt_status lti_plan_make(const lt_engine *e, const lt_stream_params *p, lti_plan *out,
                        lt_error *err) {
    const lt_model_info *m = &e->info;
    memset(out, 0, sizeof *out);
    out->width = p->width ? p->width : m->width;
    out->height = p->height ? p->height : m->height;
    out->n_frames = p->n_frames;
    LT_TRY(check_side("width", out->width, m->size_multiple, err));
    LT_TRY(check_side("height", out->height, m->size_multiple, err));
    LT_TRY(in_range("frames", p->n_frames, 0, MAX_FRAMES, err));
    LT_TRY(plan_cache(e, p, &out->take, err));
    LT_TRY(plan_schedule(e, p, out, err));
    lti_take_config *c = &out->take;
    c->h = out->height / 8;
    c->w = out->width / 8;
    c->seed = p->seed;
    c->dtype = e->compute;
    LT_TRY(lti_given_plan(e, p, out, err));
    int64_t latent = out->n_frames ? 1 + (out->first + out->n_frames - 1 + 3) / 4 : 0;
    c->n_chunk = (latent + c->chunk - 1) / c->chunk;
    LT_TRY(plan_switch(e, p, c, err));
    return plan_prompts(p, out, err);
}
