/* SPDX-License-Identifier: Apache-2.0
 * encode/png.c - one PNG per frame, numbered from 0, each renamed into place when complete.
 *
 * The path is a pattern with exactly one %d or %0Nd; %% is a percent sign. It is taken apart here
 * and never given to printf: the user's text must not become a format. */
#include "encode/png_write.h"
#include "encode/sink_int.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct png_sink {
    char prefix[PATH_MAX], suffix[NAME_MAX + 1];
    int digits; /* at least so many, zeros in front; 0: as they come */
} png_sink;

static lt_status bad_pattern(const char *path, lt_error *err) {
    return lti_fail(
        err, LT_EINVAL,
        "output %s: a png name needs exactly one frame number, %%d or %%0Nd with N 1 to "
        "9, as in frames/%%06d.png (write %%%% for a percent sign)",
        path);
}

/* One "%d" or "%0Nd" at p (after the percent sign): digits and the length, or 0. */
static int parse_number(const char *p, int *digits) {
    *digits = 0;
    if (p[0] == 'd') return 1;
    if (p[0] != '0' || p[1] < '1' || p[1] > '9' || p[2] != 'd') return 0;
    *digits = p[1] - '0';
    return 3;
}

static lt_status parse_pattern(const char *path, png_sink *p, lt_error *err) {
    char *out = p->prefix, *end = p->prefix + sizeof p->prefix;
    bool seen = false;
    for (const char *c = path; *c; c++) {
        if (out + 1 >= end) return lti_fail(err, LT_EINVAL, "output: the png name is too long");
        if (*c != '%') {
            *out++ = *c;
        } else if (c[1] == '%') {
            *out++ = *c++;
        } else {
            const int n = seen ? 0 : parse_number(c + 1, &p->digits);
            if (n == 0) return bad_pattern(path, err);
            c += n;
            seen = true;
            *out = 0;
            out = p->suffix;
            end = p->suffix + sizeof p->suffix;
        }
    }
    *out = 0;
    return seen ? LT_OK : bad_pattern(path, err);
}

/* The folder must be there and writable: better now than at the first frame. */
static lt_status check_folder(const char *path, lt_error *err) {
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    if (len >= sizeof dir) return lti_fail(err, LT_EINVAL, "output: the png name is too long");
    memcpy(dir, path, len);
    dir[len] = 0;
    if (eaccess(len ? dir : ".", W_OK | X_OK) == 0) return LT_OK;
    return lti_fail(err, LT_EIO, "cannot write into folder %s: %s", len ? dir : ".",
                    strerror(errno));
}

static lt_status png_open(lt_sink *s, lt_error *err) {
    png_sink *p = s->priv = calloc(1, sizeof *p);
    if (!p) return lti_oom(err, sizeof *p);
    LT_TRY(parse_pattern(s->path, p, err));
    if (strchr(p->suffix, '/')) return bad_pattern(s->path, err); /* a folder per frame */
    return check_folder(p->prefix, err);
}

static lt_status png_write_frame(lt_sink *s, const uint8_t *rgb, lt_error *err) {
    const png_sink *p = s->priv;
    char name[PATH_MAX + NAME_MAX + 32];
    const char *why = "";
    snprintf(name, sizeof name, "%s%0*lld%s", p->prefix, p->digits, (long long)s->n_frame,
             p->suffix);
    if (lti_png_store(name, rgb, s->width, s->height, &why)) return LT_OK;
    return lti_fail(err, LT_EIO, "cannot write %s: %s; the %lld frames before it are complete",
                    name, why, (long long)s->n_frame);
}

static lt_status png_close(lt_sink *s, bool ok, lt_error *err) {
    (void)ok;
    (void)err;
    free(s->priv);
    s->priv = NULL;
    return LT_OK;
}

const lti_sink_ops lti_sink_png = {".png", false,     png_open, png_write_frame,
                                   NULL,   png_close, NULL,     NULL};
