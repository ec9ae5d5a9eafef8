/* SPDX-License-Identifier: Apache-2.0
 * dit/config.c - the sizes of a Wan transformer, read from its tensors.
 *
 * Shapes decide; config.json is only asked for what shapes cannot say: head_dim (a width of 1536
 * could be 12 x 128 or 24 x 64), text_len and eps. Whatever would be silently wrong is refused
 * here: image-to-video weights, tensors inside a block that this engine does not know, half of a
 * pair. */
#include "base/error.h"
#include "dit/model.h"
#include "weights/systems.h"
#include <stdio.h>
#include <string.h>

#define HEAD_DIM_MAX 1024 /* of the attention ops */

static const char config[] = "transformer/config.json";

/* Every name a block may have, after "blocks.N.". */
static const char *const block_names[] = {
    "modulation",
    "norm3.weight",
    "norm3.bias",
    "ffn.0.weight",
    "ffn.0.bias",
    "ffn.2.weight",
    "ffn.2.bias",
    "self_attn.q.weight",
    "self_attn.q.bias",
    "self_attn.k.weight",
    "self_attn.k.bias",
    "self_attn.v.weight",
    "self_attn.v.bias",
    "self_attn.o.weight",
    "self_attn.o.bias",
    "self_attn.norm_q.weight",
    "self_attn.norm_k.weight",
    "cross_attn.q.weight",
    "cross_attn.q.bias",
    "cross_attn.k.weight",
    "cross_attn.k.bias",
    "cross_attn.v.weight",
    "cross_attn.v.bias",
    "cross_attn.o.weight",
    "cross_attn.o.bias",
    "cross_attn.norm_q.weight",
    "cross_attn.norm_k.weight",
    "self_attn.sinks",
    "self_attn.register_k",
    "self_attn.register_v",
    "cross_attn.norm_added_q.weight", /* unused leftover of some exports */
};

static bool known_block_name(const char *rest) {
    for (size_t i = 0; i < sizeof block_names / sizeof *block_names; i++)
        if (!strcmp(rest, block_names[i])) return true;
    return false;
}

/* A file of another system or another part is called by its name. */
static lt_status refuse_foreign(const lti_weights *w, lt_error *err) {
    lti_sight s;
    lti_sight_read(w, &s);
    if (s.kind == LTI_KIND_FOREIGN)
        return lti_fail(err, LT_EUNSUPPORTED, "%s: this is a %s; it would need %s",
                        lti_weights_path(w), s.system, s.needs);
    if (s.kind == LTI_KIND_UNKNOWN || s.kind == LTI_KIND_DIT) return LT_OK;
    if (lti_weights_find(w, "patch_embedding.weight")) return LT_OK; /* said better below */
    return lti_fail(err, LT_EFORMAT,
                    "%s: this is a %s, expected a Wan transformer; its own option is %s: is this "
                    "the right file?",
                    lti_weights_path(w), s.system,
                    s.kind == LTI_KIND_TEXT   ? "--t5xxl"
                    : s.kind == LTI_KIND_VAE  ? "--vae"
                    : s.kind == LTI_KIND_LORA ? "--lora"
                                              : "--tae");
}

static lt_status refuse_unknown(const lti_weights *w, lt_error *err) {
    for (int i = 0; i < lti_weights_count(w); i++) {
        const char *name = lti_weights_name(w, i, NULL);
        if (!strncmp(name, "img_emb.", 8) || strstr(name, ".k_img.") || strstr(name, ".v_img."))
            return lti_fail(err, LT_EUNSUPPORTED,
                            "%s: tensor %s belongs to an image-to-video model; this engine runs "
                            "text-to-video weights",
                            lti_weights_path(w), name);
        if (strncmp(name, "blocks.", 7)) continue;
        const char *rest = strchr(name + 7, '.');
        if (!rest || !known_block_name(rest + 1))
            return lti_fail(err, LT_EUNSUPPORTED,
                            "%s: tensor %s is not part of a Wan transformer block; leaving it out "
                            "would change the result (unmerged LoRA or scaled weights?)",
                            lti_weights_path(w), name);
    }
    return LT_OK;
}

/* The optional tensor "blocks.N.self_attn.<what>" must be in every block or in none. */
static lt_status in_all_blocks(const lti_weights *w, const char *what, int n_layer, bool *has,
                               lt_error *err) {
    char name[96];
    int count = 0, missing = 0;
    for (int i = 0; i < n_layer; i++) {
        snprintf(name, sizeof name, "blocks.%d.self_attn.%s", i, what);
        if (lti_weights_find(w, name)) count++;
        else missing = i;
    }
    *has = count > 0;
    if (count == 0 || count == n_layer) return LT_OK;
    return lti_fail(err, LT_EFORMAT,
                    "%s: self_attn.%s is in %d of %d blocks, block %d has none; expected in every "
                    "block or in none",
                    lti_weights_path(w), what, count, n_layer, missing);
}

static lt_status infer_sinks(const lti_weights *w, lti_dit_config *c, lt_error *err) {
    bool has_k, has_v;
    lti_tensor t;
    LT_TRY(in_all_blocks(w, "sinks", c->n_layer, &c->has_sinks, err));
    LT_TRY(in_all_blocks(w, "register_k", c->n_layer, &has_k, err));
    LT_TRY(in_all_blocks(w, "register_v", c->n_layer, &has_v, err));
    if (has_k != has_v)
        return lti_fail(err, LT_EFORMAT,
                        "%s: self_attn.register_%c without self_attn.register_%c; expected both",
                        lti_weights_path(w), has_k ? 'k' : 'v', has_k ? 'v' : 'k');
    if (has_k) {
        const int64_t n[3] = {-1, c->n_head, c->head_dim};
        LT_TRY(lti_weights_expect(w, "blocks.0.self_attn.register_k", 3, n, &t, err));
        if (t.n[0] < 1 || t.n[0] > 65536)
            return lti_fail(err, LT_EFORMAT, "%s: %lld register rows, expected 1 to 65536",
                            lti_weights_path(w), (long long)t.n[0]);
        c->n_register = (int)t.n[0];
    }
    if (lti_weights_find(w, "register_tokens")) {
        const int64_t n[3] = {1, -1, c->dim};
        LT_TRY(lti_weights_expect(w, "register_tokens", 3, n, &t, err));
        if (t.n[1] < 1 || t.n[1] > 65536)
            return lti_fail(err, LT_EFORMAT, "%s: %lld register tokens, expected 1 to 65536",
                            lti_weights_path(w), (long long)t.n[1]);
        c->n_register_token = (int)t.n[1];
    }
    return LT_OK;
}

/* Extent `axis` of a weight of the given rank, 1 .. 2^20. */
static lt_status extent(const lti_weights *w, const char *name, int rank, int axis, int *out,
                        lt_error *err) {
    const int64_t any[LTI_MAX_RANK] = {-1, -1, -1, -1, -1, -1};
    lti_tensor t;
    LT_TRY(lti_weights_expect(w, name, rank, any, &t, err));
    if (t.n[axis] < 1 || t.n[axis] > 1 << 20)
        return lti_fail(err, LT_EFORMAT, "%s: tensor %s has extent %lld, expected 1 to %d",
                        lti_weights_path(w), name, (long long)t.n[axis], 1 << 20);
    *out = (int)t.n[axis];
    return LT_OK;
}

/* Width and input channels: [D,C,1,2,2], or D*C*4 elements folded otherwise by a GGUF tool. */
static lt_status infer_patch(const lti_weights *w, lti_dit_config *c, lt_error *err) {
    static const char name[] = "patch_embedding.weight";
    const lti_tensor *t = lti_weights_find(w, name);
    if (!t || t->rank == 5) {
        LT_TRY(extent(w, name, 5, 0, &c->dim, err));
        return extent(w, name, 5, 1, &c->in_ch, err);
    }
    LT_TRY(extent(w, "patch_embedding.bias", 1, 0, &c->dim, err));
    const int64_t n = lti_numel(t), column = 4 * (int64_t)c->dim;
    if (n < column || n % column || n / column > 1 << 20)
        return lti_fail(err, LT_EFORMAT,
                        "%s: tensor %s has %lld elements, expected a multiple of %lld (width %d x "
                        "2 x 2)",
                        lti_weights_path(w), name, (long long)n, (long long)column, c->dim);
    c->in_ch = (int)(n / column);
    return LT_OK;
}

static lt_status infer_heads(const lti_weights *w, const cJSON *json, lti_dit_config *c,
                             lt_error *err) {
    int heads = 0;
    LT_TRY(lti_json_read_int(json, config, "num_attention_heads", 1, 65536, &heads, err));
    LT_TRY(lti_json_read_int(json, config, "num_heads", 1, 65536, &heads, err));
    LT_TRY(
        lti_json_read_int(json, config, "attention_head_dim", 2, HEAD_DIM_MAX, &c->head_dim, err));
    if (c->head_dim == 0 && heads > 0) c->head_dim = c->dim / heads;
    if (c->head_dim == 0) c->head_dim = 128;
    if (c->head_dim < 2 || c->head_dim > HEAD_DIM_MAX || c->head_dim % 2 || c->dim % c->head_dim)
        return lti_fail(
            err, LT_EFORMAT,
            "%s: width %d does not split into heads of %d channels (an even divisor, at "
            "most 1024); "
            "set attention_head_dim in config.json",
            lti_weights_path(w), c->dim, c->head_dim);
    c->n_head = c->dim / c->head_dim;
    if (heads && heads != c->n_head)
        return lti_fail(err, LT_EFORMAT,
                        "%s: %d heads of %d channels do not make the width %d of %s; correct the "
                        "file",
                        config, heads, c->head_dim, c->dim, lti_weights_path(w));
    return LT_OK;
}

lt_status lti_dit_infer(const lti_weights *w, const cJSON *json, lti_dit_config *c, lt_error *err) {
    *c = (lti_dit_config){0};
    LT_TRY(refuse_foreign(w, err));
    LT_TRY(refuse_unknown(w, err));
    int rows;
    LT_TRY(infer_patch(w, c, err));
    LT_TRY(extent(w, "head.head.weight", 2, 0, &rows, err));
    LT_TRY(extent(w, "text_embedding.0.weight", 2, 1, &c->text_dim, err));
    LT_TRY(extent(w, "time_embedding.0.weight", 2, 1, &c->freq_dim, err));
    LT_TRY(extent(w, "blocks.0.ffn.0.weight", 2, 0, &c->ffn, err));
    c->n_layer = lti_weights_layers(w, "blocks.");
    if (c->n_layer > 1024)
        return lti_fail(err, LT_EFORMAT, "%s: %d blocks, at most 1024 expected",
                        lti_weights_path(w), c->n_layer);
    if (rows % 4 || rows / 4 != c->in_ch)
        return lti_fail(
            err, LT_EUNSUPPORTED,
            "%s: %d channels in, %d / 4 out; expected as many out as in (image-to-video "
            "weights take extra channels and are not supported)",
            lti_weights_path(w), c->in_ch, rows);
    c->out_ch = rows / 4;
    if (c->freq_dim % 2 || c->freq_dim > LTI_MAX_FREQ_DIM)
        return lti_fail(err, LT_EFORMAT,
                        "%s: time_embedding takes %d inputs, expected even, at most %d",
                        lti_weights_path(w), c->freq_dim, LTI_MAX_FREQ_DIM);
    LT_TRY(infer_heads(w, json, c, err));
    c->text_len = 512;
    LT_TRY(lti_json_read_int(json, config, "text_len", 1, LTI_MAX_TEXT_LEN, &c->text_len, err));
    double eps = 1e-6;
    LT_TRY(lti_json_read_num(json, config, "eps", 1e-20, 1, &eps, err));
    c->eps = (float)eps;
    return infer_sinks(w, c, err);
}
