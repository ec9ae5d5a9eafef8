/* SPDX-License-Identifier: Apache-2.0
 * metrics/axis.c - ticks at round numbers and their labels.
 *
 * Steps of values are 1, 2 or 5 times a power of ten; steps of time also follow the clock. A tick is
 * first + i * step, never a running sum, so that 0.3 does not become 0.30000000000000004. */
#include "metrics/panel.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static double decade_step(double least) {
    const double unit = pow(10, floor(log10(least)));
    const double of[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (of[i] * unit >= least * (1 - 1e-9)) return of[i] * unit;
    return 10 * unit;
}

static double time_step(double least) {
    static const double of[] = {1,   2,   5,    10,   15,   30,    60,    120,   300,
                                600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400};
    if (least <= 1) return decade_step(least);
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (of[i] >= least) return of[i];
    return 86400 * decade_step(least / 86400);
}

void lti_axis_ticks(lti_axis *a, int most) {
    const double range = a->hi - a->lo;
    double least = range / most;
    for (int tries = 0; tries < 8; tries++) {
        a->step = a->time ? time_step(least) : decade_step(least);
        a->first = ceil(a->lo / a->step - 1e-6) * a->step;
        a->n = (int)floor((a->hi - a->first) / a->step + 1e-6) + 1;
        if (a->n <= most) break;
        least = a->step * 1.01;
    }
    if (!(a->n >= 0)) a->n = 0;
    if (a->n > most) a->n = most;
}

double lti_axis_tick(const lti_axis *a, int i) {
    const double v = a->first + i * a->step;
    return fabs(v) < a->step / 1000 ? 0 : v;
}

/* "-" of printf as a real minus, which is as wide as the plus. */
static void pretty_minus(char *out, size_t size) {
    char *p = strchr(out, '-');
    if (!p || strlen(out) + 3 > size) return;
    memmove(p + 3, p + 1, strlen(p));
    memcpy(p, "\xe2\x88\x92", 3);
}

static int decimals_of(double step) {
    const double d = -floor(log10(step) + 1e-6);
    return d < 0 ? 0 : d > 9 ? 9 : (int)d;
}

static void time_label(const lti_axis *a, int i, char *out) {
    const double t = lti_axis_tick(a, i);
    const bool end = i + 1 == a->n;
    const double last = lti_axis_tick(a, a->n - 1);
    if (last < 100 || fabs(t) > 1e9) {
        snprintf(out, LTI_LABEL, "%.*f%s", t == 0 ? 0 : decimals_of(a->step), t, end ? " s" : "");
        return;
    }
    const int64_t s = llround(fabs(t));
    const char *sign = t < 0 ? "-" : "";
    if (s == 0) snprintf(out, LTI_LABEL, "0");
    else if (last < 7200) snprintf(out, LTI_LABEL, "%s%d:%02d", sign, (int)(s / 60), (int)(s % 60));
    else
        snprintf(out, LTI_LABEL, "%s%lld:%02d%s", sign, (long long)(s / 3600), (int)(s / 60 % 60),
                 end ? " h" : "");
}

void lti_axis_label(const lti_axis *a, int i, char *out) {
    const double v = lti_axis_tick(a, i), big = fmax(fabs(a->lo), fabs(a->hi));
    if (a->time) time_label(a, i, out);
    else if (v == 0) snprintf(out, LTI_LABEL, "0");
    else if (big >= 1e6 || a->step < 0.99e-6) snprintf(out, LTI_LABEL, "%.4g", v);
    else snprintf(out, LTI_LABEL, "%.*f", decimals_of(a->step), v);
    pretty_minus(out, LTI_LABEL);
}

void lti_duration(double seconds, char *out) {
    if (!(fabs(seconds) < 1e12)) seconds = 0;
    const int64_t s = llround(fabs(seconds));
    const char *sign = seconds < 0 ? "-" : "";
    if (fabs(seconds) < 99.95) snprintf(out, LTI_LABEL, "%.1f s", seconds);
    else if (s < 7200) snprintf(out, LTI_LABEL, "%s%d:%02d", sign, (int)(s / 60), (int)(s % 60));
    else
        snprintf(out, LTI_LABEL, "%s%lld:%02d:%02d", sign, (long long)(s / 3600),
                 (int)(s / 60 % 60), (int)(s % 60));
    pretty_minus(out, LTI_LABEL);
}

void lti_signed_number(double v, int digits, char *out) {
    if (fabs(v) < 0.5 * pow(10, -digits)) snprintf(out, LTI_LABEL, "0");
    else if (fabs(v) >= 1e6) snprintf(out, LTI_LABEL, "%+.2g", v);
    else snprintf(out, LTI_LABEL, "%+.*f", digits, v);
    pretty_minus(out, LTI_LABEL);
}
