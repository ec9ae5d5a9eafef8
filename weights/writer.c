/* SPDX-License-Identifier: Apache-2.0
 * weights/writer.c - named tensors to one safetensors file.
 *
 * Written under a temporary name in the same folder and renamed when complete: a reader sees the
 * old file, the new file, or none. The header is padded so that the data starts 8-byte aligned. */
#include "base/error.h"
#include "weights/weights_int.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lti_writer {
    FILE *f;
    char *path;
    char tmp[4096];
    uint64_t left; /* payload bytes still to come */
};

static bool add_meta(cJSON *root, const lti_meta *meta, int n) {
    if (n == 0) return true;
    cJSON *o = cJSON_AddObjectToObject(root, "__metadata__");
    bool ok = o != NULL;
    for (int i = 0; i < n && ok; i++)
        ok = cJSON_AddStringToObject(o, meta[i].key, meta[i].value) != NULL;
    return ok;
}

/* The JSON header; *out is from malloc. *payload: bytes after it. */
static lt_status make_header(const lti_named *list, int n, const lti_meta *meta, int n_meta,
                             char **out, uint64_t *payload, lt_error *err) {
    *out = NULL;
    *payload = 0;
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL && add_meta(root, meta, n_meta);
    for (int i = 0; i < n && ok; i++) {
        const lti_tensor *t = &list[i].t;
        double dims[LTI_MAX_RANK], span[2] = {(double)*payload, 0};
        for (int j = 0; j < t->rank; j++) dims[j] = (double)t->n[j];
        *payload += lti_nbytes(t);
        span[1] = (double)*payload;
        cJSON *e = cJSON_AddObjectToObject(root, list[i].name);
        ok = e && cJSON_AddStringToObject(e, "dtype", lti_dtype_name(t->dtype)) &&
             cJSON_AddItemToObject(e, "shape", cJSON_CreateDoubleArray(dims, t->rank)) &&
             cJSON_AddItemToObject(e, "data_offsets", cJSON_CreateDoubleArray(span, 2));
    }
    if (ok) *out = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return *out ? LT_OK : lti_oom(err, (size_t)n * 128);
}

static bool write_header(FILE *f, const char *header) {
    const size_t len = strlen(header), pad = (8 - len % 8) % 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)(len + pad) >> (8 * i));
    return fwrite(size, 1, 8, f) == 8 && fwrite(header, 1, len, f) == len &&
           fwrite("        ", 1, pad, f) == pad;
}

/* A new file beside path, its name in tmp. */
static FILE *open_beside(const char *path, char *tmp, size_t size) {
    for (int i = 0; i < 100; i++) {
        int n = snprintf(tmp, size, "%s.%d.%ld.tmp", path, i, (long)getpid());
        if (n < 0 || (size_t)n >= size) {
            errno = ENAMETOOLONG;
            break;
        }
        int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            FILE *f = fdopen(fd, "wb");
            if (!f) {
                close(fd);
                unlink(tmp);
            }
            return f;
        }
        if (errno != EEXIST) break;
    }
    tmp[0] = 0; /* nothing of ours to remove */
    return NULL;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static lt_status check_names(const lti_named *list, int n, lt_error *err) {
    const char **name = malloc(sizeof *name * (size_t)(n + 1));
    if (!name) return lti_oom(err, sizeof *name * (size_t)(n + 1));
    for (int i = 0; i < n; i++) name[i] = list[i].name;
    qsort(name, (size_t)n, sizeof *name, by_text);
    lt_status st = LT_OK;
    for (int i = 0; i < n && st == LT_OK; i++)
        if (!*name[i] || (i && !strcmp(name[i], name[i - 1])))
            st = lti_fail(err, LT_EINVAL, "tensor name '%s' is empty or there twice", name[i]);
    free(name);
    return st;
}

static lt_status fail_write(const char *path, int why, lt_error *err) {
    return lti_fail(err, LT_EIO, "%s: cannot write: %s; free some space or choose another place",
                    path, strerror(why));
}

/* The temporary file with its header. */
static lt_status start(lti_writer *w, const char *path, const char *header, lt_error *err) {
    w->path = strdup(path);
    if (!w->path) return lti_oom(err, strlen(path) + 1);
    w->f = open_beside(path, w->tmp, sizeof w->tmp);
    if (!w->f) return lti_fail(err, LT_EIO, "%s: cannot write here: %s", path, strerror(errno));
    return write_header(w->f, header) ? LT_OK : fail_write(path, errno, err);
}

lt_status lti_writer_open(const char *path, const lti_named *list, int n, const lti_meta *meta,
                          int n_meta, lti_writer **out, lt_error *err) {
    char *header;
    struct stat st;
    *out = NULL;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* rename would put a file in its place */
        return lti_fail(err, LT_EIO, "%s: is a folder, device or pipe; give the name of a file",
                        path);
    LT_TRY(check_names(list, n, err));
    lti_writer *w = calloc(1, sizeof *w);
    if (!w) return lti_oom(err, sizeof *w);
    lt_status s = make_header(list, n, meta, n_meta, &header, &w->left, err);
    if (s >= 0) s = start(w, path, header, err);
    cJSON_free(header);
    if (s < 0) lti_writer_abort(&w);
    *out = w;
    return s;
}

lt_status lti_writer_put(lti_writer *w, const void *data, size_t bytes, lt_error *err) {
    LT_ASSERT(bytes <= w->left);
    w->left -= bytes;
    if (bytes == 0 || fwrite(data, 1, bytes, w->f) == bytes) return LT_OK;
    return fail_write(w->path, errno, err);
}

lt_status lti_writer_finish(lti_writer **pw, lt_error *err) {
    lti_writer *w = *pw;
    LT_ASSERT(w->left == 0);
    bool ok = fflush(w->f) == 0 && fsync(fileno(w->f)) == 0;
    int why = errno;
    if (fclose(w->f) != 0 && ok) {
        ok = false;
        why = errno;
    }
    w->f = NULL;
    if (ok && rename(w->tmp, w->path) != 0) {
        ok = false;
        why = errno;
    }
    if (ok) w->tmp[0] = 0;
    lt_status st = ok ? LT_OK : fail_write(w->path, why, err);
    lti_writer_abort(pw);
    return st;
}

void lti_writer_abort(lti_writer **pw) {
    lti_writer *w = *pw;
    *pw = NULL;
    if (!w) return;
    if (w->f) fclose(w->f);
    if (w->tmp[0]) unlink(w->tmp);
    free(w->path);
    free(w);
}

lt_status lti_safetensors_write(const char *path, const lti_named *list, int n, lt_error *err) {
    lti_writer *w = NULL;
    LT_TRY(lti_writer_open(path, list, n, NULL, 0, &w, err));
    lt_status st = LT_OK;
    for (int i = 0; i < n && st == LT_OK; i++)
        st = lti_writer_put(w, list[i].t.data, lti_nbytes(&list[i].t), err);
    if (st == LT_OK) return lti_writer_finish(&w, err);
    lti_writer_abort(&w);
    return st;
}
