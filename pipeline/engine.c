/* SPDX-License-Identifier: Apache-2.0
 * pipeline/engine.c - open a model folder: map, check, pack; the model's defaults.
 *
 * After open an engine is read-only, so any number of streams share it. Sizes come from the
 * tensors; json only gives what tensors cannot say (head_dim, text length, latent statistics,
 * defaults). */
#include "pipeline/engine.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/thread.h"

#define ALL_PARTS (LT_PART_DIT | LT_PART_TEXT | LT_PART_VAE)

void lt_engine_params_init_sized(lt_engine_params *p, size_t size) {
    if (size > sizeof *p) size = sizeof *p;
    memset(p, 0, size);
    p->struct_size = size;
}

static int32_t policy_of(const char *name) {
    static const char *const names[] = {"none", "absolute", "slot", "realign"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) return LT_SINK_NONE + i;
    return LT_SINK_DEFAULT;
}

/* Defaults of longtake.json over Self Forcing's own (spec: chunk 3, window 18, no sink, 4 steps).
 */
static lt_status read_defaults(lt_engine *e, const lti_folder *f, lt_error *err) {
    static const double self_forcing[] = {1000, 750, 500, 250};
    const cJSON *j = f->json;
    lt_model_info *m = &e->info;
    m->struct_size = sizeof *m;
    snprintf(m->name, sizeof m->name, "%s", lti_json_str(j, "name", "wan"));
    m->width = lti_json_int(j, "width", 832);
    m->height = lti_json_int(j, "height", 480);
    m->fps = lti_json_num(j, "fps", 16);
    m->chunk = lti_json_int(j, "chunk", 3);
    m->window = lti_json_int(j, "window", 18);
    m->sink = lti_json_int(j, "sink", 0);
    m->flow_shift = lti_json_num(j, "flow_shift", 5);
    m->mode = strcmp(lti_json_str(j, "mode", "chunk"), "rolling") ? LT_MODE_CHUNK : LT_MODE_ROLLING;
    m->sink_policy = policy_of(lti_json_str(j, "sink_policy", "absolute"));
    m->size_multiple = 16;
    m->n_step = lti_json_nums(j, "timesteps", m->timesteps, LTI_MAX_STEPS);
    if (m->n_step <= 0) {
        m->n_step = 4;
        memcpy(m->timesteps, self_forcing, sizeof self_forcing);
    }
    e->n_first = lti_json_nums(j, "timesteps_first", e->first, LTI_MAX_STEPS);
    if (e->n_first < 0) e->n_first = 0;
    if (m->sink_policy == LT_SINK_DEFAULT || !(m->fps > 0 && m->fps <= 240))
        return lti_fail(err, LT_EFORMAT,
                        "longtake.json: sink_policy must be none, absolute, slot or "
                        "realign and fps in (0, 240]; correct the file");
    lti_schedule s;
    return e->n_first ? lti_schedule_init(&s, e->first, e->n_first, m->flow_shift, err) : LT_OK;
}

static lt_status open_parts(lt_engine *e, const lti_folder *f, int parts, lt_error *err) {
    lt_model_info *m = &e->info;
    m->text_len = lti_json_int(f->json, "text_len", lti_json_int(f->dit_json, "text_len", 512));
    m->latent_channels = 16;
    if (parts & LT_PART_DIT) {
        LT_TRY(lti_weights_open(f->dit, LTI_PART_DIT, &e->w_dit, err));
        LT_TRY(lti_dit_open(e->dev, e->w_dit, f->dit_json, e->compute, &e->dit, err));
        const lti_dit_config *c = lti_dit_get_config(e->dit);
        m->text_len = c->text_len;
        m->latent_channels = c->in_ch;
        m->dit_params = c->n_param;
    }
    if (parts & LT_PART_TEXT) {
        LT_TRY(lti_weights_open(f->text, LTI_PART_TEXT, &e->w_text, err));
        LT_TRY(lti_text_open(e->dev, e->w_text, f->text_json, f->tokenizer, m->text_len, e->compute,
                             &e->text, err));
        m->text_params = lti_text_params(e->text);
    }
    if (parts & LT_PART_VAE) {
        LT_TRY(lti_weights_open(f->vae, LTI_PART_VAE, &e->w_vae, err));
        LT_TRY(lti_vae_open(e->dev, e->w_vae, f->vae_json, e->compute, &e->vae, err));
        m->vae_params = lti_vae_params(e->vae);
    }
    return LT_OK;
}

/* Parts that load one by one may still not belong together. */
static lt_status check_fit(const lt_engine *e, lt_error *err) {
    if (e->dit && e->text && lti_text_dim(e->text) != lti_dit_get_config(e->dit)->text_dim)
        return lti_fail(err, LT_EFORMAT,
                        "%s: text rows are %d wide, but %s expects %d; these parts are "
                        "of different models",
                        lti_weights_path(e->w_text), lti_text_dim(e->text),
                        lti_weights_path(e->w_dit), lti_dit_get_config(e->dit)->text_dim);
    if (e->dit && e->vae && lti_vae_channels(e->vae) != lti_dit_get_config(e->dit)->out_ch)
        return lti_fail(err, LT_EFORMAT,
                        "%s: decodes %d latent channels, but %s makes %d; these parts "
                        "are of different models",
                        lti_weights_path(e->w_vae), lti_vae_channels(e->vae),
                        lti_weights_path(e->w_dit), lti_dit_get_config(e->dit)->out_ch);
    return LT_OK;
}

static lt_status engine_init(lt_engine *e, const lt_engine_params *p, lt_error *err) {
    int parts = p->parts ? p->parts : ALL_PARTS;
    const char *backend = p->backend ? p->backend : "auto";
    if (p->threads < 0 || p->threads > 1024)
        return lti_fail(err, LT_EINVAL, "threads: %d, expected 0 (all cores) to 1024", p->threads);
    if (p->dtype < LT_DTYPE_AUTO || p->dtype > LT_DTYPE_BF16)
        return lti_fail(err, LT_EINVAL, "dtype: %d, expected auto, f32 or bf16", p->dtype);
    e->threads = p->threads ? p->threads : lti_cpu_count();
    e->backend = strdup(backend);
    e->disable = p->disable ? strdup(p->disable) : NULL;
    if (!e->backend || (p->disable && !e->disable)) return lti_oom(err, 64);
    LT_TRY(lti_dev_open(backend, e->threads, p->disable, &e->dev, err));
    bool ref = strcmp(e->dev->ops.name, "ref") == 0;
    e->compute =
        p->dtype == LT_DTYPE_F32 || (p->dtype == LT_DTYPE_AUTO && ref) ? LTI_F32 : LTI_BF16;
    lti_folder f;
    LT_TRY(lti_folder_open(p, parts, &f, err));
    lt_status st = read_defaults(e, &f, err);
    if (st >= 0) st = open_parts(e, &f, parts, err);
    if (st >= 0) st = check_fit(e, err);
    lti_folder_close(&f);
    return st;
}

lt_status lt_engine_open(const lt_engine_params *params, lt_engine **out, lt_error *err) {
    lt_engine_params p;
    *out = NULL;
    lt_engine_params_init(&p);
    memcpy(&p, params, params->struct_size < sizeof p ? params->struct_size : sizeof p);
    lt_engine *e = calloc(1, sizeof *e);
    if (!e) return lti_oom(err, sizeof *e);
    lt_status st = engine_init(e, &p, err);
    if (st < 0) lt_engine_close(&e);
    *out = e;
    return st;
}

void lt_engine_close(lt_engine **pe) {
    lt_engine *e = pe ? *pe : NULL;
    if (!e) return;
    if (e->dev) {
        lti_dit_close(e->dev, &e->dit);
        lti_text_close(e->dev, &e->text);
        lti_vae_close(e->dev, &e->vae);
    }
    lti_weights_close(&e->w_dit);
    lti_weights_close(&e->w_text);
    lti_weights_close(&e->w_vae);
    lti_dev_close(&e->dev);
    free(e->backend);
    free(e->disable);
    free(e);
    *pe = NULL;
}

void lt_engine_model(const lt_engine *e, lt_model_info *info, size_t size) {
    if (size > sizeof *info) size = sizeof *info;
    memcpy(info, &e->info, size);
    info->struct_size = size;
}

lt_status lti_engine_dev(const lt_engine *e, int n_threads, lti_dev **out, lt_error *err) {
    return lti_dev_open(e->backend, n_threads ? n_threads : e->threads, e->disable, out, err);
}
