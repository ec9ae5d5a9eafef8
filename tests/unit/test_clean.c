/* SPDX-License-Identifier: Apache-2.0
 * tests/unit/test_clean.c - prompt cleaning against ftfy and html.unescape (clean.json). */
#include "base/json.h"
#include "text/mojibake.h"
#include "text/text.h"
#include "text/text_int.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

static void test_table(void **state) {
    (void)state;
    lt_error err = {0};
    cJSON *doc = NULL;
    lti_json_load(LT_SOURCE_DIR "/tests/golden/text/clean.json", 1 << 20, &doc, &err);
    if (!doc) fail_msg("%s", err.msg);
    assert_true(cJSON_GetArraySize(doc) >= 200);
    int n_bad = 0, row = 0;
    for (const cJSON *c = doc->child; c; c = c->next, row++) {
        const char *in = c->child->valuestring, *want = c->child->next->valuestring;
        char *got;
        assert_int_equal(lti_text_clean(in, &got, &err), LT_OK);
        if (strcmp(got, want)) {
            print_error("row %d\n  in   '%s'\n  want '%s'\n  got  '%s'\n", row, in, want, got);
            n_bad++;
        }
        free(got);
    }
    cJSON_Delete(doc);
    assert_int_equal(n_bad, 0);
}

/* The heuristic alone: at least one string for each of its rules, and strings that just miss. */
static void test_badness(void **state) {
    (void)state;
    lt_error err = {0};
    cJSON *doc = NULL;
    lti_json_load(LT_SOURCE_DIR "/tests/golden/text/badness.json", 1 << 20, &doc, &err);
    if (!doc) fail_msg("%s", err.msg);
    int n_bad = 0, n_wrong = 0, n = 0;
    for (const cJSON *c = doc->child; c; c = c->next, n++) {
        lti_cps s = {0};
        utf8proc_int32_t at;
        for (const char *p = c->child->valuestring; *p;) {
            p += utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &at);
            lti_cps_push(&s, (uint32_t)at);
        }
        const bool want = c->child->next->valueint;
        n_bad += want;
        if (lti_looks_bad(s.v, s.n) != want) {
            print_error("row %d: '%s', expected %d\n", n, c->child->valuestring, want);
            n_wrong++;
        }
        free(s.v);
    }
    cJSON_Delete(doc);
    assert_true(n >= 800 && n_bad >= 150);
    assert_int_equal(n_wrong, 0);
}

/* Text that keeps the repair busy must end in bounded time: as mojibake of mojibake of .. */
static void test_repair_is_bounded(void **state) {
    (void)state;
    lti_cps s = {0}, copy = {0};
    size_t work = LTI_FIX_WORK;
    while (s.n < LTI_PROMPT_MAX / 2) { /* a stretch, and C1 between: nothing decodes as a whole */
        lti_cps_push(&s, 0xc3);
        lti_cps_push(&s, s.n % 3 ? 0xa9 : 0x81);
        lti_cps_push(&s, 'a');
    }
    lti_fix_encoding(&s, &work);
    assert_true(work < LTI_FIX_WORK);
    for (size_t i = 0; i < 64; i++) lti_cps_push(&copy, i % 2 ? 0xa9 : 0xc3);
    work = 10; /* less than the text: it stays */
    assert_false(lti_fix_encoding(&copy, &work));
    assert_int_equal(copy.n, 64);
    work = 1000;
    assert_true(lti_fix_encoding(&copy, &work));
    assert_int_equal(copy.n, 32);
    free(s.v);
    free(copy.v);
}

static void refused(const char *prompt, const char *part_of_message) {
    lt_error err = {0};
    char *out = (char *)1;
    assert_int_equal(lti_text_clean(prompt, &out, &err), LT_EINVAL);
    assert_null(out);
    if (!strstr(err.msg, part_of_message)) fail_msg("'%s' lacks '%s'", err.msg, part_of_message);
}

static void test_bad_utf8(void **state) {
    (void)state;
    refused("abc\xff", "byte 3 (0xff)");
    refused("\xc3", "byte 0");             /* cut short */
    refused("ok \xc0\xaf", "byte 3");      /* overlong */
    refused("\xed\xa0\x80", "byte 0");     /* surrogate */
    refused("\xf4\x90\x80\x80", "byte 0"); /* above U+10FFFF */
    refused("line\nna\xe9ve\n", "byte 7"); /* Latin-1 on the second line */
}

static void test_length(void **state) {
    (void)state;
    char *s = malloc(LTI_PROMPT_MAX + 2), *out;
    memset(s, 'a', LTI_PROMPT_MAX + 1);
    s[LTI_PROMPT_MAX + 1] = '\0';
    refused(s, "65536");
    s[LTI_PROMPT_MAX] = '\0';
    assert_int_equal(lti_text_clean(s, &out, NULL), LT_OK);
    assert_int_equal(strlen(out), LTI_PROMPT_MAX);
    free(out);
    free(s);
}

/* "&amp;amp;amp;...": one level a round would be 13000 rounds over 64 KiB. */
static void test_nested_is_bounded(void **state) {
    (void)state;
    char *s = malloc(LTI_PROMPT_MAX + 1), *out;
    size_t n = 0;
    s[n++] = '&';
    while (n + 4 <= LTI_PROMPT_MAX) {
        memcpy(s + n, "amp;", 4);
        n += 4;
    }
    s[n] = '\0';
    assert_int_equal(lti_text_clean(s, &out, NULL), LT_OK);
    assert_true(strlen(out) < n);
    free(out);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_badness),
        cmocka_unit_test(test_repair_is_bounded),
        cmocka_unit_test(test_bad_utf8),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_nested_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
