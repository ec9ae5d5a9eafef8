/* SPDX-License-Identifier: Apache-2.0
 * metrics/fromrgb.c - luma and chroma of pictures that come as RGB only.
 *
 * BT.709, limited range, 4:2:0 with the chroma sample in the middle of its four pixels; odd sizes
 * repeat the last column and row. Nearest integer; kernels.inc has the arithmetic. */
#include "metrics/metrics_int.h"
#include "base/error.h"
#include "base/memory.h"

lt_status lti_fromrgb_open(int w, int h, lti_fromrgb *p, lt_error *err) {
    size_t y = (size_t)w * (size_t)h, c = (size_t)((w + 1) / 2) * (size_t)((h + 1) / 2);
    *p = (lti_fromrgb){0};
    if (!lti_memory_fits(y + 2 * c)) return lti_oom(err, y + 2 * c);
    *p = (lti_fromrgb){.w = w, .h = h, .y = malloc(y), .u = malloc(c), .v = malloc(c)};
    return p->y && p->u && p->v ? LT_OK : lti_oom(err, y + 2 * c);
}

void lti_fromrgb_close(lti_fromrgb *p) {
    free(p->y);
    free(p->u);
    free(p->v);
    *p = (lti_fromrgb){0};
}

void lti_fromrgb_run(lti_fromrgb *p, const lti_kernels *k, const uint8_t *rgb) {
    const size_t w = (size_t)p->w, c = (w + 1) / 2;
    for (int y = 0; y < p->h; y += 2) {
        const uint8_t *a = rgb + 3 * w * (size_t)y, *b = y + 1 < p->h ? a + 3 * w : a;
        k->rgb_y(a, p->y + w * (size_t)y, w);
        if (b != a) k->rgb_y(b, p->y + w * (size_t)(y + 1), w);
        k->rgb_uv(a, b, w, p->u + c * (size_t)(y / 2), p->v + c * (size_t)(y / 2));
    }
}
