/* SPDX-License-Identifier: Apache-2.0
 * pipeline/script.h - which text the network reads in which chunk.
 *
 * Holds the text keys and values of one generation. They are computed when the text changes, in
 * place: one set of memory, however many prompts there are. */
#ifndef LT_PIPELINE_SCRIPT_H
#define LT_PIPELINE_SCRIPT_H
#include "pipeline/stream.h"

typedef struct lti_script {
    const lti_prompt *prompt; /* the schedule */
    int n_prompt, next;       /* next: prompt to come */
    int fade, faded;          /* chunks of a fade, and how many of them are done */
    size_t row, size;         /* floats of a row, and of all rows */
    float *now, *from, *to;   /* HOST [text_len, text_dim]; from, to: of the fade */
    lti_text_kv *kv;          /* of `now` */
} lti_script;

/* text [text_len, text_dim] HOST: the first prompt. Takes the keys' and values' memory and fills
 * it. */
lt_status lti_script_open(lti_script *s, lti_dev *d, const lti_dit *dit, const lti_take_config *c,
                          const float *text, lt_error *err);
void lti_script_close(lti_script *s, lti_dev *d);
/* Chunk b is about to start. Brings the text up to date, with work memory from a. *started is the
 * prompt that begins here, or NULL. Only sizes a while the device measures. */
void lti_script_step(lti_script *s, lti_dev *d, const lti_dit *dit, lti_arena *a, int64_t b,
                     const lti_prompt **started);

#endif
