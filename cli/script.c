/* SPDX-License-Identifier: Apache-2.0
 * cli/script.c - the prompt file with times.
 *
 *     0s: a red ball rolls over sand
 *     20s: the tide comes in
 *         and takes it along          (a line that begins with blanks goes on)
 *     cut 1.5m: a city at night       (a scene cut)
 *     1600f: rain                     (pixel frames)
 *     # a remark
 *
 * A time has a unit: s, m, h, or f for frames. Without one a prompt that begins with "2001: a space
 * odyssey" would be a schedule. */
#include "cli/script.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char blanks[] = " \t\r";

typedef struct stamp {
    double number;
    char unit;
    bool cut;
    size_t len; /* with the colon */
} stamp;

/* "cut 20s:" at p; false when there is none. */
static bool read_stamp(const char *p, stamp *out) {
    const char *start = p;
    *out = (stamp){0};
    if (strncmp(p, "cut", 3) == 0 && (p[3] == ' ' || p[3] == '\t')) {
        out->cut = true;
        p += 3 + strspn(p + 3, blanks);
    }
    const size_t digits = strspn(p, "0123456789.");
    char number[32];
    if (digits == 0 || digits >= sizeof number || *p == '.') return false;
    memcpy(number, p, digits);
    number[digits] = 0;
    char *end = NULL;
    errno = 0;
    out->number = strtod(number, &end);
    if (*end || errno || !isfinite(out->number)) return false;
    p += digits;
    if (!*p || !strchr("smhf", *p) || p[1] != ':') return false;
    out->unit = *p;
    out->len = (size_t)(p + 2 - start);
    return true;
}

static const char *first_line(const char *text) {
    for (;;) {
        text += strspn(text, " \t\r\n");
        if (*text != '#') return text;
        text += strcspn(text, "\n");
    }
}

bool cli_is_script(const char *text) {
    stamp at;
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3; /* byte order mark */
    return read_stamp(first_line(text), &at);
}

#define MAX_SECONDS 3.6e6
#define MAX_FRAMES 1e12

/* Seconds at any frame rate cannot be compared with frames; the caller compares those. */
static bool set_time(cli_scene *s, const stamp *at) {
    s->frame = -1;
    if (at->unit == 'f') {
        if (at->number != floor(at->number) || at->number > MAX_FRAMES) return false;
        s->frame = (int64_t)at->number;
        return true;
    }
    s->seconds = at->number * (at->unit == 'h' ? 3600 : at->unit == 'm' ? 60 : 1);
    return s->seconds <= MAX_SECONDS;
}

static bool refuse(char *why, size_t size, int line, const char *what) {
    snprintf(why, size, "line %d: %s", line, what);
    return false;
}

/* The end of the text before `end`, without blanks and line ends. */
static void trim(char *text, char *end) {
    while (end > text && strchr(" \t\r\n", end[-1])) end--;
    *end = 0;
}

static bool check(const cli_script *s, char *why, size_t size) {
    for (int i = 0; i < s->n; i++) {
        const cli_scene *x = &s->scene[i], *before = x - 1;
        if (!*x->text) return refuse(why, size, x->line, "no text behind the time");
        if (i == 0 && (x->frame > 0 || (x->frame < 0 && x->seconds > 0)))
            return refuse(why, size, x->line, "the first prompt must begin at 0s");
        if (i == 0 && x->cut)
            return refuse(why, size, x->line, "there is nothing to cut from at 0s");
        if (i == 0) continue;
        bool both = x->frame >= 0 && before->frame >= 0, none = x->frame < 0 && before->frame < 0;
        if ((both && x->frame <= before->frame) || (none && x->seconds <= before->seconds))
            return refuse(why, size, x->line, "the time is not later than the one before");
    }
    return true;
}

bool cli_script_parse(char *text, cli_script *out, char *why, size_t size) {
    out->n = 0;
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) text += 3;
    int line = 0;
    char *body = NULL; /* text of the last scene */
    for (char *p = text, *next; *p; p = next) {
        stamp at;
        next = p + strcspn(p, "\n");
        if (*next) next++;
        line++;
        const bool blank = strspn(p, " \t\r\n") >= (size_t)(next - p);
        if (blank || *p == '#') {
            memset(p, ' ', (size_t)(next - p)); /* may lie inside a prompt */
            continue;
        }
        if (strchr(blanks, *p) && body) continue;
        char *start = p + strspn(p, blanks);
        if (!read_stamp(start, &at))
            return refuse(why, size, line,
                          "expected TIME: TEXT, as 20s: rain, or cut 1.5m: night; a line that goes "
                          "on begins with a blank");
        if (out->n == CLI_MAX_SCENES) return refuse(why, size, line, "more than 257 prompts");
        if (body) trim(body, p);
        cli_scene *s = &out->scene[out->n++];
        *s = (cli_scene){.cut = at.cut, .line = line};
        if (!set_time(s, &at))
            return refuse(why, size, line, "a time up to 1000h, or a whole number of frames");
        body = start + at.len;
        while (*body && strchr(blanks, *body)) body++;
        s->text = body;
    }
    if (!body) return refuse(why, size, line, "no prompt in the file");
    trim(body, body + strlen(body));
    return check(out, why, size);
}
