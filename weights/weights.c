/* SPDX-License-Identifier: Apache-2.0
 * weights/weights.c - open a file, a sharded set or a folder; look tensors up by name.
 *
 * Every file stays mapped as long as the handle lives; tensors are read where they lie or, when they
 * must be computed (decode.c), into memory that lives until `forget`. */
#include "weights/weights.h"
#include "base/error.h"
#include "base/filemap.h"
#include "base/memory.h"
#include "weights/weights_int.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_LEN 4096
#define INDEX_MAX ((size_t)64 << 20)
#define BUFFER_FROM ((size_t)1 << 18) /* bytes: smaller ones stay malloc's business */

struct lti_weights {
    char *path; /* the file or index that was opened */
    lti_part part;
    lti_filemap *map;
    int n_map;
    lti_entries list; /* sorted */
    lti_scales scales;
    lti_loras loras;
    int n_decoded; /* entries that hold what `get` made */
    /* Where the first large one of them lies. It is kept for the next, as the system's pages would
     * cost more than the decoding. */
    struct {
        float *p;
        size_t size; /* bytes */
        bool used;
    } buffer;
};

static const char index_suffix[] = ".index.json";

static bool ends(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* dir/name into out[PATH_LEN]. */
static lt_status join(const char *dir, const char *name, char *out, lt_error *err) {
    int n = snprintf(out, PATH_LEN, "%s/%s", dir, name);
    if (n < 0 || n >= PATH_LEN)
        return lti_fail(err, LT_EINVAL, "%s: the path is longer than %d bytes", dir, PATH_LEN - 1);
    return LT_OK;
}

/* The only name in dir with one of the endings (NULL-terminated), into name[256]; how many there are,
 * -1: dir is unreadable. */
static int only_file(const char *dir, const char *const *suffix, char *name) {
    DIR *d = opendir(dir);
    if (!d) return -1;
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        for (int i = 0; e->d_name[0] != '.' && suffix[i]; i++)
            if (ends(e->d_name, suffix[i]) && n++ == 0) snprintf(name, 256, "%s", e->d_name);
    closedir(d);
    return n;
}

/* The weights a folder holds: the usual names first, else the only index, else the only file of
 * the preferred kind. */
static lt_status pick_in_folder(const char *dir, char *out, lt_error *err) {
    static const char *const usual[] = {"diffusion_pytorch_model.safetensors",
                                        "diffusion_pytorch_model.safetensors.index.json",
                                        "model.safetensors", "model.safetensors.index.json"};
    static const char *const indexes[] = {".safetensors.index.json", NULL};
    static const char *const files[] = {".safetensors", NULL};
    static const char *const others[] = {".gguf", ".pt", ".pth", NULL};
    for (int i = 0; i < 4; i++) {
        LT_TRY(join(dir, usual[i], out, err));
        if (is_file(out)) return LT_OK;
    }
    char name[256] = "";
    int n_index = only_file(dir, indexes, name);
    if (n_index == 1) return join(dir, name, out, err);
    int n = only_file(dir, files, name); /* safetensors go before a second form of the same */
    if (n == 0) n = only_file(dir, others, name);
    if (n < 0) return lti_fail(err, LT_EIO, "%s: cannot list the folder: %s", dir, strerror(errno));
    if (n == 1 && n_index == 0) return join(dir, name, out, err);
    if (n > 0 || n_index > 0)
        return lti_fail(err, LT_EINVAL,
                        "%s: the folder has %d weight files (.safetensors, .gguf, .pt, .pth) and "
                        "%d index files, expected one; name the file itself",
                        dir, n, n_index);
    return lti_fail(err, LT_EIO,
                    "%s: no weights in this folder, expected a .safetensors, .gguf, .pt or .pth "
                    "file or a *.safetensors.index.json; check the path or download the model "
                    "again",
                    dir);
}

lt_status lti_weights_parse(const uint8_t *data, size_t size, const lti_weights_options *opt,
                            const char *what, lti_entries *out, lt_error *err) {
    if (size >= 4 && !memcmp(data, "GGUF", 4)) return lti_gguf_parse(data, size, what, out, err);
    if (size >= 4 && !memcmp(data, "PK\3\4", 4))
        return lti_torch_parse(data, size, opt ? opt->root : NULL, what, out, err);
    return lti_safetensors_parse(data, size, what, out, err);
}

static lt_status open_single(lti_weights *w, const lti_weights_options *opt, lt_error *err) {
    w->map = calloc(1, sizeof *w->map);
    if (!w->map) return lti_oom(err, sizeof *w->map);
    w->n_map = 1;
    LT_TRY(lti_filemap_open(w->path, &w->map[0], err));
    return lti_weights_parse(w->map[0].data, w->map[0].size, opt, w->path, &w->list, err);
}

/* Take from shard `file` the tensors that the index puts there. */
static lt_status take_shard(lti_weights *w, const lti_index *x, int file, const char *path,
                            lt_error *err) {
    if (!is_file(path)) {
        int n = 0;
        for (int i = 0; i < x->n_row; i++) n += x->row[i].file == file;
        return lti_fail(err, LT_EIO,
                        "%s: this shard of %s is missing (%d of %d tensors); download it again",
                        path, w->path, n, x->n_row);
    }
    lti_entries shard;
    LT_TRY(lti_filemap_open(path, &w->map[file], err));
    LT_TRY(lti_weights_parse(w->map[file].data, w->map[file].size, NULL, path, &shard, err));
    lt_status st = LT_OK;
    for (int i = 0; i < x->n_row && st == LT_OK; i++) {
        if (x->row[i].file != file) continue;
        lti_entry *e = lti_entries_find(&shard, x->row[i].tensor);
        if (!e) {
            st = lti_fail(err, LT_EFORMAT,
                          "%s: tensor '%.200s' is not in this shard, though %s says so; download "
                          "both again",
                          path, x->row[i].tensor, w->path);
            break;
        }
        lti_entry copy = {.name = strdup(e->name), .t = e->t, .codec = e->codec};
        st = copy.name ? lti_entries_add(&w->list, &copy, err) : lti_oom(err, strlen(e->name));
    }
    lti_entries_free(&shard);
    return st;
}

static lt_status open_shards(lti_weights *w, const lti_index *x, lt_error *err) {
    w->map = calloc((size_t)x->n_file, sizeof *w->map);
    if (!w->map) return lti_oom(err, sizeof *w->map * (size_t)x->n_file);
    w->n_map = x->n_file;
    const char *slash = strrchr(w->path, '/');
    char dir[PATH_LEN], path[PATH_LEN];
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - w->path) : 1, slash ? w->path : ".");
    for (int i = 0; i < x->n_file; i++) {
        LT_TRY(join(dir, x->file[i], path, err));
        LT_TRY(take_shard(w, x, i, path, err));
    }
    return LT_OK;
}

static lt_status open_index(lti_weights *w, lt_error *err) {
    lti_filemap m;
    lti_index x = {0};
    LT_TRY(lti_filemap_open(w->path, &m, err));
    lt_status st = LT_OK;
    if (m.size > INDEX_MAX)
        st = lti_fail(err, LT_EFORMAT, "%s: %zu bytes, an index has at most %zu", w->path, m.size,
                      INDEX_MAX);
    if (st == LT_OK) st = lti_index_parse((const char *)m.data, m.size, w->path, &x, err);
    if (st == LT_OK) st = open_shards(w, &x, err);
    lti_index_free(&x);
    lti_filemap_close(&m);
    return st;
}

static lt_status open_path(lti_weights *w, const char *path, lti_part part,
                           const lti_weights_options *opt, lt_error *err) {
    struct stat st;
    char picked[PATH_LEN];
    if (stat(path, &st) != 0)
        return lti_fail(err, LT_EIO, "%s: cannot open: %s; check the path", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        LT_TRY(pick_in_folder(path, picked, err));
        path = picked;
    }
    w->path = strdup(path);
    if (!w->path) return lti_oom(err, strlen(path) + 1);
    LT_TRY(ends(path, index_suffix) ? open_index(w, err) : open_single(w, opt, err));
    LT_TRY(lti_names_translate(part, w->path, &w->list, err));
    LT_TRY(lti_scales_apply(part, w->path, &w->list, &w->scales, err));
    LT_TRY(lti_lora_apply(part, w->path, &w->list, opt, &w->loras, err));
    if (part != LTI_PART_NONE && w->list.n == 0)
        return lti_fail(err, LT_EFORMAT, "%s: holds no tensors; is this the right file?", w->path);
    return LT_OK;
}

lt_status lti_weights_open(const char *path, lti_part part, lti_weights **out, lt_error *err) {
    return lti_weights_open_with(path, part, NULL, out, err);
}

lt_status lti_weights_open_with(const char *path, lti_part part, const lti_weights_options *opt,
                                lti_weights **out, lt_error *err) {
    *out = NULL;
    lti_weights *w = calloc(1, sizeof *w);
    if (!w) return lti_oom(err, sizeof *w);
    w->part = part;
    lt_status st = open_path(w, path, part, opt, err);
    if (st != LT_OK) {
        lti_weights_close(&w);
        return st;
    }
    *out = w;
    return LT_OK;
}

lt_status lti_weights_make(lti_part part, const char *what, lti_entries *list, lti_weights **out,
                           lt_error *err) {
    lti_weights *w = *out = calloc(1, sizeof *w);
    char *path = w ? strdup(what) : NULL;
    if (!path) {
        lti_entries_free(list);
        free(w);
        *out = NULL;
        return lti_oom(err, sizeof *w);
    }
    w->part = part;
    w->path = path;
    w->list = *list;
    *list = (lti_entries){0};
    return LT_OK;
}

void lti_weights_close(lti_weights **pw) {
    lti_weights *w = *pw;
    *pw = NULL;
    if (!w) return;
    lti_weights_release(w);
    lti_entries_free(&w->list);
    lti_loras_free(&w->loras);
    lti_scales_free(&w->scales);
    for (int i = 0; i < w->n_map; i++) lti_filemap_close(&w->map[i]);
    free(w->map);
    free(w->path);
    free(w);
}

const lti_tensor *lti_weights_find(const lti_weights *w, const char *name) {
    const lti_entry *e = lti_entries_find(&w->list, name);
    return e ? &e->t : NULL;
}

const char *lti_shape_text(int rank, const int64_t *n, char *buf, size_t size) {
    size_t at = (size_t)snprintf(buf, size, "[");
    for (int i = 0; i < rank && at < size; i++) {
        char one[24];
        snprintf(one, sizeof one, "%lld", (long long)n[i]);
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? "," : "", n[i] < 0 ? "any" : one);
    }
    if (at < size) snprintf(buf + at, size - at, "]");
    return buf;
}

/* The entry, checked as lti_weights_expect says. */
static lt_status lookup(const lti_weights *w, const char *name, int rank, const int64_t *n,
                        lti_entry **out, lt_error *err) {
    lti_entry *e = *out = lti_entries_find(&w->list, name);
    if (!e)
        return lti_fail(err, LT_EFORMAT,
                        "%s: tensor '%s' is missing among %d tensors%s%s; is this the right file?",
                        w->path, name, w->list.n, w->list.n ? ", the first is " : "",
                        w->list.n ? w->list.e[0].name : "");
    bool same = rank < 0 || e->t.rank == rank;
    for (int i = 0; same && i < rank; i++) same = n[i] < 0 || n[i] == e->t.n[i];
    if (!same) {
        char got[160], want[160];
        return lti_fail(err, LT_EFORMAT, "%s: tensor '%s'%s%s%s is %s, expected %s", w->path, name,
                        e->raw ? " (there '" : "", e->raw ? e->raw : "", e->raw ? "')" : "",
                        lti_shape_text(e->t.rank, e->t.n, got, sizeof got),
                        lti_shape_text(rank, n, want, sizeof want));
    }
    if (w->part != LTI_PART_NONE && !lti_dtype_is_float(lti_entry_from(e)))
        return lti_fail(
            err, LT_EUNSUPPORTED,
            "%s: tensor '%s' is stored as %s, expected a float type (F32, BF16, F16) or "
            "a GGUF quantization",
            w->path, name, lti_dtype_name(lti_entry_from(e)));
    return LT_OK;
}

lt_status lti_weights_expect(const lti_weights *w, const char *name, int rank, const int64_t *n,
                             lti_tensor *out, lt_error *err) {
    lti_entry *e;
    LT_TRY(lookup(w, name, rank, n, &e, err));
    *out = e->t;
    return LT_OK;
}

static void drop_buffer(lti_weights *w) {
    free(w->buffer.p);
    w->buffer.p = NULL;
    w->buffer.size = 0;
}

/* For one tensor: the buffer, made larger if need be, or memory of its own. NULL: there is none. */
static float *take_memory(lti_weights *w, size_t bytes) {
    const bool shared = !w->buffer.used && bytes >= BUFFER_FROM;
    if (!shared || bytes > w->buffer.size) {
        if (shared) drop_buffer(w);
        float *p = lti_memory_fits(bytes) ? malloc(bytes ? bytes : 1) : NULL;
        if (!shared || !p) return p;
        w->buffer.p = p;
        w->buffer.size = bytes;
    }
    w->buffer.used = true;
    return w->buffer.p;
}

lt_status lti_weights_get(lti_weights *w, const char *name, int rank, const int64_t *n,
                          lti_tensor *out, lt_error *err) {
    lti_entry *e;
    LT_TRY(lookup(w, name, rank, n, &e, err));
    *out = e->t;
    if (!lti_entry_lazy(e)) return LT_OK;
    if (!e->decoded) { /* parsers bound numel so that its f32 bytes fit an int64_t */
        size_t bytes = (size_t)lti_numel(&e->t) * sizeof(float);
        e->decoded = take_memory(w, bytes);
        if (!e->decoded) return lti_oom(err, bytes);
        w->n_decoded++;
        lti_entry_rows(e, 0, e->t.rank ? e->t.n[0] : 1, e->decoded);
    }
    out->data = e->decoded;
    out->dtype = LTI_F32;
    return LT_OK;
}

void lti_weights_forget(lti_weights *w) {
    for (int i = 0; w->n_decoded > 0 && i < w->list.n; i++) {
        lti_entry *e = &w->list.e[i];
        if (!e->decoded) continue;
        if (e->decoded == w->buffer.p) w->buffer.used = false;
        else free(e->decoded);
        e->decoded = NULL;
        w->n_decoded--;
    }
}

void lti_weights_release(lti_weights *w) {
    lti_weights_forget(w);
    drop_buffer(w);
}

void lti_weights_evict(const lti_weights *w) {
    for (int i = 0; i < w->n_map; i++) lti_filemap_evict(&w->map[i]);
}

lt_status lti_weights_rows(const lti_weights *w, const char *name, int64_t first, int64_t n,
                           float *out, lt_error *err) {
    lti_entry *e;
    LT_TRY(lookup(w, name, 2, (const int64_t[]){-1, -1}, &e, err));
    if (first < 0 || n < 0 || first > e->t.n[0] || n > e->t.n[0] - first)
        return lti_fail(err, LT_EINVAL, "%s: rows %lld to %lld of tensor '%s', which has %lld",
                        w->path, (long long)first, (long long)first + (long long)n, name,
                        (long long)e->t.n[0]);
    if (e->codec.decode && e->t.n[1] % e->codec.unit)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: tensor '%s' is stored in blocks of %lld that do not end with its rows "
                        "of %lld",
                        w->path, name, (long long)e->codec.unit, (long long)e->t.n[1]);
    lti_entry_rows(e, first, n, out);
    return LT_OK;
}

const char *lti_weights_stored(const lti_weights *w, int i, uint64_t *bytes) {
    LT_ASSERT(i >= 0 && i < w->list.n);
    const lti_entry *e = &w->list.e[i];
    if (bytes) *bytes = e->codec.decode ? e->codec.bytes : lti_nbytes(&e->t);
    return e->codec.stored ? e->codec.stored : lti_dtype_name(lti_entry_from(e));
}

int lti_weights_count(const lti_weights *w) { return w->list.n; }

const char *lti_weights_name(const lti_weights *w, int i, const lti_tensor **t) {
    LT_ASSERT(i >= 0 && i < w->list.n);
    if (t) *t = &w->list.e[i].t;
    return w->list.e[i].name;
}

const char *lti_weights_path(const lti_weights *w) { return w->path; }

int lti_weights_layers(const lti_weights *w, const char *prefix) {
    size_t len = strlen(prefix);
    int layers = 0;
    for (int i = 0; i < w->list.n; i++) {
        const char *s = w->list.e[i].name;
        if (strncmp(s, prefix, len)) continue;
        int n = 0, digits = 0;
        for (s += len; *s >= '0' && *s <= '9' && digits < 6; s++, digits++) n = n * 10 + (*s - '0');
        if (digits && *s == '.' && n >= layers) layers = n + 1;
    }
    return layers;
}
