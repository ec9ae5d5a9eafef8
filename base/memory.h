/* SPDX-License-Identifier: Apache-2.0
 * base/memory.h - refuse what the machine cannot hold before the kernel kills the process for it.
 *
 * Linux hands out more memory than there is and ends the process that touches it, so a size that is
 * simply too large would look like a crash instead of LT_ENOMEM. */
#ifndef LT_BASE_MEMORY_H
#define LT_BASE_MEMORY_H
#include <stdbool.h>
#include <stddef.h>

/* False when `bytes` more surely do not fit; small requests are never looked at. Allocates nothing.
 */
bool lti_memory_fits(size_t bytes);

/* Give freed memory back to the system: malloc keeps what it may need again, here gigabytes. */
void lti_memory_trim(void);

/* Bytes that may still be taken: the machine's and the control groups', less a sixteenth; SIZE_MAX:
 * not known. */
size_t lti_memory_left(void);

/* Bytes that the machine has; SIZE_MAX: not known. */
size_t lti_memory_all(void);

/* The decisions alone: text is what /proc/meminfo says, self what /proc/self/cgroup says, root is
 * where control groups are mounted; SIZE_MAX: not known. */
size_t lti_meminfo_left(const char *text);
size_t lti_cgroup_left(const char *root, const char *self);

#endif
