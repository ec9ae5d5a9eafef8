/* SPDX-License-Identifier: Apache-2.0
 * cli/eval.c - `longtake eval`: one part of the model on given tensors, for comparison with others.
 */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static const char NOTES[] =
    "\nPARTs and their tensors, f32 (ids i32) in C order; T latent frames, h and w latent size:\n"
    "  text        in: none, --prompt            out: ids [n], text [text_len, D]\n"
    "  dit         in: x [T,C,h,w], t [T], text  out: flow [T,C,h,w], all frames see each other\n"
    "  rollout     in: noise [T,C,h,w], renoise [steps-1,T,C,h,w], text   out: latent [T,C,h,w]\n"
    "  vae-decode  in: latent [T,C,h,w]          out: rgb [1+4(T-1),3,8h,8w] in [-1,1]\n"
    "  vae-encode  in: rgb [1+4(T-1),3,H,W]      out: latent [T,C,H/8,W/8], normalised\n"
    "  tae-decode, tae-encode: the same with --tae FILE and rgb in [0,1]; tae-encode takes any\n"
    "              number of pictures, the last one is repeated up to a multiple of 4\n"
    "\nexample: longtake eval text -m models --prompt 'a red ball' --out text.safetensors\n";

static const char PARTS[] = "text, dit, rollout, vae-decode, vae-encode, tae-decode, tae-encode";

static int check(const cli *c) {
    if (c->n_arg == 0) return cli_usage_error(c, "eval: name a PART: %s", PARTS);
    if (lt_eval_needs(c->arg[0]) == 0)
        return cli_usage_error(c, "eval %s: unknown part; use %s", c->arg[0], PARTS);
    if (strncmp(c->arg[0], "tae-", 4) == 0 && !cli_given(c, OPT_TAE))
        return cli_usage_error(c, "eval %s: --tae FILE is missing", c->arg[0]);
    const bool text = strcmp(c->arg[0], "text") == 0;
    if (cli_given(c, OPT_PROMPT_FILE)) return cli_usage_error(c, "eval: give the prompt with -p");
    if (text != cli_given(c, OPT_PROMPT))
        return cli_usage_error(c,
                               text ? "eval text: --prompt is missing"
                                    : "eval: --prompt is only for text; the others read a tensor");
    if (text == cli_given(c, OPT_IN))
        return cli_usage_error(c, text ? "eval text: takes no --in" : "eval: --in FILE is missing");
    if (!cli_given(c, OPT_OUT)) return cli_usage_error(c, "eval: --out FILE is missing");
    return -1;
}

static int run_eval(cli *c) {
    const double start = cli_now();
    int code = check(c);
    if (code >= 0) return code;
    lt_engine *engine = NULL;
    if ((code = cli_open_engine(c, lt_eval_needs(c->arg[0]), &engine)) >= 0) return code;
    lt_model_info model;
    lt_engine_model(engine, &model, sizeof model);
    lt_stream_params sp;
    lt_stream_params_init(&sp);
    code = cli_stream_params(c, &model, &sp);
    if (code < 0) {
        lt_eval_params p = {.struct_size = sizeof p, .part = c->arg[0], .stream = &sp};
        p.in = c->opt[OPT_IN].text;
        p.out = c->opt[OPT_OUT].text;
        p.prompt = c->opt[OPT_PROMPT].text;
        lt_error err = {0};
        const lt_status st = lt_eval(engine, &p, &err);
        code = st < 0 ? cli_fail(c, st, false, err.msg) : EXIT_DONE;
    }
    lt_engine_close(&engine);
    if (code == EXIT_DONE && cli_given(c, OPT_JSON)) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "part", c->arg[0]);
        cli_add_text(o, "file", c->opt[OPT_OUT].text);
        cJSON_AddNumberToObject(o, "seconds", cli_now() - start);
        cli_print_json(stdout, o);
        cJSON_Delete(o);
    }
    return code;
}

const cli_command cli_eval = {"eval",
                              "PART -m DIR --in IN.safetensors --out OUT.safetensors [options]",
                              "Run one part of the model on given tensors.",
                              NOTES,
                              1,
                              run_eval};
