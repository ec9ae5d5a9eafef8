/* SPDX-License-Identifier: Apache-2.0
 * base/error.c - the error record, the wording of codes, and the assert of broken invariants.
 *
 * A message is one line whatever ends up in it: file names and prompts may hold anything, so
 * control characters become '?', and a message that is too long is cut between UTF-8 characters. */
#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Cut a character whose last bytes did not fit; s holds len bytes. */
static void drop_partial_utf8(char *s, size_t len) {
    size_t start = len;
    while (start > 0 && ((unsigned char)s[start - 1] & 0xC0u) == 0x80u) start--;
    if (start == 0) return;
    unsigned char lead = (unsigned char)s[start - 1];
    size_t want = lead >= 0xF0u ? 4 : lead >= 0xE0u ? 3 : lead >= 0xC0u ? 2 : 1;
    if (len - (start - 1) < want) s[start - 1] = '\0';
}

lt_status lti_fail(lt_error *err, lt_status code, const char *fmt, ...) {
    if (!err || err->code < 0) return code;
    err->code = code;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n < 0) err->msg[0] = '\0';
    if (n >= (int)sizeof err->msg) drop_partial_utf8(err->msg, strlen(err->msg));
    for (char *p = err->msg; *p; p++)
        if ((unsigned char)*p < 0x20u || *p == 0x7f) *p = '?';
    return code;
}

lt_status lti_oom(lt_error *err, size_t bytes) {
    return lti_fail(err, LT_ENOMEM,
                    "out of memory: %zu bytes were asked for; close other programs or use a "
                    "smaller size, window or chunk",
                    bytes);
}

void lti_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "longtake: %s:%d: internal check failed: %s\n", file, line, cond);
    abort();
}

const char *lt_status_str(lt_status code) {
    switch (code) {
#define STATUS_TEXT(name, value, text)                                                             \
    case name:                                                                                     \
        return text;
        LT_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}
