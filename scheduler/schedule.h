/* SPDX-License-Identifier: Apache-2.0
 * scheduler/schedule.h - flow-matching noise levels and the two streaming schedules.
 *
 * x_t = (1 - sigma) x0 + sigma eps, v = eps - x0, t = 1000 sigma.
 *   warp      u = timestep/1000, sigma = shift*u / (1 + (shift-1)*u)
 *   x0        x0 = x_t - sigma v
 *   re-noise  x = (1 - sigma') x0 + sigma' eps', eps' fresh
 * chunk-wise (Self Forcing): chunk b goes through all levels alone, then a clean pass at t = 0
 *   writes its keys and values to the cache.
 * rolling (Rolling Forcing): T = n_step chunks are in flight, each one level apart; every window
 *   takes all of them one level down in one joint pass, then the first one's clean pass commits it.
 * Pure functions of host numbers. Reference: Self-Forcing FlowMatchScheduler, RollingForcing
 * pipeline/rolling_forcing_inference.py. */
#ifndef LT_SCHEDULER_SCHEDULE_H
#define LT_SCHEDULER_SCHEDULE_H
#include <stdbool.h>
#include <stdint.h>
#include "longtake/status.h"

#define LTI_MAX_STEPS 16

typedef struct lti_schedule {
    int n_step;
    float sigma[LTI_MAX_STEPS]; /* descending, noisiest first */
    float t[LTI_MAX_STEPS];     /* 1000 * sigma: what the network sees */
} lti_schedule;

/* Bounds: 1..16 timesteps, strictly descending, in (0, 1000]; shift in [0.01, 100]. */
lt_status lti_schedule_init(lti_schedule *s, const double *timesteps, int n, double shift,
                            lt_error *err);

/* One window of the rolling schedule. Block j of the window is chunk start + j at step[j]
 * (0 = noisiest). Blocks in (w) order: start = max(0, w-T+1) .. end = min(n_chunk-1, w). */
typedef struct lti_roll {
    int64_t start, end;      /* chunks, inclusive */
    int n;                   /* end - start + 1 */
    int step[LTI_MAX_STEPS]; /* schedule step of each block in this pass */
    bool enters;             /* the last block is new: pure noise */
    bool commits;            /* the first block is finished by this pass: clean pass, emit */
} lti_roll;
/* n_chunk 0: endless. Returns false past the last window (w > n_chunk + T - 2). */
bool lti_roll_window(int64_t w, int n_step, int64_t n_chunk, lti_roll *out);

#endif
