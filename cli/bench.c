/* SPDX-License-Identifier: Apache-2.0
 * cli/bench.c - `longtake bench`: a whole model timed part by part, on this machine. */
#include "cli/cli.h"
#include <limits.h>
#include <stdio.h>

static const char NOTES[] =
    "\nOne large matmul of the same compute type is timed first and last: on a shared machine "
    "only\n"
    "the shares of its rate can be compared. Weights may be random (tools/make_full_size.py).\n"
    "\nexample: longtake bench --full -m Wan2.1-T2V-1.3B -W 832 -H 480\n";

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
    if (!cli_given(c, OPT_FULL))
        return cli_usage_error(c, "bench: say what: --full (a whole model, part by part); `make "
                                  "bench` times the ops and the model in the box");
    if (c->n_arg == 1 && cli_given(c, OPT_MODEL))
        return cli_usage_error(c, "%s and -m %s: give only one of them", c->arg[0],
                               c->opt[OPT_MODEL].text);
    if (c->n_arg == 1) c->opt[OPT_MODEL].text = c->arg[0];
    lt_engine_params ep;
    int code = cli_engine_params(c, dir, sizeof dir, &ep);
    if (code >= 0) return code;
    cJSON *root = cli_given(c, OPT_JSON) ? cJSON_CreateObject() : NULL;
    bench_out out = {root ? cJSON_AddArrayToObject(root, "bench") : NULL};
    lt_bench_params p = {.struct_size = sizeof p, .report = show, .opaque = &out};
    p.width = (int32_t)c->opt[OPT_WIDTH].i;
    p.height = (int32_t)c->opt[OPT_HEIGHT].i;
    p.n_chunk = (int32_t)c->opt[OPT_CHUNKS].i;
    lt_error err = {0};
    const lt_status st = lt_bench(&ep, &p, &err);
    if (root && st >= 0) cli_print_json(stdout, root);
    cJSON_Delete(root);
    return st < 0 ? cli_fail(c, st, st != LT_ENOMEM, err.msg) : EXIT_DONE;
}

const cli_command cli_bench = {
    "bench",  "--full [DIR | -m DIR] [options]", "Time a whole model part by part.", NOTES, 1,
    run_bench};
