/* SPDX-License-Identifier: Apache-2.0
 * encode/png_write.h - RGB becomes one PNG file. */
#ifndef LT_ENCODE_PNG_WRITE_H
#define LT_ENCODE_PNG_WRITE_H
#include <stdbool.h>
#include <stdint.h>

/* rgb [height, width, 3] -> path.part, then renamed to path. False: *why is a text of a few words,
 * and what was at path is untouched. */
bool lti_png_store(const char *path, const uint8_t *rgb, int width, int height, const char **why);

#endif
