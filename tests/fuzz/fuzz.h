/* SPDX-License-Identifier: Apache-2.0
 * tests/fuzz/fuzz.h - the entry point that libFuzzer and tests/fuzz/driver.c call. */
#ifndef LT_TESTS_FUZZ_H
#define LT_TESTS_FUZZ_H
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Optional: repair a mutated input (lengths, sums) so that most get past the first check. */
void lt_fuzz_repair(uint8_t *data, size_t size) __attribute__((weak));

#endif
