/* SPDX-License-Identifier: Apache-2.0
 * base/filemap.c - map a regular file read-only.
 *
 * Pitfall: a file that another process truncates while it is mapped gives SIGBUS on access. Writers
 * of model files replace by rename, which leaves the old mapping whole. */
#include "base/filemap.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static lt_status fail_errno(lt_error *err, const char *path, const char *doing, int e) {
    const char *hint = e == ENOENT   ? "; check the path"
                       : e == EACCES ? "; check the permissions"
                       : e == ENOMEM ? "; the address space is full (ulimit -v?)"
                                     : "";
    return lti_fail(err, LT_EIO, "%s: cannot %s: %s%s", path, doing, strerror(e), hint);
}

static lt_status map_fd(int fd, const char *path, lti_filemap *out, lt_error *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return fail_errno(err, path, "stat", errno);
    if (S_ISDIR(st.st_mode))
        return lti_fail(err, LT_EIO, "%s: is a folder, expected a file; name the file in it", path);
    if (!S_ISREG(st.st_mode))
        return lti_fail(err, LT_EIO, "%s: is a device or pipe, expected a regular file", path);
    if ((uintmax_t)st.st_size > SIZE_MAX / 2)
        return lti_fail(err, LT_EIO, "%s: is too large to map (%jd bytes)", path,
                        (intmax_t)st.st_size);
    out->size = (size_t)st.st_size;
    if (out->size == 0) return LT_OK; /* mmap refuses length 0 */
    void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return fail_errno(err, path, "map", errno);
    out->data = p;
    return LT_OK;
}

lt_status lti_filemap_open(const char *path, lti_filemap *out, lt_error *err) {
    *out = (lti_filemap){0};
    /* O_NONBLOCK: opening a FIFO must fail the regular-file check, not wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_errno(err, path, "open for reading", errno);
    lt_status st = map_fd(fd, path, out, err);
    if (st < 0) *out = (lti_filemap){0};
    close(fd);
    return st;
}

void lti_filemap_evict(const lti_filemap *m) {
    if (m->data) madvise((void *)m->data, m->size, MADV_DONTNEED); /* only ever advice */
}

void lti_filemap_close(lti_filemap *m) {
    if (m->data) munmap((void *)m->data, m->size);
    *m = (lti_filemap){0};
}
