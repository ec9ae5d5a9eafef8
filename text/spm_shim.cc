// SPDX-License-Identifier: Apache-2.0
// text/spm_shim.cc - sentencepiece (C++) behind five C functions.
//
// No exception leaves this file. Only normal and user-defined pieces take part in matching, so a
// "</s>" typed in a prompt is plain text and never the control token.
// Pitfall: the ids of </s>, <s>, <unk> and padding are the model file's (umt5: 1, 2, 3, 0; not
// T5's).
#include "text/text_int.h"
#include <cstdlib>
#include <exception>
#include <new>
#include <sentencepiece_processor.h>
#include <string>
#include <vector>

struct lti_spm {
    sentencepiece::SentencePieceProcessor sp;
};

static const char no_memory[] = "out of memory in sentencepiece; close other programs";

static lt_status load(lti_spm *s, const void *model, size_t size, const char *what, lt_error *err) {
    auto st =
        s->sp.LoadFromSerializedProto(absl::string_view(static_cast<const char *>(model), size));
    if (!st.ok()) {
        std::string text = "not a sentencepiece model (" + st.ToString() +
                           "); expected the spiece.model of the text encoder";
        return lti_spm_fail(err, LT_EFORMAT, what, text.c_str());
    }
    if (s->sp.eos_id() < 0 || s->sp.unk_id() < 0)
        return lti_spm_fail(err, LT_EFORMAT, what, "the model has no </s> or no <unk> piece");
    return LT_OK;
}

lt_status lti_spm_open(const void *model, size_t size, const char *what, lti_spm **out,
                       lt_error *err) {
    lti_spm *s = nullptr;
    lt_status code = LT_OK;
    try {
        s = new lti_spm;
        code = load(s, model, size, what, err);
    } catch (const std::bad_alloc &) {
        code = lti_spm_fail(err, LT_ENOMEM, what, no_memory);
    } catch (const std::exception &e) {
        code = lti_spm_fail(err, LT_EFORMAT, what, e.what());
    }
    if (code != LT_OK) lti_spm_close(&s);
    *out = s;
    return code;
}

void lti_spm_close(lti_spm **s) {
    delete *s;
    *s = nullptr;
}

int lti_spm_size(const lti_spm *s) { return s->sp.GetPieceSize(); }
int lti_spm_eos(const lti_spm *s) { return s->sp.eos_id(); }

lt_status lti_spm_encode(const lti_spm *s, const char *text, int32_t **ids, int *n, lt_error *err) {
    *ids = nullptr;
    *n = 0;
    try {
        std::vector<int> pieces;
        auto st = s->sp.Encode(text, &pieces);
        if (!st.ok()) return lti_spm_fail(err, LT_EINVAL, "prompt", st.ToString().c_str());
        if (pieces.empty()) return LT_OK;
        *ids = static_cast<int32_t *>(std::malloc(pieces.size() * sizeof(int32_t)));
        if (!*ids) return lti_spm_fail(err, LT_ENOMEM, "prompt", no_memory);
        for (size_t i = 0; i < pieces.size(); i++) (*ids)[i] = pieces[i];
        *n = static_cast<int>(pieces.size());
        return LT_OK;
    } catch (const std::bad_alloc &) {
        return lti_spm_fail(err, LT_ENOMEM, "prompt", no_memory);
    } catch (const std::exception &e) {
        return lti_spm_fail(err, LT_EINVAL, "prompt", e.what());
    }
}
