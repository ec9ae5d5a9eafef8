/* SPDX-License-Identifier: Apache-2.0
 * weights/expected.c - every name that a complete model has: 15 + 27 per block of the transformer,
 * 2 + 10 per layer of the text encoder, 194 of the Wan 2.1 VAE. */
#include "weights/systems.h"
#include <stdio.h>
#include <string.h>

typedef struct namer {
    void (*f)(void *opaque, const char *name);
    void *opaque;
} namer;

/* <prefix><name> for the names of a space-separated list; "x.*" means x.weight and x.bias. */
static void give(const namer *n, const char *prefix, const char *names) {
    char full[160];
    while (*names) {
        const int len = (int)strcspn(names, " ");
        if (names[len - 1] == '*') {
            snprintf(full, sizeof full, "%s%.*sweight", prefix, len - 1, names);
            n->f(n->opaque, full);
            snprintf(full, sizeof full, "%s%.*sbias", prefix, len - 1, names);
        } else {
            snprintf(full, sizeof full, "%s%.*s", prefix, len, names);
        }
        n->f(n->opaque, full);
        names += len + strspn(names + len, " ");
    }
}

static void give_dit(const namer *n, int layers) {
    give(n, "",
         "patch_embedding.* text_embedding.0.* text_embedding.2.* time_embedding.0.* "
         "time_embedding.2.* time_projection.1.* head.head.* head.modulation");
    for (int i = 0; i < layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        give(n, prefix,
             "modulation norm3.* ffn.0.* ffn.2.* self_attn.q.* self_attn.k.* self_attn.v.* "
             "self_attn.o.* self_attn.norm_q.weight self_attn.norm_k.weight cross_attn.q.* "
             "cross_attn.k.* cross_attn.v.* cross_attn.o.* cross_attn.norm_q.weight "
             "cross_attn.norm_k.weight");
    }
}

static void give_text(const namer *n, int layers) {
    give(n, "", "token_embedding.weight norm.weight");
    for (int i = 0; i < layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        give(n, prefix,
             "norm1.weight attn.q.weight attn.k.weight attn.v.weight attn.o.weight "
             "pos_embedding.embedding.weight norm2.weight ffn.gate.0.weight ffn.fc1.weight "
             "ffn.fc2.weight");
    }
}

/* kind of entry i: r residual, s residual with shortcut, t resampler in time and space, u in space
 */
static void give_stages(const namer *n, const char *stages, const char *kind) {
    for (int i = 0; kind[i]; i++) {
        char prefix[48];
        snprintf(prefix, sizeof prefix, "%s.%d.", stages, i);
        if (kind[i] == 'r' || kind[i] == 's')
            give(n, prefix, "residual.0.gamma residual.2.* residual.3.gamma residual.6.*");
        else give(n, prefix, "resample.1.*");
        if (kind[i] == 's') give(n, prefix, "shortcut.*");
        if (kind[i] == 't') give(n, prefix, "time_conv.*");
    }
}

static void give_vae(const namer *n) {
    give(n, "", "conv1.* conv2.*");
    for (int side = 0; side < 2; side++) {
        const char *who = side ? "decoder." : "encoder.";
        give(n, who,
             "conv1.* middle.0.residual.0.gamma middle.0.residual.2.* middle.0.residual.3.gamma "
             "middle.0.residual.6.* middle.1.norm.gamma middle.1.to_qkv.* middle.1.proj.* "
             "middle.2.residual.0.gamma middle.2.residual.2.* middle.2.residual.3.gamma "
             "middle.2.residual.6.* head.0.gamma head.2.*");
    }
    give_stages(n, "encoder.downsamples", "rrusrtsrtrr");
    give_stages(n, "decoder.upsamples", "rrrtsrrtrrrurrr");
}

void lti_expected_names(lti_kind k, const lti_weights *w, void (*f)(void *opaque, const char *name),
                        void *opaque) {
    const namer n = {f, opaque};
    const int layers = lti_weights_layers(w, "blocks.");
    if (k == LTI_KIND_DIT) give_dit(&n, layers);
    if (k == LTI_KIND_TEXT) give_text(&n, layers);
    if (k == LTI_KIND_VAE && lti_weights_layers(w, "decoder.upsamples.") == 15) give_vae(&n);
}
