/* SPDX-License-Identifier: Apache-2.0
 * weights/torch_zip.c - the directory of a zip archive that lies in memory; nothing is unpacked.
 *
 *   local header, payload | ... | directory records | [zip64 end, its locator] | end record
 * Sizes come from the directory, a payload begins after its local header: that one's name and extra
 * field have lengths of their own (torch pads the extra field to align the data). What does not fit
 * in 16 or 32 bits is saturated and stands in a zip64 field.
 * Reference: PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3.
 *
 * Why not a library: Debian's minizip 1.1 does not read zip64 fields of entries, so it ends at
 * 4 GiB, where most checkpoints begin; libzip has no call that says where a payload lies. */
#include "weights/torch_zip.h"
#include "base/error.h"
#include <stdbool.h>
#include <string.h>

#define ENTRIES_MAX 1000000
#define NAME_MAX_LEN 511
enum { LOCAL = 30, RECORD = 46, END = 22, END64 = 56, LOCATOR = 20 }; /* bytes, without strings */

typedef struct entry {
    char *name;
    uint64_t header, size; /* offset of the local header; bytes of the payload */
    unsigned method;
    bool encrypted, sized; /* sized: packed and unpacked sizes agree */
} entry;

struct lti_zip {
    const uint8_t *data;
    uint64_t dir, dir_size, count; /* the directory, as the end record says */
    const char *what;
    entry *e; /* sorted by name */
    int n, cap;
};

static uint64_t u(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static lt_status damaged(const lti_zip *z, const char *how, lt_error *err) {
    return lti_fail(err, LT_EFORMAT,
                    "%s: the torch zip archive %s; it is truncated or damaged, download it again",
                    z->what, how);
}

/* -- directory ------------------------------------------------------------------------------------ */

/* The end record is the last thing in the file but for a comment whose length it names. */
static lt_status find_end(lti_zip *z, size_t size, lt_error *err) {
    const uint8_t *data = z->data, *p = NULL;
    for (size_t comment = 0; comment <= 0xffff && comment + END <= size && !p; comment++) {
        p = data + size - END - comment;
        if (memcmp(p, "PK\5\6", 4) || u(p + 20, 2) != comment) p = NULL;
    }
    if (!p) return damaged(z, "has no end record", err);
    uint64_t at = (uint64_t)(p - data);
    z->count = u(p + 10, 2);
    z->dir_size = u(p + 12, 4);
    z->dir = u(p + 16, 4);
    if (at >= LOCATOR && !memcmp(p - LOCATOR, "PK\6\7", 4)) {
        uint64_t end64 = u(p - LOCATOR + 8, 8);
        if (at < LOCATOR + END64 || end64 > at - LOCATOR - END64 ||
            memcmp(data + end64, "PK\6\6", 4))
            return damaged(z, "has no zip64 end record where its locator says", err);
        at = end64;
        z->count = u(data + at + 32, 8);
        z->dir_size = u(data + at + 40, 8);
        z->dir = u(data + at + 48, 8);
    }
    if (z->dir > at || z->dir_size > at - z->dir)
        return damaged(z, "has a directory outside the file", err);
    return LT_OK;
}

/* Replace saturated fields by those of the zip64 extra field, which has only these, in this order. */
static bool read_zip64(const uint8_t *extra, uint64_t len, uint64_t *const field[3]) {
    bool need = false;
    for (int i = 0; i < 3; i++) need |= *field[i] == UINT32_MAX;
    for (uint64_t at = 0; need && len - at >= 4;) {
        uint64_t id = u(extra + at, 2), n = u(extra + at + 2, 2);
        at += 4;
        if (n > len - at) return false;
        if (id != 1) {
            at += n;
            continue;
        }
        for (int i = 0; i < 3; i++) {
            if (*field[i] != UINT32_MAX) continue;
            if (n < 8) return false;
            *field[i] = u(extra + at, 8);
            at += 8;
            n -= 8;
        }
        return true;
    }
    return !need;
}

static lt_status add_entry(lti_zip *z, entry e, const uint8_t *name, size_t len, lt_error *err) {
    if (z->n == ENTRIES_MAX) return damaged(z, "has over a million entries", err);
    if (len == 0 || len > NAME_MAX_LEN || memchr(name, 0, len))
        return damaged(z, "has an entry with an impossible name", err);
    if (z->n == z->cap) {
        int cap = z->cap ? 2 * z->cap : 64;
        entry *grown = realloc(z->e, sizeof *grown * (size_t)cap);
        if (!grown) return lti_oom(err, sizeof *grown * (size_t)cap);
        z->e = grown;
        z->cap = cap;
    }
    e.name = malloc(len + 1);
    if (!e.name) return lti_oom(err, len + 1);
    memcpy(e.name, name, len);
    e.name[len] = '\0';
    z->e[z->n++] = e;
    return LT_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static lt_status read_directory(lti_zip *z, size_t size, lt_error *err) {
    LT_TRY(find_end(z, size, err));
    const uint8_t *p = z->data + z->dir;
    uint64_t left = z->dir_size;
    while (left > 0) {
        if (left < RECORD || memcmp(p, "PK\1\2", 4))
            return damaged(z, "has a broken directory", err);
        uint64_t name = u(p + 28, 2), extra = u(p + 30, 2), comment = u(p + 32, 2);
        uint64_t packed = u(p + 20, 4), plain = u(p + 24, 4), header = u(p + 42, 4);
        if (left - RECORD < name + extra + comment)
            return damaged(z, "has a broken directory", err);
        if (!read_zip64(p + RECORD + name, extra, (uint64_t *const[]){&plain, &packed, &header}))
            return damaged(z, "has a record without its zip64 sizes", err);
        const entry e = {.header = header,
                         .size = plain,
                         .method = (unsigned)u(p + 10, 2),
                         .encrypted = p[8] & 1,
                         .sized = packed == plain};
        LT_TRY(add_entry(z, e, p + RECORD, (size_t)name, err));
        p += RECORD + name + extra + comment;
        left -= RECORD + name + extra + comment;
    }
    if ((uint64_t)z->n != z->count)
        return damaged(z, "has more or fewer entries than it says", err);
    if (z->n) qsort(z->e, (size_t)z->n, sizeof *z->e, by_name);
    for (int i = 1; i < z->n; i++)
        if (!strcmp(z->e[i - 1].name, z->e[i].name))
            return damaged(z, "has two entries of one name", err);
    return LT_OK;
}

lt_status lti_zip_open(const uint8_t *data, size_t size, const char *what, lti_zip **out,
                       lt_error *err) {
    *out = NULL;
    lti_zip *z = calloc(1, sizeof *z);
    if (!z) return lti_oom(err, sizeof *z);
    z->data = data;
    z->what = what;
    lt_status st = read_directory(z, size, err);
    if (st != LT_OK) {
        lti_zip_close(&z);
        return st;
    }
    *out = z;
    return LT_OK;
}

void lti_zip_close(lti_zip **pz) {
    lti_zip *z = *pz;
    *pz = NULL;
    if (!z) return;
    for (int i = 0; i < z->n; i++) free(z->e[i].name);
    free(z->e);
    free(z);
}

/* -- entries -------------------------------------------------------------------------------------- */

int lti_zip_find(const lti_zip *z, const char *name) {
    entry key = {.name = (char *)(uintptr_t)name};
    const entry *e = z->n ? bsearch(&key, z->e, (size_t)z->n, sizeof key, by_name) : NULL;
    return e ? (int)(e - z->e) : -1;
}

int lti_zip_count(const lti_zip *z) { return z->n; }

const char *lti_zip_name(const lti_zip *z, int i) {
    LT_ASSERT(i >= 0 && i < z->n);
    return z->e[i].name;
}

lt_status lti_zip_bytes(const lti_zip *z, int i, const uint8_t **bytes, uint64_t *n,
                        lt_error *err) {
    LT_ASSERT(i >= 0 && i < z->n);
    const entry *e = &z->e[i];
    if (e->method != 0 || !e->sized)
        return lti_fail(err, LT_EUNSUPPORTED,
                        "%s: entry '%.100s' is compressed (method %u), torch.save stores entries; "
                        "unpack it and write it with PyTorch again",
                        z->what, e->name, e->method);
    if (e->encrypted)
        return lti_fail(err, LT_EUNSUPPORTED, "%s: entry '%.100s' is encrypted", z->what, e->name);
    const uint8_t *h = z->data + (e->header < z->dir ? e->header : 0);
    const uint64_t len = strlen(e->name);
    if (e->header > z->dir || z->dir - e->header < LOCAL + len || memcmp(h, "PK\3\4", 4) ||
        u(h + 26, 2) != len || memcmp(h + LOCAL, e->name, len))
        return lti_fail(err, LT_EFORMAT,
                        "%s: zip entry '%.100s' does not begin where the directory says; the file "
                        "is truncated or damaged, download it again",
                        z->what, e->name);
    uint64_t skip = LOCAL + len + u(h + 28, 2), room = z->dir - e->header;
    if (skip > room || e->size > room - skip)
        return lti_fail(err, LT_EFORMAT,
                        "%s: zip entry '%.100s' has %llu bytes, %llu lie before the directory; the "
                        "file is truncated or damaged, download it again",
                        z->what, e->name, (unsigned long long)e->size,
                        (unsigned long long)(skip > room ? 0 : room - skip));
    *bytes = h + skip;
    *n = e->size;
    return LT_OK;
}
