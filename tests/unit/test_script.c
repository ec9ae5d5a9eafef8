/* SPDX-License-Identifier: Apache-2.0
 * The prompt file with times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/script.h"

static cli_script script;
static char why[256];

static bool parse(const char *text) {
    static char copy[1 << 16];
    snprintf(copy, sizeof copy, "%s", text);
    return cli_script_parse(copy, &script, why, sizeof why);
}

static void test_what_is_a_schedule(void **state) {
    (void)state;
    static const char *const yes[] = {"0s: a",
                                      "0f:a",
                                      "cut 3s: b",
                                      "\n\n  0.5m: x",
                                      "# c\n0h: x",
                                      "\xef\xbb\xbf"
                                      "0s: a",
                                      "20s:"};
    static const char *const no[] = {
        "",       "a red ball", "2001: a space odyssey", "0 s: a", "0s a",   "s: a", "cut", "cut a",
        "-1s: a", "1e3s: a",    "cutting 3s: a",         ".5s: a", "0x1s: a"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!cli_is_script(yes[i])) fail_msg("'%s' is a schedule", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (cli_is_script(no[i])) fail_msg("'%s' is a prompt", no[i]);
}

static void assert_scene(int i, double seconds, int64_t frame, bool cut, const char *text) {
    assert_true(script.scene[i].seconds == seconds);
    assert_int_equal(script.scene[i].frame, frame);
    assert_int_equal(script.scene[i].cut, cut);
    assert_string_equal(script.scene[i].text, text);
}

static void test_scenes(void **state) {
    (void)state;
    assert_true(parse("\xef\xbb\xbf# the day\n"
                      "0s: a red ball  \r\n"
                      "20s:the tide\n"
                      "\n"
                      "cut 1.5m:  a city: at night\n"
                      "cut\t0.1h: rain"));
    assert_int_equal(script.n, 4);
    assert_scene(0, 0, -1, false, "a red ball");
    assert_scene(1, 20, -1, false, "the tide");
    assert_scene(2, 90, -1, true, "a city: at night");
    assert_scene(3, 360, -1, true, "rain");
    assert_true(parse("0f: a\n  b\n# no\n\tc\n  \n160f: d\n"));
    assert_int_equal(script.n, 2);
    assert_scene(1, 0, 160, false, "d");
    assert_non_null(strchr(script.scene[0].text, 'b'));
    assert_non_null(strchr(script.scene[0].text, 'c'));
    assert_null(strstr(script.scene[0].text, "no"));
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {{"", "no prompt"},
               {"# only\n\n", "no prompt"},
               {"1s: a", "line 1: the first prompt must begin at 0s"},
               {"1f: a", "begin at 0s"},
               {"cut 0s: a", "cut from"},
               {"0s:", "line 1: no text"},
               {"0s: a\n5s:  \n9s: b", "line 2: no text"},
               {"0s: a\n5s: b\n5s: c", "line 3: the time is not later"},
               {"0s: a\n5s: b\n4s: c", "not later"},
               {"0f: a\n9f: b\n8f: c", "not later"},
               {"0s: a\nand so on", "line 2: expected TIME: TEXT"},
               {"0s: a\n20: b", "line 2: expected"},
               {"0s: a\n20 s: b", "line 2: expected"},
               {"0s: a\n1.5f: b", "whole number of frames"},
               {"0s: a\n2000h: b", "1000h"},
               {"0s: a\n1.2.3s: b", "line 2: expected"},
               {"0s: a\n99999999999999999999999999999999999s: b", "line 2"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(parse(bad[i].text));
        if (!strstr(why, bad[i].word)) fail_msg("'%s': '%s'", bad[i].text, why);
        assert_null(strchr(why, '\n'));
    }
    static char many[8192] = "0s: a\n";
    size_t n = strlen(many);
    for (int i = 1; i <= 256; i++) n += (size_t)snprintf(many + n, sizeof many - n, "%ds: a\n", i);
    assert_true(parse(many));
    assert_int_equal(script.n, 257);
    snprintf(many + n, sizeof many - n, "257s: a\n");
    assert_false(parse(many));
    assert_non_null(strstr(why, "257 prompts"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_a_schedule),
        cmocka_unit_test(test_scenes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
