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

/* The JSON header; *out is from malloc. */
static lt_status make_header(const lti_named *list, int n, char **out, lt_error *err) {
    *out = NULL;
    cJSON *root = cJSON_CreateObject();
    bool ok = root != NULL;
    double at = 0;
    for (int i = 0; i < n && ok; i++) {
        const lti_tensor *t = &list[i].t;
        double dims[LTI_MAX_RANK], span[2] = {at, at + (double)lti_nbytes(t)};
        for (int j = 0; j < t->rank; j++) dims[j] = (double)t->n[j];
        at = span[1];
        cJSON *e = cJSON_AddObjectToObject(root, list[i].name);
        ok = e && cJSON_AddStringToObject(e, "dtype", lti_dtype_name(t->dtype)) &&
             cJSON_AddItemToObject(e, "shape", cJSON_CreateDoubleArray(dims, t->rank)) &&
             cJSON_AddItemToObject(e, "data_offsets", cJSON_CreateDoubleArray(span, 2));
    }
    if (ok) *out = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return *out ? LT_OK : lti_oom(err, (size_t)n * 128);
}

static bool write_all(FILE *f, const char *header, const lti_named *list, int n) {
    size_t len = strlen(header), pad = (8 - len % 8) % 8;
    uint8_t size[8];
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)((uint64_t)(len + pad) >> (8 * i));
    bool ok = fwrite(size, 1, 8, f) == 8 && fwrite(header, 1, len, f) == len &&
              fwrite("        ", 1, pad, f) == pad;
    for (int i = 0; i < n && ok; i++) {
        size_t bytes = lti_nbytes(&list[i].t);
        ok = bytes == 0 || fwrite(list[i].t.data, 1, bytes, f) == bytes;
    }
    return ok && fflush(f) == 0 && fsync(fileno(f)) == 0;
}

/* A new file beside path, its name in tmp. */
static FILE *open_beside(const char *path, char *tmp, size_t size) {
    for (int i = 0; i < 100; i++) {
        int n = snprintf(tmp, size, "%s.%d.%ld.tmp", path, i, (long)getpid());
        if (n < 0 || (size_t)n >= size) {
            errno = ENAMETOOLONG;
            return NULL;
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
        if (errno != EEXIST) return NULL;
    }
    return NULL;
}

static lt_status check_names(const lti_named *list, int n, lt_error *err) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            if (!*list[i].name || (j < i && !strcmp(list[i].name, list[j].name)))
                return lti_fail(err, LT_EINVAL, "tensor name '%s' is empty or there twice",
                                list[i].name);
    return LT_OK;
}

lt_status lti_safetensors_write(const char *path, const lti_named *list, int n, lt_error *err) {
    char *header, tmp[4096];
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* rename would put a file in its place */
        return lti_fail(err, LT_EIO, "%s: is a folder, device or pipe; give the name of a file",
                        path);
    LT_TRY(check_names(list, n, err));
    LT_TRY(make_header(list, n, &header, err));
    FILE *f = open_beside(path, tmp, sizeof tmp);
    if (!f) {
        cJSON_free(header);
        return lti_fail(err, LT_EIO, "%s: cannot write here: %s", path, strerror(errno));
    }
    bool ok = write_all(f, header, list, n);
    int why = errno;
    cJSON_free(header);
    if (fclose(f) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(tmp, path) != 0) {
        ok = false;
        why = errno;
    }
    if (ok) return LT_OK;
    unlink(tmp);
    return lti_fail(err, LT_EIO, "%s: cannot write: %s; free some space or choose another place",
                    path, strerror(why));
}
