/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_safetensors.c - any bytes as a safetensors file, any names as tensor names,
 * any scales. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "weights/weights_int.h"
#include <stdlib.h>

/* The header ends at the last brace. */
void lt_fuzz_repair(uint8_t *data, size_t size) {
    size_t end = size;
    while (end > 8 && data[end - 1] != '}') end--;
    for (size_t i = 0; i < 8 && end > 8; i++) data[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lti_entries list;
    lti_scales scales = {0};
    lt_error err = {0};
    lt_status st = lti_safetensors_parse(data, size, "fuzz", &list, &err);
    if (st == LT_OK) st = lti_names_translate((lti_part)(size % 5), "fuzz", &list, &err);
    if (st == LT_OK) st = lti_scales_apply((lti_part)(size % 5), "fuzz", &list, &scales, &err);
    LT_ASSERT((st == LT_OK) == (err.code == LT_OK) && (st == LT_OK || err.msg[0]));
    for (int i = 0; st == LT_OK && i < list.n; i++) {
        const lti_tensor *t = &list.e[i].t;
        const uint8_t *p = t->data;
        LT_ASSERT(lti_entries_find(&list, list.e[i].name) == &list.e[i]);
        if (list.e[i].codec.decode) {
            float out[64];
            LT_ASSERT(!p && lti_numel(t) <= (int64_t)size);
            if (lti_numel(t) <= 64) lti_entry_rows(&list.e[i], 0, t->rank ? t->n[0] : 1, out);
            continue;
        }
        LT_ASSERT(p >= data && lti_nbytes(t) <= (size_t)(data + size - p));
        if (lti_numel(t)) (void)lti_get_f32(t, lti_numel(t) - 1);
    }
    lti_entries_free(&list);
    lti_scales_free(&scales);
    return 0;
}
