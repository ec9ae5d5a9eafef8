/* SPDX-License-Identifier: Apache-2.0
 * pipeline/folder.c - find the parts of a model folder and read its json files.
 *
 * diffusers:  transformer/ text_encoder/ vae/ tokenizer/tokenizer.json (+ our longtake.json)
 * Wan's own:  diffusion_pytorch_model.safetensors[.index.json], Wan2.1_VAE.safetensors,
 *             models_t5_umt5-xxl-enc-bf16.safetensors, google/umt5-xxl/tokenizer.json;
 *             each weight file also as .pth
 * Both hold spiece.model too. tokenizer.json goes first because it does so in transformers, through
 * which Wan's code and diffusers read the folder, and the two do not always give the same ids.
 * Pitfall: Wan's own repositories name the DiT file like diffusers does, with original names
 * inside. */
#include "pipeline/folder.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/error.h"

#define MAX_JSON ((size_t)1 << 20)

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

static char *join(const char *dir, const char *name) {
    char *out = NULL;
    return asprintf(&out, "%s/%s", dir, name) < 0 ? NULL : out;
}

/* *out = override, or the first candidate that exists in dir, or NULL. */
static lt_status find_part(const char *override, const char *dir, const char *const *names,
                           char **out, lt_error *err) {
    if (override) {
        if (!exists(override))
            return lti_fail(err, LT_EIO, "%s: no such file; check the path", override);
        *out = strdup(override);
        return *out ? LT_OK : lti_oom(err, strlen(override));
    }
    for (; dir && *names; names++) {
        char *path = join(dir, *names);
        if (!path) return lti_oom(err, strlen(dir));
        if (exists(path)) {
            *out = path;
            return LT_OK;
        }
        free(path);
    }
    return LT_OK;
}

/* One json object; *out NULL when there is no such file. Frees path, which may be NULL. */
static lt_status load_object(char *path, cJSON **out, lt_error *err) {
    if (!path) return lti_oom(err, 64);
    lt_status s = lti_json_load(path, MAX_JSON, out, err);
    if (s == LT_OK && *out && !cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
        s = lti_fail(err, LT_EFORMAT, "%s: holds no json object, expected {...}", path);
    }
    free(path);
    return s;
}

/* config.json of a part: in its folder or beside its file, else the model folder's own (a component
 * file given on its own is of the same build). */
static lt_status part_json(const char *part, const char *dir, const char *sub, cJSON **out,
                           lt_error *err) {
    struct stat st;
    if (!part || stat(part, &st) != 0) return LT_OK;
    const char *slash = strrchr(part, '/');
    int n = S_ISDIR(st.st_mode) ? (int)strlen(part) : slash ? (int)(slash - part) : 0;
    char *beside = NULL, *own = NULL;
    if (asprintf(&beside, "%.*s/config.json", n ? n : 1, n ? part : slash ? "/" : ".") < 0)
        return lti_oom(err, strlen(part));
    LT_TRY(load_object(beside, out, err));
    if (*out || !dir) return LT_OK;
    if (asprintf(&own, "%s/%s/config.json", dir, sub) < 0) return lti_oom(err, strlen(dir));
    return load_object(own, out, err);
}

static lt_status require(bool wanted, const char *path, const char *dir, const char *what,
                         const char *expected, const char *flag, lt_error *err) {
    if (!wanted || path) return LT_OK;
    if (!dir)
        return lti_fail(err, LT_EINVAL, "model: no %s given; use -m DIR or %s FILE", what, flag);
    return lti_fail(err, LT_EFORMAT, "%s: no %s in this model folder; expected %s, or give %s FILE",
                    dir, what, expected, flag);
}

static lt_status find_all(const lt_engine_params *p, int parts, lti_folder *f, lt_error *err) {
    static const char *const dit[] = {"transformer",
                                      "diffusion_pytorch_model.safetensors",
                                      "diffusion_pytorch_model.safetensors.index.json",
                                      "diffusion_pytorch_model.pt",
                                      "diffusion_pytorch_model.pth",
                                      NULL};
    static const char *const text[] = {"text_encoder", "models_t5_umt5-xxl-enc-bf16.safetensors",
                                       "models_t5_umt5-xxl-enc-bf16.pth", NULL};
    static const char *const vae[] = {"vae", "Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth", NULL};
    static const char *const tok[] = {"tokenizer/tokenizer.json",
                                      "tokenizer/spiece.model",
                                      "google/umt5-xxl/tokenizer.json",
                                      "google/umt5-xxl/spiece.model",
                                      "tokenizer.json",
                                      "spiece.model",
                                      NULL}; /* none: the text encoder's file may have it */
    const char *dir = p->model_dir;
    LT_TRY(find_part(p->dit_path, dir, dit, &f->dit, err));
    LT_TRY(find_part(p->text_path, dir, text, &f->text, err));
    LT_TRY(find_part(p->vae_path, dir, vae, &f->vae, err));
    LT_TRY(find_part(p->tokenizer_path, dir, tok, &f->tokenizer, err));
    LT_TRY(find_part(p->tae_path, NULL, NULL, &f->tae, err));
    LT_TRY(require(parts & LT_PART_DIT, f->dit, dir, "diffusion model",
                   "transformer/ or diffusion_pytorch_model.safetensors", "--diffusion-model",
                   err));
    LT_TRY(require(parts & LT_PART_TEXT, f->text, dir, "text encoder", "text_encoder/", "--t5xxl",
                   err));
    LT_TRY(require(parts & LT_PART_TAE, f->tae, NULL, "small autoencoder", "", "--tae", err));
    return require(parts & (LT_PART_VAE | LT_PART_ENCODER), f->vae, dir, "VAE", "vae/", "--vae",
                   err);
}

static lt_status read_json(const char *dir, lti_folder *f, lt_error *err) {
    if (dir) LT_TRY(load_object(join(dir, "longtake.json"), &f->json, err));
    LT_TRY(part_json(f->dit, dir, "transformer", &f->dit_json, err));
    LT_TRY(part_json(f->text, dir, "text_encoder", &f->text_json, err));
    LT_TRY(part_json(f->tae, NULL, "", &f->tae_json, err));
    return part_json(f->vae, dir, "vae", &f->vae_json, err);
}

lt_status lti_folder_open(const lt_engine_params *p, int parts, lti_folder *out, lt_error *err) {
    struct stat st;
    memset(out, 0, sizeof *out);
    if (p->model_dir && (stat(p->model_dir, &st) != 0 || !S_ISDIR(st.st_mode)))
        return lti_fail(err, LT_EIO, "%s: no such model folder; give -m DIR", p->model_dir);
    lt_status s = find_all(p, parts, out, err);
    if (s >= 0) s = read_json(p->model_dir, out, err);
    if (s < 0) lti_folder_close(out);
    return s;
}

void lti_folder_close(lti_folder *f) {
    free(f->dit);
    free(f->text);
    free(f->vae);
    free(f->tae);
    free(f->tokenizer);
    cJSON_Delete(f->json);
    cJSON_Delete(f->dit_json);
    cJSON_Delete(f->text_json);
    cJSON_Delete(f->vae_json);
    cJSON_Delete(f->tae_json);
    memset(f, 0, sizeof *f);
}
