/* SPDX-License-Identifier: Apache-2.0
 * pipeline/describe.h - one weight file or json as a JSON object, for `longtake info`. */
#ifndef LT_PIPELINE_DESCRIBE_H
#define LT_PIPELINE_DESCRIBE_H
#include "base/json.h"
#include "weights/systems.h"

/* Any weight file (or folder of shards) into o. list: every name, dtype and shape. part: the kind
 * that is expected, UNKNOWN: told by the names. */
lt_status lti_describe_weights(cJSON *o, const char *path, bool list, lti_kind part, lt_error *err);
/* A .json or sentencepiece file; *known false: it is neither. */
lt_status lti_describe_other(cJSON *o, const char *path, bool *known, lt_error *err);

#endif
