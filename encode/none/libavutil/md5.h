/* SPDX-License-Identifier: Apache-2.0
 * encode/none/libavutil/md5.h - MD5 (RFC 1321) under the names of libavutil, for builds without
 * FFmpeg: encode/none/md5.c. */
#ifndef LT_ENCODE_NONE_MD5_H
#define LT_ENCODE_NONE_MD5_H
#include <stddef.h>
#include <stdint.h>

struct AVMD5;
#define av_md5_alloc lti_md5_alloc
#define av_md5_init lti_md5_init
#define av_md5_update lti_md5_update
#define av_md5_final lti_md5_final
#define av_md5_size lti_md5_size
extern const int lti_md5_size;
struct AVMD5 *lti_md5_alloc(void);
void lti_md5_init(struct AVMD5 *m);
void lti_md5_update(struct AVMD5 *m, const uint8_t *p, size_t n);
void lti_md5_final(struct AVMD5 *m, uint8_t sum[16]);

#endif
