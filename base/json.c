/* SPDX-License-Identifier: Apache-2.0
 * base/json.c - bounded reading of json.
 *
 * Always with an explicit length: mapped files are not NUL terminated. cJSON itself limits nesting
 * to CJSON_NESTING_LIMIT. Its global error pointer is shared between threads, so the parse position
 * comes from the per-call out argument instead. */
#include "base/json.h"
#include "base/error.h"
#include "base/filemap.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

lt_status lti_json_parse(const char *text, size_t len, const char *what, cJSON **out,
                         lt_error *err) {
    *out = NULL;
    if (len == 0 || !text) return lti_fail(err, LT_EFORMAT, "%s: is empty, expected json", what);
    const char *end = text;
    cJSON *doc = cJSON_ParseWithLengthOpts(text, len, &end, 0);
    /* On failure cJSON reports where it stopped; never trust it beyond the text. */
    size_t at = end && end >= text && end <= text + len ? (size_t)(end - text) : 0;
    while (doc && at < len && is_space(text[at])) at++;
    if (doc && at == len) {
        *out = doc;
        return LT_OK;
    }
    bool trailing = doc != NULL;
    cJSON_Delete(doc);
    return lti_fail(err, LT_EFORMAT, "%s: not valid json at byte %zu of %zu%s", what, at, len,
                    trailing ? ": expected nothing after the document" : "");
}

lt_status lti_json_load(const char *path, size_t max_bytes, cJSON **out, lt_error *err) {
    *out = NULL;
    if (access(path, F_OK) != 0) return LT_OK; /* json files only override */
    lti_filemap map;
    LT_TRY(lti_filemap_open(path, &map, err));
    lt_status st;
    if (map.size > max_bytes)
        st = lti_fail(err, LT_EFORMAT, "%s: is %zu bytes, at most %zu expected for this json", path,
                      map.size, max_bytes);
    else st = lti_json_parse((const char *)map.data, map.size, path, out, err);
    lti_filemap_close(&map);
    return st;
}

static const cJSON *item(const cJSON *obj, const char *key) {
    return cJSON_IsObject(obj) ? cJSON_GetObjectItemCaseSensitive(obj, key) : NULL;
}

int lti_json_int(const cJSON *obj, const char *key, int dflt) {
    const cJSON *o = item(obj, key);
    double v = cJSON_IsNumber(o) ? o->valuedouble : NAN;
    if (!(v >= (double)INT_MIN && v <= (double)INT_MAX) || v != floor(v)) return dflt;
    return (int)v;
}

const char *lti_json_str(const cJSON *obj, const char *key, const char *dflt) {
    const cJSON *v = item(obj, key);
    return cJSON_IsString(v) && v->valuestring ? v->valuestring : dflt;
}

int lti_json_nums(const cJSON *obj, const char *key, double *out, int cap) {
    const cJSON *v = item(obj, key);
    if (!cJSON_IsArray(v)) return -1;
    int n = 0;
    for (const cJSON *e = v->child; e; e = e->next, n++) {
        if (n == cap || !cJSON_IsNumber(e) || !isfinite(e->valuedouble)) return -1;
        out[n] = e->valuedouble;
    }
    return n;
}

/* The value of a key, NULL when absent or null (as exported configs write "not set"). */
static const cJSON *setting(const cJSON *obj, const char *key) {
    const cJSON *v = item(obj, key);
    return cJSON_IsNull(v) ? NULL : v;
}

static lt_status refuse(const cJSON *v, const char *file, const char *key, const char *expected,
                        lt_error *err) {
    char *found = cJSON_PrintUnformatted(v);
    lti_fail(err, LT_EFORMAT, "%s: %s is %.60s, expected %s; correct the file", file, key,
             found ? found : "?", expected);
    cJSON_free(found);
    return LT_EFORMAT;
}

lt_status lti_json_read_int(const cJSON *obj, const char *file, const char *key, int lo, int hi,
                            int *io, lt_error *err) {
    const cJSON *v = setting(obj, key);
    char expected[64];
    if (!v) return LT_OK;
    double d = cJSON_IsNumber(v) ? v->valuedouble : NAN;
    if (d >= lo && d <= hi && d == floor(d)) {
        *io = (int)d;
        return LT_OK;
    }
    snprintf(expected, sizeof expected, "a whole number from %d to %d", lo, hi);
    return refuse(v, file, key, expected, err);
}

lt_status lti_json_read_num(const cJSON *obj, const char *file, const char *key, double lo,
                            double hi, double *io, lt_error *err) {
    const cJSON *v = setting(obj, key);
    char expected[64];
    if (!v) return LT_OK;
    if (cJSON_IsNumber(v) && v->valuedouble >= lo && v->valuedouble <= hi) {
        *io = v->valuedouble;
        return LT_OK;
    }
    snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
    return refuse(v, file, key, expected, err);
}

lt_status lti_json_read_word(const cJSON *obj, const char *file, const char *key,
                             const char *const *words, int n, int *io, lt_error *err) {
    const cJSON *v = setting(obj, key);
    char expected[128] = "";
    if (!v) return LT_OK;
    for (int i = 0; i < n; i++) {
        if (cJSON_IsString(v) && strcmp(v->valuestring, words[i]) == 0) {
            *io = i;
            return LT_OK;
        }
        size_t at = strlen(expected);
        snprintf(expected + at, sizeof expected - at, "%s%s", i ? " or " : "", words[i]);
    }
    return refuse(v, file, key, expected, err);
}

lt_status lti_json_read_list(const cJSON *obj, const char *file, const char *key, double *list,
                             int cap, int *n, lt_error *err) {
    const cJSON *v = setting(obj, key);
    char expected[64];
    if (!v) return LT_OK;
    int found = lti_json_nums(obj, key, list, cap);
    if (found > 0) {
        *n = found;
        return LT_OK;
    }
    snprintf(expected, sizeof expected, "a list of 1 to %d numbers", cap);
    return refuse(v, file, key, expected, err);
}
