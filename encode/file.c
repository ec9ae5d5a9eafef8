/* SPDX-License-Identifier: Apache-2.0
 * encode/file.c - the output file of a sink, and the guard against write signals.
 *
 * Opening proves that the path can be written but changes nothing yet: a file that was there is
 * emptied by the first byte, and one that we created is removed if no byte came. So a run that
 * fails early (bad prompt, no memory) never destroys an older result nor leaves an empty one. */
#include "encode/sink_int.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void guarded_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
    sigaddset(set, SIGXFSZ);
}

void lti_sigguard_begin(lti_sigguard *g) {
    sigset_t set;
    guarded_set(&set);
    sigpending(&g->raised); /* what was pending before is the program's, and stays */
    pthread_sigmask(SIG_BLOCK, &set, &g->old);
}

void lti_sigguard_end(lti_sigguard *g) {
    const int sig[2] = {SIGPIPE, SIGXFSZ};
    const struct timespec now = {0, 0};
    const int keep = errno;
    for (int i = 0; i < 2; i++) {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, sig[i]);
        if (sigismember(&g->raised, sig[i]) == 0)
            while (sigtimedwait(&one, NULL, &now) < 0 && errno == EINTR) {}
    }
    pthread_sigmask(SIG_SETMASK, &g->old, NULL);
    errno = keep;
}

static int open_fd(const char *path, bool *created) {
    const int flags = O_WRONLY | O_CLOEXEC | O_CREAT;
    int fd = open(path, flags | O_EXCL, 0666);
    *created = fd >= 0;
    if (fd < 0 && errno == EEXIST) fd = open(path, flags, 0666);
    return fd;
}

lt_status lti_outfile_open(const char *path, lti_outfile *f, lt_error *err) {
    *f = (lti_outfile){.fd = -1};
    const bool is_stdout = strcmp(path, "-") == 0;
    f->fd = is_stdout ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) : open_fd(path, &f->created);
    struct stat st;
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return lti_fail(err, LT_EIO, "cannot write %s: %s; choose another output with -o",
                        is_stdout ? "standard output" : path, strerror(errno));
    f->regular = S_ISREG(st.st_mode) && !is_stdout;
    f->path = f->regular ? realpath(path, NULL) : strdup(is_stdout ? "standard output" : path);
    if (!f->path) {
        lti_outfile_cut(f, 0);
        lti_outfile_close(f);
        return lti_oom(err, PATH_MAX);
    }
    return LT_OK;
}

static int write_all(int fd, const uint8_t *p, size_t n) {
    while (n > 0) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return errno;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

int lti_outfile_write(lti_outfile *f, const void *buf, size_t n) {
    lti_sigguard guard;
    lti_sigguard_begin(&guard);
    int e = 0;
    if (!f->started && f->regular && ftruncate(f->fd, 0) != 0) e = errno;
    f->started = true;
    if (e == 0) e = write_all(f->fd, buf, n);
    lti_sigguard_end(&guard);
    if (e == 0) f->pos += (int64_t)n;
    if (f->pos > f->end) f->end = f->pos;
    return e;
}

int64_t lti_outfile_seek(lti_outfile *f, int64_t pos) {
    if (!f->regular || lseek(f->fd, (off_t)pos, SEEK_SET) < 0) return -1;
    f->pos = pos;
    return pos;
}

int lti_outfile_sync(lti_outfile *f) {
    return f->regular && f->started && fdatasync(f->fd) != 0 ? errno : 0;
}

void lti_outfile_cut(lti_outfile *f, int64_t size) {
    if (f->fd < 0 || !f->regular) return;
    if (f->started && ftruncate(f->fd, (off_t)size) == 0) f->end = size;
    if (size == 0 && f->path && (f->created || f->started)) unlink(f->path);
}

int lti_outfile_close(lti_outfile *f) {
    const int e = f->fd >= 0 && close(f->fd) != 0 ? errno : 0;
    free(f->path);
    *f = (lti_outfile){.fd = -1};
    return e;
}
