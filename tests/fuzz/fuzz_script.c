/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_script.c - any bytes as a prompt file with times: refused with one line, or
 * scenes in order whose texts lie inside the file. */
#include "base/error.h"
#include "cli/script.h"
#include "tests/fuzz/fuzz.h"
#include <stdlib.h>
#include <string.h>

static void check(const cli_script *s, const char *text, size_t size) {
    LT_ASSERT(s->n >= 1 && s->n <= CLI_MAX_SCENES);
    for (int i = 0; i < s->n; i++) {
        const cli_scene *x = &s->scene[i];
        LT_ASSERT(x->text >= text && x->text + strlen(x->text) <= text + size && *x->text);
        LT_ASSERT(x->frame >= -1 && x->seconds >= 0 && x->seconds <= 3.6e6);
        LT_ASSERT(i > 0 || (x->frame <= 0 && x->seconds == 0 && !x->cut));
        LT_ASSERT(i == 0 || x->line > s->scene[i - 1].line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static cli_script script;
    char why[256] = "";
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    cli_is_script(text);
    if (cli_script_parse(text, &script, why, sizeof why)) check(&script, text, size);
    else LT_ASSERT(*why && !strchr(why, '\n'));
    free(text);
    return 0;
}
