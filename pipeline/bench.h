/* SPDX-License-Identifier: Apache-2.0
 * pipeline/bench.h - what the two kinds of `longtake bench` share. */
#ifndef LT_PIPELINE_BENCH_H
#define LT_PIPELINE_BENCH_H
#include "pipeline/engine.h"

double lti_bench_now(void); /* seconds, monotonic */
/* The yardstick: flop per second of one n x n x n matmul of `t`, best of a few batches. */
lt_status lti_bench_matmul(lti_dev *d, lti_dtype t, int64_t n, double *rate, lt_error *err);
/* Floating point operations of one DiT pass over n tokens that see m, themselves included. */
double lti_bench_flop(const lti_dit_config *c, double n, double m);
/* lt_bench with p->random. */
lt_status lti_bench_random(const lt_engine_params *engine, const lt_bench_params *p, lt_error *err);

#endif
