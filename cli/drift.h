/* SPDX-License-Identifier: Apache-2.0
 * cli/drift.h - generate --drift: measures what is made while it is made, and acts on it. */
#ifndef LT_CLI_DRIFT_H
#define LT_CLI_DRIFT_H
#include "cli/cli.h"
#include "longtake/metrics.h"

typedef struct cli_drift {
    lt_metrics *m; /* NULL: not asked for */
    enum { DRIFT_SHOW, DRIFT_WARN, DRIFT_STOP, DRIFT_REANCHOR } act;
    double threshold;
    double fps;
    int64_t chunk;     /* frames */
    int64_t old, all;  /* frames of the file before the first new one, and in all; 0: endless */
    lt_drift now;      /* at the end of the last chunk */
    int64_t wait;      /* no act before this chunk's end */
    int64_t acted, at; /* how often, and the file's frame at the first time */
    bool stopped;
    char warning[320]; /* what to say about this frame, "": nothing */
} cli_drift;

/* new_frames 0: endless. -1, or an exit code after printing the error. */
int cli_drift_open(const cli *c, cli_drift *d, const lt_stream_info *i, int64_t old_frames,
                   int64_t new_frames, double fps);
void cli_drift_close(cli_drift *d);
/* The next frame. LT_END: the video ends with it. */
lt_status cli_drift_frame(cli_drift *d, lt_stream *s, const lt_frame *f, lt_error *err);
/* Into the result, and as text for the file's metadata; the summary is freed with free. */
void cli_drift_add(const cli_drift *d, cJSON *o);
void cli_drift_line(const cli_drift *d, char *buf, size_t size);
char *cli_drift_summary(const cli_drift *d);

#endif
