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

/* Beside the program: in a build folder of the source tree, or as installed. */
const char *cli_model_dir(const cli *c, char *buf, size_t size) {
    if (cli_given(c, OPT_MODEL)) return c->opt[OPT_MODEL].text;
    char exe[PATH_MAX];
    const ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len > 0 ? len : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    static const char *const places[] = {"models", "../models", "../share/longtake/models"};
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        const int n = snprintf(buf, size, "%s/%s", exe, places[i]);
        if (n > 0 && (size_t)n < size && is_model(buf)) return buf;
    }
    return is_model("models") ? "models" : NULL;
}

int cli_open_engine(const cli *c, int parts, lt_engine **engine) {
    char dir[PATH_MAX];
    static const char *const backend[] = {"auto", "ref", "cpu"};
    static const int dtype[] = {LT_DTYPE_F32, LT_DTYPE_BF16};
    lt_engine_params p;
    lt_engine_params_init(&p);
    p.model_dir = cli_model_dir(c, dir, sizeof dir);
    p.dit_path = c->opt[OPT_DIFFUSION_MODEL].text;
    p.text_path = c->opt[OPT_T5XXL].text;
    p.vae_path = c->opt[OPT_VAE].text;
    p.tokenizer_path = c->opt[OPT_TOKENIZER].text;
    p.backend = backend[c->opt[OPT_BACKEND].i];
    p.dtype = cli_given(c, OPT_DTYPE) ? dtype[c->opt[OPT_DTYPE].i] : LT_DTYPE_AUTO;
    p.threads = (int32_t)c->opt[OPT_THREADS].i;
    p.parts = parts;
    if (!p.model_dir && !p.dit_path && !p.text_path && !p.vae_path)
        return cli_usage_error(c, "no model: there is no models folder beside the program or here; "
                                  "give one with -m DIR");
    lt_error err = {0};
    const lt_status st = lt_engine_open(&p, engine, &err);
    return st == LT_OK ? -1 : cli_fail(c, st, false, err.msg);
}

int cli_stream_params(const cli *c, const lt_model_info *model, lt_stream_params *p) {
    static const int mode[] = {LT_MODE_CHUNK, LT_MODE_ROLLING};
    static const int policy[] = {LT_SINK_ABSOLUTE, LT_SINK_SLOT, LT_SINK_REALIGN, LT_SINK_NONE};
    if (cli_given(c, OPT_STEPS) && cli_given(c, OPT_TIMESTEPS))
        return cli_usage_error(c, "--steps and --timesteps: give only one of them");
    if (cli_given(c, OPT_MODE)) p->mode = mode[c->opt[OPT_MODE].i];
    if (cli_given(c, OPT_SINK_POLICY)) p->sink_policy = policy[c->opt[OPT_SINK_POLICY].i];
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
    static const char *const name[] = {"default", "none", "absolute", "slot", "realign"};
    return policy >= 0 && policy < 5 ? name[policy] : "unknown";
}
