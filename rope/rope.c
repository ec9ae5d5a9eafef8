/* SPDX-License-Identifier: Apache-2.0
 * rope/rope.c - cos/sin tables of the 3-axis rotary positions.
 *
 * angle(axis, pos, m) = pos * 10000^(-2m / D_axis), in double; cos and sin are rounded once to f32.
 * A temporal position of 1e6 still has an angle error below 1e-9 rad, so no table by position is
 * needed. The spatial part is the same for every frame and copied from the first. */
#include "rope/rope.h"
#include "base/error.h"
#include <math.h>
#include <string.h>

lti_rope_axes lti_rope_split(int head_dim) {
    LT_ASSERT(head_dim >= 2 && head_dim % 2 == 0);
    int hw = 2 * (head_dim / 6);
    lti_rope_axes ax = {head_dim, head_dim - 2 * hw, hw, hw};
    return ax;
}

/* D/2 pairs (cos, sin) of one position on an axis with D channels. */
static void axis_row(int64_t pos, int D, float *row /*[D/2, 2]*/) {
    for (int m = 0; m < D / 2; m++) {
        double angle = (double)pos * pow(10000.0, -2.0 * m / D);
        row[2 * m] = (float)cos(angle);
        row[2 * m + 1] = (float)sin(angle);
    }
}

void lti_rope_table(lti_rope_axes ax, const int64_t *pos, int n_frame, int gh, int gw,
                    float *table /*[n_frame*gh*gw, head_dim/2, 2]*/) {
    const size_t hd = (size_t)ax.head_dim; /* floats per row: head_dim/2 pairs of 2 */
    const int64_t tok = (int64_t)gh * gw;
    for (int64_t i = 0; i < tok; i++) { /* spatial part of frame 0 */
        int64_t y = i / gw, x = i % gw;
        float *h = table + (size_t)i * hd + ax.t, *w = h + ax.h;
        if (x == 0) axis_row(y, ax.h, h);
        else memcpy(h, h - hd, (size_t)ax.h * sizeof *h);
        if (y == 0) axis_row(x, ax.w, w);
        else memcpy(w, w - (size_t)gw * hd, (size_t)ax.w * sizeof *w);
    }
    for (int f = 1; f < n_frame; f++)
        memcpy(table + (size_t)f * (size_t)tok * hd, table, (size_t)tok * hd * sizeof *table);
    for (int f = 0; f < n_frame; f++) {
        float *first = table + (size_t)f * (size_t)tok * hd;
        axis_row(pos[f], ax.t, first);
        for (int64_t i = 1; i < tok; i++)
            memcpy(first + (size_t)i * hd, first, (size_t)ax.t * sizeof *first);
    }
}
