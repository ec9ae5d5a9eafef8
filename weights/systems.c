/* SPDX-License-Identifier: Apache-2.0
 * weights/systems.c - marks by which a system is known.
 *
 * A mark is a piece of a tensor name that one family of models has and others have not. The table
 * is read from the top, so a family stands before those it shares names with. Reference: the
 * published checkpoints' tensor names; spec of Wan in docs/MODELS.md.
 *
 * Pitfall: nothing in here may be trusted for sizes that are computed with; files are hostile. */
#include "weights/systems.h"
#include <stdio.h>
#include <string.h>

static const char *const only_wan =
    "another transformer; longtake runs Wan 2.1 text-to-video models (1.3B, 14B, their streaming "
    "fine-tunes)";
static const char *const only_t2v =
    "inputs that longtake does not make; it runs Wan 2.1 text-to-video models";
static const char *const only_umt5 = "another text encoder; longtake's is UMT5 (umt5-xxl)";
static const char *const only_vae =
    "another decoder; longtake's are the Wan 2.1 VAE and TAEHV (taew2_1)";

typedef struct mark {
    const char *piece; /* of any tensor name */
    lti_kind kind;
    const char *system;
    const char *const *needs; /* NULL: it runs */
} mark;

static const mark marks[] = {
    /* LoRA files: before the models whose layers they name */
    {".lora_A", LTI_KIND_LORA, "LoRA in PEFT names", NULL},
    {".lora_down", LTI_KIND_LORA, "LoRA in kohya or ComfyUI names", NULL},
    {".lora.down", LTI_KIND_LORA, "LoRA in diffusers names", NULL},
    {".diff_b", LTI_KIND_LORA, "full deltas in ComfyUI names", NULL},
    /* Wan's own variants: the same blocks and something more */
    {"vace_blocks.", LTI_KIND_FOREIGN, "Wan VACE transformer", &only_t2v},
    {"audio_injector.", LTI_KIND_FOREIGN, "Wan2.2-S2V transformer", &only_t2v},
    {"face_adapter.", LTI_KIND_FOREIGN, "Wan2.2-Animate transformer", &only_t2v},
    {"control_adapter.", LTI_KIND_FOREIGN, "Wan Fun-Camera transformer", &only_t2v},
    {"ref_conv.", LTI_KIND_FOREIGN, "Wan Fun-Control transformer", &only_t2v},
    {"img_emb.emb_pos", LTI_KIND_FOREIGN, "Wan2.1-FLF2V transformer", &only_t2v},
    {"image_embedder.pos_embed", LTI_KIND_FOREIGN, "Wan2.1-FLF2V transformer", &only_t2v},
    {".k_img.", LTI_KIND_FOREIGN, "Wan2.1-I2V (image-to-video) transformer", &only_t2v},
    {"condition_embedder.image_embedder.", LTI_KIND_FOREIGN,
     "Wan2.1-I2V (image-to-video) transformer", &only_t2v},
    {"condition_embedder.text_embedder.", LTI_KIND_DIT, "Wan transformer", NULL},
    {"self_attn.norm_q.", LTI_KIND_DIT, "Wan transformer", NULL},
    {"self_attn.q.", LTI_KIND_DIT, "Wan transformer", NULL},
    /* other transformers and U-Nets */
    {"individual_token_refiner.", LTI_KIND_FOREIGN, "HunyuanVideo transformer", &only_wan},
    {"context_embedder.token_refiner.", LTI_KIND_FOREIGN, "HunyuanVideo transformer", &only_wan},
    {"double_blocks.", LTI_KIND_FOREIGN, "FLUX transformer", &only_wan},
    {"single_transformer_blocks.", LTI_KIND_FOREIGN, "FLUX transformer", &only_wan},
    {"joint_blocks.", LTI_KIND_FOREIGN, "Stable Diffusion 3 transformer", &only_wan},
    {"patch_embed.text_proj.", LTI_KIND_FOREIGN, "CogVideoX transformer", &only_wan},
    {"mixins.patch_embed.", LTI_KIND_FOREIGN, "CogVideoX transformer", &only_wan},
    {"patchify_proj.", LTI_KIND_FOREIGN, "LTX-Video transformer", &only_wan},
    {"time_embed.emb.timestep_embedder.", LTI_KIND_FOREIGN, "LTX-Video transformer", &only_wan},
    {".attn.qkv_x.", LTI_KIND_FOREIGN, "Mochi transformer", &only_wan},
    {"time_embed.pooler.", LTI_KIND_FOREIGN, "Mochi transformer", &only_wan},
    {"blocks.block0.", LTI_KIND_FOREIGN, "Cosmos transformer", &only_wan},
    {".img_mod.", LTI_KIND_FOREIGN, "Qwen-Image transformer", &only_wan},
    {"pos_embed.proj.", LTI_KIND_FOREIGN, "Stable Diffusion 3 or PixArt transformer", &only_wan},
    {"motion_modules.", LTI_KIND_FOREIGN, "AnimateDiff motion module", &only_wan},
    {"temporal_transformer_blocks.", LTI_KIND_FOREIGN, "Stable Video Diffusion U-Net", &only_wan},
    {"input_blocks.", LTI_KIND_FOREIGN, "Stable Diffusion U-Net", &only_wan},
    {"down_blocks.0.attentions.", LTI_KIND_FOREIGN, "Stable Diffusion U-Net", &only_wan},
    {"down_blocks.1.attentions.", LTI_KIND_FOREIGN, "Stable Diffusion U-Net", &only_wan},
    /* encoders of text and pictures */
    {"visual.transformer.", LTI_KIND_FOREIGN, "CLIP vision encoder", &only_t2v},
    {"vision_model.", LTI_KIND_FOREIGN, "CLIP or SigLIP vision encoder", &only_t2v},
    {"text_model.", LTI_KIND_FOREIGN, "CLIP text encoder", &only_umt5},
    {"self_attn.q_proj.", LTI_KIND_FOREIGN, "language model", &only_umt5},
    {"attn.q_norm.", LTI_KIND_FOREIGN, "language model", &only_umt5},
    {"layer.0.SelfAttention.q.", LTI_KIND_TEXT, "T5 encoder", NULL},
    {"enc.blk.0.attn_q.", LTI_KIND_TEXT, "T5 encoder", NULL},
    {"pos_embedding.embedding.", LTI_KIND_TEXT, "T5 encoder", NULL},
    /* autoencoders */
    {"decoder.upsamples.0.upsamples.", LTI_KIND_FOREIGN, "Wan 2.2 VAE", &only_vae},
    {"decoder.up_blocks.0.upsampler.", LTI_KIND_FOREIGN, "Wan 2.2 VAE", &only_vae},
    {"decoder.upsamples.", LTI_KIND_VAE, "Wan 2.1 VAE", NULL},
    {"decoder.conv_in.conv.", LTI_KIND_FOREIGN, "VAE of HunyuanVideo, CogVideoX or LTX", &only_vae},
    {"decoder.up.0.block.", LTI_KIND_FOREIGN, "image VAE (Stable Diffusion, FLUX)", &only_vae},
    {"decoder.up_blocks.", LTI_KIND_VAE, "Wan 2.1 VAE", NULL},
    {"encoder.downsamples.", LTI_KIND_VAE, "Wan 2.1 VAE, encoder alone", NULL},
    {"decoder.3.conv.", LTI_KIND_TAE, "TAEHV tiny autoencoder", NULL},
    {"encoder.4.conv.", LTI_KIND_TAE, "TAEHV tiny autoencoder, encoder alone", NULL},
};

static const struct {
    const char *name;
    lti_part part;
} kinds[] = {
    [LTI_KIND_UNKNOWN] = {"unknown", LTI_PART_NONE},
    [LTI_KIND_DIT] = {"transformer", LTI_PART_DIT},
    [LTI_KIND_TEXT] = {"text_encoder", LTI_PART_TEXT},
    [LTI_KIND_VAE] = {"vae", LTI_PART_VAE},
    [LTI_KIND_TAE] = {"tae", LTI_PART_NONE},
    [LTI_KIND_LORA] = {"lora", LTI_PART_NONE},
    [LTI_KIND_FOREIGN] = {"foreign", LTI_PART_NONE},
};
const char *lti_kind_name(lti_kind k) { return kinds[k].name; }
lti_part lti_kind_part(lti_kind k) { return kinds[k].part; }

static bool has_piece(const lti_weights *w, const char *piece) {
    for (int i = 0; i < lti_weights_count(w); i++)
        if (strstr(lti_weights_name(w, i, NULL), piece)) return true;
    return false;
}

/* Extent `axis` of a tensor; 0 when there is none. */
static long long extent(const lti_weights *w, const char *name, int axis) {
    const lti_tensor *t = lti_weights_find(w, name);
    return t && axis < t->rank ? (long long)t->n[axis] : 0;
}

static void refuse(lti_sight *s, const char *system, const char *needs) {
    s->kind = LTI_KIND_FOREIGN;
    s->runs = false;
    s->needs = needs;
    snprintf(s->system, sizeof s->system, "%s", system);
}

/* ---- by kind --------------------------------------------------------------------------------- */

static const struct {
    int dim, in, out, ffn, layers;
    bool runs;
    const char *name;
} wans[] = {
    {1536, 16, 16, 8960, 30, true, "Wan2.1-T2V-1.3B"},
    {5120, 16, 16, 13824, 40, true, "Wan2.1-T2V-14B (or one expert of Wan2.2-T2V-A14B)"},
    {5120, 36, 16, 13824, 40, false, "Wan2.2-I2V-A14B, one expert"},
    {3072, 48, 48, 14336, 30, false, "Wan2.2-TI2V-5B"},
};

static void look_dit(const lti_weights *w, lti_sight *s) {
    const long long dim = extent(w, "patch_embedding.bias", 0);
    const lti_tensor *patch = lti_weights_find(w, "patch_embedding.weight");
    const long long in = patch && dim > 0 ? (long long)(lti_numel(patch) / dim / 4) : 0;
    const long long out = extent(w, "head.head.weight", 0) / 4;
    const long long ffn = extent(w, "blocks.0.ffn.0.weight", 0);
    const int layers = lti_weights_layers(w, "blocks.");
    if (!dim || !in || !out || !ffn) return; /* names are not translated, or it is incomplete */
    snprintf(s->sizes, sizeof s->sizes,
             "width %lld, ffn %lld, %d blocks, %lld channels in, %lld out", dim, ffn, layers, in,
             out);
    for (size_t i = 0; i < sizeof wans / sizeof *wans; i++) {
        if (wans[i].dim != dim || wans[i].in != in || wans[i].out != out || wans[i].ffn != ffn ||
            wans[i].layers != layers)
            continue;
        snprintf(s->system, sizeof s->system, "%s", wans[i].name);
        if (!wans[i].runs)
            refuse(s, wans[i].name, in == 48 ? "the Wan 2.2 VAE (48 channels)" : only_t2v);
        return;
    }
    if (in != out) refuse(s, "Wan transformer with extra input channels", only_t2v);
    else if (in == 48) refuse(s, "Wan 2.2 transformer", "the Wan 2.2 VAE (48 channels)");
    else snprintf(s->system, sizeof s->system, "Wan 2.1 transformer of its own size");
}

static void look_text(const lti_weights *w, lti_sight *s) {
    const long long vocab = extent(w, "token_embedding.weight", 0);
    const long long dim = extent(w, "token_embedding.weight", 1);
    const int layers = lti_weights_layers(w, "blocks.");
    if (!layers) return;
    snprintf(s->sizes, sizeof s->sizes, "width %lld, ffn %lld, %d layers, %lld tokens", dim,
             extent(w, "blocks.0.ffn.fc1.weight", 0), layers, vocab);
    if (layers > 1 && !lti_weights_find(w, "blocks.1.pos_embedding.embedding.weight"))
        refuse(s, "T5 encoder (as of Stable Diffusion 3, FLUX, LTX)", only_umt5);
    else
        snprintf(s->system, sizeof s->system, "%s",
                 dim == 4096 && layers == 24 && vocab == 256384 ? "UMT5-XXL encoder"
                                                                : "UMT5 encoder of its own size");
}

static void look_vae(const lti_weights *w, lti_sight *s) {
    const lti_tensor *first = lti_weights_find(w, "decoder.conv1.weight");
    const long long width = extent(w, "decoder.conv1.weight", 0);
    if (!first) return;
    if (first->rank != 5) {
        refuse(s, "image VAE (Stable Diffusion, FLUX)", only_vae);
        return;
    }
    snprintf(s->sizes, sizeof s->sizes, "%lld latent channels, widest %lld%s",
             extent(w, "decoder.conv1.weight", 1), width,
             lti_weights_find(w, "encoder.conv1.weight") ? ", with encoder" : ", decoder only");
    snprintf(s->system, sizeof s->system, "%s",
             width == 384  ? "Wan 2.1 VAE"
             : width == 96 ? "Wan 2.1 VAE, pruned to a quarter (lightvaew2_1)"
                           : "Wan 2.1 VAE of its own size");
}

static void look_tae(const lti_weights *w, lti_sight *s) {
    const long long z = extent(w, "decoder.1.weight", 1);
    if (!z) return;
    snprintf(s->sizes, sizeof s->sizes, "%lld latent channels, widest %lld%s", z,
             extent(w, "decoder.1.weight", 0),
             lti_weights_find(w, "encoder.0.weight") ? ", with encoder" : ", decoder only");
    if (z == 48) refuse(s, "TAEHV for Wan 2.2 (taew2_2)", "the 48 channels of Wan2.2-TI2V-5B");
    else if (z == 16) snprintf(s->system, sizeof s->system, "TAEHV (taew2_1 or lighttaew2_1)");
}

static void look_lora(const lti_weights *w, lti_sight *s) {
    int layers = 0;
    long long rank = 0, in = 0;
    for (int i = 0; i < lti_weights_count(w); i++) {
        const lti_tensor *t;
        const char *name = lti_weights_name(w, i, &t);
        if (!strstr(name, ".lora_A") && !strstr(name, ".lora_down") && !strstr(name, ".lora.down"))
            continue;
        layers++;
        if (t->rank < 2 || (in && !strstr(name, "attn"))) continue;
        rank = t->n[0];
        in = t->n[1];
    }
    if (!layers) return;
    snprintf(s->sizes, sizeof s->sizes, "rank %lld on %d layers, inputs of %lld%s", rank, layers,
             in,
             in == 1536   ? " (Wan 1.3B)"
             : in == 5120 ? " (Wan 14B)"
                          : "");
}

void lti_sight_read(const lti_weights *w, lti_sight *out) {
    *out = (lti_sight){0};
    for (size_t i = 0; i < sizeof marks / sizeof *marks && out->kind == LTI_KIND_UNKNOWN; i++) {
        const mark *m = &marks[i];
        if (!has_piece(w, m->piece)) continue;
        out->kind = m->kind;
        out->runs = !m->needs;
        out->needs = m->needs ? *m->needs : NULL;
        snprintf(out->system, sizeof out->system, "%s", m->system);
    }
    if (out->kind == LTI_KIND_DIT) look_dit(w, out);
    if (out->kind == LTI_KIND_TEXT) look_text(w, out);
    if (out->kind == LTI_KIND_VAE) look_vae(w, out);
    if (out->kind == LTI_KIND_TAE) look_tae(w, out);
    if (out->kind == LTI_KIND_LORA) look_lora(w, out);
}
