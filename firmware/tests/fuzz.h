/* What libFuzzer calls, and what replay.c calls where libFuzzer is not there. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern const char *const fuzz_name;
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
