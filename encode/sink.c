/* SPDX-License-Identifier: Apache-2.0
 * encode/sink.c - the table of frame sinks and the rules that all of them share.
 *
 * To add a sink: write an lti_sink_ops, declare it in sink_int.h, add a row here. */
#include "encode/sink_int.h"
#include <string.h>
#include <strings.h>

/* ext NULL: the path itself is the name of the sink. */
static const struct sink_row {
    const char *ext, *whole;
    const lti_sink_ops *ops;
} table[] = {
    {".mp4", NULL, &lti_sink_mp4}, {".mkv", NULL, &lti_sink_mkv},  {".png", NULL, &lti_sink_png},
    {".y4m", NULL, &lti_sink_y4m}, {".rgb", NULL, &lti_sink_rgb},  {NULL, "-", &lti_sink_y4m},
    {NULL, "md5", &lti_sink_md5},  {NULL, "null", &lti_sink_null},
};

#define MAX_SIDE 16384
#define MAX_KEY 64

static lt_status find_ops(const char *path, const lti_sink_ops **out, lt_error *err) {
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *ext = strrchr(base, '.');
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct sink_row *r = &table[i];
        if (r->whole ? strcmp(path, r->whole) == 0 : ext && strcasecmp(ext, r->ext) == 0) {
            *out = r->ops;
            return LT_OK;
        }
    }
    if (ext && strcasecmp(ext, ".m3u8") == 0)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "output %s: live playlists are not in this version; use .mp4 or .mkv",
                        path);
    return lti_fail(
        err, LT_EINVAL,
        "output %s: unknown kind; use a name that ends in .mp4 .mkv .png (as %%06d.png) "
        ".y4m or .rgb, or one of - null md5",
        path);
}

static lt_status check_params(const lt_sink_params *p, const lti_sink_ops *ops, lt_error *err) {
    if (p->width < 1 || p->height < 1 || p->width > MAX_SIDE || p->height > MAX_SIDE)
        return lti_fail(err, LT_EINVAL, "output size %dx%d: each side must be 1 to %d", p->width,
                        p->height, MAX_SIDE);
    if (ops->even && (p->width % 2 || p->height % 2))
        return lti_fail(err, LT_EINVAL,
                        "output size %dx%d: %s needs an even width and height; use .png or .rgb",
                        p->width, p->height, ops->name);
    if (p->fps_num < 1 || p->fps_den < 1 || p->fps_num / p->fps_den > 1000)
        return lti_fail(err, LT_EINVAL, "frame rate %d/%d: must be above 0 and at most 1000",
                        p->fps_num, p->fps_den);
    if (p->crf < -1 || p->crf > 51)
        return lti_fail(err, LT_EINVAL, "crf %d: must be 0 (lossless) to 51 (worst)", p->crf);
    if (p->threads < 0 || p->threads > 256 || p->n_meta < 0 || (p->n_meta > 0 && !p->meta))
        return lti_fail(err, LT_EINVAL, "output: encoder threads %d (0 to 256) or metadata list",
                        p->threads);
    return LT_OK;
}

void lt_sink_params_init_sized(lt_sink_params *p, size_t size) {
    memset(p, 0, size);
    p->struct_size = size;
    if (size >= offsetof(lt_sink_params, crf) + sizeof p->crf) p->crf = -1;
}

static void sink_free(lt_sink *s) {
    for (int i = 0; i < s->n_meta; i++) {
        free((char *)s->meta[i].key);
        free((char *)s->meta[i].value);
    }
    free(s->meta);
    free(s->path);
    free(s->codec);
    free(s);
}

static lt_status copy_params(lt_sink *s, const lt_sink_params *p, lt_error *err) {
    s->path = strdup(p->path);
    s->codec = p->codec ? strdup(p->codec) : NULL;
    s->meta = calloc((size_t)p->n_meta + 1, sizeof *s->meta);
    if (!s->path || (p->codec && !s->codec) || !s->meta) return lti_oom(err, sizeof *s);
    for (int i = 0; i < p->n_meta; i++) {
        s->n_meta = i + 1;
        s->meta[i].key = strdup(p->meta[i].key ? p->meta[i].key : "");
        s->meta[i].value = strdup(p->meta[i].value ? p->meta[i].value : "");
        if (!s->meta[i].key || !s->meta[i].value) return lti_oom(err, sizeof *s);
    }
    s->width = p->width;
    s->height = p->height;
    s->fps_num = p->fps_num;
    s->fps_den = p->fps_den;
    s->crf = p->crf;
    s->threads = p->threads;
    return LT_OK;
}

lt_status lt_sink_open(const lt_sink_params *p, lt_sink **out, lt_error *err) {
    *out = NULL;
    lt_sink_params q;
    lt_sink_params_init(&q);
    /* an older program knows only a prefix of the struct */
    memcpy(&q, p, p->struct_size < sizeof q ? p->struct_size : sizeof q);
    if (!q.path || !*q.path) return lti_fail(err, LT_EINVAL, "output: the path is empty");
    const lti_sink_ops *ops = NULL;
    LT_TRY(find_ops(q.path, &ops, err));
    LT_TRY(check_params(&q, ops, err));
    lt_sink *s = calloc(1, sizeof *s);
    if (!s) return lti_oom(err, sizeof *s);
    s->ops = ops;
    s->chunk_start = true;
    lt_status st = copy_params(s, &q, err);
    if (st == LT_OK) st = ops->open(s, err);
    if (st != LT_OK) {
        ops->close(s, false, NULL);
        sink_free(s);
        return st;
    }
    *out = s;
    return LT_OK;
}

lt_status lt_sink_write(lt_sink *s, const uint8_t *rgb, int32_t chunk_end, lt_error *err) {
    if (s->failed != LT_OK)
        return lti_fail(err, s->failed, "output %s: writing stopped at an earlier error", s->path);
    lt_status st = s->ops->write(s, rgb, err);
    if (st == LT_OK) {
        s->n_frame++;
        s->chunk_start = chunk_end != 0;
        if (chunk_end && s->ops->flush) st = s->ops->flush(s, err);
    }
    s->failed = st;
    return st;
}

/* What every container can hold: Matroska writes capitals and no spaces. */
static bool is_key(const char *key) {
    size_t n = 0;
    for (; key && key[n]; n++) {
        const char c = key[n];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (n == MAX_KEY || !(letter || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return n > 0;
}

lt_status lt_sink_set_meta(lt_sink *s, const char *key, const char *value, lt_error *err) {
    if (!is_key(key) || !value)
        return lti_fail(err, LT_EINVAL,
                        "output %s: metadata needs a value and a key of 1 to %d letters, digits, "
                        "_ and -",
                        s->path, MAX_KEY);
    if (!s->ops->set_meta)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "output %s: a %s output has no place for metadata; use .mp4 or .mkv",
                        s->path, s->ops->name);
    if (s->failed != LT_OK)
        return lti_fail(err, s->failed, "output %s: writing stopped at an earlier error", s->path);
    return s->ops->set_meta(s, key, value, err);
}

lt_status lt_sink_close(lt_sink **sink, lt_error *err) {
    lt_sink *s = *sink;
    if (!s) return LT_OK;
    const bool ok = s->failed == LT_OK && s->n_frame > 0;
    lt_status st = s->ops->close(s, ok, err);
    if (s->failed != LT_OK)
        st = lti_fail(err, s->failed, "output %s: not complete, writing failed", s->path);
    sink_free(s);
    *sink = NULL;
    return st;
}

const char *lt_sink_result(const lt_sink *s) {
    return s->ops->result ? s->ops->result((lt_sink *)s) : "";
}
