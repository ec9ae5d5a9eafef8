/* SPDX-License-Identifier: Apache-2.0
 * encode/png_write.c - RGB becomes one PNG file, written beside its place, then renamed.
 *
 * Pitfall: a rename replaces whatever has the name, a device too: only a regular file may be there.
 * A symbolic link is followed, so that its target is replaced and the link stays. */
#include "encode/png_write.h"
#include "encode/png_read.h"
#include "encode/sink_int.h"
#include <errno.h>
#include <limits.h>
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_image(const char *part, const uint8_t *rgb, int width, int height,
                        const char **why) {
    FILE *f = fopen(part, "wbe");
    if (!f) {
        *why = strerror(errno);
        return false;
    }
    png_image image = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
    image.width = (png_uint_32)width;
    image.height = (png_uint_32)height;
    errno = 0;
    bool ok = png_image_write_to_stdio(&image, f, 0, rgb, 0, NULL) != 0 && fflush(f) == 0;
    int e = errno;
    png_image_free(&image);
    if (fclose(f) != 0 && ok) {
        e = errno;
        ok = false;
    }
    if (!ok) *why = e ? strerror(e) : "libpng failed";
    return ok;
}

bool lti_png_store(const char *path, const uint8_t *rgb, int width, int height, const char **why) {
    char real[PATH_MAX], part[PATH_MAX + 8];
    struct stat st;
    const bool there = stat(path, &st) == 0;
    if (there && !S_ISREG(st.st_mode)) {
        *why = S_ISDIR(st.st_mode) ? "it is a folder" : "it is no regular file";
        return false;
    }
    if (there && realpath(path, real)) path = real;
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part) {
        *why = strerror(ENAMETOOLONG);
        return false;
    }
    lti_sigguard guard;
    lti_sigguard_begin(&guard);
    bool ok = write_image(part, rgb, width, height, why);
    lti_sigguard_end(&guard);
    if (ok && rename(part, path) != 0) {
        *why = strerror(errno);
        ok = false;
    }
    if (!ok) unlink(part);
    return ok;
}

lt_status lt_png_write(const char *path, const uint8_t *rgb, int32_t width, int32_t height,
                       lt_error *err) {
    if (!path || !*path) return lti_fail(err, LT_EINVAL, "picture: the path is empty");
    if (!rgb) return lti_fail(err, LT_EINVAL, "%s: there are no pixels to write", path);
    const int most = LTI_PICTURE_MAX_SIDE;
    if (width < 1 || height < 1 || width > most || height > most)
        return lti_fail(err, LT_EINVAL, "%s: a picture of %dx%d; each side may have 1 to %d pixels",
                        path, width, height, most);
    const char *why = "";
    if (lti_png_store(path, rgb, width, height, &why)) return LT_OK;
    return lti_fail(err, LT_EIO, "cannot write %s: %s", path, why);
}
