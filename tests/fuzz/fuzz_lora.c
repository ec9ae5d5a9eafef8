/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz_lora.c - any bytes as a LoRA file for a small model. */
#include "base/error.h"
#include "tests/fuzz/fuzz.h"
#include "weights/systems.h"
#include "weights/weights_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void lt_fuzz_repair(uint8_t *data, size_t size) {
    size_t end = size;
    while (end > 8 && data[end - 1] != '}') end--;
    for (size_t i = 0; i < 8 && end > 8; i++) data[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
}

static void merge(const char *path) {
    const lti_lora_ref lora = {path, 0.5};
    const lti_weights_options opt = {.lora = &lora, .n_lora = 1};
    lti_weights *w = NULL;
    lt_error err = {0};
    lti_tensor t;
    const lt_status st = lti_weights_open_with(
        LT_SOURCE_DIR "/tests/golden/formats/base.safetensors", LTI_PART_DIT, &opt, &w, &err);
    LT_ASSERT((st == LT_OK) == (err.code == LT_OK) && (st == LT_OK || err.msg[0]));
    for (int i = 0; st == LT_OK && i < lti_weights_count(w); i++)
        LT_ASSERT(lti_weights_get(w, lti_weights_name(w, i, NULL), -1, NULL, &t, &err) == LT_OK);
    lti_weights_close(&w);
}

/* What `longtake info` asks of any file. */
static void look(const char *path) {
    static const lti_part part[] = {LTI_PART_NONE, LTI_PART_DIT, LTI_PART_VAE, LTI_PART_TEXT};
    for (int i = 0; i < 4; i++) {
        lti_weights *w = NULL;
        lti_sight s;
        if (lti_weights_open(path, part[i], &w, NULL) != LT_OK) continue;
        lti_sight_read(w, &s);
        LT_ASSERT(s.runs || s.needs || s.kind == LTI_KIND_UNKNOWN);
        lti_weights_close(&w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    const int fd = memfd_create("lora", MFD_CLOEXEC);
    LT_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    merge(path);
    look(path);
    close(fd);
    return 0;
}
