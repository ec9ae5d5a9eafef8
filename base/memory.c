/* SPDX-License-Identifier: Apache-2.0
 * base/memory.c - what /proc/meminfo says is left, in KiB: MemAvailable + SwapFree.
 *
 * Pitfall: a cgroup may allow less; then the kernel's own limit still holds. */
#include "base/memory.h"
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_FROM ((size_t)64 << 20) /* bytes */

/* The number after "<key>:", -1 if there is none. */
static long long field(const char *text, const char *key) {
    const char *p = strstr(text, key);
    return p ? strtoll(p + strlen(key), NULL, 10) : -1;
}

bool lti_meminfo_fits(const char *text, size_t bytes) {
    long long available = field(text, "MemAvailable:"), swap = field(text, "SwapFree:");
    if (available < 0) return true;
    if (swap > 0) available += swap;
    return bytes / 1024 < (unsigned long long)(available - available / 16); /* not the last page */
}

bool lti_memory_fits(size_t bytes) {
    char text[2048];
    if (bytes < LOOK_FROM) return true;
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return true;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return lti_meminfo_fits(text, bytes);
}

void lti_memory_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
