/* SPDX-License-Identifier: Apache-2.0
 * cli/start.h - what a generation starts from: -i PICTURE or --extend VIDEO. */
#ifndef LT_CLI_START_H
#define LT_CLI_START_H
#include "cli/cli.h"
#include "longtake/encode.h"

typedef struct cli_start {
    const char *path;    /* NULL: from noise alone */
    bool video;          /* --extend */
    bool hold;           /* -i: the picture is the past; it comes first in the file */
    lt_reader_info info; /* of the file, as stored */
    char *prompt;        /* that of the video; NULL: it has none */
    int64_t frames;      /* of the video, counted */
    int64_t n_old;       /* frames that go in front of the new ones */
    uint8_t *rgb;        /* [n, height, width, 3]: the pictures for the stream */
    int64_t n;
} cli_start;

/* All return -1, or an exit code after printing the error. */
int cli_start_open(cli *c, cli_start *s, const char *out); /* before the model: checks, counts */
/* The pictures, and in p: size, init_rgb, n_init. p holds the other options already. */
int cli_start_load(cli *c, cli_start *s, const lt_model_info *model, lt_stream_params *p);
/* How a picture is given to the model: --init-mode, else as the model asks for, else held. */
void cli_start_mode(const cli *c, cli_start *s, const lt_model_info *model);
void cli_start_free(cli_start *s);

int cli_start_parts(const cli *c, const cli_start *s); /* lt_part bits for the engine */
/* The n_old frames into the sink, *done of them so far. LT_OK, LT_ECANCELLED, or an error. */
lt_status cli_start_copy(cli *c, const cli_start *s, lt_sink *sink, int64_t *done, lt_error *err);

#endif
