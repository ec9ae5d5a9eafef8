/* SPDX-License-Identifier: Apache-2.0
 * scheduler/schedule.c - warped noise levels and the windows of the rolling schedule.
 *
 * Rolling: chunk b enters in window b as pure noise and takes one level per window, so in window w
 * it is at step w - b and it is finished by window b + T - 1. This one rule is warm-up, steady
 * state and drain at once, and it also holds for fewer chunks than levels (where the reference
 * injects the last chunk's noise again; here every chunk passes all T levels in order). */
#include "scheduler/schedule.h"
#include "base/error.h"
#include <math.h>

lt_status lti_schedule_init(lti_schedule *s, const double *timesteps, int n, double shift,
                            lt_error *err) {
    if (n < 1 || n > LTI_MAX_STEPS)
        return lti_fail(err, LT_EINVAL, "timesteps: %d given, expected 1 to %d", n, LTI_MAX_STEPS);
    if (!(shift >= 0.01 && shift <= 100))
        return lti_fail(err, LT_EINVAL, "flow shift: %g, expected 0.01 to 100", shift);
    for (int i = 0; i < n; i++) {
        if (!(timesteps[i] > 0 && timesteps[i] <= 1000))
            return lti_fail(err, LT_EINVAL,
                            "timesteps: number %d is %g, expected above 0 and at most 1000", i + 1,
                            timesteps[i]);
        if (i > 0 && !(timesteps[i] < timesteps[i - 1]))
            return lti_fail(err, LT_EINVAL,
                            "timesteps: %g follows %g, expected strictly descending numbers",
                            timesteps[i], timesteps[i - 1]);
    }
    *s = (lti_schedule){.n_step = n};
    for (int i = 0; i < n; i++) {
        double u = timesteps[i] / 1000, sigma = shift * u / (1 + (shift - 1) * u);
        s->sigma[i] = (float)sigma;
        s->t[i] = (float)(1000 * sigma);
    }
    return LT_OK;
}

bool lti_roll_window(int64_t w, int n_step, int64_t n_chunk, lti_roll *out) {
    LT_ASSERT(w >= 0 && n_step >= 1 && n_step <= LTI_MAX_STEPS && n_chunk >= 0);
    if (n_chunk > 0 && w > n_chunk + n_step - 2) return false;
    lti_roll r = {0};
    r.start = w >= n_step ? w - n_step + 1 : 0;
    r.end = n_chunk > 0 && w >= n_chunk ? n_chunk - 1 : w;
    r.n = (int)(r.end - r.start + 1);
    for (int j = 0; j < r.n; j++) r.step[j] = (int)(w - (r.start + j));
    r.enters = r.end == w;
    r.commits = w >= n_step - 1;
    *out = r;
    return true;
}
