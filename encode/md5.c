/* SPDX-License-Identifier: Apache-2.0
 * encode/md5.c - the digest of all RGB bytes: "did anything change?" in one line.
 *
 * The frames are hashed back to back, row by row, as a .rgb file of them would be. */
#include "encode/sink_int.h"
#include <libavutil/md5.h>
#include <libavutil/mem.h>
#include <stdio.h>
#include <string.h>

static lt_status md5_open(lt_sink *s, lt_error *err) {
    s->priv = av_md5_alloc();
    if (!s->priv) return lti_oom(err, (size_t)av_md5_size);
    av_md5_init(s->priv);
    return LT_OK;
}

static lt_status md5_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    (void)err;
    av_md5_update(s->priv, rgb, (size_t)s->width * (size_t)s->height * 3);
    return LT_OK;
}

static const char *md5_result(lt_sink *s) {
    /* finishing destroys the state, and more frames may come: finish a copy */
    struct AVMD5 *copy = av_md5_alloc();
    uint8_t sum[16] = {0};
    if (!copy) return "";
    memcpy(copy, s->priv, (size_t)av_md5_size);
    av_md5_final(copy, sum);
    av_free(copy);
    int n = snprintf(s->result, sizeof s->result, "md5 ");
    for (int i = 0; i < 16; i++)
        n += snprintf(s->result + n, sizeof s->result - (size_t)n, "%02x", sum[i]);
    return s->result;
}

static lt_status md5_close(lt_sink *s, bool ok, lt_error *err) {
    (void)ok;
    (void)err;
    av_freep(&s->priv);
    return LT_OK;
}

const lti_sink_ops lti_sink_md5 = {"md5", false,     md5_open,   md5_write,
                                   NULL,  md5_close, md5_result, NULL};
