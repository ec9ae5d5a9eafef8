/* SPDX-License-Identifier: Apache-2.0
 * encode/null.c - the sink that keeps nothing: for timing. */
#include "encode/sink_int.h"

static lt_status null_open(lt_sink *s, lt_error *err) {
    (void)s;
    (void)err;
    return LT_OK;
}

static lt_status null_write(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    (void)s;
    (void)rgb;
    (void)err;
    return LT_OK;
}

static lt_status null_close(lt_sink *s, bool ok, lt_error *err) {
    (void)s;
    (void)ok;
    (void)err;
    return LT_OK;
}

const lti_sink_ops lti_sink_null = {"null", false,      null_open, null_write,
                                    NULL,   null_close, NULL,      NULL};
