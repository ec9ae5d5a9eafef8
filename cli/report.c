/* SPDX-License-Identifier: Apache-2.0
 * cli/report.c - everything that is said: error and warning lines, JSON, tables. */
#include "cli/cli.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double cli_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none. */
static int utf8_len(const unsigned char *s) {
    const int n = s[0] < 0x80   ? 1
                  : s[0] < 0xc2 ? 0
                  : s[0] < 0xe0 ? 2
                  : s[0] < 0xf0 ? 3
                  : s[0] < 0xf5 ? 4
                                : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))) return 0;
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))) return 0;
    return n;
}

char *cli_clean_text(const char *text, bool one_line) {
    char *out = malloc(strlen(text) * 3 + 1), *o = out;
    if (!out) return NULL;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        const int n = utf8_len(s);
        if (n == 0) {
            memcpy(o, "\xef\xbf\xbd", 3);
            o += 3;
        } else if (n == 1 && one_line && (*s < 0x20 || *s == 0x7f)) {
            *o++ = ' ';
        } else {
            memcpy(o, s, (size_t)n);
            o += n;
        }
        s += n ? n : 1;
    }
    *o = 0;
    return out;
}

void cli_add_text(cJSON *o, const char *key, const char *text) {
    char *clean = cli_clean_text(text, false);
    cJSON_AddStringToObject(o, key, clean ? clean : "");
    free(clean);
}

void cli_add_u64(cJSON *o, const char *key, uint64_t v) {
    char buf[24];
    snprintf(buf, sizeof buf, "%llu", (unsigned long long)v);
    cJSON_AddRawToObject(o, key, buf);
}

void cli_print_json(FILE *f, cJSON *o) {
    char *s = cJSON_PrintUnformatted(o);
    if (s) fprintf(f, "%s\n", s);
    fflush(f);
    cJSON_free(s);
}

void cli_event(cJSON *event) {
    cli_print_json(stderr, event);
    cJSON_Delete(event);
}

static void say(const cli *c, const char *event, const char *prefix, const char *code,
                const char *msg) {
    char *line = cli_clean_text(msg, true);
    if (!line) return;
    if (c->opt[OPT_JSON].text) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "event", event);
        if (code) cJSON_AddStringToObject(o, "status", code);
        cJSON_AddStringToObject(o, "message", line);
        cli_event(o);
    } else {
        fprintf(stderr, "longtake: %s%s\n", prefix, line);
    }
    free(line);
}

int cli_usage_error(const cli *c, const char *fmt, ...) {
    char msg[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    say(c, "error", "", lt_status_str(LT_EINVAL), msg);
    return EXIT_USAGE;
}

int cli_fail(const cli *c, lt_status st, bool running, const char *msg) {
    say(c, "error", "", lt_status_str(st), msg && *msg ? msg : lt_status_str(st));
    return running || st == LT_EDEVICE ? EXIT_FAILED : EXIT_USAGE; /* a device: no fault of input */
}

void cli_warn(const cli *c, const char *fmt, ...) {
    if (cli_given(c, OPT_QUIET)) return;
    char msg[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    say(c, "warning", "warning: ", NULL, msg);
}

static void print_scalar(FILE *f, const cJSON *v) {
    if (cJSON_IsString(v)) {
        fputs(v->valuestring, f);
    } else {
        char *s = cJSON_PrintUnformatted(v);
        fputs(s ? s : "", f);
        cJSON_free(s);
    }
}

static bool flat(const cJSON *v) {
    const cJSON *e = NULL;
    cJSON_ArrayForEach(e, v) {
        if (cJSON_IsObject(e) || cJSON_IsArray(e)) return false;
    }
    return true;
}

void cli_print_table(FILE *f, const cJSON *o, int indent) {
    const cJSON *v = NULL;
    cJSON_ArrayForEach(v, o) {
        fprintf(f, "%*s%s", indent, "", v->string ? v->string : "-");
        if (cJSON_IsObject(v) || (cJSON_IsArray(v) && !flat(v))) {
            fputc('\n', f);
            cli_print_table(f, v, indent + 2);
            continue;
        }
        fprintf(f, "%*s", v->string && strlen(v->string) < 24 ? 25 - (int)strlen(v->string) : 1,
                "");
        if (cJSON_IsArray(v)) {
            const cJSON *e = NULL;
            cJSON_ArrayForEach(e, v) {
                print_scalar(f, e);
                if (e->next) fputc(' ', f);
            }
        } else {
            print_scalar(f, v);
        }
        fputc('\n', f);
    }
}
