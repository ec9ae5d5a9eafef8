/* SPDX-License-Identifier: Apache-2.0
 * pipeline/defaults.c - settings from json.
 *
 * {"format": 1, "name", "width", "height", "fps", "mode", "chunk", "window", "sink", "sink_policy",
 *  "timesteps": [..], "timesteps_first": [..], "flow_shift", "compat", "prompt_switch",
 *  "prompt_fade", "ema", "deep": {"budget", "recent", "reuse"}, "init_mode", "text_len"}
 * Every key may be missing; a wrong value is an error that names it. */
#include "pipeline/defaults.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"

const char *const lti_mode_word[2] = {"chunk", "rolling"};
const char *const lti_policy_word[6] = {"none", "absolute", "slot", "realign", "deep", "ema"};

void lti_defaults_init(lti_defaults *d, lt_model_info *info) {
    *info = (lt_model_info){.struct_size = sizeof *info,
                            .name = "wan",
                            .width = 832,
                            .height = 480,
                            .fps = 16,
                            .chunk = 3,
                            .window = 18,
                            .mode = LT_MODE_CHUNK,
                            .sink_policy = LT_SINK_ABSOLUTE,
                            .n_step = 4,
                            .timesteps = {1000, 750, 500, 250},
                            .flow_shift = 5,
                            .text_len = 512,
                            .latent_channels = 16,
                            .size_multiple = 16,
                            .prompt_switch = LT_SWITCH_RECACHE,
                            .prompt_fade = 4,
                            .ema = 0.999,
                            .deep_reuse = 7};
    *d = (lti_defaults){.info = info};
}

/* The list `key` as timesteps before the shift; *n stays when it is absent. */
static lt_status read_timesteps(const cJSON *j, const char *file, const char *key, double shift,
                                double *list, int *n, lt_error *err) {
    lti_schedule s;
    lt_error why = {0};
    LT_TRY(lti_json_read_list(j, file, key, list, LTI_MAX_STEPS, n, err));
    if (*n > 0 && lti_schedule_init(&s, list, *n, shift, &why) < 0)
        return lti_fail(err, LT_EFORMAT, "%s: %s; correct the file", file, why.msg);
    return LT_OK;
}

/* Name for people; cut to the field between UTF-8 characters. */
static void read_name(const cJSON *j, char *out, size_t size) {
    const char *name = lti_json_str(j, "name", NULL);
    if (!name) return;
    snprintf(out, size, "%s", name);
    size_t n = strlen(out);
    if (n + 1 < size) return;
    while (n > 0 && ((unsigned char)out[n - 1] & 0xC0u) == 0x80u) n--;
    if (n > 0 && (unsigned char)out[n - 1] >= 0xC0u) out[n - 1] = '\0';
}

static lt_status read_picture(lt_model_info *m, const cJSON *j, const char *f, lt_error *err) {
    read_name(j, m->name, sizeof m->name);
    LT_TRY(lti_json_read_int(j, f, "width", m->size_multiple, LTI_MAX_SIDE, &m->width, err));
    LT_TRY(lti_json_read_int(j, f, "height", m->size_multiple, LTI_MAX_SIDE, &m->height, err));
    if (m->width % m->size_multiple || m->height % m->size_multiple)
        return lti_fail(err, LT_EFORMAT,
                        "%s: %dx%d pixels, expected multiples of %d; correct the file", f, m->width,
                        m->height, m->size_multiple);
    return lti_json_read_num(j, f, "fps", 0.01, 240, &m->fps, err);
}

/* A word of a list; the public enums count from 1 in the list's order. */
static lt_status read_enum(const cJSON *j, const char *f, const char *key, const char *const *words,
                           int n, int32_t *io, lt_error *err) {
    int i = *io - 1;
    LT_TRY(lti_json_read_word(j, f, key, words, n, &i, err));
    *io = i + 1;
    return LT_OK;
}

static lt_status read_cache(lt_model_info *m, const cJSON *j, const char *f, lt_error *err) {
    static const char *const no_yes[] = {"false", "true"};
    const cJSON *deep = cJSON_GetObjectItemCaseSensitive(j, "deep");
    const cJSON *compat = cJSON_GetObjectItemCaseSensitive(j, "compat");
    int word = m->compat;
    LT_TRY(lti_json_read_int(j, f, "chunk", 1, LTI_MAX_CHUNK, &m->chunk, err));
    LT_TRY(lti_json_read_int(j, f, "window", 0, LTI_MAX_CACHED, &m->window, err));
    LT_TRY(lti_json_read_int(j, f, "sink", 0, LTI_MAX_CACHED, &m->sink, err));
    LT_TRY(read_enum(j, f, "sink_policy", lti_policy_word, 6, &m->sink_policy, err));
    if (cJSON_IsBool(compat)) m->compat = cJSON_IsTrue(compat);
    else LT_TRY(lti_json_read_word(j, f, "compat", no_yes, 2, &word, err));
    LT_TRY(lti_json_read_num(j, f, "ema", 1e-6, 1 - 1e-6, &m->ema, err));
    if (deep && !cJSON_IsNull(deep) && !cJSON_IsObject(deep))
        return lti_fail(err, LT_EFORMAT,
                        "%s: deep is no object, expected {\"budget\", \"recent\", \"reuse\"}; "
                        "correct the file",
                        f);
    LT_TRY(lti_json_read_int(deep, f, "budget", 1, LTI_MAX_CACHED, &m->deep_budget, err));
    LT_TRY(lti_json_read_int(deep, f, "recent", 1, 2 * LTI_MAX_CHUNK, &m->deep_recent, err));
    return lti_json_read_int(deep, f, "reuse", 0, 255, &m->deep_reuse, err);
}

lt_status lti_defaults_read(lti_defaults *d, const cJSON *j, const char *f, lt_error *err) {
    static const char *const switches[] = {"none", "recache", "recache_all", "flush", "lerp"};
    static const char *const inits[] = {"clamp", "prefill"};
    lt_model_info *m = d->info;
    if (!j) return LT_OK;
    LT_TRY(read_picture(m, j, f, err));
    LT_TRY(read_cache(m, j, f, err));
    LT_TRY(read_enum(j, f, "mode", lti_mode_word, 2, &m->mode, err));
    LT_TRY(read_enum(j, f, "init_mode", inits, 2, &m->init_mode, err));
    LT_TRY(read_enum(j, f, "prompt_switch", switches, 5, &m->prompt_switch, err));
    LT_TRY(lti_json_read_int(j, f, "prompt_fade", 1, LTI_MAX_FADE, &m->prompt_fade, err));
    LT_TRY(lti_json_read_num(j, f, "flow_shift", 0.01, 100, &m->flow_shift, err));
    if (cJSON_HasObjectItem(j, "timesteps")) d->n_first = 0; /* they come together */
    LT_TRY(read_timesteps(j, f, "timesteps", m->flow_shift, m->timesteps, &m->n_step, err));
    return read_timesteps(j, f, "timesteps_first", m->flow_shift, d->first, &d->n_first, err);
}
