/* SPDX-License-Identifier: Apache-2.0
 * encode/png_read.h - one PNG picture in memory becomes RGB. */
#ifndef LT_ENCODE_PNG_READ_H
#define LT_ENCODE_PNG_READ_H
#include "longtake/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LTI_PICTURE_MAX_SIDE 8192

typedef struct lti_picture {
    int width, height;
    int bits;   /* per channel in the file, 1..16 */
    bool alpha; /* the file has transparency; it lies on black now */
    bool interlaced;
    uint8_t *rgb; /* [height, width, 3], sRGB; freed with free() */
} lti_picture;

bool lti_is_png(const uint8_t *data, size_t size);
/* name is for the message. LT_EFORMAT: no PNG, damaged, cut short, a side above
 * LTI_PICTURE_MAX_SIDE. On failure *out is zeroed. */
lt_status lti_png_decode(const uint8_t *data, size_t size, const char *name, lti_picture *out,
                         lt_error *err);

#endif
