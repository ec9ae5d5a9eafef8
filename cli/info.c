/* SPDX-License-Identifier: Apache-2.0
 * cli/info.c - `longtake info`: what is in a model folder or a weight file. */
#include "cli/cli.h"
#include <limits.h>
#include <stdio.h>

static int run_info(cli *c) {
    char dir[PATH_MAX];
    if (cli_given(c, OPT_PRESETS)) return cli_list_presets(c);
    if (c->n_arg == 1 && cli_given(c, OPT_MODEL))
        return cli_usage_error(c, "%s and -m %s: give only one of them", c->arg[0],
                               c->opt[OPT_MODEL].text);
    const char *path = c->n_arg == 1 ? c->arg[0] : cli_model_dir(c, dir, sizeof dir);
    if (!path)
        return cli_usage_error(c, "no model: there is no models folder beside the program or here; "
                                  "give one with -m DIR");
    lt_error err = {0};
    char *text = NULL;
    const lt_status st = lt_info_json(path, &text, &err);
    if (st != LT_OK) return cli_fail(c, st, false, err.msg);
    cJSON *o = cJSON_Parse(text);
    if (cli_given(c, OPT_JSON) || !o) printf("%s\n", text);
    else cli_print_info(o, cli_given(c, OPT_VERBOSE));
    cJSON_Delete(o);
    lt_free(text);
    return EXIT_DONE;
}

const cli_command cli_info = {
    "info",
    "[-m DIR | DIR | FILE | --presets] [-v] [--json]",
    "Show what is in a model folder or a weight file.",
    "\nReads names, types and shapes, never the weights: any size takes "
    "well under a second.\n-v lists every tensor of a file; --json always "
    "does.\n",
    1,
    run_info};
