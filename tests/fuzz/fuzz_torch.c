/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_torch.c - any bytes as a torch archive and, when they are no zip, as the pickle of
 * one: then few inputs end at the directory. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "tests/torch_rig.h"
#include "weights/systems.h"
#include "weights/weights_int.h"

enum { DECODE_MAX = 4096 }; /* elements */

static void check_entry(const lti_entry *e, const uint8_t *data, size_t size) {
    const lti_tensor *t = &e->t;
    const bool lazy = lti_entry_lazy(e);
    const uint8_t *p = lazy ? e->codec.src : t->data;
    const uint64_t n = lazy ? e->codec.bytes : lti_nbytes(t);
    LT_ASSERT(p >= data && p <= data + size && n <= (size_t)(data + size - p));
    LT_ASSERT(lazy == !t->data && (!lazy || t->dtype == LTI_F32));
    const int64_t all = t->rank ? t->n[0] : 1;
    if (all == 0 || lti_numel(t) / all > DECODE_MAX) return;
    static float out[DECODE_MAX];
    lti_entry_rows(e, 0, 1, out);
    lti_entry_rows(e, all - 1, 1, out);
}

static void run(const uint8_t *data, size_t size, lti_part part) {
    static const char *const root[] = {NULL, "generator", "critic"};
    lti_entries list;
    lt_error err = {0};
    lt_status st = lti_torch_parse(data, size, root[size % 3], "fuzz", &list, &err);
    for (int i = 0; st == LT_OK && i < list.n; i++) check_entry(&list.e[i], data, size);
    if (st == LT_OK) st = lti_names_translate(part, "fuzz", &list, &err);
    LT_ASSERT((st == LT_OK) == (err.code == LT_OK) && (st == LT_OK || err.msg[0]));
    lti_entries_free(&list);
    lti_torch_dict dict[4];
    const int n = lti_torch_dicts(data, size, dict, 4);
    LT_ASSERT(n >= 0 && n <= 4);
    for (int i = 0; i < n; i++) LT_ASSERT(strlen(dict[i].name) < sizeof dict[i].name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size >= 4 && !memcmp(data, "PK\3\4", 4)) {
        run(data, size, LTI_PART_DIT);
        return 0;
    }
    pt_buf b = {0};
    pt_archive(data, size, &b);
    uint8_t *exact = malloc(b.n); /* so that ASan sees a read past the end */
    LT_ASSERT(exact);
    memcpy(exact, b.p, b.n);
    run(exact, b.n, (lti_part)(size % 4));
    free(exact);
    pt_free(&b);
    return 0;
}
