/* SPDX-License-Identifier: Apache-2.0
 * weights/names.c - diffusers, Hugging Face and llama.cpp names to the original Wan ones.
 *
 * One set of rules per part. A rule that ends in '.' replaces a prefix, any other must match whole.
 * Reference: diffusers convert_wan_to_diffusers.py (read backwards), Wan2.1 wan/modules/.
 *
 * Pitfalls: the DiT's affine norm is norm3 in the original and norm2 in diffusers (the original's
 * norm2 has no parameters), so a file is translated as a whole or not at all. The VAE decoder
 * counts its blocks flat in the original and per stage in diffusers; the encoder is flat in both.
 */
#include "base/error.h"
#include "weights/weights_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF (2 * LTI_NAME_MAX)
#define STAGES 16 /* decoder stages a VAE may have; Wan has 4 */

typedef struct rule {
    const char *from, *to;
} rule;

static const rule dit_top[] = {
    {"condition_embedder.text_embedder.linear_1.", "text_embedding.0."},
    {"condition_embedder.text_embedder.linear_2.", "text_embedding.2."},
    {"condition_embedder.time_embedder.linear_1.", "time_embedding.0."},
    {"condition_embedder.time_embedder.linear_2.", "time_embedding.2."},
    {"condition_embedder.time_proj.", "time_projection.1."},
    {"condition_embedder.image_embedder.norm1.", "img_emb.proj.0."},
    {"condition_embedder.image_embedder.ff.net.0.proj.", "img_emb.proj.1."},
    {"condition_embedder.image_embedder.ff.net.2.", "img_emb.proj.3."},
    {"condition_embedder.image_embedder.norm2.", "img_emb.proj.4."},
    {"condition_embedder.image_embedder.pos_embed", "img_emb.emb_pos"},
    {"proj_out.", "head.head."},
    {"scale_shift_table", "head.modulation"},
    {NULL, NULL}};
static const rule dit_block[] = {{"scale_shift_table", "modulation"},
                                 {"norm2.", "norm3."},
                                 {"ffn.net.0.proj.", "ffn.0."},
                                 {"ffn.net.2.", "ffn.2."},
                                 {"attn1.", "self_attn."},
                                 {"attn2.", "cross_attn."},
                                 {NULL, NULL}};
static const rule dit_attn[] = {{"to_q.", "q."},
                                {"to_k.", "k."},
                                {"to_v.", "v."},
                                {"to_out.0.", "o."},
                                {"add_k_proj.", "k_img."},
                                {"add_v_proj.", "v_img."},
                                {"norm_added_k.", "norm_k_img."},
                                {NULL, NULL}};
static const rule vae_top[] = {{"quant_conv.", "conv1."},
                               {"post_quant_conv.", "conv2."},
                               {"encoder.conv_in.", "encoder.conv1."},
                               {"decoder.conv_in.", "decoder.conv1."},
                               {"encoder.norm_out.", "encoder.head.0."},
                               {"decoder.norm_out.", "decoder.head.0."},
                               {"encoder.conv_out.", "encoder.head.2."},
                               {"decoder.conv_out.", "decoder.head.2."},
                               {NULL, NULL}};
static const rule vae_res[] = {{"norm1.", "residual.0."},       {"conv1.", "residual.2."},
                               {"norm2.", "residual.3."},       {"conv2.", "residual.6."},
                               {"conv_shortcut.", "shortcut."}, {NULL, NULL}};
static const rule text_top[] = {{"shared.", "token_embedding."},
                                {"encoder.embed_tokens.", "token_embedding."},
                                {"encoder.final_layer_norm.", "norm."},
                                {NULL, NULL}};
static const rule text_block[] = {
    {"layer.0.layer_norm.", "norm1."},
    {"layer.0.SelfAttention.q.", "attn.q."},
    {"layer.0.SelfAttention.k.", "attn.k."},
    {"layer.0.SelfAttention.v.", "attn.v."},
    {"layer.0.SelfAttention.o.", "attn.o."},
    {"layer.0.SelfAttention.relative_attention_bias.", "pos_embedding.embedding."},
    {"layer.1.layer_norm.", "norm2."},
    {"layer.1.DenseReluDense.wi_0.", "ffn.gate.0."},
    {"layer.1.DenseReluDense.wi_1.", "ffn.fc1."},
    {"layer.1.DenseReluDense.wo.", "ffn.fc2."},
    {NULL, NULL}};

static const rule text_gguf_top[] = {{"token_embd.", "token_embedding."}, /* llama.cpp */
                                     {"enc.output_norm.", "norm."},
                                     {NULL, NULL}};
static const rule text_gguf_block[] = {{"attn_norm.", "norm1."},
                                       {"attn_q.", "attn.q."},
                                       {"attn_k.", "attn.k."},
                                       {"attn_v.", "attn.v."},
                                       {"attn_o.", "attn.o."},
                                       {"attn_rel_b.", "pos_embedding.embedding."},
                                       {"ffn_norm.", "norm2."},
                                       {"ffn_gate.", "ffn.gate.0."},
                                       {"ffn_up.", "ffn.fc1."},
                                       {"ffn_down.", "ffn.fc2."},
                                       {NULL, NULL}};

static bool starts(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}
static bool ends(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

/* The rest of s after the rule that matches, and what to put before it; s and "" when none does. */
static const char *match(const rule *r, const char *s, const char **to) {
    for (; r->from; r++) {
        if (!starts(s, r->from)) continue;
        const char *rest = s + strlen(r->from);
        if (!ends(r->from, ".") && *rest) continue;
        *to = r->to;
        return rest;
    }
    *to = "";
    return s;
}

/* "<prefix>N.<rest>" -> rest; NULL when s does not look so. */
static const char *indexed(const char *s, const char *prefix, int *n) {
    if (!starts(s, prefix)) return NULL;
    s += strlen(prefix);
    if (*s < '0' || *s > '9') return NULL;
    *n = 0;
    for (int digits = 0; *s >= '0' && *s <= '9'; s++, digits++) {
        if (digits == 5) return NULL;
        *n = *n * 10 + (*s - '0');
    }
    return *s == '.' ? s + 1 : NULL;
}

/* -- DiT --------------------------------------------------------------------------------- */

static void cut_out(char *s, const char *what) {
    size_t n = strlen(what);
    for (char *p; (p = strstr(s, what));) memmove(p, p + n, strlen(p + n) + 1);
}

/* What wrappers of the training code put around every name. */
static void dit_unwrap(char *s) {
    static const char *const infix[] = {"_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                        "_orig_mod."};
    static const char *const prefix[] = {"model.diffusion_model.", "diffusion_model.", "module.",
                                         "model."};
    for (int i = 0; i < 3; i++) cut_out(s, infix[i]);
    for (int i = 0; i < 4; i++)
        if (starts(s, prefix[i])) {
            memmove(s, s + strlen(prefix[i]), strlen(s + strlen(prefix[i])) + 1);
            return;
        }
}

static bool dit_stray(const char *s) {
    return !strcmp(s, "freqs") || strstr(s, ".norm_added_q.") || starts(s, "_cls_pred_branch.") ||
           starts(s, "_register_tokens.") || starts(s, "_gan_ca_blocks.");
}

static void dit_name(const char *s, char *out) {
    int n;
    const char *to, *inner = "", *rest = indexed(s, "blocks.", &n);
    if (!rest) {
        rest = match(dit_top, s, &to);
        snprintf(out, BUF, "%s%s", to, rest);
        return;
    }
    const char *after = match(dit_block, rest, &to);
    if (starts(to, "self_attn.") || starts(to, "cross_attn."))
        after = match(dit_attn, after, &inner);
    snprintf(out, BUF, "blocks.%d.%s%s%s", n, to, inner, after);
}

/* -- VAE --------------------------------------------------------------------------------- */

typedef struct vae_stages {
    int n_res[STAGES]; /* residual blocks of a decoder stage */
    bool up[STAGES];   /* it ends with an upsampler */
} vae_stages;

/* Which decoder stages the diffusers names describe. */
static vae_stages vae_count(const lti_entries *list) {
    vae_stages v = {0};
    for (int i = 0; i < list->n; i++) {
        int b, j;
        const char *rest = indexed(list->e[i].name, "decoder.up_blocks.", &b);
        if (!rest || b >= STAGES) continue;
        if (indexed(rest, "resnets.", &j) && j >= v.n_res[b]) v.n_res[b] = j + 1;
        if (starts(rest, "upsamplers.0.")) v.up[b] = true;
    }
    return v;
}

static void vae_name(const vae_stages *v, const char *s, char *out) {
    int b, j;
    const char *to, *rest, *in;
    for (int side = 0; side < 2; side++) { /* the middle: res, attention, res */
        const char *who = side ? "decoder." : "encoder.";
        if (!starts(s, who) || !starts(s + 8, "mid_block.")) continue;
        if ((rest = indexed(s + 18, "resnets.", &j))) {
            in = match(vae_res, rest, &to);
            snprintf(out, BUF, "%smiddle.%d.%s%s", who, 2 * j, to, in);
            return;
        }
        if ((rest = indexed(s + 18, "attentions.", &j))) {
            snprintf(out, BUF, "%smiddle.%d.%s", who, 2 * j + 1, rest);
            return;
        }
    }
    if ((rest = indexed(s, "encoder.down_blocks.", &b))) {
        in = match(vae_res, rest, &to);
        snprintf(out, BUF, "encoder.downsamples.%d.%s%s", b, to, in);
        return;
    }
    if ((rest = indexed(s, "decoder.up_blocks.", &b)) && b < STAGES) {
        int flat = 0;
        for (int i = 0; i < b; i++) flat += v->n_res[i] + v->up[i];
        if ((in = indexed(rest, "resnets.", &j))) {
            in = match(vae_res, in, &to);
            snprintf(out, BUF, "decoder.upsamples.%d.%s%s", flat + j, to, in);
            return;
        }
        if ((in = indexed(rest, "upsamplers.", &j))) {
            snprintf(out, BUF, "decoder.upsamples.%d.%s", flat + v->n_res[b] + j, in);
            return;
        }
    }
    rest = match(vae_top, s, &to);
    snprintf(out, BUF, "%s%s", to, rest);
}

/* -- text -------------------------------------------------------------------------------- */

static void text_name(const char *s, char *out) {
    int n;
    const char *to, *rest = indexed(s, "encoder.block.", &n);
    const rule *block = text_block;
    if (!rest && (rest = indexed(s, "enc.blk.", &n))) block = text_gguf_block;
    if (rest) {
        const char *after = match(block, rest, &to);
        snprintf(out, BUF, "blocks.%d.%s%s", n, to, after);
        return;
    }
    rest = match(text_top, s, &to);
    if (rest == s) rest = match(text_gguf_top, s, &to);
    snprintf(out, BUF, "%s%s", to, rest);
}

/* -- all --------------------------------------------------------------------------------- */

/* A whole file is in one naming: is it the foreign one? */
static bool foreign(lti_part part, const lti_entries *list) {
    for (int i = 0; i < list->n; i++) {
        const char *s = list->e[i].name;
        if (part == LTI_PART_TEXT) return true; /* its namings do not clash */
        if (part == LTI_PART_DIT && starts(s, "condition_embedder.")) return true;
        if (part == LTI_PART_VAE &&
            (starts(s, "decoder.conv_in.") || starts(s, "encoder.conv_in.") ||
             starts(s, "decoder.up_blocks.") || strstr(s, ".mid_block.")))
            return true;
    }
    return false;
}

static bool unwanted(lti_part part, const char *s, bool has_shared) {
    if (part == LTI_PART_DIT) return dit_stray(s);
    if (part != LTI_PART_TEXT) return false;
    return starts(s, "decoder.") || starts(s, "lm_head.") || /* of a full encoder-decoder file */
           starts(s, "dec.") || starts(s, "output.") ||      /* the same in llama.cpp's names */
           (has_shared && !strcmp(s, "encoder.embed_tokens.weight")); /* tied to shared.weight */
}

static lt_status rename_entry(lti_entry *e, const char *name, lt_error *err) {
    if (!strcmp(e->name, name)) return LT_OK;
    char *copy = strdup(name);
    if (!copy) return lti_oom(err, strlen(name) + 1);
    if (e->raw) free(e->name);
    else e->raw = e->name; /* the first name is the file's own */
    e->name = copy;
    return LT_OK;
}

static lt_status unwrap_all(lti_entries *list, lt_error *err) {
    for (int i = 0; i < list->n; i++) {
        char buf[BUF];
        snprintf(buf, sizeof buf, "%s", list->e[i].name);
        dit_unwrap(buf);
        LT_TRY(rename_entry(&list->e[i], buf, err));
    }
    return LT_OK;
}

/* A TAE's own names begin with "decoder." or "encoder."; wrappers put their attribute before. */
static lt_status tae_unwrap(lti_entries *list, lt_error *err) {
    for (int i = 0; i < list->n; i++) {
        const char *s = list->e[i].name;
        for (const char *p = s; p; p = strchr(p, '.'), p = p ? p + 1 : NULL) {
            if (!starts(p, "decoder.") && !starts(p, "encoder.")) continue;
            char buf[BUF];
            snprintf(buf, sizeof buf, "%s", p);
            LT_TRY(rename_entry(&list->e[i], buf, err));
            break;
        }
    }
    return LT_OK;
}

static void drop_unwanted(lti_part part, lti_entries *list) {
    bool has_shared = false;
    for (int i = 0; i < list->n; i++) has_shared |= !strcmp(list->e[i].name, "shared.weight");
    int kept = 0;
    for (int i = 0; i < list->n; i++) {
        if (unwanted(part, list->e[i].name, has_shared)) lti_entry_free(&list->e[i]);
        else list->e[kept++] = list->e[i];
    }
    list->n = kept;
}

lt_status lti_names_translate(lti_part part, const char *what, lti_entries *list, lt_error *err) {
    if (part == LTI_PART_NONE) return lti_entries_sort(list, what, err);
    if (part == LTI_PART_DIT) LT_TRY(unwrap_all(list, err));
    if (part == LTI_PART_TAE) LT_TRY(tae_unwrap(list, err));
    drop_unwanted(part, list);
    if (!foreign(part, list)) return lti_entries_sort(list, what, err);
    vae_stages stages = part == LTI_PART_VAE ? vae_count(list) : (vae_stages){0};
    for (int i = 0; i < list->n; i++) {
        char buf[BUF];
        if (part == LTI_PART_DIT) dit_name(list->e[i].name, buf);
        else if (part == LTI_PART_VAE) vae_name(&stages, list->e[i].name, buf);
        else text_name(list->e[i].name, buf);
        LT_TRY(rename_entry(&list->e[i], buf, err));
    }
    return lti_entries_sort(list, what, err);
}

void lti_dit_target(const char *name, char *out, size_t size) {
    char buf[BUF], to[BUF];
    snprintf(buf, sizeof buf, "%s", name);
    dit_unwrap(buf);
    dit_name(buf, to);
    snprintf(out, size, "%s", to);
}
