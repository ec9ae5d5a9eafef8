/* SPDX-License-Identifier: Apache-2.0
 * encode/torgb.h - a decoded frame of any pixel format becomes RGB24 of one size. */
#ifndef LT_ENCODE_TORGB_H
#define LT_ENCODE_TORGB_H
#include "longtake/encode.h"
#include <libavutil/frame.h>
#include <stdbool.h>
#include <stdint.h>

struct SwsContext;

typedef struct lti_colour { /* how the samples are to be read */
    lt_matrix matrix;
    bool full_range;
} lti_colour;

typedef struct lti_torgb {
    int width, height; /* of the output; set by the user of this struct */
    struct SwsContext *sws;
    struct { /* what sws was made for */
        int w, h, format, chroma_location;
        lti_colour colour;
    } made;
} lti_torgb;

/* The middle part of f that has the output's shape -> rgb [height, width, 3]. */
lt_status lti_torgb_run(lti_torgb *t, const AVFrame *f, lti_colour colour, uint8_t *rgb,
                        lt_error *err);
void lti_torgb_close(lti_torgb *t);

/* The rule of lt_matrix for one frame; *guessed: the file does not say. LT_EUNSUPPORTED for colour
 * models that libswscale has no matrix for. want: LT_MATRIX_AUTO or an override; y4m_ours: the file
 * is a y4m of our own writing. */
lt_status lti_colour_of(const AVFrame *f, lt_matrix want, bool y4m_ours, lti_colour *out,
                        bool *guessed, lt_error *err);

#endif
