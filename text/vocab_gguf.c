/* SPDX-License-Identifier: Apache-2.0
 * text/vocab_gguf.c - the tokenizer inside a GGUF text encoder.
 *
 *   tokenizer.ggml.model = "t5" (a sentencepiece unigram model)
 *   tokenizer.ggml.{tokens, scores, token_type}   types as sentencepiece's
 *   tokenizer.ggml.{eos_token_id, add_space_prefix, remove_extra_whitespaces,
 *                   precompiled_charsmap}
 * Reference: ggml docs/gguf.md; what llama.cpp's converter writes for T5.
 *
 * Pitfall: converters append the <extra_id_N> tokens as user-defined ones, which T5's tokenizer
 * cuts out of the text together with the white space around them. */
#include "base/error.h"
#include "text/vocab.h"
#include "weights/gguf.h"
#include <stdlib.h>
#include <string.h>

#define KEY(name) ("tokenizer.ggml." name)

static lt_status pieces(const lti_gguf_meta *m, const char *what, lti_vocab *v, lt_error *err) {
    lti_gguf_value tokens, scores, types;
    if (!lti_gguf_array(m, KEY("tokens"), LTI_GGUF_STRING, &tokens) ||
        !lti_gguf_array(m, KEY("scores"), LTI_GGUF_ARRAY, &scores) ||
        !lti_gguf_array(m, KEY("token_type"), LTI_GGUF_ARRAY, &types) || tokens.n < 1 ||
        tokens.n > LTI_VOCAB_MAX || scores.n != tokens.n || types.n != tokens.n)
        return lti_fail(err, LT_EFORMAT,
                        "%s: expected tokenizer.ggml.tokens, scores and token_type of one length "
                        "up to %d; give the tokenizer with --tokenizer FILE",
                        what, LTI_VOCAB_MAX);
    LT_TRY(lti_vocab_alloc(v, (size_t)tokens.n, err));
    for (size_t i = 0; i < v->n; i++) {
        lti_gguf_str s = {0};
        double score = 0;
        int64_t type = 0;
        lti_gguf_next_string(&tokens, &s);
        lti_gguf_next_num(&scores, &score);
        lti_gguf_next_int(&types, &type);
        if (type < LTI_PIECE_NORMAL || type > LTI_PIECE_BYTE) type = 0; /* refused by the proto */
        if (s.n == 0) continue; /* stands nowhere in a text: a hole */
        v->piece[i] = (lti_piece){s.p, s.n, (float)score, (lti_piece_type)type};
        if (type != LTI_PIECE_USER || s.n < 10 || memcmp(s.p, "<extra_id_", 10) != 0) continue;
        v->piece[i].type = LTI_PIECE_CONTROL;
        if (s.n > LTI_PIECE_MAX || v->n_added == LTI_ADDED_MAX)
            return lti_fail(err, LT_EFORMAT, "%s: too many or too long <extra_id_> tokens", what);
        LT_TRY(lti_vocab_add(v, s.p, s.n, (int32_t)i, true, true, err));
    }
    return LT_OK;
}

static lt_status charsmap(const lti_gguf_meta *m, lti_vocab *v, lt_error *err) {
    lti_gguf_value a;
    int64_t c;
    if (!lti_gguf_array(m, KEY("precompiled_charsmap"), LTI_GGUF_ARRAY, &a) || a.n == 0)
        return LT_OK;
    v->charsmap = malloc((size_t)a.n);
    if (!v->charsmap) return lti_oom(err, (size_t)a.n);
    while (lti_gguf_next_int(&a, &c)) v->charsmap[v->charsmap_n++] = (uint8_t)c;
    return LT_OK;
}

lt_status lti_vocab_from_gguf(const uint8_t *data, size_t size, const char *what, lti_gguf_meta *m,
                              lti_vocab *v, lt_error *err) {
    lti_gguf_str model = {"", 0};
    int64_t eos = 1;
    bool prefix = true;
    LT_TRY(lti_gguf_meta_read(data, size, what, m, err));
    lti_gguf_string(m, KEY("model"), &model);
    if (model.n != 2 || memcmp(model.p, "t5", 2) != 0)
        return lti_fail(err, LT_EFORMAT,
                        "%s: tokenizer.ggml.model is '%.*s', expected 't5'; give the tokenizer "
                        "with --tokenizer FILE",
                        what, (int)(model.n < 40 ? model.n : 40), model.p);
    LT_TRY(pieces(m, what, v, err));
    LT_TRY(charsmap(m, v, err));
    v->remove_extra_spaces = true;
    lti_gguf_bool(m, KEY("remove_extra_whitespaces"), &v->remove_extra_spaces);
    lti_gguf_bool(m, KEY("add_space_prefix"), &prefix);
    v->prefix = prefix ? LTI_PREFIX_ALWAYS : LTI_PREFIX_NEVER;
    lti_gguf_int(m, KEY("eos_token_id"), &eos);
    if (eos < 0 || (uint64_t)eos >= v->n || v->piece[eos].type != LTI_PIECE_CONTROL)
        return lti_fail(err, LT_EFORMAT, "%s: eos_token_id %lld is no control token of %zu", what,
                        (long long)eos, v->n);
    v->eos = v->piece[eos].p;
    v->eos_n = v->piece[eos].n;
    return LT_OK;
}
