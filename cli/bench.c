/* SPDX-License-Identifier: Apache-2.0
 * cli/bench.c - `longtake bench`: a whole model timed part by part, on this machine. */
#include "cli/cli.h"
#include <limits.h>
#include <stdio.h>

static const char NOTES[] =
    "\nOne large matmul of the same compute type is timed first and last: on a shared machine "
    "only\n"
    "the shares of its rate can be compared. Weights may be random (tools/make_full_size.py).\n"
    "--gpu: chunk 3, window 12, anchors 3, 4 steps and a clean pass, 832x480 unless -W and -H say\n"
    "otherwise; a stream's first chunks, until its memory is full, are not counted.\n"
    "\nexample: longtake bench --gpu --backend cuda\n"
    "example: longtake bench --full -m Wan2.1-T2V-1.3B -W 832 -H 480\n";

typedef struct bench_out {
    cJSON *list; /* NULL: a table for people */
} bench_out;

static void show(void *opaque, const char *name, double value, const char *unit) {
    bench_out *o = opaque;
    if (!o->list) {
        printf("%-44s %12.3f %s\n", name, value, unit);
        fflush(stdout);
        return;
    }
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", name);
    cJSON_AddNumberToObject(item, "value", value);
    cJSON_AddStringToObject(item, "unit", unit);
    cJSON_AddItemToArray(o->list, item);
}

static int run_bench(cli *c) {
    char dir[PATH_MAX];
    const bool gpu = cli_given(c, OPT_GPU);
    if (cli_given(c, OPT_FULL) == gpu)
        return cli_usage_error(c, "bench: say what: --full (a whole model, part by part) or --gpu "
                                  "(a random one); `make bench` times the ops and the model in the "
                                  "box");
    if (gpu && (c->n_arg || cli_given(c, OPT_MODEL)))
        return cli_usage_error(c, "bench --gpu: its model is made of random numbers; leave -m out");
    if (!gpu && (cli_given(c, OPT_LAYERS) || cli_given(c, OPT_DIM)))
        return cli_usage_error(c, "bench --full: the model's size is its own; leave --layers and "
                                  "--dim out");
    if (cli_given(c, OPT_DIM) && c->opt[OPT_DIM].i % 128)
        return cli_usage_error(c, "--dim %s: expected a multiple of 128", c->opt[OPT_DIM].text);
    if (c->n_arg == 1 && cli_given(c, OPT_MODEL))
        return cli_usage_error(c, "%s and -m %s: give only one of them", c->arg[0],
                               c->opt[OPT_MODEL].text);
    if (c->n_arg == 1) c->opt[OPT_MODEL].text = c->arg[0];
    lt_engine_params ep;
    int code = gpu ? cli_device_params(c, &ep) : cli_engine_params(c, dir, sizeof dir, &ep);
    if (code >= 0) return code;
    cJSON *root = cli_given(c, OPT_JSON) ? cJSON_CreateObject() : NULL;
    bench_out out = {root ? cJSON_AddArrayToObject(root, "bench") : NULL};
    lt_bench_params p = {.struct_size = sizeof p, .report = show, .opaque = &out};
    p.width = (int32_t)c->opt[OPT_WIDTH].i;
    p.height = (int32_t)c->opt[OPT_HEIGHT].i;
    p.n_chunk = (int32_t)c->opt[OPT_CHUNKS].i;
    p.random = gpu;
    p.dim = (int32_t)c->opt[OPT_DIM].i;
    p.layers = (int32_t)c->opt[OPT_LAYERS].i;
    lt_error err = {0};
    const lt_status st = lt_bench(&ep, &p, &err);
    if (root && st >= 0) cli_print_json(stdout, root);
    cJSON_Delete(root);
    return st < 0 ? cli_fail(c, st, st != LT_ENOMEM && st != LT_EINVAL && st != LT_EUNSUPPORTED,
                             err.msg)
                  : EXIT_DONE;
}

const cli_command cli_bench = {"bench",
                               "--full [DIR | -m DIR] | --gpu [options]",
                               "Time a whole model part by part.",
                               NOTES,
                               1,
                               run_bench};
