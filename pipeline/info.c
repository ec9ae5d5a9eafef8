/* SPDX-License-Identifier: Apache-2.0
 * pipeline/info.c - what is in a model folder or a weight file, as JSON, without touching the
 * payload.
 *
 * folder: {"path","name","parts":{"transformer":{...},...},"missing":[...],"defaults":{...}}
 * part, file: {"path","tensors","params","bytes","dtypes":{"BF16":n,...},
 *              "list":[{name,dtype,shape}]}; `list` is given for single files only. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "base/error.h"
#include "pipeline/engine.h"

static void add_shape(cJSON *item, const lti_tensor *t) {
    cJSON *shape = cJSON_AddArrayToObject(item, "shape");
    for (int i = 0; i < t->rank; i++)
        cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->n[i]));
}

static void describe(cJSON *o, const lti_weights *w, bool list) {
    int64_t params = 0, bytes = 0, count[LTI_DTYPE_COUNT] = {0};
    cJSON_AddStringToObject(o, "path", lti_weights_path(w));
    cJSON_AddNumberToObject(o, "tensors", lti_weights_count(w));
    cJSON *items = list ? cJSON_AddArrayToObject(o, "list") : NULL;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t);
        params += lti_numel(t);
        bytes += (int64_t)lti_nbytes(t);
        count[t->dtype]++;
        if (!items) continue;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", name);
        cJSON_AddStringToObject(item, "dtype", lti_dtype_name(t->dtype));
        add_shape(item, t);
        cJSON_AddItemToArray(items, item);
    }
    cJSON_AddNumberToObject(o, "params", (double)params);
    cJSON_AddNumberToObject(o, "bytes", (double)bytes);
    cJSON *dtypes = cJSON_AddObjectToObject(o, "dtypes");
    for (int d = 0; d < LTI_DTYPE_COUNT; d++)
        if (count[d])
            cJSON_AddNumberToObject(dtypes, lti_dtype_name((lti_dtype)d), (double)count[d]);
}

static lt_status describe_path(cJSON *o, const char *path, lti_part part, bool list,
                               lt_error *err) {
    lti_weights *w = NULL;
    LT_TRY(lti_weights_open(path, part, &w, err));
    describe(o, w, list);
    lti_weights_close(&w);
    return LT_OK;
}

static lt_status add_part(cJSON *parts, cJSON *missing, const char *name, const char *path,
                          lti_part part, lt_error *err) {
    if (!path) {
        cJSON_AddItemToArray(missing, cJSON_CreateString(name));
        return LT_OK;
    }
    return describe_path(cJSON_AddObjectToObject(parts, name), path, part, false, err);
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
    lt_status st = add_part(parts, missing, "transformer", f.dit, LTI_PART_DIT, err);
    if (st >= 0) st = add_part(parts, missing, "text_encoder", f.text, LTI_PART_TEXT, err);
    if (st >= 0) st = add_part(parts, missing, "vae", f.vae, LTI_PART_VAE, err);
    if (f.tokenizer)
        cJSON_AddStringToObject(cJSON_AddObjectToObject(parts, "tokenizer"), "path", f.tokenizer);
    else cJSON_AddItemToArray(missing, cJSON_CreateString("tokenizer"));
    if (f.json) cJSON_AddItemToObject(o, "defaults", cJSON_Duplicate(f.json, true));
    if (st >= 0 && cJSON_GetArraySize(missing) == 4)
        st = lti_fail(err, LT_EFORMAT,
                      "%s: not a model folder; expected transformer/, text_encoder/, vae/ "
                      "and tokenizer/ in it",
                      path);
    lti_folder_close(&f);
    return st;
}

/* A file's names say which part it is; they are shown under the engine's names. */
static lti_part guess_part(const char *path) {
    lti_weights *w = NULL;
    lti_part part = LTI_PART_NONE;
    if (lti_weights_open(path, LTI_PART_NONE, &w, NULL) < 0) return part;
    for (int i = 0; i < lti_weights_count(w) && part == LTI_PART_NONE; i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t);
        if (strstr(name, "patch_embedding.")) part = LTI_PART_DIT;
        if (strncmp(name, "decoder.", 8) == 0) part = LTI_PART_VAE;
        if (strstr(name, "shared.weight") || strstr(name, "token_embedding.")) part = LTI_PART_TEXT;
    }
    lti_weights_close(&w);
    return part;
}

lt_status lt_info_json(const char *path, char **json, lt_error *err) {
    static const char *const part_names[] = {"unknown", "transformer", "vae", "text_encoder"};
    struct stat st;
    *json = NULL;
    if (stat(path, &st) != 0)
        return lti_fail(err, LT_EIO,
                        "%s: no such file or folder; give a model folder or a weight file", path);
    cJSON *o = cJSON_CreateObject();
    if (!o) return lti_oom(err, sizeof *o);
    lt_status s;
    if (S_ISDIR(st.st_mode)) {
        s = describe_folder(o, path, err);
    } else {
        lti_part part = guess_part(path);
        cJSON_AddStringToObject(o, "part", part_names[part]);
        s = describe_path(o, path, part, true, err);
    }
    if (s >= 0 && !(*json = cJSON_Print(o))) s = lti_oom(err, 4096);
    cJSON_Delete(o);
    return s;
}

void lt_free(void *p) { free(p); }

const char *lt_build_info(void) {
    return "longtake " LT_VERSION_STRING
           "; backends: ref (C11), cpu (oneDNN); libav, libpng, sentencepiece";
}
