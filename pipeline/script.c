/* SPDX-License-Identifier: Apache-2.0
 * pipeline/script.c - the prompt schedule on the denoiser's side.
 *
 * A fade over N chunks reads, in the i-th of them (from 1),
 *     text = (1 - i/N) from + (i/N) to,
 * row by row over all rows, padding included: a shorter prompt's missing rows are zeros. `from` is
 * what was read last, also when that was itself in the middle of a fade. */
#include "pipeline/script.h"
#include <stdlib.h>
#include <string.h>
#include "base/error.h"

static void fill(lti_script *s, lti_dev *d, const lti_dit *dit, lti_arena *a) {
    size_t mark = lti_arena_mark(a);
    lti_text_kv_set(s->kv, d, dit, a, s->now);
    lti_arena_release(a, mark);
}

lt_status lti_script_open(lti_script *s, lti_dev *d, const lti_dit *dit, const lti_take_config *c,
                          const float *text, lt_error *err) {
    const lti_dit_config *m = lti_dit_get_config(dit);
    const size_t rows = (size_t)m->text_len;
    *s = (lti_script){.prompt = c->prompt,
                      .n_prompt = c->n_prompt,
                      .fade = c->on_switch == LTI_SWITCH_LERP ? c->lerp : 1,
                      .row = (size_t)m->text_dim};
    s->size = rows * s->row;
    s->faded = s->fade;
    const size_t copies = c->n_prompt ? 3 : 1;
    if (!(s->now = malloc(copies * s->size * sizeof *s->now)))
        return lti_oom(err, copies * s->size * sizeof *s->now);
    s->from = s->now + s->size, s->to = s->from + s->size; /* not there without a schedule */
    memcpy(s->now, text, s->size * sizeof *text);
    LT_TRY(lti_text_kv_open(d, dit, &s->kv, err));
    lti_arena a = {0};
    d->measuring = true;
    fill(s, d, dit, &a);
    d->measuring = false;
    a.cap = a.peak;
    a.base = d->ops.alloc(d, a.cap);
    if (!a.base) return lti_oom(err, a.cap);
    fill(s, d, dit, &a);
    d->ops.free(d, a.base);
    return LT_OK;
}

void lti_script_close(lti_script *s, lti_dev *d) {
    lti_text_kv_close(d, &s->kv);
    free(s->now);
    s->now = NULL;
}

static void begin_prompt(lti_script *s, const lti_prompt *p) {
    const size_t used = (size_t)p->n * s->row;
    memcpy(s->from, s->now, s->size * sizeof *s->now);
    memcpy(s->to, p->text, used * sizeof *s->to);
    memset(s->to + used, 0, (s->size - used) * sizeof *s->to);
    s->faded = 0;
}

void lti_script_step(lti_script *s, lti_dev *d, const lti_dit *dit, lti_arena *a, int64_t b,
                     const lti_prompt **started) {
    *started = NULL;
    if (d->measuring) {
        if (s->n_prompt > 0) fill(s, d, dit, a);
        return;
    }
    while (s->next < s->n_prompt && s->prompt[s->next].chunk <= b)
        *started = &s->prompt[s->next++]; /* of several for one chunk the last counts */
    if (*started) begin_prompt(s, *started);
    if (s->faded == s->fade) return;
    const float w = (float)++s->faded / (float)s->fade;
    for (size_t i = 0; i < s->size; i++)
        s->now[i] = s->faded == s->fade ? s->to[i] : (1 - w) * s->from[i] + w * s->to[i];
    fill(s, d, dit, a);
}
