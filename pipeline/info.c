/* SPDX-License-Identifier: Apache-2.0
 * pipeline/info.c - what is in a model folder or a weight file, as JSON, without touching the
 * payload.
 *
 * folder: {"path","name","parts":{"transformer":{...},...},"missing":[...],"defaults":{...}}
 *         or, when it is no model folder, {"path","name","files":[{...}, ..]}
 * part, file: describe.c; `list`, every tensor, is given for single files only. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/error.h"
#include "pipeline/describe.h"
#include "pipeline/engine.h"

static lt_status add_part(cJSON *parts, cJSON *missing, const char *name, const char *path,
                          lti_kind part, lt_error *err) {
    if (!path) {
        cJSON_AddItemToArray(missing, cJSON_CreateString(name));
        return LT_OK;
    }
    return lti_describe_weights(cJSON_AddObjectToObject(parts, name), path, false, part, err);
}

/* A folder that is no model but has weight files in it, as a download of checkpoints. */
static lt_status describe_files(cJSON *o, const char *path, lt_error *err) {
    static const char *const suffix[] = {".safetensors", ".gguf", ".pt", ".pth"};
    struct dirent **list;
    const int n = scandir(path, &list, NULL, alphasort);
    cJSON *files = cJSON_AddArrayToObject(o, "files");
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name, *dot = strrchr(name, '.');
        char *full = NULL;
        bool weights = false;
        for (int k = 0; dot && dot != name && k < 4; k++) weights |= strcmp(dot, suffix[k]) == 0;
        if (weights && asprintf(&full, "%s/%s", path, name) >= 0) {
            lt_error why = {0};
            cJSON *f = cJSON_CreateObject();
            if (lti_describe_weights(f, full, false, LTI_KIND_UNKNOWN, &why) < 0) {
                cJSON_AddStringToObject(f, "path", full);
                cJSON_AddStringToObject(f, "use", why.msg);
            }
            cJSON_AddItemToArray(files, f);
            free(full);
        }
        free(list[i]);
    }
    if (n >= 0) free(list);
    if (cJSON_GetArraySize(files) > 0) return LT_OK;
    return lti_fail(err, LT_EFORMAT,
                    "%s: not a model folder; expected transformer/, text_encoder/, vae/ "
                    "and tokenizer/ in it, or weight files",
                    path);
}

static lt_status describe_folder(cJSON *o, const char *path, lt_error *err) {
    lti_folder f;
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = path;
    LT_TRY(lti_folder_open(&p, 0, &f, err));
    cJSON_AddStringToObject(o, "path", path);
    cJSON_AddStringToObject(o, "name", lti_json_str(f.json, "name", "wan"));
    cJSON *parts = cJSON_AddObjectToObject(o, "parts");
    cJSON *missing = cJSON_AddArrayToObject(o, "missing");
    lt_status st = add_part(parts, missing, "transformer", f.dit, LTI_KIND_DIT, err);
    if (st >= 0) st = add_part(parts, missing, "text_encoder", f.text, LTI_KIND_TEXT, err);
    if (st >= 0) st = add_part(parts, missing, "vae", f.vae, LTI_KIND_VAE, err);
    if (f.tokenizer)
        cJSON_AddStringToObject(cJSON_AddObjectToObject(parts, "tokenizer"), "path", f.tokenizer);
    else cJSON_AddItemToArray(missing, cJSON_CreateString("tokenizer"));
    if (f.json) cJSON_AddItemToObject(o, "defaults", cJSON_Duplicate(f.json, true));
    if (st >= 0 && cJSON_GetArraySize(missing) == 4) {
        cJSON_DeleteItemFromObject(o, "parts");
        cJSON_DeleteItemFromObject(o, "missing");
        cJSON_DeleteItemFromObject(o, "name");
        st = describe_files(o, path, err);
    }
    lti_folder_close(&f);
    return st;
}

static lt_status describe_file(cJSON *o, const char *path, lt_error *err) {
    bool known;
    LT_TRY(lti_describe_other(o, path, &known, err));
    return known ? LT_OK : lti_describe_weights(o, path, true, LTI_KIND_UNKNOWN, err);
}

lt_status lt_info_json(const char *path, char **json, lt_error *err) {
    struct stat st;
    *json = NULL;
    if (stat(path, &st) != 0)
        return lti_fail(err, LT_EIO,
                        "%s: no such file or folder; give a model folder or a weight file", path);
    cJSON *o = cJSON_CreateObject();
    if (!o) return lti_oom(err, sizeof *o);
    lt_status s = S_ISDIR(st.st_mode) ? describe_folder(o, path, err) : describe_file(o, path, err);
    if (s >= 0 && !(*json = cJSON_Print(o))) s = lti_oom(err, 4096);
    cJSON_Delete(o);
    return s;
}

void lt_free(void *p) { free(p); }

const char *lt_build_info(void) {
    return "longtake " LT_VERSION_STRING "; backends: " LT_BUILT_BACKENDS "; " LT_BUILT_LIBRARIES;
}
