/* SPDX-License-Identifier: Apache-2.0
 * cli/script.h - a prompt file with times: what to show from when on. */
#ifndef LT_CLI_SCRIPT_H
#define LT_CLI_SCRIPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLI_MAX_SCENES = 257 }; /* the first prompt and 256 more */

typedef struct cli_scene {
    const char *text;
    double seconds; /* where it begins; or, when frame >= 0: */
    int64_t frame;
    bool cut;
    int line; /* of the file, from 1 */
} cli_scene;

typedef struct cli_script {
    int n;
    cli_scene scene[CLI_MAX_SCENES];
} cli_script;

/* Does the text begin as a schedule does? Everything else is one prompt. */
bool cli_is_script(const char *text);
/* Scenes of a schedule; their texts lie in `text`, which is cut into pieces. False: why has one
 * line. Times are in order, the first is 0, no text is empty. */
bool cli_script_parse(char *text, cli_script *out, char *why, size_t why_size);

#endif
