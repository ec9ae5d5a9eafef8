/* SPDX-License-Identifier: Apache-2.0
 * tests/temp_rig.h - one scratch folder for a test program: setup and teardown of its group. */
#ifndef LT_TESTS_TEMP_RIG_H
#define LT_TESTS_TEMP_RIG_H
#include <stdio.h>
#include <stdlib.h>

static char dir[32]; /* of this run */

/* The path of a file in there; stays valid for three more calls. */
static inline char *in_dir(const char *name) {
    static char path[4][256];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static inline int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/lt_test_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static inline int teardown(void **state) {
    (void)state;
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

#endif
