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
#include "base/rng.h"
#include "base/thread.h"
#include "pipeline/budget.h"

#define ALL_PARTS (LT_PART_DIT | LT_PART_TEXT | LT_PART_VAE)
#define MAX_RAM_GIB 1048576

void lt_engine_params_init_sized(lt_engine_params *p, size_t size) {
    if (size > sizeof *p) size = sizeof *p;
    memset(p, 0, size);
    p->struct_size = size;
}

static const char defaults_file[] = "longtake.json";

/* longtake.json over Self Forcing's settings, the preset over longtake.json. */
static lt_status read_defaults(lt_engine *e, const cJSON *json, const lti_preset *preset,
                               lt_error *err) {
    char name[sizeof e->info.name];
    lti_defaults_init(&e->defaults, &e->info);
    LT_TRY(lti_defaults_read(&e->defaults, json, defaults_file, err));
    if (!preset->json) return LT_OK;
    memcpy(name, e->info.name, sizeof name);
    LT_TRY(lti_defaults_read(&e->defaults, preset->json, preset->path, err));
    memcpy(e->info.preset, e->info.name, sizeof e->info.preset);
    memcpy(e->info.name, name, sizeof name); /* the model keeps its name */
    return LT_OK;
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

/* The diffusion model's weights, with what the caller adds to them. */
static lt_status open_dit_weights(lt_engine *e, const char *path, const lt_engine_params *p,
                                  lt_error *err) {
    if (p->n_lora < 0 || p->n_lora > LTI_MAX_LORA || (p->n_lora > 0 && !p->loras))
        return lti_fail(err, LT_EINVAL, "loras: %d files, expected 0 to %d", p->n_lora,
                        LTI_MAX_LORA);
    lti_lora_ref lora[LTI_MAX_LORA];
    for (int i = 0; i < p->n_lora; i++)
        lora[i] = (lti_lora_ref){p->loras[i].path, p->loras[i].scale};
    const lti_weights_options opt = {.root = p->checkpoint_key, .lora = lora, .n_lora = p->n_lora};
    return lti_weights_open_with(path, LTI_PART_DIT, &opt, &e->w_dit, err);
}

/* Everything is packed: nothing of the file need count as ours. */
static void done_with(lti_weights *w) {
    if (!w) return;
    lti_weights_release(w);
    lti_weights_evict(w);
}

/* What turns latents into pictures, and back. */
static lt_status open_pictures(lt_engine *e, const lti_folder *f, int parts, lt_error *err) {
    if (parts & LT_PART_VAE) {
        LT_TRY(lti_vae_open(e->dev, e->w_vae, f->vae_json, e->compute, &e->vae, err));
        e->info.vae_params = lti_vae_params(e->vae);
    }
    if (parts & LT_PART_ENCODER)
        LT_TRY(
            lti_vae_encoder_open(e->dev, e->w_vae, f->vae_json, e->compute, &e->vae_encoder, err));
    if (parts & LT_PART_TAE) {
        LT_TRY(lti_tae_open(e->dev, e->w_tae, f->tae_json, e->compute, &e->tae, err));
        e->info.vae_params += lti_tae_params(e->tae);
    }
    done_with(e->w_vae);
    done_with(e->w_tae);
    return LT_OK;
}

/* Maps the files: fast, and enough to know how much memory the parts will take. */
static lt_status map_parts(lt_engine *e, const lti_folder *f, const lt_engine_params *p, int parts,
                           lt_error *err) {
    if (parts & LT_PART_DIT) LT_TRY(open_dit_weights(e, f->dit, p, err));
    if (parts & LT_PART_TEXT) LT_TRY(lti_weights_open(f->text, LTI_PART_TEXT, &e->w_text, err));
    if (parts & (LT_PART_VAE | LT_PART_ENCODER))
        LT_TRY(lti_weights_open(f->vae, LTI_PART_VAE, &e->w_vae, err));
    if (parts & LT_PART_TAE) LT_TRY(lti_weights_open(f->tae, LTI_PART_TAE, &e->w_tae, err));
    return LT_OK;
}

static lti_dtype dit_compute(const lt_engine *e) { return e->fp8 ? LTI_F8_E4M3 : e->compute; }

static lt_status open_parts(lt_engine *e, const lti_folder *f, const lt_engine_params *p, int parts,
                            lt_error *err) {
    lt_model_info *m = &e->info;
    /* A text encoder from elsewhere that brings its own tokenizer does not want the folder's. */
    lti_text_options o = {.mode = p->keep_text ? LTI_TEXT_RESIDENT : LTI_TEXT_AUTO,
                          .cache_dir = p->text_cache_dir,
                          .prefer_inside = p->text_path && !p->tokenizer_path};
    LT_TRY(read_text_len(e, f, err));
    LT_TRY(map_parts(e, f, p, parts, err));
    lti_dit_config sizes; /* a model of another system is called by its name, not by its memory */
    if (parts & LT_PART_DIT) LT_TRY(lti_dit_infer(e->w_dit, f->dit_json, &sizes, err));
    LT_TRY(lti_budget_weights(e, parts, &o, err));
    if (parts & LT_PART_DIT) {
        LT_TRY(lti_dit_open(e->dev, e->w_dit, f->dit_json, dit_compute(e), &e->dit, err));
        const lti_dit_config *c = lti_dit_get_config(e->dit);
        m->latent_channels = c->in_ch;
        m->dit_params = c->n_param;
    }
    if (parts & LT_PART_TEXT) {
        o.mode = e->text_mode;
        LT_TRY(lti_text_open_with(e->dev, e->w_text, f->text_json, f->tokenizer, m->text_len,
                                  e->compute, &o, &e->text, err));
        m->text_params = lti_text_params(e->text);
    }
    return open_pictures(e, f, parts, err);
}

static lt_status check_latents(const lt_engine *e, const lti_weights *w, const char *does, int n,
                               lt_error *err) {
    const int want = lti_dit_get_config(e->dit)->out_ch;
    if (n == want) return LT_OK;
    return lti_fail(err, LT_EFORMAT,
                    "%s: %s %d latent channels, but %s makes %d; these parts are of different "
                    "models",
                    lti_weights_path(w), does, n, lti_weights_path(e->w_dit), want);
}

/* Parts that load one by one may still not belong together. */
static lt_status check_fit(const lt_engine *e, lt_error *err) {
    if (!e->dit) return LT_OK;
    if (e->text && lti_text_dim(e->text) != lti_dit_get_config(e->dit)->text_dim)
        return lti_fail(err, LT_EFORMAT,
                        "%s: text rows are %d wide, but %s expects %d; these parts are "
                        "of different models",
                        lti_weights_path(e->w_text), lti_text_dim(e->text),
                        lti_weights_path(e->w_dit), lti_dit_get_config(e->dit)->text_dim);
    if (e->vae) LT_TRY(check_latents(e, e->w_vae, "decodes", lti_vae_channels(e->vae), err));
    if (e->vae_encoder)
        LT_TRY(check_latents(e, e->w_vae, "encodes to", lti_vae_encoder_channels(e->vae_encoder),
                             err));
    if (e->tae) LT_TRY(check_latents(e, e->w_tae, "decodes", lti_tae_channels(e->tae), err));
    return LT_OK;
}

static lt_status open_folder(lt_engine *e, const lt_engine_params *params, int parts,
                             lt_error *err) {
    lt_engine_params p = *params;
    lti_preset preset;
    lti_folder f;
    LT_TRY(lti_preset_open(p.preset, p.model_dir, &preset, err));
    lti_preset_apply(&preset, &p);
    lt_status st = lti_folder_open(&p, parts, &f, err);
    if (st >= 0) {
        st = read_defaults(e, f.json, &preset, err);
        if (st >= 0) st = open_parts(e, &f, &p, parts, err);
        if (st >= 0) st = check_fit(e, err);
        lti_folder_close(&f);
    }
    lti_preset_close(&preset);
    return st;
}

/* GiB, 0 for none, to bytes. */
static lt_status read_limit(const char *what, double gib, size_t *out, lt_error *err) {
    if (!(gib >= 0 && gib <= MAX_RAM_GIB)) /* NaN too */
        return lti_fail(err, LT_EINVAL, "%s: %g, expected 0 (no limit) to %d", what, gib,
                        MAX_RAM_GIB);
    *out = (size_t)(gib * (double)(1 << 30));
    if (gib > 0 && *out == 0) *out = 1;
    return LT_OK;
}

/* Everything but the model. */
static lt_status engine_start(lt_engine *e, const lt_engine_params *p, lt_error *err) {
    const char *backend = p->backend ? p->backend : "auto";
    if (p->threads < 0 || p->threads > 1024)
        return lti_fail(err, LT_EINVAL, "threads: %d, expected 0 (all cores) to 1024", p->threads);
    if (p->dtype < LT_DTYPE_AUTO || p->dtype > LT_DTYPE_FP8)
        return lti_fail(err, LT_EINVAL, "dtype: %d, expected auto, f32, bf16 or fp8", p->dtype);
    LT_TRY(read_limit("max_ram_gib", p->max_ram_gib, &e->max_ram, err));
    LT_TRY(read_limit("max_vram_gib", p->max_vram_gib, &e->max_vram, err));
    e->threads = p->threads ? p->threads : lti_cpu_count();
    e->backend = strdup(backend);
    e->disable = p->disable ? strdup(p->disable) : NULL;
    if (!e->backend || (p->disable && !e->disable)) return lti_oom(err, 64);
    LT_TRY(lti_dev_open(backend, e->threads, p->disable, &e->dev, err));
    if (e->max_vram && e->dev->host)
        return lti_fail(err, LT_EINVAL,
                        "max_vram_gib: backend %s computes in the machine's own memory; limit it "
                        "with --max-ram",
                        e->dev->ops.name);
    e->fp8 = p->dtype == LT_DTYPE_FP8;
    if (e->fp8 && !e->dev->fp8)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "dtype fp8: backend %s has no 8-bit products here (a card of compute "
                        "capability 8.9 or later and cuBLASLt are needed); use bf16",
                        e->dev->ops.name);
    bool ref = strcmp(e->dev->ops.name, "ref") == 0;
    e->compute =
        p->dtype == LT_DTYPE_F32 || (p->dtype == LT_DTYPE_AUTO && ref) ? LTI_F32 : LTI_BF16;
    return LT_OK;
}

/* An engine without a model, and its parameters with those an older caller does not know. */
static lt_status engine_new(const lt_engine_params *params, lt_engine_params *p, lt_engine **out,
                            lt_error *err) {
    lt_engine_params_init(p);
    memcpy(p, params, params->struct_size < sizeof *p ? params->struct_size : sizeof *p);
    lt_engine *e = *out = calloc(1, sizeof *e);
    return e ? engine_start(e, p, err) : lti_oom(err, sizeof *e);
}

lt_status lt_engine_open(const lt_engine_params *params, lt_engine **out, lt_error *err) {
    lt_engine_params p;
    lt_status st = engine_new(params, &p, out, err);
    int parts = p.parts ? p.parts : ALL_PARTS;
    if (!p.parts && p.tae_path) parts = parts - LT_PART_VAE + LT_PART_TAE;
    if (st == LT_OK) st = open_folder(*out, &p, parts, err);
    if (st < 0) lt_engine_close(out);
    return st;
}

/* ---- a model of random numbers -------------------------------------------------------------- */

/* LongLive's geometry: what the README promises speed for. */
static void random_defaults(lt_engine *e) {
    lt_model_info *m = &e->info;
    lti_defaults_init(&e->defaults, m);
    snprintf(m->name, sizeof m->name, "random");
    m->window = 12;
    m->sink = 3;
}

static lt_status open_random(lt_engine *e, const lti_random_sizes *s, lt_error *err) {
    const int parts = LT_PART_DIT | LT_PART_VAE | LT_PART_TAE;
    const lti_text_options o = {.mode = LTI_TEXT_AUTO};
    const lti_folder no_json = {0};
    random_defaults(e);
    LT_TRY(lti_weights_random(LTI_PART_DIT, s, &e->w_dit, err));
    LT_TRY(lti_weights_random(LTI_PART_VAE, s, &e->w_vae, err));
    LT_TRY(lti_weights_random(LTI_PART_TAE, s, &e->w_tae, err));
    LT_TRY(lti_budget_weights(e, parts, &o, err));
    LT_TRY(lti_dit_open(e->dev, e->w_dit, NULL, dit_compute(e), &e->dit, err));
    done_with(e->w_dit);
    const size_t n = (size_t)e->info.text_len * (size_t)lti_dit_get_config(e->dit)->text_dim;
    e->info.dit_params = lti_dit_get_config(e->dit)->n_param;
    e->text_rows = malloc(n * sizeof *e->text_rows);
    if (!e->text_rows) return lti_oom(err, n * sizeof *e->text_rows);
    lti_randn(e->text_rows, (int64_t)n, 1, 0, 0);
    return open_pictures(e, &no_json, parts, err);
}

lt_status lti_engine_random(const lt_engine_params *params, const lti_random_sizes *s,
                            lt_engine **out, lt_error *err) {
    lt_engine_params p;
    lt_status st = engine_new(params, &p, out, err);
    if (st == LT_OK) st = open_random(*out, s, err);
    if (st < 0) lt_engine_close(out);
    return st;
}

void lt_engine_close(lt_engine **pe) {
    lt_engine *e = pe ? *pe : NULL;
    if (!e) return;
    if (e->dev) {
        lti_dit_close(e->dev, &e->dit);
        lti_text_close(e->dev, &e->text);
        lti_vae_close(e->dev, &e->vae);
        lti_vae_encoder_close(e->dev, &e->vae_encoder);
        lti_tae_close(e->dev, &e->tae);
    }
    lti_weights_close(&e->w_dit);
    lti_weights_close(&e->w_text);
    lti_weights_close(&e->w_vae);
    lti_weights_close(&e->w_tae);
    lti_dev_close(&e->dev);
    free(e->backend);
    free(e->disable);
    free(e->text_rows);
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
