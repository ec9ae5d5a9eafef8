/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/driver.c - a small fuzzer for builds without libFuzzer.
 *
 *   fuzz_x SEED_DIR [ITERATIONS [FIRST]]
 *
 * Runs every file of SEED_DIR as it is, then mutated copies of them. Iteration k depends on k
 * alone: a failure names its k, and "fuzz_x DIR 1 k" repeats it. Every input lies in an allocation
 * of its exact size, so that ASan sees a read past the end. */
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS_MAX = 64, SIZE_LIMIT = 1 << 17, MUTATIONS_MAX = 3 };

typedef struct input {
    uint8_t *p;
    size_t n;
    char name[256];
} input;

static input seed[SEEDS_MAX];
static int n_seed;
static uint64_t iteration, rng;

void __sanitizer_set_death_callback(void (*f)(void)) __attribute__((weak));
static void report(void) {
    fprintf(stderr, "fuzz driver: failed in iteration %llu\n", (unsigned long long)iteration);
}

static uint64_t rnd(uint64_t below) { /* splitmix64 */
    uint64_t z = rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return below ? (z ^ z >> 31) % below : 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const input *)a)->name, ((const input *)b)->name);
}

static void load_seeds(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) {
        perror(dir);
        exit(2);
    }
    char path[1024];
    for (struct dirent *e; (e = readdir(d)) && n_seed < SEEDS_MAX;) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f) continue;
        input *s = &seed[n_seed++];
        s->p = malloc(SIZE_LIMIT);
        s->n = s->p ? fread(s->p, 1, SIZE_LIMIT, f) : 0;
        snprintf(s->name, sizeof s->name, "%s", e->d_name);
        fclose(f);
    }
    closedir(d);
    qsort(seed, (size_t)n_seed, sizeof *seed, by_name); /* readdir's order is the disk's */
}

/* Replace `cut` bytes at `at` by n bytes of p (which is not inside s). */
static void splice(input *s, size_t at, size_t cut, const void *p, size_t n) {
    if (s->n - cut + n > SIZE_LIMIT) return;
    memmove(s->p + at + n, s->p + at + cut, s->n - at - cut);
    memcpy(s->p + at, p, n);
    s->n += n - cut;
}

static const char *const words[] = {"-1",
                                    "0",
                                    "1e308",
                                    "4294967296",
                                    "9007199254740993",
                                    "18446744073709551615",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "\"",
                                    ",",
                                    ":",
                                    "null",
                                    "\\u0000",
                                    "\"dtype\":\"F32\"",
                                    "\"data_offsets\":[0,0]",
                                    "\"shape\":[]",
                                    "__metadata__",
                                    "weight_map",
                                    "../",
                                    ".safetensors",
                                    "blocks.99999.",
                                    "decoder.up_blocks.15.resnets.",
                                    "condition_embedder.",
                                    "attn1.to_q.",
                                    "&amp;",
                                    "&#",
                                    "&#x",
                                    ";",
                                    "&not",
                                    "<",
                                    "\x1b[",
                                    "\xe2\x80\x9c",
                                    "\xef\xac\x83",
                                    "\xcc\x81",
                                    "\xef\xbe\x9e",
                                    "\xf0\x9f\x98\x80",
                                    "\xff",
                                    "\xc3",
                                    "</s>",
                                    "\xe3\x80\x80",
                                    "\r\n"};

static void mutate(input *s) {
    size_t at = (size_t)rnd(s->n + 1), left = s->n - at;
    size_t len = (size_t)rnd(left < 64 ? left + 1 : 64);
    uint8_t tmp[64];
    const input *other = &seed[rnd((uint64_t)n_seed)];
    const char *word = words[rnd(sizeof words / sizeof *words)];
    switch (rnd(8)) {
    case 0:
        if (left) s->p[at] ^= (uint8_t)(1u << rnd(8));
        break;
    case 1:
        if (left) s->p[at] = (uint8_t)rnd(256);
        break;
    case 2:
        splice(s, at, len, "", 0);
        break; /* delete */
    case 3:
        s->n = at;
        break; /* truncate */
    case 4:
        splice(s, at, 0, word, strlen(word));
        break;
    case 5:
        splice(s, at, len, word, strlen(word));
        break;
    case 6:
        memcpy(tmp, s->p + at, len);
        splice(s, (size_t)rnd(s->n + 1), 0, tmp, len);
        break; /* repeat */
    default:
        len = (size_t)rnd(other->n < 64 ? other->n + 1 : 64);
        memcpy(tmp, other->p + rnd(other->n - len + 1), len);
        splice(s, at, 0, tmp, len);
    }
}

static void run(const input *s) {
    uint8_t *exact = malloc(s->n ? s->n : 1);
    if (!exact) exit(2);
    memcpy(exact, s->p, s->n);
    LLVMFuzzerTestOneInput(exact, s->n);
    free(exact);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s SEED_DIR [ITERATIONS [FIRST]]\n", argv[0]);
        return 2;
    }
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(report);
    load_seeds(argv[1]);
    if (!n_seed) {
        fprintf(stderr, "%s: no seeds\n", argv[1]);
        return 2;
    }
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 10000;
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    for (int i = 0; i < n_seed; i++) run(&seed[i]);
    input s = {.p = malloc(2 * SIZE_LIMIT)};
    for (iteration = first; s.p && iteration < first + n; iteration++) {
        rng = iteration * 0x2545f4914f6cdd1du;
        const input *from = &seed[rnd((uint64_t)n_seed)];
        memcpy(s.p, from->p, from->n);
        s.n = from->n;
        for (uint64_t k = 1 + rnd(MUTATIONS_MAX); k > 0; k--) mutate(&s);
        if (lt_fuzz_repair && rnd(8)) lt_fuzz_repair(s.p, s.n);
        run(&s);
    }
    printf("%llu inputs from %d seeds\n", (unsigned long long)n, n_seed);
    for (int i = 0; i < n_seed; i++) free(seed[i].p);
    free(s.p);
    return 0;
}
