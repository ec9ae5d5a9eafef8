/* SPDX-License-Identifier: Apache-2.0
 * cli/metrics.h - what `longtake metrics` measured, and how it is told. */
#ifndef LT_CLI_METRICS_H
#define LT_CLI_METRICS_H
#include "cli/cli.h"
#include "longtake/metrics.h"

typedef struct cli_video {
    const char *path; /* as given */
    char *name;       /* printable; without the folder, if that tells the videos apart */
    lt_metrics_file_info info;
    lt_metrics *m;
    lt_contact *contact; /* NULL: no --contact */
    double *series;      /* [cap, n_want], n frames; NULL: no --json */
    int64_t n, cap;
    double took; /* seconds */
} cli_video;

typedef struct cli_measure {
    cli *c;
    const char *ref; /* NULL: no --ref */
    uint32_t want;   /* LT_METRIC_BITs to show */
    int n_want;
    cli_video video[CLI_MAX_ARGS];
    int n;
} cli_measure;

void cli_metrics_tables(const cli_measure *j); /* for people, on stdout */
void cli_metrics_json(const cli_measure *j);   /* contract: one object, of several an array */
/* What --write-baseline keeps of a video. */
void cli_metrics_print_baseline(FILE *f, const cli_measure *j, const cli_video *v);
const char *cli_base_name(const char *path);

#endif
