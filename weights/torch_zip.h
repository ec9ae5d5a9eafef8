/* SPDX-License-Identifier: Apache-2.0
 * weights/torch_zip.h - the entries of a zip archive in memory, all of them stored. */
#ifndef LT_WEIGHTS_TORCH_ZIP_H
#define LT_WEIGHTS_TORCH_ZIP_H
#include "longtake/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct lti_zip lti_zip;

/* The archive's directory; local headers are not touched. Two entries of one name are an error. */
lt_status lti_zip_open(const uint8_t *data, size_t size, const char *what, lti_zip **out,
                       lt_error *err);
void lti_zip_close(lti_zip **z);
/* Entry number or -1. */
int lti_zip_find(const lti_zip *z, const char *name);
int lti_zip_count(const lti_zip *z);
const char *lti_zip_name(const lti_zip *z, int i); /* sorted */
/* Where the entry's bytes lie in `data`; checked to lie inside. Compressed or encrypted: an error. */
lt_status lti_zip_bytes(const lti_zip *z, int i, const uint8_t **bytes, uint64_t *n, lt_error *err);

#endif
