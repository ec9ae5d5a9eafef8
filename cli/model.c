/* SPDX-License-Identifier: Apache-2.0
 * cli/model.c - from options to an engine and to stream parameters: shared by generate and eval. */
#include "cli/cli.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_model(const char *dir) {
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/transformer", dir);
    return n > 0 && n < (int)sizeof path && access(path, R_OK) == 0;
}

static bool is_presets(const char *dir) {
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof path, "%s/longtake.json", dir);
    return n > 0 && n < (int)sizeof path && access(path, R_OK) == 0;
}

/* models or models/presets beside the program: in a build folder of the source tree, or as
 * installed; else here. */
static const char *find_folder(const char *sub, bool (*is)(const char *), char *buf, size_t size) {
    char exe[PATH_MAX];
    const ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len > 0 ? len : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    static const char *const places[] = {"models", "../models", "../share/longtake/models"};
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        const int n = snprintf(buf, size, "%s/%s%s", exe, places[i], sub);
        if (n > 0 && (size_t)n < size && is(buf)) return buf;
    }
    const int n = snprintf(buf, size, "models%s", sub);
    return n > 0 && (size_t)n < size && is(buf) ? buf : NULL;
}

const char *cli_model_dir(const cli *c, char *buf, size_t size) {
    if (cli_given(c, OPT_MODEL)) return c->opt[OPT_MODEL].text;
    return find_folder("", is_model, buf, size);
}

const char *cli_preset_dir(char *buf, size_t size) {
    return find_folder("/presets", is_presets, buf, size);
}

int cli_find_preset(cli *c) {
    const char *name = c->opt[OPT_PRESET].text;
    char dir[PATH_MAX];
    if (!name) return -1;
    const size_t n = strlen(name);
    const bool is_path = strchr(name, '/') || (n > 5 && strcmp(name + n - 5, ".json") == 0);
    if (!is_path && !cli_preset_dir(dir, sizeof dir))
        return cli_usage_error(c,
                               "--preset %s: there are no presets beside the program or in "
                               "./models; give the path of a .json file",
                               name);
    const int len = is_path ? snprintf(c->preset, sizeof c->preset, "%s", name)
                            : snprintf(c->preset, sizeof c->preset, "%s/%s.json", dir, name);
    if (len > 0 && (size_t)len < sizeof c->preset && access(c->preset, R_OK) == 0) return -1;
    return cli_usage_error(c,
                           "--preset %s: there is no such preset; `longtake info --presets` lists "
                           "them",
                           name);
}

/* --backend and --device as one name; NULL after an error. */
static const char *backend_name(const cli *c) {
    static const char *const name[] = {"auto", "ref", "cpu", "cuda"};
    static const char *const card[] = {"cuda:0", "cuda:1", "cuda:2", "cuda:3", "cuda:4",
                                       "cuda:5", "cuda:6", "cuda:7", "cuda:8", "cuda:9"};
    const char *backend = name[c->opt[OPT_BACKEND].i];
    if (!cli_given(c, OPT_DEVICE)) return backend;
    if (strcmp(backend, "ref") != 0 && strcmp(backend, "cpu") != 0)
        return card[c->opt[OPT_DEVICE].i];
    cli_usage_error(c, "--device with --backend %s: it has no cards to choose from", backend);
    return NULL;
}

int cli_device_params(const cli *c, lt_engine_params *p) {
    static const int dtype[] = {LT_DTYPE_F32, LT_DTYPE_BF16, LT_DTYPE_FP8};
    lt_engine_params_init(p);
    p->backend = backend_name(c);
    p->dtype = cli_given(c, OPT_DTYPE) ? dtype[c->opt[OPT_DTYPE].i] : LT_DTYPE_AUTO;
    p->threads = (int32_t)c->opt[OPT_THREADS].i;
    p->max_ram_gib = c->opt[OPT_MAX_RAM].num;
    p->max_vram_gib = c->opt[OPT_MAX_VRAM].num;
    return p->backend ? -1 : EXIT_USAGE;
}

int cli_engine_params(const cli *c, char *dir, size_t size, lt_engine_params *p) {
    const int code = cli_device_params(c, p);
    if (code >= 0) return code;
    p->model_dir = cli_model_dir(c, dir, size);
    p->dit_path = c->opt[OPT_DIFFUSION_MODEL].text;
    p->text_path = c->opt[OPT_T5XXL].text;
    p->vae_path = c->opt[OPT_VAE].text;
    p->tokenizer_path = c->opt[OPT_TOKENIZER].text;
    p->text_cache_dir = c->opt[OPT_TEXT_CACHE].text;
    p->keep_text = cli_given(c, OPT_KEEP_TEXT);
    p->tae_path = c->opt[OPT_TAE].text;
    p->loras = c->lora;
    p->n_lora = c->n_lora;
    p->checkpoint_key = c->opt[OPT_CHECKPOINT_KEY].text;
    p->preset = *c->preset ? c->preset : NULL;
    if (p->model_dir || p->dit_path || p->text_path || p->vae_path || p->tae_path) return -1;
    return cli_usage_error(c, "no model: there is no models folder beside the program or here; "
                              "give one with -m DIR");
}

int cli_open_engine(const cli *c, int parts, lt_engine **engine) {
    char dir[PATH_MAX];
    lt_engine_params p;
    const int code = cli_engine_params(c, dir, sizeof dir, &p);
    if (code >= 0) return code;
    p.parts = parts;
    lt_error err = {0};
    const lt_status st = lt_engine_open(&p, engine, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

int cli_stream_params(const cli *c, const lt_model_info *model, lt_stream_params *p) {
    static const int mode[] = {LT_MODE_CHUNK, LT_MODE_ROLLING};
    static const int policy[] = {LT_SINK_ABSOLUTE, LT_SINK_SLOT, LT_SINK_REALIGN,
                                 LT_SINK_DEEP,     LT_SINK_EMA,  LT_SINK_NONE};
    static const int on_switch[] = {LT_SWITCH_RECACHE, LT_SWITCH_RECACHE_ALL, LT_SWITCH_FLUSH,
                                    LT_SWITCH_LERP, LT_SWITCH_NONE};
    if (cli_given(c, OPT_STEPS) && cli_given(c, OPT_TIMESTEPS))
        return cli_usage_error(c, "--steps and --timesteps: give only one of them");
    if (cli_given(c, OPT_MODE)) p->mode = mode[c->opt[OPT_MODE].i];
    if (cli_given(c, OPT_SINK_POLICY)) p->sink_policy = policy[c->opt[OPT_SINK_POLICY].i];
    if (cli_given(c, OPT_PROMPT_SWITCH)) p->prompt_switch = on_switch[c->opt[OPT_PROMPT_SWITCH].i];
    p->prompt_fade = (int32_t)c->opt[OPT_PROMPT_FADE].i;
    if (cli_given(c, OPT_COMPAT)) p->compat = c->opt[OPT_COMPAT].i == 0 ? LT_ON : LT_OFF;
    p->chunk = (int32_t)c->opt[OPT_CHUNK].i;
    p->window = cli_given(c, OPT_WINDOW) ? (int32_t)c->opt[OPT_WINDOW].i : LT_UNSET;
    p->sink = cli_given(c, OPT_SINK) ? (int32_t)c->opt[OPT_SINK].i : LT_UNSET;
    if (p->sink > 0 && p->sink_policy == LT_SINK_NONE)
        return cli_usage_error(c, "--sink %d with --sink-policy none: no anchors means --sink 0",
                               p->sink);
    p->flow_shift = c->opt[OPT_FLOW_SHIFT].num;
    p->no_registers = cli_given(c, OPT_NO_REGISTERS);
    const cli_value *list = &c->opt[OPT_TIMESTEPS];
    p->n_timesteps = list->n;
    memcpy(p->timesteps, list->list, sizeof list->list);
    const int steps = (int)c->opt[OPT_STEPS].i;
    if (steps > 0 && steps != model->n_step) { /* evenly from 1000 down; else the model's own */
        p->n_timesteps = steps;
        for (int i = 0; i < steps; i++) p->timesteps[i] = 1000.0 * (steps - i) / steps;
    }
    return -1;
}

const char *cli_mode_name(int mode) { return mode == LT_MODE_ROLLING ? "rolling" : "chunk"; }

const char *cli_policy_name(int policy) {
    static const char *const name[] = {"default", "none", "absolute", "slot",
                                       "realign", "deep", "ema"};
    return policy >= 0 && policy < 7 ? name[policy] : "unknown";
}

const char *cli_switch_name(int how) {
    static const char *const name[] = {"default",     "none",  "recache",
                                       "recache-all", "flush", "lerp"};
    return how >= 0 && how < 6 ? name[how] : "unknown";
}
