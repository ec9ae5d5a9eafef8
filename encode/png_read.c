/* SPDX-License-Identifier: Apache-2.0
 * encode/png_read.c - one PNG picture in memory becomes RGB.
 *
 * Every kind of PNG comes out as [h, w, 3] bytes: grey and palettes are expanded, 16 bit is rounded
 * to 8, transparency is laid on black: out = rgb * alpha / 255, in sRGB values as viewers do it.
 * Numbers are taken as sRGB whatever the file says: gAMA, cHRM, iCCP are not even read, nor are
 * texts, so nothing but IHDR, PLTE, tRNS and IDAT can do harm. The size is bounded before anything
 * is allocated. Pitfall: libpng reports errors by longjmp; what must live beyond it sits in a
 * struct behind a pointer, never in a local variable. Reference: PNG specification 3rd edition. */
#include "encode/png_read.h"
#include "base/error.h"
#include "base/memory.h"
#include <png.h>
#include <stdio.h>
#include <string.h>

typedef struct png_reader {
    const uint8_t *data;
    size_t size, pos;
    png_structp png;
    png_infop info;
    uint8_t *pixels; /* [h, w, channels] */
    png_bytep *rows;
    int channels; /* 3, or 4 with transparency */
    char why[128];
} png_reader;

static const uint8_t MAGIC[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

bool lti_is_png(const uint8_t *data, size_t size) {
    return size >= sizeof MAGIC && memcmp(data, MAGIC, sizeof MAGIC) == 0;
}

static void on_error(png_structp png, png_const_charp text) {
    png_reader *r = png_get_error_ptr(png);
    snprintf(r->why, sizeof r->why, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep out, size_t n) {
    png_reader *r = png_get_io_ptr(png);
    if (n > r->size - r->pos) png_error(png, "the file ends too early");
    memcpy(out, r->data + r->pos, n);
    r->pos += n;
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Magic and IHDR, by hand: the limits must hold before libpng sees a byte. */
static lt_status check_header(const uint8_t *data, size_t size, const char *name, lti_picture *out,
                              lt_error *err) {
    if (!lti_is_png(data, size))
        return lti_fail(err, LT_EFORMAT, "%s: not a PNG picture (its first 8 bytes are others)",
                        name);
    if (size < 33 || big_endian(data + 8) != 13 || memcmp(data + 12, "IHDR", 4) != 0)
        return lti_fail(err, LT_EFORMAT, "%s: damaged PNG: no header (IHDR)", name);
    const uint32_t w = big_endian(data + 16), h = big_endian(data + 20);
    const uint32_t most = LTI_PICTURE_MAX_SIDE;
    if (w < 1 || h < 1 || w > most || h > most)
        return lti_fail(
            err, LT_EFORMAT,
            "%s: a picture of %lux%lu; each side may have 1 to %d pixels, scale it down", name,
            (unsigned long)w, (unsigned long)h, LTI_PICTURE_MAX_SIDE);
    out->width = (int)w;
    out->height = (int)h;
    out->bits = data[24];
    out->interlaced = data[28] != 0;
    return LT_OK;
}

static void set_up(png_reader *r) {
    png_set_read_fn(r->png, r, read_bytes);
    png_set_user_limits(r->png, LTI_PICTURE_MAX_SIDE, LTI_PICTURE_MAX_SIDE);
    png_set_chunk_cache_max(r->png, 16);
    png_set_chunk_malloc_max(r->png, 1 << 20);
    /* -1: also those that libpng knows, but for IHDR, PLTE, tRNS, IDAT, IEND */
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
}

/* False after a libpng error; r holds what must be freed. */
static bool read_pixels(png_reader *r, lti_picture *out) {
    if (setjmp(png_jmpbuf(r->png))) return false;
    set_up(r);
    png_read_info(r->png, r->info);
    png_set_expand(r->png); /* palettes, 1 2 4 bit, tRNS */
    png_set_scale_16(r->png);
    png_set_gray_to_rgb(r->png);
    png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);
    r->channels = png_get_channels(r->png, r->info);
    out->alpha = r->channels == 4;
    const size_t row = (size_t)out->width * (size_t)r->channels;
    if ((r->channels != 3 && r->channels != 4) || png_get_rowbytes(r->png, r->info) != row ||
        png_get_image_width(r->png, r->info) != (png_uint_32)out->width ||
        png_get_image_height(r->png, r->info) != (png_uint_32)out->height)
        png_error(r->png, "rows of an unexpected size");
    const size_t bytes = row * (size_t)out->height;
    r->pixels = lti_memory_fits(bytes) ? malloc(bytes) : NULL;
    r->rows = calloc((size_t)out->height, sizeof *r->rows);
    if (!r->pixels || !r->rows) png_error(r->png, "out of memory");
    for (int y = 0; y < out->height; y++) r->rows[y] = r->pixels + row * (size_t)y;
    png_read_image(r->png, r->rows);
    png_read_end(r->png, NULL);
    return true;
}

/* [n, 4] -> [n, 3] in the same memory, on black, rounded. */
static void lay_on_black(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned a = p[4 * i + 3];
        for (size_t k = 0; k < 3; k++) p[3 * i + k] = (uint8_t)((p[4 * i + k] * a + 127) / 255);
    }
}

lt_status lti_png_decode(const uint8_t *data, size_t size, const char *name, lti_picture *out,
                         lt_error *err) {
    lti_picture pic = {0};
    *out = pic;
    LT_TRY(check_header(data, size, name, &pic, err));
    png_reader r = {.data = data, .size = size};
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    const bool ok = r.info && read_pixels(&r, &pic);
    const bool starved = !r.info || strcmp(r.why, "out of memory") == 0;
    png_destroy_read_struct(&r.png, &r.info, NULL);
    free(r.rows);
    if (!ok) {
        free(r.pixels);
        const size_t bytes = (size_t)pic.width * (size_t)pic.height * 4;
        return starved ? lti_oom(err, bytes)
                       : lti_fail(err, LT_EFORMAT, "%s: damaged PNG: %s", name, r.why);
    }
    if (pic.alpha) lay_on_black(r.pixels, (size_t)pic.width * (size_t)pic.height);
    pic.rgb = r.pixels;
    *out = pic;
    return LT_OK;
}
