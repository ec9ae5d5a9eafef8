/* SPDX-License-Identifier: Apache-2.0
 * cli/cli.h - the command line program: options, output, interruption, progress.
 *
 * Uses only the public headers, libcjson and the C library. Rules of every command:
 *   stdout: the result (one JSON object with --json) - stderr: progress, warnings, one error line.
 *   exit: 0 done, 1 failed while running, 2 bad usage, bad input, not enough memory, 130 interrupted. */
#ifndef LT_CLI_CLI_H
#define LT_CLI_CLI_H
#include "longtake/longtake.h"
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* ---- options.c: one table makes parsing, checks and --help -------------------------------------
 */

typedef enum cli_opt {
    OPT_PROMPT,
    OPT_PROMPT_FILE,
    OPT_PROMPT_SWITCH,
    OPT_PROMPT_FADE,
    OPT_MODEL,
    OPT_PRESET,
    OPT_PRESETS,
    OPT_DIFFUSION_MODEL,
    OPT_T5XXL,
    OPT_VAE,
    OPT_TOKENIZER,
    OPT_TEXT_CACHE,
    OPT_KEEP_TEXT,
    OPT_TAE,
    OPT_LORA,
    OPT_CHECKPOINT_KEY,
    OPT_WIDTH,
    OPT_HEIGHT,
    OPT_DURATION,
    OPT_FRAMES,
    OPT_FPS,
    OPT_SEED,
    OPT_MODE,
    OPT_STEPS,
    OPT_TIMESTEPS,
    OPT_FLOW_SHIFT,
    OPT_CHUNK,
    OPT_WINDOW,
    OPT_SINK,
    OPT_SINK_POLICY,
    OPT_COMPAT,
    OPT_NO_REGISTERS,
    OPT_THREADS,
    OPT_BACKEND,
    OPT_DEVICE,
    OPT_DTYPE,
    OPT_MAX_RAM,
    OPT_MAX_VRAM,
    OPT_INIT_IMG,
    OPT_OUTPUT,
    OPT_CODEC,
    OPT_CRF,
    OPT_INIT_MODE,
    OPT_EXTEND,
    OPT_ONLY_NEW,
    OPT_DRIFT,
    OPT_ON_DRIFT,
    OPT_DRIFT_THRESHOLD,
    OPT_DRY_RUN,
    OPT_FULL,
    OPT_GPU,
    OPT_LAYERS,
    OPT_DIM,
    OPT_CHUNKS,
    OPT_IN,
    OPT_OUT,
    OPT_CONVERT_OUT,
    OPT_CONVERT_DTYPE,
    OPT_PART,
    OPT_REF,
    OPT_SHORTEST,
    OPT_ONLY,
    OPT_FRAMES_PER_CHUNK,
    OPT_FIRST_CHUNK,
    OPT_PLOT,
    OPT_CONTACT,
    OPT_TILES,
    OPT_BASELINE,
    OPT_TOLERANCE,
    OPT_WRITE_BASELINE,
    OPT_ACCEPT_CUT,
    OPT_DECODER_THREADS,
    OPT_JSON,
    OPT_VERBOSE,
    OPT_QUIET,
    OPT_HELP,
    OPT_COUNT
} cli_opt;

typedef struct cli_value {
    const char *text; /* as given; NULL: not given */
    double num;       /* numbers; seconds for a duration */
    int64_t i;        /* whole numbers; the index of a choice, from 0 */
    double list[16];  /* lists: n numbers */
    int n;
} cli_value;

enum { CLI_MAX_LORA = 32, CLI_MAX_ARGS = 64 };

typedef struct cli cli;
typedef struct cli_command {
    const char *name, *usage, *summary, *notes;
    int max_args; /* arguments that are not options */
    int (*run)(cli *c);
} cli_command;

/* ---- interrupt.c -------------------------------------------------------------------------------
 */

/* SIGINT and SIGTERM: the first cancels the watched stream, the second ends the process (130). */
typedef struct cli_signals {
    pthread_mutex_t mu;
    lt_stream *stream; /* guarded by mu */
    atomic_int count;
    bool quiet;
} cli_signals;

bool cli_signals_start(cli_signals *s);                    /* before any other thread starts */
void cli_signals_watch(cli_signals *s, lt_stream *stream); /* NULL: none any more */
static inline bool cli_interrupted(cli_signals *s) { return atomic_load(&s->count) > 0; }

/* ---- one run -----------------------------------------------------------------------------------
 */

struct cli {
    const cli_command *command;
    cli_value opt[OPT_COUNT];
    const char *arg[CLI_MAX_ARGS]; /* arguments that are not options */
    int n_arg;
    lt_lora lora[CLI_MAX_LORA]; /* of every --lora, in order; paths are never freed */
    int n_lora;
    char preset[4096]; /* file of --preset; "" without */
    double t0;         /* start of the process, cli_now */
    cli_signals signals;
};

extern const cli_command cli_generate, cli_info, cli_eval, cli_bench, cli_convert, cli_metrics;

static inline bool cli_given(const cli *c, cli_opt o) { return c->opt[o].text != NULL; }

/* Fills c; returns -1 to go on, or an exit code (an error was printed, or --help). */
int cli_parse(cli *c, int argc, char **argv);
void cli_help(const cli_command *command);

/* ---- report.c ----------------------------------------------------------------------------------
 */

double cli_now(void); /* seconds, monotonic */
int cli_usage_error(const cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line; running: the command was past its checks (exit 1). Returns the exit code. */
int cli_fail(const cli *c, lt_status st, bool running, const char *msg);
void cli_warn(const cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_event(cJSON *event);           /* one JSON line on stderr; frees event */
void cli_print_json(FILE *f, cJSON *o); /* one line */
/* Valid UTF-8, if one_line without control characters: what the user gave may hold anything. Freed
 * with free; NULL without memory. */
char *cli_clean_text(const char *text, bool one_line);
void cli_print_table(FILE *f, const cJSON *o, int indent);      /* the same for people */
void cli_add_text(cJSON *o, const char *key, const char *text); /* made valid UTF-8 */
void cli_add_u64(cJSON *o, const char *key, uint64_t v);        /* exact, not a double */

/* ---- model.c, prompt.c: what generate and eval share
 * ----------------------------------------------------- */

/* The file of --preset into c->preset: a path as it is, a name from the presets beside the model in
 * the box. The same result as cli_parse. */
int cli_find_preset(cli *c);
/* The folder of the presets that come with the program. NULL: none. */
const char *cli_preset_dir(char *buf, size_t size);
int cli_list_presets(const cli *c); /* presets.c; an exit code */
/* The folder of -m, or the model in the box: beside the program, or ./models. NULL: none. */
const char *cli_model_dir(const cli *c, char *buf, size_t size);
/* Engine parameters of the options; dir holds the folder's name as long as *p lives. The same
 * result as below. */
int cli_engine_params(const cli *c, char *dir, size_t size, lt_engine_params *p);
/* Of these only what needs no model: backend, threads, dtype, limits. */
int cli_device_params(const cli *c, lt_engine_params *p);
/* Opens the engine of the options with these lt_part bits (0: all); returns -1, or an exit code
 * after printing the error. */
int cli_open_engine(const cli *c, int parts, lt_engine **engine);
/* mode, timesteps, shift, chunk, window, sink, policy. The same result. */
int cli_stream_params(const cli *c, const lt_model_info *model, lt_stream_params *p);
/* Freed with free; -1, or an exit code after printing the error. */
int cli_read_prompt(const cli *c, char **prompt);
const char *cli_mode_name(int mode);
const char *cli_policy_name(int policy);
const char *cli_switch_name(int how);

/* describe.c: the object of lt_info_json for people; verbose lists every tensor of a file. */
void cli_print_info(const cJSON *o, bool verbose);

void cli_metrics_help(void); /* metrics_report.c: the list of metrics, below the options */

/* ---- progress.c --------------------------------------------------------------------------------
 */

typedef struct cli_progress {
    pthread_mutex_t mu;
    enum { PROGRESS_NONE, PROGRESS_BAR, PROGRESS_JSON } kind;
    bool colour, drawn, shown;
    double start, last, fps;
    int64_t frames, done; /* frames 0: endless */
    int64_t chunk;
    int step, n_step;
    double drift; /* score, NaN: none */
} cli_progress;

void cli_progress_start(cli_progress *p, const cli *c, int64_t frames, double fps, bool silent);
void cli_progress_show(cli_progress *p); /* nothing is drawn before: the start line comes first */
void cli_progress_step(cli_progress *p, const lt_progress *at); /* any thread */
void cli_progress_frame(cli_progress *p, int64_t done);
void cli_progress_drift(cli_progress *p, double score);
void cli_progress_warn(cli_progress *p, const cli *c, const char *msg); /* not behind the bar */
void cli_progress_end(cli_progress *p);                                 /* the bar is wiped */

#endif
