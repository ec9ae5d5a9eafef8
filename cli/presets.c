/* SPDX-License-Identifier: Apache-2.0
 * cli/presets.c - `longtake info --presets`: the published systems that --preset knows. */
#include "cli/cli.h"
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PRESETS = 256 };

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the .json files in dir, sorted; each freed by the caller. */
static int list_files(const char *dir, char **name) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && n < MAX_PRESETS && (e = readdir(d));) {
        const size_t len = strlen(e->d_name);
        if (len > 5 && strcmp(e->d_name + len - 5, ".json") == 0 && e->d_name[0] != '.')
            if ((name[n] = strdup(e->d_name))) n++;
    }
    if (d) closedir(d);
    qsort(name, (size_t)n, sizeof *name, by_name);
    return n;
}

static const char *word(const cJSON *o, const char *key) {
    const char *s = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return s ? s : "";
}

static double number(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static void print_steps(const char *what, const cJSON *list) {
    if (!cJSON_IsArray(list)) return;
    printf("%s", what);
    for (const cJSON *t = list->child; t; t = t->next) printf(" %g", t->valuedouble);
}

static void print_preset(const char *name, const cJSON *o) {
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "checkpoint");
    const cJSON *loras = cJSON_GetObjectItemCaseSensitive(files, "loras");
    printf("%s\n    %s\n", name, word(o, "system"));
    printf("    %s, chunk %g, window %g, sink %g %s,", word(o, "mode"), number(o, "chunk"),
           number(o, "window"), number(o, "sink"), word(o, "sink_policy"));
    print_steps(" steps", cJSON_GetObjectItemCaseSensitive(o, "timesteps"));
    print_steps(" (first chunk", cJSON_GetObjectItemCaseSensitive(o, "timesteps_first"));
    printf("%s, shift %g", cJSON_HasObjectItem(o, "timesteps_first") ? ")" : "",
           number(o, "flow_shift"));
    if (*word(o, "prompt_switch")) printf(", new prompt: %s", word(o, "prompt_switch"));
    if (*word(o, "init_mode")) printf(", picture: %s", word(o, "init_mode"));
    printf("\n");
    if (*word(files, "file")) printf("    %s: %s", word(files, "repo"), word(files, "file"));
    for (const cJSON *l = loras ? loras->child : NULL; l; l = l->next)
        printf(" + %s", word(l, "file"));
    printf("%s    %s\n", *word(files, "file") ? "\n" : "", word(o, "source"));
}

/* One preset into list, or printed when list is NULL; -1, or an exit code. */
static int show(const cli *c, const char *dir, const char *file, cJSON *list) {
    char path[PATH_MAX], *text = NULL;
    lt_error err = {0};
    const int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    if (n < 0 || n >= (int)sizeof path) return -1;
    const lt_status st = lt_preset_json(path, &text, &err);
    if (st != LT_OK) return cli_fail(c, st, false, err.msg);
    cJSON *o = cJSON_Parse(text);
    lt_free(text);
    if (!o) return -1;
    if (list) {
        cli_add_text(o, "path", path);
        cJSON_AddItemToArray(list, o);
        return -1;
    }
    char name[NAME_MAX + 1];
    snprintf(name, sizeof name, "%.*s", (int)strlen(file) - 5, file);
    print_preset(name, o);
    cJSON_Delete(o);
    return -1;
}

int cli_list_presets(const cli *c) {
    char dir[PATH_MAX], *file[MAX_PRESETS];
    if (!cli_preset_dir(dir, sizeof dir))
        return cli_usage_error(c, "there are no presets beside the program or in ./models");
    const int n = list_files(dir, file);
    cJSON *list = cli_given(c, OPT_JSON) ? cJSON_CreateArray() : NULL;
    int code = -1;
    for (int i = 0; i < n; i++) {
        if (code < 0) code = show(c, dir, file[i], list);
        free(file[i]);
    }
    if (list && code < 0) cli_print_json(stdout, list);
    cJSON_Delete(list);
    return code < 0 ? EXIT_DONE : code;
}
