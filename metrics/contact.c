/* SPDX-License-Identifier: Apache-2.0
 * metrics/contact.c - a contact sheet: small pictures of evenly spaced frames with their times.
 *
 * How long the stream will be is not known, so every `step`-th frame is kept, and when all places
 * are taken every other one is dropped and step doubles: 4 to 8 times as many as tiles are then at
 * hand, and the nearest ones to the even places differ from them by an eighth of a tile's distance
 * at most. The latest frame is kept beside them, for the last tile.
 * A small picture's pixel is the exact mean over the area that it covers, borders by their share: in
 * units of 1/w and 1/h of a pixel all shares are whole numbers, and so are the sums. */
#include "metrics/panel.h"
#include "base/error.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_SIDE = 8192,
    MAX_TILES = 400,
    TILE_W = 240, /* a tile is at most this large */
    TILE_H = 320,
    CELL_W = 72, /* and its cell at least this wide, for the time */
    EDGE = 16,
    GAP = 8,
    NAME_H = 32, /* line of the name */
    TIME_H = 24  /* and of the times */
};
static const size_t BUDGET = (size_t)64 << 20; /* bytes of small pictures, or 2 per tile */
static const float NAME_SIZE = 1.4f, TIME_SIZE = 1.15f;

typedef struct shot {
    uint8_t *rgb; /* [h, w, 3] */
    double seconds;
} shot;

struct lt_contact {
    int width, height, tiles;
    int w, h, zoom; /* of small pictures; a pixel is drawn as zoom x zoom */
    int places, n;  /* of shot */
    int64_t step;   /* shot i is frame i * step */
    int64_t frames; /* seen */
    shot *shot;     /* [places] */
    shot last;      /* the latest frame */
    uint32_t *sum;  /* [width, 3] of a row of small pixels */
};

static size_t shot_bytes(const lt_contact *c) { return (size_t)c->w * (size_t)c->h * 3; }

/* ---- collecting --------------------------------------------------------------------------------- */

static void choose_size(lt_contact *c) {
    const double fit = fmin((double)TILE_W / c->width, (double)TILE_H / c->height);
    c->zoom = fit > 1 ? (int)fit : 1;
    c->w = fit < 1 ? lti_max_int((int)lround(c->width * fit), 1) : c->width;
    c->h = fit < 1 ? lti_max_int((int)lround(c->height * fit), 1) : c->height;
    const size_t room = BUDGET / shot_bytes(c);
    const int most = 8 * c->tiles, least = 2 * c->tiles;
    c->places =
        (room > (size_t)most ? most : lti_max_int((int)room, least)) - 1; /* and the latest */
}

lt_status lt_contact_open(int32_t width, int32_t height, int32_t tiles, lt_contact **out,
                          lt_error *err) {
    *out = NULL;
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "contact sheet: frames of %dx%d, 1x1 to %dx%d are possible",
                        (int)width, (int)height, MAX_SIDE, MAX_SIDE);
    if (tiles < 1 || tiles > MAX_TILES)
        return lti_fail(err, LT_EINVAL, "contact sheet: %d tiles asked for, 1 to %d are possible",
                        (int)tiles, MAX_TILES);
    lt_contact *c = calloc(1, sizeof *c);
    if (!c) return lti_oom(err, sizeof *c);
    *c = (lt_contact){.width = width, .height = height, .tiles = tiles, .step = 1};
    choose_size(c);
    c->shot = calloc((size_t)c->places, sizeof *c->shot);
    c->sum = malloc((size_t)width * 3 * sizeof *c->sum);
    c->last.rgb = malloc(shot_bytes(c));
    if (!c->shot || !c->sum || !c->last.rgb) {
        lt_contact_close(&c);
        return lti_oom(err, shot_bytes(c));
    }
    *out = c;
    return LT_OK;
}

void lt_contact_close(lt_contact **contact) {
    lt_contact *c = contact ? *contact : NULL;
    if (!c) return;
    for (int i = 0; c->shot && i < c->places; i++) free(c->shot[i].rgb);
    free(c->shot);
    free(c->last.rgb);
    free(c->sum);
    free(c);
    *contact = NULL;
}

/* In blocks of a fixed size: that is what compilers turn into vector code. */
static void add_row(uint32_t *restrict sum, const uint8_t *restrict row, size_t n,
                    uint32_t weight) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t k = 0; k < 16; k++) sum[i + k] += row[i + k] * weight;
    for (; i < n; i++) sum[i] += row[i] * weight;
}

/* Sums of columns [width, 3], weights of all rows together `height` -> means [w, 3]. */
static void shrink_row(const lt_contact *c, uint8_t *out) {
    const uint32_t from = (uint32_t)c->width, to = (uint32_t)c->w;
    const uint64_t area = (uint64_t)from * (uint64_t)c->height;
    uint32_t left = to; /* share of pixel x that is not used up, of `to` */
    uint32_t x = 0;
    for (uint32_t i = 0; i < to; i++) {
        uint64_t s[3] = {0};
        for (uint32_t need = from; need;) {
            const uint32_t part = left < need ? left : need;
            for (uint32_t k = 0; k < 3; k++) s[k] += (uint64_t)c->sum[x * 3 + k] * part;
            need -= part, left -= part;
            if (!left) left = to, x++;
        }
        for (uint32_t k = 0; k < 3; k++) out[i * 3 + k] = (uint8_t)((s[k] + area / 2) / area);
    }
}

static void shrink(const lt_contact *c, const uint8_t *rgb, uint8_t *out) {
    const size_t n = (size_t)c->width * 3;
    uint32_t left = (uint32_t)c->h; /* share of row y that is not used up, of h */
    for (int i = 0; i < c->h; i++) {
        memset(c->sum, 0, n * sizeof *c->sum);
        for (uint32_t need = (uint32_t)c->height; need;) {
            const uint32_t part = left < need ? left : need;
            add_row(c->sum, rgb, n, part);
            need -= part, left -= part;
            if (!left) left = (uint32_t)c->h, rgb += n;
        }
        shrink_row(c, out + (size_t)i * (size_t)c->w * 3);
    }
}

/* Every other one goes; their memory moves behind those that stay. */
static void thin_out(lt_contact *c) {
    const int keep = (c->n + 1) / 2;
    for (int i = 1; i < keep; i++) {
        const shot t = c->shot[i];
        c->shot[i] = c->shot[2 * i];
        c->shot[2 * i] = t;
    }
    c->n = keep;
    c->step *= 2;
}

lt_status lt_contact_push(lt_contact *c, const uint8_t *rgb, double seconds, lt_error *err) {
    if (!c || !rgb) return lti_fail(err, LT_EINVAL, "contact sheet: no frame given");
    const int64_t frame = c->frames;
    if (frame % c->step == 0 && c->n == c->places) thin_out(c);
    shot *place = frame % c->step == 0 && c->n < c->places ? &c->shot[c->n] : NULL;
    if (place && !place->rgb) {
        const size_t bytes = shot_bytes(c);
        place->rgb = lti_memory_fits(bytes) ? malloc(bytes) : NULL;
        if (!place->rgb) return lti_oom(err, bytes);
    }
    shrink(c, rgb, c->last.rgb);
    c->last.seconds = seconds;
    if (place) {
        memcpy(place->rgb, c->last.rgb, shot_bytes(c));
        place->seconds = seconds;
        c->n++;
    }
    c->frames++;
    return LT_OK;
}

/* ---- the sheet ------------------------------------------------------------------------------------ */

/* How many tiles there are to show, and the i-th. */
static int shown(const lt_contact *c) { return c->frames < c->tiles ? (int)c->frames : c->tiles; }

static const shot *shot_at(const lt_contact *c, int i) {
    const int n = shown(c);
    if (n < 2) return &c->shot[0];
    if (i == n - 1) return &c->last;
    const double frame = (double)i * (double)(c->frames - 1) / (n - 1);
    return &c->shot[lti_min_int((int)lround(frame / (double)c->step), c->n - 1)];
}

typedef struct band {
    int columns, rows;
    int cell_w, cell_h;
    int64_t w, h; /* of all */
} band;

/* alone: rows and columns of about the shape of a screen; else one row, as long as it fits. */
static band band_of(const lt_contact *c, bool alone) {
    band b = {.cell_w = lti_max_int(c->w * c->zoom, CELL_W), .cell_h = c->h * c->zoom + TIME_H};
    const int n = lti_max_int(shown(c), 1), most = (MAX_SIDE - 2 * EDGE + GAP) / (b.cell_w + GAP);
    b.columns = lti_min_int(n, most);
    double least = INFINITY;
    for (int k = 1; alone && k <= lti_min_int(n, most); k++) {
        const int rows = (n + k - 1) / k;
        const double shape = (double)k * (b.cell_w + GAP) / ((double)rows * (b.cell_h + GAP));
        const double off = fabs(log(shape / 1.9)) + 0.15 * (k * rows - n);
        if (off < least) least = off, b.columns = k;
    }
    b.rows = (n + b.columns - 1) / b.columns;
    b.w = 2 * EDGE - GAP + (int64_t)b.columns * (b.cell_w + GAP);
    b.h = NAME_H + (int64_t)b.rows * (b.cell_h + GAP);
    return b;
}

lt_status lt_contact_size(lt_contact *const *c, int32_t n, int32_t *width, int32_t *height,
                          lt_error *err) {
    int64_t w = 320, h = EDGE;
    bool ok = c && n > 0;
    for (int32_t i = 0; ok && i < n; i++) {
        ok = c[i] != NULL;
        if (!ok) break;
        const band b = band_of(c[i], n == 1);
        w = b.w > w ? b.w : w;
        h += b.h;
    }
    if (!ok) return lti_fail(err, LT_EINVAL, "contact sheet: no frames given");
    if (w > MAX_SIDE || h > MAX_SIDE)
        return lti_fail(err, LT_EINVAL,
                        "contact sheet: it would be %lldx%lld pixels, %d a side are possible; ask "
                        "for fewer tiles or videos",
                        (long long)w, (long long)h, MAX_SIDE);
    *width = (int32_t)w;
    *height = (int32_t)h;
    return LT_OK;
}

static void draw_tiles(const lt_contact *c, const band *b, int top, lti_canvas *canvas) {
    const lti_style st = {TIME_SIZE, false, lti_ink_text};
    const int w = c->w * c->zoom, h = c->h * c->zoom;
    for (int i = 0; i < shown(c); i++) {
        const shot *s = shot_at(c, i);
        const int x = EDGE + i % b->columns * (b->cell_w + GAP) + (b->cell_w - w) / 2;
        const int y = top + i / b->columns * (b->cell_h + GAP);
        char time[LTI_LABEL];
        lti_canvas_image(canvas, x, y, s->rgb, c->w, c->h, c->zoom);
        lti_duration(s->seconds, time);
        lti_text_middle(canvas, x + w / 2, y + h + 17, time, &st);
    }
}

lt_status lt_contact_draw(lt_contact *const *c, const char *const *name, int32_t n, int32_t width,
                          int32_t height, uint8_t *rgb, lt_error *err) {
    int32_t w = 0, h = 0;
    LT_TRY(lt_contact_size(c, n, &w, &h, err));
    if (!rgb || width != w || height != h)
        return lti_fail(err, LT_EINVAL, "contact sheet: room for %dx%d pixels given, it is %dx%d",
                        (int)width, (int)height, (int)w, (int)h);
    lti_canvas canvas;
    lti_canvas_init(&canvas, rgb, w, h);
    lti_canvas_fill(&canvas, 0, 0, w, h, lti_ink_white, 1);
    int y = 0;
    for (int32_t i = 0; i < n; i++) {
        const band b = band_of(c[i], n == 1);
        const lti_style bold = {NAME_SIZE, true, lti_ink_text},
                        grey = {TIME_SIZE, false, lti_ink_grey};
        char text[512];
        int x = EDGE;
        if (n > 1 && i < LTI_LINES) { /* its colour in the plot */
            lti_canvas_strokes(&canvas, &(lti_seg){18, (float)y + 17, 36, (float)y + 17}, 1, 6,
                               lti_palette[i], 1);
            x += 30;
        }
        lti_text_cut(name && name[i] ? name[i] : "", NAME_SIZE, true, w - EDGE - x, text,
                     sizeof text);
        lti_text(&canvas, x, y + 24, text, &bold);
        if (!c[i]->frames) lti_text(&canvas, EDGE, y + NAME_H + 24, "no frames", &grey);
        draw_tiles(c[i], &b, y + NAME_H, &canvas);
        y += (int)b.h;
    }
    return LT_OK;
}
