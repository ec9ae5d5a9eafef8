/* SPDX-License-Identifier: Apache-2.0
 * pipeline/budget.h - what a generation will hold in memory, before it is taken. */
#ifndef LT_PIPELINE_BUDGET_H
#define LT_PIPELINE_BUDGET_H
#include "pipeline/engine.h"

/* Packed bytes of the parts whose weights are mapped, into e->memory, and e->text_mode: an encoder
 * that may be streamed is, when it does not fit otherwise. LT_ENOMEM: more than is allowed
 * (e->max_ram), or than the machine has. */
lt_status lti_budget_weights(lt_engine *e, int parts, const lti_text_options *o, lt_error *err);

/* Everything that a stream with this plan takes, by the measure passes of its parts on a device
 * that only counts, into *out. What the engine was opened without counts as nothing. */
lt_status lti_budget_stream(const lt_engine *e, const lti_plan *plan, lti_memory *out,
                            lt_error *err);
size_t lti_memory_total(const lti_memory *m);

/* For `longtake eval`: what single parts take, into the fields of *m named here. */
lt_status lti_count_take(const lt_engine *e, const lti_plan *plan, lti_memory *m,
                         lt_error *err); /* cache, activations */
lt_status lti_count_pass(const lt_engine *e, lti_tensor x, lti_memory *m,
                         lt_error *err); /* one pass without a cache; the same */
lt_status lti_count_text(const lt_engine *e, const char *prompt, lti_memory *m,
                         lt_error *err); /* activations */
/* vae_state, if it is more than what is there; h, w: latent height and width */
lt_status lti_count_decoder(const lti_vae *vae, const lti_tae *tae, int h, int w, lti_memory *m,
                            lt_error *err);
lt_status lti_count_encoder(const lti_vae_encoder *vae, const lti_tae *tae, int h, int w,
                            lti_memory *m, lt_error *err);
/* Whether *m fits; m->frames: the tensors in and out. LT_ENOMEM with the numbers. */
lt_status lti_budget_eval(const lt_engine *e, const lti_memory *m, lt_error *err);

#endif
