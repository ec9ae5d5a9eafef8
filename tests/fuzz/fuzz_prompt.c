/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_prompt.c - any bytes as a prompt: cleaned and cut into ids, never control ids. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "text/text.h"
#include "text/text_int.h"
#include <stdlib.h>
#include <string.h>

enum { TEXT_LEN = 64, UNK = 3 }; /* ids 0, 1, 2 of the fixture are padding, </s> and <s> */

static lti_tokenizer *tokenizer(void) {
    static lti_tokenizer *t; /* opened once; lives as long as the process */
    if (!t)
        LT_ASSERT(lti_tokenizer_open(LT_SOURCE_DIR "/tests/golden/text/spiece.model", &t, NULL) ==
                  LT_OK);
    return t;
}

static void check_clean(const char *clean) {
    size_t n = strlen(clean);
    LT_ASSERT(!strstr(clean, "  ") && !strpbrk(clean, "\n\r\t\v\f"));
    LT_ASSERT(n == 0 || (clean[0] != ' ' && clean[n - 1] != ' '));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *prompt = malloc(size + 1);
    if (!prompt) return 0;
    memcpy(prompt, data, size);
    prompt[size] = '\0';
    char *clean = NULL;
    int32_t *ids = NULL;
    int n, n_all;
    lt_error err = {0};
    lt_status st = lti_text_clean(prompt, &clean, &err);
    if (st == LT_OK) {
        check_clean(clean);
        st = lti_text_ids(tokenizer(), clean, TEXT_LEN, &ids, &n, &n_all, &err);
    }
    LT_ASSERT(st == LT_OK || (st == LT_EINVAL && !ids && err.msg[0]));
    if (st == LT_OK) {
        LT_ASSERT(n >= 1 && n <= TEXT_LEN && n_all >= n &&
                  ids[n - 1] == lti_tokenizer_eos(tokenizer()));
        for (int i = 0; i < n - 1; i++)
            LT_ASSERT(ids[i] >= UNK && ids[i] < lti_tokenizer_size(tokenizer()));
    }
    free(ids);
    free(clean);
    free(prompt);
    return 0;
}
