/* SPDX-License-Identifier: Apache-2.0
 * pipeline/budget.c - the sum of a generation's memory, known before any of it is taken.
 *
 * Weights: from the shapes in the files; what they become is a matter of the backend (ref keeps f32,
 * a CPU without bf16 too), so one small matrix is packed to see. Streams: the very code that takes
 * the memory runs on a device that only counts. So a new buffer is in the sum without a line here.
 *
 * With a graphics card there are two sums: pictures and latents between the workers lie on the host,
 * all else on the card.
 *
 * Not in it: the program and its libraries (about 50 MiB), scratch of the backend and tables on the
 * host (about 10 MiB; on a card what its libraries ask for, some 100 MiB), and while weights load one
 * tensor of a file that must be decoded.
 * Pitfalls: the encoder of given pictures and the text encoder are gone before the decoder and the
 * frame cache come; the sum is an upper bound there. */
#include "pipeline/budget.h"
#include <stdio.h>
#include <string.h>
#include "base/error.h"
#include "base/memory.h"
#include "pipeline/given.h"

#define GIB ((double)(1u << 30))
#define PROBE 64 /* rows and columns of the matrix that is packed to see */

static size_t add(size_t a, size_t b) { return a < SIZE_MAX - b ? a + b : SIZE_MAX; }

size_t lti_memory_total(const lti_memory *m) {
    const size_t part[] = {m->dit,         m->text,      m->vae,   m->cache,
                           m->activations, m->vae_state, m->frames};
    size_t sum = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) sum = add(sum, part[i]);
    return sum;
}

/* ---- the verdict ---------------------------------------------------------------------------- */

typedef enum purpose { LOADING, STREAM, EVAL } purpose;

/* The flag that helps where most of it goes. */
static const char *advice(const lt_engine *e, const lti_memory *m, purpose why) {
    const bool whole = why == STREAM;
    const size_t most = m->dit > m->vae ? m->dit : m->vae;
    const size_t state = m->cache > m->activations ? m->cache : m->activations;
    if (m->text > most && m->text > state && !e->may_stream_text) return "leave --keep-text out";
    if (why == EVAL && add(add(state, m->vae_state), m->frames) > add(most, m->text) / 8)
        return "use smaller tensors, or a shorter prompt";
    if (whole && m->vae_state >= state && m->vae_state > m->frames && m->vae_state > most / 8)
        return e->tae ? "use a smaller -W and -H" : "use --tae FILE or a smaller -W and -H";
    if (whole && state > most / 8)
        return m->cache == state ? "use a smaller --window, or -W and -H"
                                 : "use a smaller -W and -H, or --chunk";
    if (whole && m->frames > most) return "use a smaller -W and -H";
    return e->compute == LTI_F32 ? "use --dtype bf16 or a smaller model" : "use a smaller model";
}

/* A memory that a generation takes a part of. */
typedef struct place {
    size_t total, need;              /* bytes of it; of them still to be taken */
    size_t limit, left;              /* allowed by the caller, 0: all; free now */
    const char *flag, *where, *kind; /* as in the message */
} place;

static bool fits(const place *p) {
    return (!p->limit || p->total <= p->limit) && (p->need == 0 || p->need < p->left);
}

/* What is resident already, of the weights in m. */
static size_t taken(const lt_engine *e) {
    const size_t text = e->text_mode == LTI_TEXT_RESIDENT ? e->memory.text : 0;
    return add(add(e->memory.dit, e->memory.vae), text);
}

static place host_place(const lt_engine *e, const lti_memory *m, purpose why) {
    const size_t total = e->dev->host ? lti_memory_total(m) : m->frames;
    const size_t have = why == LOADING || !e->dev->host ? 0 : taken(e);
    return (place){total,       total - have, e->max_ram,        lti_memory_left(),
                   "--max-ram", "here",       " beside the card"};
}

static place card_place(const lt_engine *e, const lti_memory *m, purpose why) {
    place p = {
        .limit = e->max_vram, .flag = "--max-vram", .where = "on the card", .kind = " of the card"};
    size_t all;
    if (e->dev->host) return p;
    e->dev->ops.memory(e->dev, &p.left, &all);
    p.total = lti_memory_total(m) - m->frames;
    p.need = p.total - (why == LOADING ? 0 : taken(e));
    return p;
}

static lt_status refuse(const lt_engine *e, const lti_memory *m, const place *p, purpose why,
                        lt_error *err) {
    char stream[160] = "", limit[96];
    if (why != LOADING)
        snprintf(stream, sizeof stream,
                 ", %s cache %.3f, activations %.3f, VAE state %.3f, %s %.3f",
                 why == EVAL ? "K/V" : "frame", (double)m->cache / GIB,
                 (double)m->activations / GIB, (double)m->vae_state / GIB,
                 why == EVAL ? "tensors" : "frames", (double)m->frames / GIB);
    if (p->limit && p->total > p->limit)
        snprintf(limit, sizeof limit, "%s allows %.3f", p->flag, (double)p->limit / GIB);
    else
        snprintf(limit, sizeof limit, "%.3f of it still to take, %.3f free %s",
                 (double)p->need / GIB, (double)p->left / GIB, p->where);
    return lti_fail(
        err, LT_ENOMEM,
        "memory: %s needs %.3f GiB%s, %s (diffusion weights %.3f, text encoder %.3f, VAE "
        "%.3f%s); %s",
        why == LOADING ? "loading" : "this", (double)p->total / GIB, e->dev->host ? "" : p->kind,
        limit, (double)m->dit / GIB, (double)m->text / GIB, (double)m->vae / GIB, stream,
        advice(e, m, why));
}

static lt_status check(const lt_engine *e, const lti_memory *m, purpose why, lt_error *err) {
    const place card = card_place(e, m, why), host = host_place(e, m, why);
    if (!fits(&card)) return refuse(e, m, &card, why, err);
    return fits(&host) ? LT_OK : refuse(e, m, &host, why, err);
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Bytes of one element of a packed matrix of the engine's compute type. */
static lt_status probe(const lt_engine *e, size_t *bytes, lt_error *err) {
    static const float zeros[PROBE * PROBE];
    *bytes = sizeof(float);
    if (e->compute == LTI_F32) return LT_OK;
    const lti_tensor w = LTI_VIEW((void *)(uintptr_t)zeros, LTI_F32, PROBE, PROBE);
    lti_packed *p = lti_pack_linear(e->dev, &w, NULL, e->compute, err);
    if (!p) return LT_ENOMEM;
    *bytes = p->bytes / (PROBE * PROBE);
    lti_pack_free(e->dev, &p);
    return LT_OK;
}

static bool starts(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

/* Tensors whose names start so: those with at least `rank` axes are matrices of `element` bytes,
 * the others f32. */
static size_t packed_bytes(const lti_weights *w, const char *prefix, int rank, size_t element) {
    size_t sum = 0;
    for (int i = 0; w && i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t);
        const bool f32 = t->rank < rank || starts(name, "time_") || starts(name, "head.") ||
                         starts(name, "patch_") || strstr(name, ".modulation");
        const size_t size = f32 ? sizeof(float) : element, n = (size_t)lti_numel(t);
        if (starts(name, prefix)) sum = add(sum, n > SIZE_MAX / 8 ? SIZE_MAX : n * size);
    }
    return sum;
}

static size_t vae_bytes(const lt_engine *e, int parts, size_t element) {
    size_t sum = packed_bytes(e->w_tae, "", 4, element);
    if (parts & LT_PART_VAE)
        sum = add(sum, add(packed_bytes(e->w_vae, "decoder.", 4, element),
                           packed_bytes(e->w_vae, "conv2.", 4, element)));
    if (parts & LT_PART_ENCODER)
        sum = add(sum, add(packed_bytes(e->w_vae, "encoder.", 4, element),
                           packed_bytes(e->w_vae, "conv1.", 4, element)));
    return sum;
}

lt_status lti_budget_weights(lt_engine *e, int parts, const lti_text_options *o, lt_error *err) {
    lti_memory *m = &e->memory;
    size_t element;
    LT_TRY(probe(e, &element, err));
    m->dit = packed_bytes(e->w_dit, "", 2, element);
    m->vae = vae_bytes(e, parts, element);
    const size_t all = packed_bytes(e->w_text, "blocks.", 2, element);
    const size_t one = packed_bytes(e->w_text, "blocks.0.", 2, element);
    e->text_mode = lti_text_streams(o, all) ? LTI_TEXT_STREAMED : LTI_TEXT_RESIDENT;
    e->may_stream_text = o->mode == LTI_TEXT_AUTO;
    m->text = all;
    const place host = host_place(e, m, LOADING), card = card_place(e, m, LOADING);
    if (e->may_stream_text && !(fits(&host) && fits(&card))) e->text_mode = LTI_TEXT_STREAMED;
    if (e->text_mode == LTI_TEXT_STREAMED) m->text = one;
    return check(e, m, LOADING, err);
}

/* ---- a device that only counts -------------------------------------------------------------- */

#define MAX_BLOCKS 32
#define FAKE ((uintptr_t)1 << 60) /* no user address: whoever touches it stops at once */

typedef struct counter {
    lti_dev dev; /* first: the ops get it */
    size_t used;
    uintptr_t next;
    struct {
        uintptr_t at;
        size_t bytes;
    } block[MAX_BLOCKS];
} counter;

static void *count_alloc(lti_dev *d, size_t bytes) {
    counter *c = (counter *)d;
    int i = 0;
    while (i < MAX_BLOCKS && c->block[i].at) i++;
    LT_ASSERT(i < MAX_BLOCKS);
    if (bytes > SIZE_MAX / 32 - c->used) return NULL;
    c->block[i].at = c->next;
    c->block[i].bytes = bytes;
    c->used += bytes;
    c->next += (bytes + LTI_ALIGN) / LTI_ALIGN * LTI_ALIGN;
    return (void *)c->block[i].at;
}

static void count_free(lti_dev *d, void *p) {
    counter *c = (counter *)d;
    for (int i = 0; p && i < MAX_BLOCKS; i++) {
        if (c->block[i].at != (uintptr_t)p) continue;
        c->used -= c->block[i].bytes;
        c->block[i].at = 0;
    }
}

static lt_status count_sync(lti_dev *d, lt_error *err) {
    (void)d;
    (void)err;
    return LT_OK;
}

static counter counter_new(void) {
    return (counter){.dev = {.ops = {.name = "count",
                                     .alloc = count_alloc,
                                     .free = count_free,
                                     .sync = count_sync},
                             .n_threads = 1,
                             .counting = true},
                     .next = FAKE};
}

/* ---- streams -------------------------------------------------------------------------------- */

lt_status lti_count_take(const lt_engine *e, const lti_plan *plan, lti_memory *m, lt_error *err) {
    const lti_dit_config *d = lti_dit_get_config(e->dit);
    const size_t rows = (size_t)d->text_len * (size_t)d->text_dim;
    counter c = counter_new();
    lti_take *take = NULL;
    size_t state;
    float *text = calloc(rows, sizeof *text);
    if (!text) return lti_oom(err, rows * sizeof *text);
    lt_status st = lti_take_open(&c.dev, e->dit, &plan->take, text, &take, err);
    free(text);
    LT_TRY(st);
    lti_take_bytes(take, &state, &m->activations);
    m->cache = c.used - m->activations;
    const size_t copies = plan->take.n_prompt ? 3 + (size_t)plan->take.n_prompt : 1;
    m->cache = add(m->cache, copies * rows * sizeof(float)); /* pipeline/script.c, prompts' rows */
    lti_take_close(&take);
    return LT_OK;
}

lt_status lti_count_decoder(const lti_vae *vae, const lti_tae *tae, int h, int w, lti_memory *m,
                            lt_error *err) {
    counter c = counter_new();
    lti_decoder *s = NULL;
    LT_TRY(lti_decoder_open(&c.dev, vae, tae, h, w, &s, err));
    if (c.used > m->vae_state) m->vae_state = c.used;
    lti_decoder_close(&s);
    return LT_OK;
}

lt_status lti_count_encoder(const lti_vae_encoder *vae, const lti_tae *tae, int h, int w,
                            lti_memory *m, lt_error *err) {
    counter c = counter_new();
    lti_encoder *s = NULL;
    LT_TRY(lti_encoder_open(&c.dev, vae, tae, h, w, &s, err));
    if (c.used > m->vae_state) m->vae_state = c.used;
    lti_encoder_close(&s);
    return LT_OK;
}

lt_status lti_budget_stream(const lt_engine *e, const lti_plan *plan, lti_memory *out,
                            lt_error *err) {
    const lti_take_config *t = &plan->take;
    *out = e->memory;
    if (e->dit) LT_TRY(lti_count_take(e, plan, out, err));
    if (e->vae || e->tae)
        LT_TRY(lti_count_decoder(e->tae ? NULL : e->vae, e->tae, t->h, t->w, out, err));
    if (t->n_given && (e->vae_encoder || e->tae))
        LT_TRY(lti_count_encoder(e->vae_encoder, e->vae_encoder ? NULL : e->tae, t->h, t->w, out,
                                 err));
    out->frames = lti_frames_bytes(e, plan);
    return check(e, out, STREAM, err);
}

/* ---- eval ----------------------------------------------------------------------------------- */

lt_status lti_count_pass(const lt_engine *e, lti_tensor x, lti_memory *m, lt_error *err) {
    static const float zero; /* not read */
    counter c = counter_new();
    lti_text_kv *kv = NULL;
    LT_TRY(lti_text_kv_open(&c.dev, e->dit, &kv, err));
    m->cache = c.used;
    lti_arena a = {0};
    lti_dit_pass p = {.x = x, .t = &zero, .text = kv, .out = x};
    p.x.data = p.out.data = count_alloc(&c.dev, 1); /* nobody touches it */
    c.dev.measuring = true;
    lti_text_kv_set(kv, &c.dev, e->dit, &a, &zero);
    a.used = 0;
    const lt_status st = lti_dit_forward(e->dit, &c.dev, &a, &p);
    m->activations = add(a.peak, 2 * lti_nbytes(&x));
    lti_text_kv_close(&c.dev, &kv);
    return st;
}

lt_status lti_count_text(const lt_engine *e, const char *prompt, lti_memory *m, lt_error *err) {
    counter c = counter_new();
    return lti_text_count(e->text, &c.dev, prompt, &m->activations, err);
}

lt_status lti_budget_eval(const lt_engine *e, const lti_memory *m, lt_error *err) {
    return check(e, m, EVAL, err);
}
