/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_index.c - any bytes as an index.json: no name may leave the folder. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "weights/weights_int.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lti_index x;
    lt_error err = {0};
    lt_status st = lti_index_parse((const char *)data, size, "fuzz", &x, &err);
    LT_ASSERT(st == LT_OK ? x.n_row > 0 : x.n_row == 0 && err.msg[0]);
    for (int i = 0; i < x.n_file; i++)
        LT_ASSERT(*x.file[i] && *x.file[i] != '.' && !strpbrk(x.file[i], "/\\"));
    for (int i = 0; i < x.n_row; i++) LT_ASSERT(x.row[i].file >= 0 && x.row[i].file < x.n_file);
    lti_index_free(&x);
    return 0;
}
