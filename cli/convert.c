/* SPDX-License-Identifier: Apache-2.0
 * cli/convert.c - `longtake convert`: any weight file becomes one clean safetensors file. */
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char NOTES[] =
    "\nReads safetensors (also sharded), torch .pt and .pth, GGUF; writes the tensors of one part\n"
    "under their original Wan names. Weights that were quantized become bf16 unless --dtype says\n"
    "otherwise. f8 keeps everything outside the blocks' linear layers as bf16.\n"
    "\nexample: longtake convert longlive_base.pt --lora lora.pt --dtype bf16 -o "
    "longlive.safetensors\n";

typedef struct job {
    cli *c;
    double shown; /* time of the last progress line */
    bool drawn;
} job;

static int on_progress(void *opaque, int64_t done, int64_t total) {
    job *j = opaque;
    const double now = cli_now();
    if (cli_given(j->c, OPT_QUIET) || total <= 0) return 0;
    if (now - j->shown < 0.2 && done < total) return 0;
    j->shown = now;
    if (cli_given(j->c, OPT_JSON)) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "event", "progress");
        cJSON_AddNumberToObject(o, "done_bytes", (double)done);
        cJSON_AddNumberToObject(o, "total_bytes", (double)total);
        cli_event(o);
    } else if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%3.0f %% of %.2f GB", 100.0 * (double)done / (double)total,
                (double)total * 1e-9);
        j->drawn = true;
    }
    return 0;
}

static int check(const cli *c) {
    if (c->n_arg == 0) return cli_usage_error(c, "convert: name the file or folder to read");
    if (!cli_given(c, OPT_CONVERT_OUT))
        return cli_usage_error(c, "convert: -o FILE.safetensors is missing");
    return -1;
}

static int run_convert(cli *c) {
    static const int dtype[] = {LT_CONVERT_F32, LT_CONVERT_F16, LT_CONVERT_BF16, LT_CONVERT_F8};
    static const int part[] = {LT_PART_DIT, LT_PART_TEXT, LT_PART_VAE, LT_CONVERT_TAE};
    const double start = cli_now();
    const int code = check(c);
    if (code >= 0) return code;
    job j = {.c = c};
    lt_convert_params p = {.struct_size = sizeof p, .in = c->arg[0]};
    p.out = c->opt[OPT_CONVERT_OUT].text;
    if (cli_given(c, OPT_CONVERT_DTYPE)) p.dtype = dtype[c->opt[OPT_CONVERT_DTYPE].i];
    if (cli_given(c, OPT_PART)) p.part = part[c->opt[OPT_PART].i];
    p.loras = c->lora;
    p.n_lora = c->n_lora;
    p.checkpoint_key = c->opt[OPT_CHECKPOINT_KEY].text;
    p.progress = on_progress;
    p.opaque = &j;
    lt_error err = {0};
    lt_convert_info info = {.struct_size = sizeof info};
    const lt_status st = lt_convert(&p, &info, &err);
    if (j.drawn) fprintf(stderr, "\r\033[K");
    if (st != LT_OK) return cli_fail(c, st, info.written_bytes > 0, err.msg);
    if (cli_given(c, OPT_JSON)) {
        cJSON *o = cJSON_CreateObject();
        cli_add_text(o, "file", p.out);
        cJSON_AddStringToObject(o, "part", info.part);
        cJSON_AddNumberToObject(o, "tensors", info.tensors);
        cli_add_u64(o, "bytes", info.written_bytes);
        cJSON_AddNumberToObject(o, "seconds", cli_now() - start);
        cli_print_json(stdout, o);
        cJSON_Delete(o);
    } else if (!cli_given(c, OPT_QUIET)) {
        fprintf(stderr, "%s: %s, %d tensors, %.3f GB in %.1f s\n", p.out, info.part, info.tensors,
                (double)info.written_bytes * 1e-9, cli_now() - start);
    }
    return EXIT_DONE;
}

const cli_command cli_convert = {"convert",
                                 "IN -o OUT.safetensors [options]",
                                 "Write any weight file as one clean safetensors file.",
                                 NOTES,
                                 1,
                                 run_convert};
