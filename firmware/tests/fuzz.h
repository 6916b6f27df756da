/* What libFuzzer calls, and what replay.c calls where libFuzzer is not there. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern const char *const fuzz_name;
extern const size_t fuzz_skip; /* bytes of a vector before what the fuzzer takes */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
