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
double lti_json_num(const cJSON *obj, const char *key, double dflt);
int lti_json_int(const cJSON *obj, const char *key,
                 int dflt); /* dflt if absent, not integral or beyond int */
const char *lti_json_str(const cJSON *obj, const char *key, const char *dflt);
/* Up to cap numbers of an array; returns how many, -1 if absent, not an array, too long or not
 * numbers. */
int lti_json_nums(const cJSON *obj, const char *key, double *out, int cap);

#endif
