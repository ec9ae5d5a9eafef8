/* SPDX-License-Identifier: Apache-2.0
 * encode/none/libavutil/mem.h - what encode/md5.c calls, for builds without FFmpeg. */
#ifndef LT_ENCODE_NONE_MEM_H
#define LT_ENCODE_NONE_MEM_H
#include <stdlib.h>

#define av_free(p) free(p)
#define av_freep(pp) (free(*(pp)), *(pp) = NULL)

#endif
