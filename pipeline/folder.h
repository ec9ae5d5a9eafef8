/* SPDX-License-Identifier: Apache-2.0
 * pipeline/folder.h - where the parts of a model live: diffusers layout or Wan's own. */
#ifndef LT_PIPELINE_FOLDER_H
#define LT_PIPELINE_FOLDER_H
#include "base/json.h"
#include "longtake/longtake.h"

typedef struct lti_folder {
    char *dit, *text, *vae, *tokenizer,
        *tae;    /* paths for lti_weights_open / lti_text_open; NULL: absent */
    cJSON *json; /* longtake.json; NULL if absent */
    cJSON *dit_json, *text_json, *vae_json,
        *tae_json; /* config.json of each part; NULL if absent */
} lti_folder;

/* parts: lt_part bits that must be there. Component paths of p override the folder's. */
lt_status lti_folder_open(const lt_engine_params *p, int parts, lti_folder *out, lt_error *err);
void lti_folder_close(lti_folder *f);

#endif
