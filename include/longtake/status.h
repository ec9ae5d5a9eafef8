/* SPDX-License-Identifier: Apache-2.0
 * longtake/status.h - result codes and the error record, shared by every public header.
 *
 * Zero is success, positive values are not errors (try again, end of stream), negative values are
 * errors. The text that explains an error is written once, where the error happens, into the
 * lt_error of the call or into the stream's own buffer: what, where, expected, what to do. */
#ifndef LONGTAKE_STATUS_H
#define LONGTAKE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LT_API __attribute__((visibility("default")))
#else
#define LT_API
#endif

/* X(name, value, text) */
#define LT_STATUS_MAP(X)                                                                           \
    X(LT_OK, 0, "ok")                                                                              \
    X(LT_AGAIN, 1, "all frames are in use, release one and call again")                            \
    X(LT_END, 2, "end of stream")                                                                  \
    X(LT_EINVAL, -1, "invalid argument")                                                           \
    X(LT_ENOMEM, -2, "out of memory")                                                              \
    X(LT_EIO, -3, "input or output failed")                                                        \
    X(LT_EFORMAT, -4, "malformed file")                                                            \
    X(LT_EUNSUPPORTED, -5, "not supported")                                                        \
    X(LT_EDEVICE, -6, "device error")                                                              \
    X(LT_ECANCELLED, -7, "cancelled")

typedef enum lt_status {
#define LT_STATUS_ENUM_(name, value, text) name = value,
    LT_STATUS_MAP(LT_STATUS_ENUM_)
#undef LT_STATUS_ENUM_
} lt_status;

/* First error wins: a function that gets a record whose code is already an error leaves it. */
typedef struct lt_error {
    lt_status code;
    char msg[508]; /* UTF-8, one line, NUL terminated */
} lt_error;

/* Short fixed text of a code; never NULL, also for unknown values. */
LT_API const char *lt_status_str(lt_status code);

#ifdef __cplusplus
}
#endif
#endif
