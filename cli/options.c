/* SPDX-License-Identifier: Apache-2.0
 * cli/options.c - the options of every command: one table makes the parser, the checks and --help.
 *
 * To add an option: a name in cli_opt (cli.h) and a row here. An option must never be ignored. */
#include "cli/cli.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GEN = 1, EVAL = 2, INFO = 4, BENCH = 8, CONVERT = 16, METRICS = 32, ALL = 63 };

typedef enum kind { FLAG, TEXT, INT, NUM, CHOICE, LIST, DURATION, SEED, LORAS } kind;

typedef struct row {
    const char *name;
    char letter; /* 0: none */
    kind kind;
    int commands;
    const char *arg;  /* as shown; for CHOICE the words, a|b|c */
    double min, max;  /* INT, NUM, LIST */
    const char *dflt; /* as shown; NULL: none */
    const char *help;
} row;

#define SIDE 8192
#define MODELS "the model's"

static const row table[OPT_COUNT] = {
    [OPT_PROMPT] = {"prompt", 'p', TEXT, GEN | EVAL, "TEXT", 0, 0, NULL, "what to show"},
    [OPT_PROMPT_FILE] = {"prompt-file", 0, TEXT, GEN | EVAL, "FILE", 0, 0, NULL,
                         "prompt from FILE, - for standard input; may hold times: lines as "
                         "'20s: text', 'cut 40s: text'"},
    [OPT_PROMPT_SWITCH] = {"prompt-switch", 0, CHOICE, GEN, "recache|recache-all|flush|lerp|none",
                           0, 0, MODELS, "what becomes of the memory when the prompt changes"},
    [OPT_PROMPT_FADE] = {"prompt-fade", 0, INT, GEN, "N", 1, 1000, MODELS,
                         "chunks of a lerp from prompt to prompt"},
    [OPT_MODEL] = {"model", 'm', TEXT, ALL & ~(CONVERT | METRICS), "DIR", 0, 0,
                   "the model in the box", "model folder"},
    [OPT_PRESET] = {"preset", 0, TEXT, GEN | EVAL | BENCH, "NAME", 0, 0, NULL,
                    "settings of a published system, see longtake info --presets; or a .json file"},
    [OPT_PRESETS] = {"presets", 0, FLAG, INFO, NULL, 0, 0, NULL, "list the presets"},
    [OPT_DIFFUSION_MODEL] = {"diffusion-model", 0, TEXT, GEN | EVAL | BENCH, "FILE", 0, 0, NULL,
                             "diffusion weights instead of the folder's"},
    [OPT_T5XXL] = {"t5xxl", 0, TEXT, GEN | EVAL | BENCH, "FILE", 0, 0, NULL,
                   "text encoder weights instead of the folder's"},
    [OPT_VAE] = {"vae", 0, TEXT, GEN | EVAL | BENCH, "FILE", 0, 0, NULL,
                 "VAE weights instead of the folder's"},
    [OPT_TOKENIZER] = {"tokenizer", 0, TEXT, GEN | EVAL | BENCH, "FILE", 0, 0, NULL,
                       "spiece.model, tokenizer.json or a file with one inside"},
    [OPT_TEXT_CACHE] = {"text-cache", 0, TEXT, GEN | EVAL | BENCH, "DIR", 0, 0, NULL,
                        "keep finished prompts in DIR: again is free"},
    [OPT_KEEP_TEXT] = {"keep-text", 0, FLAG, GEN | EVAL | BENCH, NULL, 0, 0, NULL,
                       "keep a large text encoder in memory"},
    [OPT_TAE] = {"tae", 0, TEXT, GEN | EVAL, "FILE", 0, 0, NULL,
                 "small autoencoder (TAEHV: taew2_1) instead of the VAE; with \"lighttae\" in its "
                 "name, or \"latents\": \"denormalised\" in a config.json beside it, it gets "
                 "denormalised latents"},
    [OPT_LORA] = {"lora", 0, LORAS, GEN | EVAL | BENCH | CONVERT, "FILE[:SCALE]", 0, 0, NULL,
                  "LoRA to add to the diffusion weights, may be given again; scale 1 if not given"},
    [OPT_CHECKPOINT_KEY] = {"checkpoint-key", 0, TEXT, GEN | EVAL | BENCH | CONVERT, "NAME", 0, 0,
                            "generator_ema, else generator",
                            "which weights of a .pt diffusion checkpoint"},
    [OPT_WIDTH] = {"width", 'W', INT, GEN | BENCH, "N", 1, SIDE, MODELS, "picture width in pixels"},
    [OPT_HEIGHT] = {"height", 'H', INT, GEN | BENCH, "N", 1, SIDE, MODELS,
                    "picture height in pixels"},
    [OPT_DURATION] = {"duration", 0, DURATION, GEN, "TIME", 0, 3.6e6, "10s",
                      "length: 60s, 2m, 1.5h or seconds"},
    [OPT_FRAMES] = {"frames", 0, INT, GEN, "N", 0, 1e9, NULL,
                    "length in frames instead, 0 to go on until Ctrl-C"},
    [OPT_FPS] = {"fps", 0, NUM, GEN, "F", 0.1, 1000, MODELS, "frame rate written in the file"},
    [OPT_SEED] = {"seed", 's', SEED, GEN, "N", 0, 0, "-1", "-1 for a random one, which is printed"},
    [OPT_MODE] = {"mode", 0, CHOICE, GEN | EVAL, "chunk|rolling", 0, 0, MODELS,
                  "chunk after chunk, or rolling noise"},
    [OPT_STEPS] = {"steps", 0, INT, GEN | EVAL, "N", 1, 16, MODELS, "denoising steps per chunk"},
    [OPT_TIMESTEPS] = {"timesteps", 0, LIST, GEN | EVAL, "A,B,..", 0, 1000, MODELS,
                       "the steps themselves, before the shift: 1000,750,500,250"},
    [OPT_FLOW_SHIFT] = {"flow-shift", 0, NUM, GEN | EVAL, "F", 0.01, 100, MODELS,
                        "shift of the noise schedule"},
    [OPT_CHUNK] = {"chunk", 0, INT, GEN | EVAL, "N", 1, 64, MODELS, "latent frames per chunk"},
    [OPT_WINDOW] = {"window", 0, INT, GEN | EVAL, "N", 0, 4096, MODELS,
                    "past latent frames that are seen"},
    [OPT_SINK] = {"sink", 0, INT, GEN | EVAL, "N", 0, 4096, MODELS, "anchor latent frames"},
    [OPT_SINK_POLICY] = {"sink-policy", 0, CHOICE, GEN | EVAL,
                         "absolute|slot|realign|deep|ema|none", 0, 0, MODELS,
                         "what the anchors are and where they stand"},
    [OPT_COMPAT] = {"compat", 0, CHOICE, GEN | EVAL, "on|off", 0, 0, MODELS,
                    "as the published code, where that is not what its paper means"},
    [OPT_NO_REGISTERS] = {"no-registers", 0, FLAG, GEN, NULL, 0, 0, NULL,
                          "ignore the model's sink registers and logits"},
    [OPT_THREADS] = {"threads", 't', INT, GEN | EVAL | BENCH, "N", 0, 1024, "0, all cores",
                     "CPU threads"},
    [OPT_BACKEND] = {"backend", 0, CHOICE, GEN | EVAL | BENCH, "auto|ref|cpu|cuda", 0, 0, "auto",
                     "where to compute; auto: a graphics card, if this build and machine have "
                     "one, else the CPU"},
    [OPT_DEVICE] = {"device", 0, INT, GEN | EVAL | BENCH, "N", 0, 9, "0", "which graphics card"},
    [OPT_DTYPE] = {"dtype", 0, CHOICE, GEN | EVAL | BENCH, "f32|bf16|fp8", 0, 0, "the backend's",
                   "compute type"},
    [OPT_MAX_RAM] =
        {"max-ram", 0, NUM, GEN | EVAL | BENCH, "GIB", 0, 1048576, "0, what the machine has",
         "most memory for weights, cache and VAE; more is refused with the numbers, see "
         "generate --dry-run"},
    [OPT_MAX_VRAM] = {"max-vram", 0, NUM, GEN | EVAL | BENCH, "GIB", 0, 1048576,
                      "0, what is free there", "the same of a graphics card's memory"},
    [OPT_INIT_IMG] = {"init-img", 'i', TEXT, GEN, "PNG", 0, 0, NULL,
                      "picture to start from; its middle is scaled to the size of the video"},
    [OPT_INIT_MODE] = {"init-mode", 0, CHOICE, GEN, "hold|clamp", 0, 0, "the model's, else hold",
                       "with -i: hold, the picture is the past as if it had stood still; clamp, it "
                       "is the first frame of the first chunk, for models trained so"},
    [OPT_EXTEND] = {"extend", 0, TEXT, GEN, "VIDEO", 0, 0, NULL,
                    "go on behind this video, in its size; --duration is what is new, the prompt "
                    "by default that in its metadata"},
    [OPT_ONLY_NEW] = {"only-new", 0, FLAG, GEN, NULL, 0, 0, NULL,
                      "with --extend: write the new frames without the old ones"},
    [OPT_OUTPUT] = {"output", 'o', TEXT, GEN, "OUT", 0, 0, "out.mp4",
                    ".mp4 .mkv .y4m .rgb %06d.png, - (y4m), md5, null"},
    [OPT_CODEC] = {"codec", 0, TEXT, GEN, "NAME", 0, 0, "libx264", "libavcodec encoder"},
    [OPT_CRF] = {"crf", 0, INT, GEN, "N", 0, 51, "18", "0 best to 51 worst picture"},
    [OPT_DRIFT] = {"drift", 0, FLAG, GEN, NULL, 0, 0, NULL,
                   "measure on the way: drift in the progress line, in the result and in the "
                   "file's metadata; see longtake metrics"},
    [OPT_ON_DRIFT] = {"on-drift", 0, CHOICE, GEN, "warn|stop|reanchor", 0, 0, "warn",
                      "with a score above the threshold: say so; finish the file; or go on from "
                      "the first frames, as if they had just been made"},
    [OPT_DRIFT_THRESHOLD] = {"drift-threshold", 0, NUM, GEN, "F", 0.01, 100, "1",
                             "1 is plain to see"},
    [OPT_DRY_RUN] = {"dry-run", 0, FLAG, GEN, NULL, 0, 0, NULL,
                     "check everything, print the plan, make nothing"},
    [OPT_FULL] = {"full", 0, FLAG, BENCH, NULL, 0, 0, NULL,
                  "part by part: load, text, DiT passes of one chunk, VAE, memory"},
    [OPT_GPU] = {"gpu", 0, FLAG, BENCH, NULL, 0, 0, NULL,
                 "a random model of Wan 2.1 1.3B's shape, made in memory: passes, decoders, whole "
                 "streams; any backend"},
    [OPT_LAYERS] = {"layers", 0, INT, BENCH, "N", 1, 200, "30", "with --gpu: its depth"},
    [OPT_DIM] = {"dim", 0, INT, BENCH, "N", 128, 8192, "1536",
                 "with --gpu: its width, a multiple of 128; the other parts in proportion"},
    [OPT_CHUNKS] = {"chunks", 0, INT, BENCH, "N", 1, 500, "1, with --gpu 40", "chunks to run"},
    [OPT_IN] = {"in", 0, TEXT, EVAL, "FILE", 0, 0, NULL, "input tensors, .safetensors"},
    [OPT_OUT] = {"out", 0, TEXT, EVAL, "FILE", 0, 0, NULL, "output tensors, .safetensors"},
    [OPT_CONVERT_OUT] = {"output", 'o', TEXT, CONVERT, "FILE", 0, 0, NULL,
                         "file to write, .safetensors"},
    [OPT_CONVERT_DTYPE] = {"dtype", 0, CHOICE, CONVERT, "f32|f16|bf16|f8", 0, 0, "the file's own",
                           "type of the weights; f8: E4M3 with a scale, only inside the blocks"},
    [OPT_PART] = {"part", 0, CHOICE, CONVERT, "dit|text|vae|tae", 0, 0, "told by the names",
                  "what the file is"},
    [OPT_REF] =
        {"ref", 0, TEXT, METRICS, "VIDEO", 0, 0, NULL,
         "compare with this video too: psnr, ssim, ms_ssim; sizes must be equal, frame rates "
         "equal or multiples"},
    [OPT_SHORTEST] = {"shortest", 0, FLAG, METRICS, NULL, 0, 0, NULL,
                      "with --ref: as far as the shorter video goes"},
    [OPT_ONLY] = {"only", 0, TEXT, METRICS, "A,B,..", 0, 0, "all", "these metrics"},
    [OPT_FRAMES_PER_CHUNK] = {"chunk", 0, INT, METRICS, "N", 1, 100000, "the file's metadata",
                              "frames of the video per chunk, for boundary and hist_*"},
    [OPT_FIRST_CHUNK] = {"first-chunk", 0, INT, METRICS, "N", 1, 100000, "as the others",
                         "with --chunk: frames of the first one"},
    [OPT_PLOT] = {"plot", 0, TEXT, METRICS, "PNG", 0, 0, NULL, "draw the metrics over time"},
    [OPT_CONTACT] = {"contact", 0, TEXT, METRICS, "PNG", 0, 0, NULL,
                     "contact sheet: evenly spaced frames with their times"},
    [OPT_TILES] = {"tiles", 0, INT, METRICS, "N", 1, 100, "12", "frames on the contact sheet"},
    [OPT_BASELINE] = {"baseline", 0, TEXT, METRICS, "JSON", 0, 0, NULL,
                      "compare with an earlier run; what left its band is a line, and exit 1"},
    [OPT_TOLERANCE] = {"tolerance", 0, TEXT, METRICS, "JSON", 0, 0, "see below",
                       "other bands for --baseline"},
    [OPT_WRITE_BASELINE] = {"write-baseline", 0, TEXT, METRICS, "JSON", 0, 0, NULL,
                            "write the file that --baseline reads"},
    [OPT_ACCEPT_CUT] = {"accept-cut", 0, FLAG, METRICS, NULL, 0, 0, NULL,
                        "measure a file whose end is missing as far as it goes"},
    [OPT_DECODER_THREADS] = {"threads", 't', INT, METRICS, "N", 1, 64, "1",
                             "decoder threads, beside one that reads and one that computes"},
    [OPT_JSON] = {"json", 0, FLAG, ALL, NULL, 0, 0, NULL,
                  "result as JSON on stdout, progress and errors as JSON lines on stderr"},
    [OPT_VERBOSE] = {"verbose", 'v', FLAG, ALL, NULL, 0, 0, NULL, "say more on stderr"},
    [OPT_QUIET] = {"quiet", 0, FLAG, ALL, NULL, 0, 0, NULL, "only errors, and a random seed"},
    [OPT_HELP] = {"help", 'h', FLAG, ALL, NULL, 0, 0, NULL, "this text"},
};

static int command_bit(const cli_command *cmd) {
    return cmd == &cli_generate  ? GEN
           : cmd == &cli_eval    ? EVAL
           : cmd == &cli_bench   ? BENCH
           : cmd == &cli_convert ? CONVERT
           : cmd == &cli_metrics ? METRICS
                                 : INFO;
}

/* ---- help --------------------------------------------------------------------------------------
 */

#define COLUMN 34
#define LINE 100

/* text from the current column on, broken between words, continued at COLUMN. */
static void print_wrapped(const char *text, int at) {
    while (*text) {
        const int n = (int)strcspn(text, " ");
        if (at > COLUMN && at + 1 + n > LINE) {
            printf("\n%*s", COLUMN, "");
            at = COLUMN;
        } else if (at > COLUMN) {
            putchar(' ');
            at++;
        }
        printf("%.*s", n, text);
        at += n;
        text += n + strspn(text + n, " ");
    }
    putchar('\n');
}

static void help_row(const row *r) {
    char text[256], letter[8] = "    ";
    if (r->letter) snprintf(letter, sizeof letter, "-%c, ", r->letter);
    int at = printf("  %s--%s %s", letter, r->name, r->arg ? r->arg : "");
    if (at >= COLUMN) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", COLUMN - at, "");
    if (r->kind == INT || r->kind == NUM)
        snprintf(text, sizeof text, "%s [%.10g to %.10g%s%s]", r->help, r->min, r->max,
                 r->dflt ? "; default: " : "", r->dflt ? r->dflt : "");
    else
        snprintf(text, sizeof text, "%s%s%s%s", r->help, r->dflt ? " [default: " : "",
                 r->dflt ? r->dflt : "", r->dflt ? "]" : "");
    print_wrapped(text, COLUMN);
}

void cli_help(const cli_command *cmd) {
    printf("usage: longtake %s %s\n\n%s\n\n", cmd->name, cmd->usage, cmd->summary);
    for (int i = 0; i < OPT_COUNT; i++)
        if (table[i].commands & command_bit(cmd)) help_row(&table[i]);
    fputs(cmd->notes, stdout);
    if (cmd == &cli_metrics) cli_metrics_help();
}

/* ---- values ------------------------------------------------------------------------------------
 */

static bool parse_number(const char *s, char **end, double *out) {
    /* strtod also takes "inf", "nan" and hexadecimal: nothing anybody means here */
    if (strspn(s, "+-.0123456789eE") == 0) return false;
    errno = 0;
    *out = strtod(s, end);
    return *end != s && isfinite(*out) && errno == 0 && !memchr(s, 'x', (size_t)(*end - s));
}

static bool parse_int(const char *s, int64_t *out) {
    char *end = NULL;
    if (*s == 0 || strspn(s, "-0123456789") != strlen(s)) return false;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return errno == 0 && *end == 0;
}

static bool parse_seed(const char *s, cli_value *v) {
    char *end = NULL;
    if (strcmp(s, "-1") == 0) return v->n = -1, true; /* n -1: random */
    if (*s == 0 || strspn(s, "0123456789") != strlen(s)) return false;
    errno = 0;
    v->i = (int64_t)strtoull(s, &end, 10);
    return errno == 0 && *end == 0;
}

static bool parse_duration(const char *s, const row *r, cli_value *v) {
    char *end = NULL;
    if (!parse_number(s, &end, &v->num)) return false;
    const double unit = strcmp(end, "h") == 0 ? 3600 : strcmp(end, "m") == 0 ? 60 : 1;
    if (*end && unit == 1 && strcmp(end, "s") != 0) return false;
    v->num *= unit;
    return v->num > 0 && v->num <= r->max;
}

static bool parse_list(const char *s, const row *r, cli_value *v) {
    const int cap = (int)(sizeof v->list / sizeof *v->list);
    for (v->n = 0; v->n < cap;) {
        char *end = NULL;
        if (!parse_number(s, &end, &v->list[v->n])) return false;
        if (v->list[v->n] <= r->min || v->list[v->n] > r->max) return false;
        if (v->n > 0 && v->list[v->n] >= v->list[v->n - 1]) return false;
        v->n++;
        if (*end == 0) return true;
        if (*end != ',') return false;
        s = end + 1;
    }
    return false;
}

/* Index of word in "a|b|c", or -1. */
static int find_word(const char *words, const char *word) {
    const size_t len = strlen(word);
    for (int i = 0; len > 0; i++) {
        const size_t n = strcspn(words, "|");
        if (n == len && memcmp(words, word, n) == 0) return i;
        if (words[n] == 0) return -1;
        words += n + 1;
    }
    return -1;
}

static int parse_choice(const cli *c, const char *s, const row *r, cli_value *v) {
    v->i = find_word(r->arg, s);
    if (v->i >= 0) return -1;
    return cli_usage_error(c, "--%s %s: expected one of %s", r->name, s, r->arg);
}

/* One FILE[:SCALE]. A name that exists as a whole may hold colons. */
static int add_lora(cli *c, const char *s, size_t len) {
    if (c->n_lora == CLI_MAX_LORA)
        return cli_usage_error(c, "--lora: more than %d files", CLI_MAX_LORA);
    char *path = strndup(s, len), *end = NULL;
    if (!path) return cli_fail(c, LT_ENOMEM, false, "out of memory");
    lt_lora *lora = &c->lora[c->n_lora++];
    *lora = (lt_lora){path, 1};
    char *colon = strrchr(path, ':');
    if (colon && access(path, F_OK) != 0) {
        if (!parse_number(colon + 1, &end, &lora->scale) || *end)
            return cli_usage_error(c, "--lora %s: '%s' is no scale; expected FILE or FILE:SCALE",
                                   path, colon + 1);
        *colon = 0;
    }
    if (*path == 0) return cli_usage_error(c, "--lora %s: expected FILE or FILE:SCALE", s);
    return -1;
}

/* FILE[:SCALE],FILE[:SCALE]..; a name that exists as a whole may hold commas. */
static int add_loras(cli *c, const char *s) {
    if (access(s, F_OK) == 0) return add_lora(c, s, strlen(s));
    for (;;) {
        const size_t n = strcspn(s, ",");
        const int code = add_lora(c, s, n);
        if (code >= 0 || s[n] == 0) return code;
        s += n + 1;
    }
}

/* -1, or the exit code after an error. */
static int set_value(cli *c, cli_opt o, const char *s) {
    const row *r = &table[o];
    cli_value *v = &c->opt[o];
    *v = (cli_value){.text = s ? s : ""};
    char *end = NULL;
    switch (r->kind) {
    case FLAG:
    case TEXT:
        return -1;
    case LORAS:
        return add_loras(c, s);
    case CHOICE:
        return parse_choice(c, s, r, v);
    case INT:
        if (parse_int(s, &v->i) && (double)v->i >= r->min && (double)v->i <= r->max) return -1;
        return cli_usage_error(c, "--%s %s: expected a whole number from %.10g to %.10g", r->name,
                               s, r->min, r->max);
    case NUM:
        if (parse_number(s, &end, &v->num) && *end == 0 && v->num >= r->min && v->num <= r->max)
            return -1;
        return cli_usage_error(c, "--%s %s: expected a number from %.10g to %.10g", r->name, s,
                               r->min, r->max);
    case SEED:
        if (parse_seed(s, v)) return -1;
        return cli_usage_error(c, "--seed %s: expected -1 (random) or 0 to 18446744073709551615",
                               s);
    case DURATION:
        if (parse_duration(s, r, v)) return -1;
        return cli_usage_error(c, "--duration %s: expected a time up to 1000h, as 60s, 2m or 1.5h",
                               s);
    case LIST:
        if (parse_list(s, r, v)) return -1;
        return cli_usage_error(c,
                               "--%s %s: expected 1 to 16 falling numbers in (0, 1000], as "
                               "1000,750,500,250",
                               r->name, s);
    }
    return -1;
}

/* ---- command line ------------------------------------------------------------------------------
 */

static int find_letter(int letter, int bit) {
    for (int i = 0; i < OPT_COUNT; i++)
        if (table[i].letter == letter && table[i].commands & bit) return i;
    return -1;
}

/* getopt's two tables for one command: letters (with ':' where an argument follows) and names. */
static void make_getopt(int bit, char *letters, struct option *longs) {
    *letters++ = ':'; /* report a missing argument as ':', and print nothing */
    for (int i = 0; i < OPT_COUNT; i++) {
        if (!(table[i].commands & bit)) continue;
        const int has = table[i].kind == FLAG ? no_argument : required_argument;
        *longs++ = (struct option){table[i].name, has, NULL, 256 + i};
        if (!table[i].letter) continue;
        *letters++ = table[i].letter;
        if (has == required_argument) *letters++ = ':';
    }
    *letters = 0;
    *longs = (struct option){0};
}

/* getopt takes any unique beginning of a name; scripts written that way would break later. */
static bool abbreviated(const char *word, int index) {
    if (index < 0 || strncmp(word, "--", 2) != 0) return false;
    return strcspn(word + 2, "=") != strlen(table[index].name);
}

static int unknown_option(const cli *c, const char *word, int opt) {
    if (strncmp(word, "--", 2) == 0 || opt == 0)
        return cli_usage_error(c, "%s: unknown option; see `longtake %s --help`", word,
                               c->command->name);
    return cli_usage_error(c, "-%c: unknown option; see `longtake %s --help`", opt,
                           c->command->name);
}

int cli_parse(cli *c, int argc, char **argv) {
    const int bit = command_bit(c->command);
    char letters[2 * OPT_COUNT + 2];
    struct option longs[OPT_COUNT + 1];
    make_getopt(bit, letters, longs);
    /* before anything is printed: how to print */
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0) c->opt[OPT_JSON].text = "";
    opterr = 0;
    optind = 0; /* glibc: start over */
    for (int got; (got = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        const char *word = argv[optind - 1];
        if (got == ':')
            return cli_usage_error(c, "%s: a value is missing; see `longtake %s --help`", word,
                                   c->command->name);
        if (got == '?') return unknown_option(c, word, optopt < 256 ? optopt : 0);
        const int o = got >= 256 ? got - 256 : find_letter(got, bit);
        const char *name = optarg && optarg == word ? argv[optind - 2] : word;
        if (got >= 256 && abbreviated(name, o)) return unknown_option(c, name, 0);
        const int code = set_value(c, (cli_opt)o, optarg);
        if (code >= 0) return code;
        if (o == OPT_HELP) return cli_help(c->command), EXIT_DONE;
    }
    for (; optind < argc; optind++) {
        if (c->n_arg == c->command->max_args && c->n_arg > 1)
            return cli_usage_error(c, "%s: one too many, at most %d files at once", argv[optind],
                                   c->n_arg);
        if (c->n_arg == c->command->max_args)
            return cli_usage_error(c, "%s: unexpected argument; usage: longtake %s %s",
                                   argv[optind], c->command->name, c->command->usage);
        c->arg[c->n_arg++] = argv[optind];
    }
    return cli_find_preset(c);
}
