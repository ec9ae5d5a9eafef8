/* SPDX-License-Identifier: Apache-2.0
 * pipeline/preset.c - a published system as a json file: settings, source, checkpoint.
 *
 * The settings of longtake.json (defaults.c), and
 * {"name", "system", "source", "note", "like",
 *  "checkpoint": {"repo", "file", "root", "loras": [{"file", "scale"}]}}
 * `file` names the diffusion model as in the repository. It is looked for in the model folder,
 * under that path and under its last part alone; where it is absent the folder's own diffusion
 * model is used, which then ought to be that checkpoint, converted. LoRAs only go with `file`.
 * Pitfall: file names are joined to the model folder, so they may not climb out of it. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/error.h"
#include "pipeline/defaults.h"

#define MAX_PRESET ((size_t)1 << 16)
#define MAX_LORA 4

static lt_status only_known(const cJSON *o, const char *const *keys, const char *file,
                            const char *where, lt_error *err) {
    for (const cJSON *i = o->child; i; i = i->next) {
        const char *const *k = keys;
        while (*k && strcmp(*k, i->string) != 0) k++;
        if (!*k)
            return lti_fail(err, LT_EFORMAT, "%s: unknown key '%.40s'%s; remove it or correct it",
                            file, i->string, where);
    }
    return LT_OK;
}

/* A file name inside the model folder, or NULL when the key is absent. */
static lt_status read_file(const cJSON *o, const char *key, const char *file, const char **out,
                           lt_error *err) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    *out = NULL;
    if (!v || cJSON_IsNull(v)) return LT_OK;
    const char *s = cJSON_GetStringValue(v);
    if (s && *s && *s != '/' && strlen(s) <= 512 && !strstr(s, "..")) {
        *out = s;
        return LT_OK;
    }
    return lti_fail(err, LT_EFORMAT,
                    "%s: %s is %.60s, expected a relative file name without '..'; correct the file",
                    file, key, s ? s : "no text");
}

/* *out: the file in dir, under its path or its last part; NULL when it is not there. */
static lt_status find(const char *dir, const char *name, char **out, lt_error *err) {
    struct stat st;
    *out = NULL;
    if (!dir || !name) return LT_OK;
    const char *slash = strrchr(name, '/');
    for (int i = 0; i < (slash ? 2 : 1); i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s", dir, i ? slash + 1 : name) < 0) return lti_oom(err, 512);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            *out = path;
            return LT_OK;
        }
        free(path);
    }
    return LT_OK;
}

static lt_status read_loras(lti_preset *p, const cJSON *list, const char *dir, lt_error *err) {
    static const char *const keys[] = {"file", "scale", NULL};
    if (!list || cJSON_IsNull(list)) return LT_OK;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > MAX_LORA)
        return lti_fail(err, LT_EFORMAT,
                        "%s: checkpoint.loras: expected a list of up to %d LoRAs; correct the file",
                        p->path, MAX_LORA);
    for (const cJSON *i = list->child; i; i = i->next) {
        const char *file;
        double scale = 1;
        if (!cJSON_IsObject(i))
            return lti_fail(
                err, LT_EFORMAT,
                "%s: checkpoint.loras: expected {\"file\", \"scale\"}; correct the file", p->path);
        LT_TRY(only_known(i, keys, p->path, " in checkpoint.loras", err));
        LT_TRY(read_file(i, "file", p->path, &file, err));
        LT_TRY(lti_json_read_num(i, p->path, "scale", -100, 100, &scale, err));
        if (!p->dit || !file) continue;
        char **path = &p->lora_path[p->n_lora];
        LT_TRY(find(dir, file, path, err));
        if (!*path)
            return lti_fail(err, LT_EIO,
                            "%s: %s is here, but its LoRA %s is not; get it too, or give "
                            "--diffusion-model FILE",
                            dir, p->dit, file);
        p->lora[p->n_lora++] = (lt_lora){*path, scale};
    }
    return LT_OK;
}

static lt_status read_checkpoint(lti_preset *p, const char *dir, lt_error *err) {
    static const char *const keys[] = {"repo", "file", "root", "loras", NULL};
    const cJSON *c = cJSON_GetObjectItemCaseSensitive(p->json, "checkpoint");
    const char *file;
    if (!c || cJSON_IsNull(c)) return LT_OK;
    if (!cJSON_IsObject(c))
        return lti_fail(err, LT_EFORMAT, "%s: checkpoint is no object; correct the file", p->path);
    LT_TRY(only_known(c, keys, p->path, " in checkpoint", err));
    LT_TRY(read_file(c, "file", p->path, &file, err));
    LT_TRY(find(dir, file, &p->dit, err));
    if (p->dit) p->root = lti_json_str(c, "root", NULL);
    return read_loras(p, cJSON_GetObjectItemCaseSensitive(c, "loras"), dir, err);
}

static lt_status read_preset(lti_preset *p, const char *dir, lt_error *err) {
    static const char *const keys[] = {"format",
                                       "name",
                                       "system",
                                       "source",
                                       "note",
                                       "like",
                                       "checkpoint",
                                       "width",
                                       "height",
                                       "fps",
                                       "mode",
                                       "chunk",
                                       "window",
                                       "sink",
                                       "sink_policy",
                                       "timesteps",
                                       "timesteps_first",
                                       "flow_shift",
                                       "prompt_switch",
                                       "prompt_fade",
                                       "ema",
                                       "deep",
                                       "compat",
                                       "init_mode",
                                       NULL};
    lt_model_info scratch;
    lti_defaults d;
    LT_TRY(lti_json_load(p->path, MAX_PRESET, &p->json, err));
    if (!p->json)
        return lti_fail(err, LT_EIO,
                        "%s: no such preset file; `longtake info --presets` lists them", p->path);
    if (!cJSON_IsObject(p->json))
        return lti_fail(err, LT_EFORMAT, "%s: holds no json object, expected {...}", p->path);
    LT_TRY(only_known(p->json, keys, p->path, "", err));
    lti_defaults_init(&d, &scratch);
    LT_TRY(lti_defaults_read(&d, p->json, p->path, err));
    return read_checkpoint(p, dir, err);
}

lt_status lti_preset_open(const char *path, const char *model_dir, lti_preset *out, lt_error *err) {
    *out = (lti_preset){0};
    if (!path) return LT_OK;
    if (!(out->path = strdup(path))) return lti_oom(err, strlen(path));
    lt_status st = read_preset(out, model_dir, err);
    if (st < 0) lti_preset_close(out);
    return st;
}

void lti_preset_close(lti_preset *p) {
    cJSON_Delete(p->json);
    free(p->path);
    free(p->dit);
    for (int i = 0; i < MAX_LORA; i++) free(p->lora_path[i]);
    *p = (lti_preset){0};
}

void lti_preset_apply(const lti_preset *p, lt_engine_params *ep) {
    if (!p->dit || ep->dit_path) return;
    ep->dit_path = p->dit;
    if (!ep->checkpoint_key) ep->checkpoint_key = p->root;
    if (ep->n_lora > 0) return;
    ep->loras = p->lora;
    ep->n_lora = p->n_lora;
}

/* A key that is absent, or null, which means the same. A name may be there twice; the first counts.
 */
static void fill(cJSON *o, const char *key, cJSON *value) {
    const cJSON *have = cJSON_GetObjectItemCaseSensitive(o, key);
    if (have && !cJSON_IsNull(have)) {
        cJSON_Delete(value);
        return;
    }
    while (cJSON_GetObjectItemCaseSensitive(o, key))
        cJSON_DeleteItemFromObjectCaseSensitive(o, key);
    cJSON_AddItemToObject(o, key, value);
}

lt_status lt_preset_json(const char *path, char **json, lt_error *err) {
    lti_preset p;
    lt_model_info m;
    lti_defaults d;
    *json = NULL;
    LT_TRY(lti_preset_open(path, NULL, &p, err));
    lti_defaults_init(&d, &m);
    lt_status st = lti_defaults_read(&d, p.json, p.path, err);
    if (st >= 0) {
        cJSON *o = p.json;
        fill(o, "mode", cJSON_CreateString(lti_mode_word[m.mode - LT_MODE_CHUNK]));
        fill(o, "chunk", cJSON_CreateNumber(m.chunk));
        fill(o, "window", cJSON_CreateNumber(m.window));
        fill(o, "sink", cJSON_CreateNumber(m.sink));
        fill(o, "sink_policy", cJSON_CreateString(lti_policy_word[m.sink_policy - LT_SINK_NONE]));
        fill(o, "timesteps", cJSON_CreateDoubleArray(m.timesteps, m.n_step));
        fill(o, "flow_shift", cJSON_CreateNumber(m.flow_shift));
        if (!(*json = cJSON_Print(o))) st = lti_oom(err, 4096);
    }
    lti_preset_close(&p);
    return st;
}
