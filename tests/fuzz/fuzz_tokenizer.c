/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_tokenizer.c - any bytes as a tokenizer: refused in one line, or usable. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "text/text_int.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lti_tokenizer *t;
    lt_error err = {0};
    int32_t *ids;
    int n;
    if (lti_tokenizer_parse(data, size, "it", &t, &err) != LT_OK) {
        LT_ASSERT(!t && err.code < 0 && err.msg[0] && !strchr(err.msg, '\n'));
        return 0;
    }
    LT_ASSERT(lti_tokenizer_eos(t) >= 0 && lti_tokenizer_eos(t) < lti_tokenizer_size(t));
    if (lti_tokenizer_encode(t, "a red ball, \u00e9\u00bd \u4f60 <extra_id_0> </s>", &ids, &n,
                             NULL) == LT_OK) {
        for (int i = 0; i < n; i++) LT_ASSERT(ids[i] >= 0 && ids[i] < lti_tokenizer_size(t));
        free(ids);
    }
    lti_tokenizer_close(&t);
    return 0;
}
