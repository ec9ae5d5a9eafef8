/* SPDX-License-Identifier: Apache-2.0
 * cli/prompt.c - the prompt: an argument, a file or standard input. */
#include "cli/cli.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROMPT (1 << 20)

/* Whole file, NUL terminated. NULL with errno; EFBIG when too long, EILSEQ for a NUL inside. */
static char *read_text(const char *path) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (!f) return NULL;
    char *text = malloc(MAX_PROMPT + 1);
    const size_t n = text ? fread(text, 1, MAX_PROMPT + 1, f) : 0;
    int e = text ? (ferror(f) ? errno : 0) : ENOMEM;
    if (e == 0 && n > MAX_PROMPT) e = EFBIG;
    if (e == 0 && memchr(text, 0, n)) e = EILSEQ;
    if (f != stdin) fclose(f);
    if (e != 0) {
        free(text);
        errno = e;
        return NULL;
    }
    text[n] = 0;
    return text;
}

int cli_read_prompt(const cli *c, char **prompt) {
    const char *file = c->opt[OPT_PROMPT_FILE].text;
    if (file && cli_given(c, OPT_PROMPT))
        return cli_usage_error(c, "--prompt and --prompt-file: give only one of them");
    if (!file && !cli_given(c, OPT_PROMPT))
        return cli_usage_error(c, "no prompt: say what to show with -p TEXT or --prompt-file FILE");
    *prompt = file ? read_text(file) : strdup(c->opt[OPT_PROMPT].text);
    if (!*prompt) {
        char msg[512];
        snprintf(msg, sizeof msg, "cannot read the prompt from %s: %s", file ? file : "-p",
                 strerror(errno));
        return cli_fail(c, LT_EIO, false, msg);
    }
    for (size_t n = strlen(*prompt); n > 0 && strchr("\r\n", (*prompt)[n - 1]); n--)
        (*prompt)[n - 1] = 0;
    if (strspn(*prompt, " \t\r\n") == strlen(*prompt))
        return cli_usage_error(c, "the prompt is empty: say what to show with -p TEXT");
    return -1;
}
