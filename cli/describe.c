/* SPDX-License-Identifier: Apache-2.0
 * cli/describe.c - what `longtake info` says to people about folders and files. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static const char *text_of(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsString(v) ? v->valuestring : NULL;
}

static double number_of(const cJSON *o, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

/* "1.42 GB", "126.9 M parameters", "812 B" */
static const char *amount(double v, const char *unit, char *buf, size_t size) {
    const bool long_unit = *unit == ' ';
    if (v >= 1e9) snprintf(buf, size, "%.2f G%s", v * 1e-9, unit);
    else if (v >= 1e6) snprintf(buf, size, "%.1f M%s", v * 1e-6, unit);
    else if (v >= 1e4) snprintf(buf, size, "%.1f k%s", v * 1e-3, unit);
    else snprintf(buf, size, "%.0f%s%s", v, long_unit ? "" : " ", unit);
    return buf;
}

static void label(const char *name, int indent) { printf("%*s%-9s ", indent, "", name); }

/* "2: a, b": up to four names of a list of which n exist. */
static void print_names(const cJSON *o, const char *key, const char *count, const char *shown,
                        int indent) {
    const double n = number_of(o, count);
    const cJSON *name = NULL;
    int k = 0;
    if (n == 0) return;
    label(shown, indent);
    printf("%.0f: ", n);
    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(o, key)) {
        if (k == 4) break;
        printf("%s%s", k++ ? ", " : "", name->valuestring);
    }
    printf("%s\n", n > k ? ", .." : "");
}

static void print_dicts(const cJSON *o, int indent) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "dicts"), *d = NULL;
    if (!list) return;
    label("dicts", indent);
    cJSON_ArrayForEach(d, list) {
        printf("%s%s (%.0f tensors%s)", d == list->child ? "" : ", ", text_of(d, "name"),
               number_of(d, "tensors"),
               cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(d, "used")) ? ", used" : "");
    }
    putchar('\n');
}

static void print_tensors(const cJSON *o, int indent) {
    char params[48], bytes[48];
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(o, "dtypes"), *t = NULL;
    if (!types) return;
    label("tensors", indent);
    printf("%.0f, %s, %s:", number_of(o, "tensors"),
           amount(number_of(o, "params"), " parameters", params, sizeof params),
           amount(number_of(o, "bytes"), "B", bytes, sizeof bytes));
    cJSON_ArrayForEach(t, types) {
        printf("%s %.0f %s", t == types->child ? "" : ",", t->valuedouble, t->string);
    }
    putchar('\n');
}

static void print_list(const cJSON *o, int indent) {
    const cJSON *t = NULL, *n = NULL;
    cJSON_ArrayForEach(t, cJSON_GetObjectItemCaseSensitive(o, "list")) {
        printf("%*s%-56s %-14s [", indent, "", text_of(t, "name"), text_of(t, "dtype"));
        const cJSON *shape = cJSON_GetObjectItemCaseSensitive(t, "shape");
        cJSON_ArrayForEach(n, shape) {
            printf("%s%.0f", n == shape->child ? "" : ",", n->valuedouble);
        }
        printf("]\n");
    }
}

/* One weight file, tokenizer or json. */
static void print_part(const cJSON *o, int indent, bool list) {
    char size[48];
    const char *system = text_of(o, "system"), *sizes = text_of(o, "sizes");
    const char *format = text_of(o, "format"), *use = text_of(o, "use");
    if (text_of(o, "part")) {
        label("part", indent);
        printf("%s%s%s\n", text_of(o, "part"), system ? ": " : "", system ? system : "");
    }
    if (sizes) label("sizes", indent), printf("%s\n", sizes);
    if (format) {
        label("format", indent);
        printf("%s", format);
        if (number_of(o, "file_bytes"))
            printf(", %s", amount(number_of(o, "file_bytes"), "B", size, sizeof size));
        putchar('\n');
    }
    if (number_of(o, "pieces")) label("pieces", indent), printf("%.0f\n", number_of(o, "pieces"));
    print_dicts(o, indent);
    print_tensors(o, indent);
    print_names(o, "missing", "n_missing", "missing", indent);
    print_names(o, "unexpected", "n_unexpected", "not known", indent);
    if (use) label("use", indent), printf("%s\n", use);
    if (list) print_list(o, indent);
}

static void print_each(const cJSON *list, bool verbose) {
    const cJSON *p = NULL;
    cJSON_ArrayForEach(p, list) {
        const char *path = text_of(p, "path");
        printf("%s%s%s\n", p->string ? p->string : "", p->string && path ? ": " : "",
               path ? path : "");
        print_part(p, 2, verbose);
    }
}

void cli_print_info(const cJSON *o, bool verbose) {
    const cJSON *missing = cJSON_GetObjectItemCaseSensitive(o, "missing"), *m = NULL;
    const cJSON *defaults = cJSON_GetObjectItemCaseSensitive(o, "defaults");
    const cJSON *parts = cJSON_GetObjectItemCaseSensitive(o, "parts");
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(o, "files");
    const char *path = text_of(o, "path");
    printf("%s\n", path ? path : "");
    if (!parts && !files) print_part(o, 2, verbose);
    if (text_of(o, "name")) label("name", 2), printf("%s\n", text_of(o, "name"));
    if (parts && missing && missing->child) {
        label("missing", 2);
        cJSON_ArrayForEach(m, missing) { printf("%s%s", m->valuestring, m->next ? ", " : "\n"); }
    }
    print_each(parts, verbose);
    print_each(files, verbose);
    if (defaults) printf("defaults\n"), cli_print_table(stdout, defaults, 2);
}
