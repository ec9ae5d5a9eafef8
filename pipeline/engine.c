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

static const char defaults_file[] = "longtake.json";

/* The list `key` as timesteps before the shift; *n stays when it is absent. */
static lt_status read_timesteps(const cJSON *j, const char *key, double shift, double *list, int *n,
                                lt_error *err) {
    lti_schedule s;
    lt_error why = {0};
    LT_TRY(lti_json_read_list(j, defaults_file, key, list, LTI_MAX_STEPS, n, err));
    if (*n > 0 && lti_schedule_init(&s, list, *n, shift, &why) < 0)
        return lti_fail(err, LT_EFORMAT, "%s: %s; correct the file", defaults_file, why.msg);
    return LT_OK;
}

/* Name for people; cut to the field between UTF-8 characters. */
static void read_name(const cJSON *j, char *out, size_t size) {
    snprintf(out, size, "%s", lti_json_str(j, "name", "wan"));
    size_t n = strlen(out);
    if (n + 1 < size) return;
    while (n > 0 && ((unsigned char)out[n - 1] & 0xC0u) == 0x80u) n--;
    if (n > 0 && (unsigned char)out[n - 1] >= 0xC0u) out[n - 1] = '\0';
}

/* Defaults of longtake.json over Self Forcing's own (spec: chunk 3, window 18, no sink, 4 steps).
 */
static lt_status read_defaults(lt_engine *e, const cJSON *j, lt_error *err) {
    static const char *const modes[] = {"chunk", "rolling"}; /* LT_MODE_CHUNK + i */
    static const char *const policies[] = {"none", "absolute", "slot", "realign"};
    const char *f = defaults_file;
    lt_model_info *m = &e->info;
    *m = (lt_model_info){.struct_size = sizeof *m,
                         .width = 832,
                         .height = 480,
                         .fps = 16,
                         .chunk = 3,
                         .window = 18,
                         .n_step = 4,
                         .timesteps = {1000, 750, 500, 250},
                         .flow_shift = 5,
                         .text_len = 512,
                         .latent_channels = 16,
                         .size_multiple = 16};
    int mode = 0, policy = 1;
    read_name(j, m->name, sizeof m->name);
    LT_TRY(lti_json_read_int(j, f, "width", m->size_multiple, LTI_MAX_SIDE, &m->width, err));
    LT_TRY(lti_json_read_int(j, f, "height", m->size_multiple, LTI_MAX_SIDE, &m->height, err));
    if (m->width % m->size_multiple || m->height % m->size_multiple)
        return lti_fail(err, LT_EFORMAT,
                        "%s: %dx%d pixels, expected multiples of %d; correct the file", f, m->width,
                        m->height, m->size_multiple);
    LT_TRY(lti_json_read_num(j, f, "fps", 0.01, 240, &m->fps, err));
    LT_TRY(lti_json_read_int(j, f, "chunk", 1, LTI_MAX_CHUNK, &m->chunk, err));
    LT_TRY(lti_json_read_int(j, f, "window", 0, LTI_MAX_CACHED, &m->window, err));
    LT_TRY(lti_json_read_int(j, f, "sink", 0, LTI_MAX_CACHED, &m->sink, err));
    LT_TRY(lti_json_read_num(j, f, "flow_shift", 0.01, 100, &m->flow_shift, err));
    LT_TRY(lti_json_read_word(j, f, "mode", modes, 2, &mode, err));
    LT_TRY(lti_json_read_word(j, f, "sink_policy", policies, 4, &policy, err));
    m->mode = LT_MODE_CHUNK + mode;
    m->sink_policy = LT_SINK_NONE + policy;
    LT_TRY(read_timesteps(j, "timesteps", m->flow_shift, m->timesteps, &m->n_step, err));
    return read_timesteps(j, "timesteps_first", m->flow_shift, e->first, &e->n_first, err);
}

/* Rows of text the diffusion model reads: its config says so; ours may only repeat it. */
static lt_status read_text_len(lt_engine *e, const lti_folder *f, lt_error *err) {
    int *n = &e->info.text_len, ours;
    LT_TRY(lti_json_read_int(f->dit_json, "transformer/config.json", "text_len", 1,
                             LTI_MAX_TEXT_LEN, n, err));
    ours = *n;
    LT_TRY(lti_json_read_int(f->json, defaults_file, "text_len", 1, LTI_MAX_TEXT_LEN, &ours, err));
    if (ours == *n) return LT_OK;
    return lti_fail(err, LT_EFORMAT,
                    "%s: text_len is %d, but the diffusion model's config.json says %d; correct "
                    "one of them",
                    defaults_file, ours, *n);
}

static lt_status open_parts(lt_engine *e, const lti_folder *f, int parts, lt_error *err) {
    lt_model_info *m = &e->info;
    LT_TRY(read_text_len(e, f, err));
    if (parts & LT_PART_DIT) {
        LT_TRY(lti_weights_open(f->dit, LTI_PART_DIT, &e->w_dit, err));
        LT_TRY(lti_dit_open(e->dev, e->w_dit, f->dit_json, e->compute, &e->dit, err));
        const lti_dit_config *c = lti_dit_get_config(e->dit);
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
    lt_status st = read_defaults(e, f.json, err);
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
    lt_model_info i = e->info;
    i.struct_size = size;
    memcpy(info, &i, size < sizeof i ? size : sizeof i);
}

lt_status lti_engine_dev(const lt_engine *e, int n_threads, lti_dev **out, lt_error *err) {
    return lti_dev_open(e->backend, n_threads ? n_threads : e->threads, e->disable, out, err);
}
