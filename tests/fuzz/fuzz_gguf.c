/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_gguf.c - any bytes as a GGUF file: every key, every tensor, every block read. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "weights/gguf.h"
#include "weights/weights_int.h"
#include <stdlib.h>

/* Magic and version: most mutants that lose them are of no interest. */
void lt_fuzz_repair(uint8_t *data, size_t size) {
    if (size >= 8) memcpy(data, "GGUF\3\0\0", 8);
}

static void read_keys(const lti_gguf_meta *m, const uint8_t *data, size_t size) {
    char key[64];
    for (int i = 0; i < m->n_kv; i++) {
        lti_gguf_value v = m->kv[i].v;
        lti_gguf_str s;
        double d;
        int64_t n;
        while (lti_gguf_next_string(&v, &s)) {
            const uint8_t *p = (const uint8_t *)s.p;
            LT_ASSERT(p >= data && p <= data + size && s.n <= (size_t)(data + size - p));
        }
        v = m->kv[i].v;
        while (lti_gguf_next_int(&v, &n)) continue;
        while (lti_gguf_next_num(&v, &d)) continue;
        if (m->kv[i].key.n >= sizeof key || memchr(m->kv[i].key.p, 0, m->kv[i].key.n)) continue;
        memcpy(key, m->kv[i].key.p, m->kv[i].key.n);
        key[m->kv[i].key.n] = 0;
        LT_ASSERT(lti_gguf_find(m, key) == &m->kv[i].v);
        if (lti_gguf_string(m, key, &s)) LT_ASSERT(s.n <= size);
    }
}

static void read_tensor(const lti_entry *e, const uint8_t *data, size_t size) {
    const lti_codec *c = &e->codec;
    LT_ASSERT(c->src >= data && c->src <= data + size &&
              c->bytes <= (size_t)(data + size - c->src));
    if (!c->decode) {
        LT_ASSERT(e->t.data == c->src && lti_nbytes(&e->t) == c->bytes);
        if (lti_numel(&e->t)) (void)lti_get_f32(&e->t, lti_numel(&e->t) - 1);
        return;
    }
    int64_t n = lti_numel(&e->t);
    float *out = malloc((size_t)n * sizeof *out + 1); /* at most 13 times the input */
    LT_ASSERT(out);
    c->decode(c, &e->t, 0, n, out);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lti_entries list;
    lti_gguf_meta m;
    lt_error err = {0}, meta_err = {0};
    lt_status st = lti_gguf_parse(data, size, "fuzz", &list, &err);
    lt_status meta = lti_gguf_meta_read(data, size, "fuzz", &m, &meta_err);
    LT_ASSERT((st == LT_OK) == (err.code == LT_OK) && (st == LT_OK || err.msg[0]));
    LT_ASSERT(meta == LT_OK || st != LT_OK);
    if (meta == LT_OK) read_keys(&m, data, size);
    lti_gguf_meta_free(&m);
    for (int i = 0; st == LT_OK && i < list.n; i++) read_tensor(&list.e[i], data, size);
    if (st == LT_OK) st = lti_names_translate((lti_part)(size % 4), "fuzz", &list, &err);
    lti_entries_free(&list);
    return 0;
}
