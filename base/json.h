/* SPDX-License-Identifier: Apache-2.0
 * base/json.h - reading json that strangers wrote, on cJSON.
 *
 * Bounded: documents over `max_bytes` and nesting over cJSON's limit are refused. Getters never
 * fail: a missing or wrongly typed key gives the default (callers that need a key check it). */
#ifndef LT_BASE_JSON_H
#define LT_BASE_JSON_H
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "longtake/status.h"

/* `what` names the document in messages. *out is freed with cJSON_Delete. */
lt_status lti_json_parse(const char *text, size_t len, const char *what, cJSON **out,
                         lt_error *err);
/* A missing file gives LT_OK and *out = NULL: our json files only override. */
lt_status lti_json_load(const char *path, size_t max_bytes, cJSON **out, lt_error *err);
int lti_json_int(const cJSON *obj, const char *key,
                 int dflt); /* dflt if absent, not integral or beyond int */
const char *lti_json_str(const cJSON *obj, const char *key, const char *dflt);
/* Up to cap numbers of an array; returns how many, -1 if absent, not an array, too long or not
 * numbers. */
int lti_json_nums(const cJSON *obj, const char *key, double *out, int cap);

/* Settings, where a wrong value must not pass for a missing one. An absent or null key leaves *io
 * alone; a value of another type or outside lo..hi is an LT_EFORMAT that names file, key, found and
 * expected. */
lt_status lti_json_read_int(const cJSON *obj, const char *file, const char *key, int lo, int hi,
                            int *io, lt_error *err);
lt_status lti_json_read_num(const cJSON *obj, const char *file, const char *key, double lo,
                            double hi, double *io, lt_error *err);
/* One of n words; *io is its index. */
lt_status lti_json_read_word(const cJSON *obj, const char *file, const char *key,
                             const char *const *words, int n, int *io, lt_error *err);
/* 1 to cap numbers into list and *n. */
lt_status lti_json_read_list(const cJSON *obj, const char *file, const char *key, double *list,
                             int cap, int *n, lt_error *err);

#endif
