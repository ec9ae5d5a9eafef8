/* SPDX-License-Identifier: Apache-2.0
 * base/memory.c - what the machine and its control groups leave this process.
 *
 * /proc/meminfo gives MemAvailable + SwapFree. A container or a service may have less: each control
 * group from ours up to the root may hold a limit, in memory.max (v2) or memory.limit_in_bytes (v1).
 * Pages of files count as used there, yet the kernel gives them up first, so they are taken off.
 *
 * Pitfalls: inside a container our own path may not exist below the mount, only its root does; what
 * cannot be read counts as no limit. */
#include "base/memory.h"
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_FROM ((size_t)64 << 20) /* bytes */
#define MAX_PATH 1024
#define MAX_DEPTH 64 /* control groups */

/* The beginning of a file as text; false when there is none. */
static bool read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The number behind `key` at the beginning of a line, `other` if there is none. */
static size_t field(const char *text, const char *key, size_t other) {
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *p = line + strlen(key);
        p += strspn(p, " \t");
        return *p >= '0' && *p <= '9' ? (size_t)strtoull(p, NULL, 10) : other;
    }
    return other;
}

static size_t keep_some(size_t bytes) { return bytes - bytes / 16; } /* not the last page */

size_t lti_meminfo_left(const char *text) {
    size_t available = field(text, "MemAvailable:", SIZE_MAX), swap = field(text, "SwapFree:", 0);
    if (available > SIZE_MAX / 4096 || swap > SIZE_MAX / 4096) return SIZE_MAX;
    return keep_some((available + swap) * 1024);
}

/* ---- control groups ------------------------------------------------------------------------- */

typedef struct cgroup_files {
    const char *mount, *limit, *used, *inactive, *active;
} cgroup_files;

static const cgroup_files version[2] = {
    {"/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
     "total_active_file"},
    {"", "memory.max", "memory.current", "inactive_file", "active_file"}};

/* What one group leaves. */
static size_t group_left(const char *folder, const cgroup_files *f) {
    char path[MAX_PATH + 64], text[8192];
    snprintf(path, sizeof path, "%s/%s", folder, f->limit);
    if (!read_text(path, text, sizeof text)) return SIZE_MAX;
    size_t limit = field(text, "", SIZE_MAX); /* "max": none */
    snprintf(path, sizeof path, "%s/%s", folder, f->used);
    if (limit == SIZE_MAX || !read_text(path, text, sizeof text)) return limit;
    size_t used = field(text, "", 0), given_up = 0;
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    if (read_text(path, text, sizeof text)) {
        size_t a = field(text, f->inactive, 0), b = field(text, f->active, 0);
        given_up = a <= used && b <= used - a ? a + b : used;
    }
    used -= given_up;
    return limit > used ? keep_some(limit - used) : 0;
}

/* The least of a group and all above it. */
static size_t path_left(const char *root, const char *path, size_t len, const cgroup_files *f) {
    char folder[MAX_PATH];
    const size_t top = strlen(root) + strlen(f->mount);
    if (len >= 2 && memcmp(path, "/.", 2) == 0) len = 0; /* outside of what is mounted here */
    if (top + len >= sizeof folder) len = 0;
    if (top >= sizeof folder) return SIZE_MAX;
    memcpy(folder, root, strlen(root));
    memcpy(folder + strlen(root), f->mount, strlen(f->mount));
    memcpy(folder + top, path, len);
    folder[top + len] = '\0';
    size_t least = SIZE_MAX;
    for (int i = 0; i < MAX_DEPTH; i++) {
        size_t left = group_left(folder, f);
        if (left < least) least = left;
        char *slash = strrchr(folder + top, '/');
        if (!slash) break;
        *slash = '\0';
    }
    return least;
}

/* Is `name` one word of the comma list [list, end)? */
static bool listed(const char *list, const char *end, const char *name) {
    const size_t n = strlen(name);
    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const size_t len = (size_t)((comma ? comma : end) - list);
        if (len == n && memcmp(list, name, n) == 0) return true;
        list += len + 1;
    }
    return false;
}

size_t lti_cgroup_left(const char *root, const char *self) {
    size_t least = SIZE_MAX;
    for (const char *line = self; *line;) {
        const char *end = line + strcspn(line, "\n");
        const char *list = memchr(line, ':', (size_t)(end - line));
        const char *path = list ? memchr(list + 1, ':', (size_t)(end - list - 1)) : NULL;
        if (path) { /* "0::/path" of v2, "7:cpu,memory:/path" of v1 */
            const bool two = path == list + 1;
            size_t left = SIZE_MAX;
            if (two || listed(list + 1, path, "memory"))
                left = path_left(root, path + 1, (size_t)(end - path - 1), &version[two]);
            if (left < least) least = left;
        }
        line = *end ? end + 1 : end;
    }
    return least;
}

/* ---- this process --------------------------------------------------------------------------- */

size_t lti_memory_left(void) {
    char text[4096];
    size_t left = SIZE_MAX;
    if (read_text("/proc/meminfo", text, sizeof text)) left = lti_meminfo_left(text);
    if (read_text("/proc/self/cgroup", text, sizeof text)) {
        size_t group = lti_cgroup_left("/sys/fs/cgroup", text);
        if (group < left) left = group;
    }
    return left;
}

size_t lti_memory_all(void) {
    char text[4096];
    if (!read_text("/proc/meminfo", text, sizeof text)) return SIZE_MAX;
    const size_t kib = field(text, "MemTotal:", SIZE_MAX);
    return kib > SIZE_MAX / 1024 ? SIZE_MAX : kib * 1024;
}

bool lti_memory_fits(size_t bytes) {
    if (bytes < LOOK_FROM) return true;
    const size_t left = lti_memory_left();
    return left == SIZE_MAX || bytes < left;
}

void lti_memory_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
