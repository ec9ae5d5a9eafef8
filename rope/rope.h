/* SPDX-License-Identifier: Apache-2.0
 * rope/rope.h - 3-axis rotary positions: angles computed in double from the position, never tabled
 * by position, so there is no last row (the references stop at 1024).
 *
 * head_dim splits into t | h | w channels: h = w = 2*(head_dim/6), t = the rest (128: 44/42/42, as
 * Wan). Pair m of an axis with D channels turns by pos * 10000^(-2m/D). Pairs are adjacent
 * channels. Reference: Wan2.1 rope_params/rope_apply; diffusers WanRotaryPosEmbed. */
#ifndef LT_ROPE_ROPE_H
#define LT_ROPE_ROPE_H
#include <stdint.h>

typedef struct lti_rope_axes {
    int head_dim, t, h, w;
} lti_rope_axes; /* channels per axis, all even */

lti_rope_axes lti_rope_split(int head_dim);
/* Fill table [n_frame*gh*gw, head_dim/2, 2] (cos, sin) for temporal positions pos[0..n_frame) and
 * spatial positions 0..gh, 0..gw. Host memory. */
void lti_rope_table(lti_rope_axes ax, const int64_t *pos, int n_frame, int gh, int gw,
                    float *table);

#endif
