/* SPDX-License-Identifier: Apache-2.0
 * pipeline/defaults.h - what a model is run with when nobody says otherwise: longtake.json of its
 * folder, and presets, which are the same settings under the name of a published system. */
#ifndef LT_PIPELINE_DEFAULTS_H
#define LT_PIPELINE_DEFAULTS_H
#include "base/json.h"
#include "longtake/longtake.h"
#include "pipeline/stream.h"

#define LTI_MAX_SIDE 8192   /* pixels */
#define LTI_MAX_CACHED 4096 /* latent frames of window, and of anchors */
#define LTI_MAX_FADE 1000   /* chunks */

typedef struct lti_defaults {
    lt_model_info *info;         /* settings are read into it */
    double first[LTI_MAX_STEPS]; /* timesteps of chunk 0, when it has its own */
    int n_first;                 /* 0: it has not */
} lti_defaults;

/* Words of the json files for lt_mode and lt_sink_policy, which count from 1 in this order. */
extern const char *const lti_mode_word[2], *const lti_policy_word[6];

/* Self Forcing's own settings: chunk 3, window 18, no anchors, 4 steps. */
void lti_defaults_init(lti_defaults *d, lt_model_info *info);
/* Settings of json (may be NULL) over what is there. `file` is for messages. */
lt_status lti_defaults_read(lti_defaults *d, const cJSON *json, const char *file, lt_error *err);

/* A preset: settings, and the files of its checkpoint. */
typedef struct lti_preset {
    cJSON *json;        /* NULL: none is open */
    char *path;         /* of the json file */
    char *dit;          /* its diffusion model, found in the model folder; NULL: not there */
    const char *root;   /* of the .pt file; NULL: choose */
    char *lora_path[4]; /* its LoRAs, found there; only together with dit */
    lt_lora lora[4];
    int n_lora;
} lti_preset;
/* path NULL: an empty preset. Every key is checked; unknown ones are refused. */
lt_status lti_preset_open(const char *path, const char *model_dir, lti_preset *out, lt_error *err);
void lti_preset_close(lti_preset *p);
/* The preset's files, where the caller gave none. */
void lti_preset_apply(const lti_preset *p, lt_engine_params *ep);

#endif
