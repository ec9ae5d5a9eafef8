/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/mutator.c - libFuzzer's mutations, followed by the target's own repair, as in driver.c:
 * most inputs get past the first length or sum, some keep it wrong. */
#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size = LLVMFuzzerMutate(data, size, max_size);
    if (lt_fuzz_repair && seed % 8) lt_fuzz_repair(data, size);
    return size;
}
