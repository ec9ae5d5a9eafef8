/* SPDX-License-Identifier: Apache-2.0
 * base/filemap.h - a whole file, mapped read-only. */
#ifndef LT_BASE_FILEMAP_H
#define LT_BASE_FILEMAP_H
#include <stddef.h>
#include <stdint.h>
#include "longtake/status.h"

typedef struct lti_filemap {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} lti_filemap;

lt_status lti_filemap_open(const char *path, lti_filemap *out, lt_error *err);
/* Take the pages that were read out of this process' memory (its RSS). They come back by themselves,
 * as a rule from the page cache. */
void lti_filemap_evict(const lti_filemap *m);
void lti_filemap_close(lti_filemap *m); /* safe on a zeroed or closed map */

#endif
