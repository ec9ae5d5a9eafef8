/* SPDX-License-Identifier: Apache-2.0
 * tests/torch_rig.h - write torch archives byte by byte, right ones and wrong ones. */
#ifndef LT_TESTS_TORCH_RIG_H
#define LT_TESTS_TORCH_RIG_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pt_buf {
    uint8_t *p;
    size_t n, cap;
} pt_buf;

static inline void pt_put(pt_buf *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}
static inline void pt_uint(pt_buf *b, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) pt_put(b, &(uint8_t){i < 8 ? (uint8_t)(v >> (8 * i)) : 0}, 1);
}
static inline void pt_text(pt_buf *b, const char *s) { pt_put(b, s, strlen(s)); }
static inline void pt_free(pt_buf *b) {
    free(b->p);
    *b = (pt_buf){0};
}

/* -- zip ------------------------------------------------------------------------------------------ */

enum { PT_ENTRIES = 8 };

typedef struct pt_entry {
    const char *name;
    const void *bytes;
    size_t n;
    unsigned method, flags;
    uint64_t claim; /* size in the headers; 0: n */
    uint64_t at;    /* offset in the directory; 0: where it is */
} pt_entry;

typedef struct pt_zip {
    pt_entry e[PT_ENTRIES];
    int n;
    bool zip64;
    uint64_t base;   /* bytes of the file before the archive, which offsets count */
    int64_t shift;   /* added to the directory's offset in the end record */
    unsigned repeat; /* entry counts written are n + repeat */
} pt_zip;

static inline void pt_add(pt_zip *z, const char *name, const void *bytes, size_t n) {
    z->e[z->n++] = (pt_entry){.name = name, .bytes = bytes, .n = n};
}

/* The part that local header and directory record share, from "version needed" on. */
static inline void pt_common(const pt_zip *z, const pt_entry *e, pt_buf *out, bool local) {
    uint64_t size = e->claim ? e->claim : e->n;
    pt_uint(out, 45, 2);
    pt_uint(out, e->flags, 2);
    pt_uint(out, e->method, 2);
    pt_uint(out, 0, 8); /* time, date, crc */
    pt_uint(out, z->zip64 ? UINT32_MAX : size, 4);
    pt_uint(out, z->zip64 ? UINT32_MAX : size, 4);
    pt_uint(out, strlen(e->name), 2);
    pt_uint(out, z->zip64 ? local ? 20 : 28 : local ? 5 : 0, 2);
}
static inline void pt_zip64_extra(uint64_t size, pt_buf *out, uint64_t at, bool local) {
    pt_uint(out, 1, 2);
    pt_uint(out, local ? 16 : 24, 2);
    pt_uint(out, size, 8);
    pt_uint(out, size, 8);
    if (!local) pt_uint(out, at, 8);
}

static inline void pt_write(const pt_zip *z, pt_buf *out) {
    uint64_t at[PT_ENTRIES];
    for (int i = 0; i < z->n; i++) {
        const pt_entry *e = &z->e[i];
        at[i] = z->base + out->n;
        pt_text(out, "PK\3\4");
        pt_common(z, e, out, true);
        pt_text(out, e->name);
        if (z->zip64) pt_zip64_extra(e->claim ? e->claim : e->n, out, 0, true);
        else pt_put(out, "FB\1\0Z", 5); /* misaligns, as padding may */
        pt_put(out, e->bytes, e->n);
        if (e->at) at[i] = e->at;
    }
    uint64_t dir = z->base + out->n, records = out->n;
    for (int i = 0; i < z->n; i++) {
        const pt_entry *e = &z->e[i];
        pt_put(out, "PK\1\2\x2d\0", 6);
        pt_common(z, e, out, false);
        pt_uint(out, 0, 10); /* comment, disk, attributes */
        pt_uint(out, z->zip64 ? UINT32_MAX : at[i], 4);
        pt_text(out, e->name);
        if (z->zip64) pt_zip64_extra(e->claim ? e->claim : e->n, out, at[i], false);
    }
    uint64_t dir_size = out->n - records, end64 = z->base + out->n,
             count = (uint64_t)z->n + z->repeat;
    dir += (uint64_t)z->shift;
    if (z->zip64) {
        pt_text(out, "PK\6\6");
        pt_uint(out, 44, 8);
        pt_uint(out, 45 | 45 << 16, 4);
        pt_uint(out, 0, 8); /* disks */
        pt_uint(out, count, 8);
        pt_uint(out, count, 8);
        pt_uint(out, dir_size, 8);
        pt_uint(out, dir, 8);
        pt_text(out, "PK\6\7");
        pt_uint(out, 0, 4);
        pt_uint(out, end64, 8);
        pt_uint(out, 1, 4);
    }
    pt_text(out, "PK\5\6");
    pt_uint(out, 0, 4);
    pt_uint(out, z->zip64 ? 0xffff : count, 2);
    pt_uint(out, z->zip64 ? 0xffff : count, 2);
    pt_uint(out, z->zip64 ? UINT32_MAX : dir_size, 4);
    pt_uint(out, z->zip64 ? UINT32_MAX : dir, 4);
    pt_uint(out, 0, 2);
}

/* An archive of one pickle and one storage "0" of 64 bytes. */
static inline void pt_archive(const void *pickle, size_t n, pt_buf *out) {
    static const uint8_t storage[64] = {0, 0, 128, 63, 0, 0, 0, 64}; /* 1.0f, 2.0f, 0, .. */
    pt_zip z = {0};
    pt_add(&z, "a/data.pkl", pickle, n);
    pt_add(&z, "a/byteorder", "little", 6);
    pt_add(&z, "a/data/0", storage, sizeof storage);
    pt_write(&z, out);
}

/* -- pickle --------------------------------------------------------------------------------------- */

static inline void pk_str(pt_buf *b, const char *s) {
    pt_text(b, "X");
    pt_uint(b, strlen(s), 4);
    pt_text(b, s);
}
static inline void pk_int(pt_buf *b, int64_t v) {
    pt_put(b, "\x8a\x08", 2);
    pt_uint(b, (uint64_t)v, 8);
}
static inline void pk_ints(pt_buf *b, int n, const int64_t *v) {
    pt_text(b, "(");
    for (int i = 0; i < n; i++) pk_int(b, v[i]);
    pt_text(b, "t");
}
static inline void pk_storage(pt_buf *b, const char *type, const char *key) {
    pt_text(b, "(");
    pk_str(b, "storage");
    pt_text(b, type);
    pk_str(b, key);
    pk_str(b, "cpu");
    pk_int(b, 16);
    pt_text(b, "tQ");
}
/* A view of storage "0". */
static inline void pk_tensor(pt_buf *b, int64_t offset, int rank, const int64_t *n,
                             const int64_t *stride) {
    pt_text(b, "ctorch._utils\n_rebuild_tensor_v2\n(");
    pk_storage(b, "ctorch\nFloatStorage\n", "0");
    pk_int(b, offset);
    pk_ints(b, rank, n);
    pk_ints(b, rank, stride);
    pt_text(b, "\x89"
               "ccollections\nOrderedDict\n)RtR");
}
#endif
