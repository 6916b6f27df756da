#include "wasmbed.h"

static char in[256];
static char out[10];

WASMBED_EXPORT("wasmbed_start") int32_t start(void) { return 0; }

/* Where the platform puts what it passes: one call at a time, so one buffer does. */
WASMBED_EXPORT("wasmbed_alloc") void *alloc(uint32_t len) { return len <= sizeof in ? in : 0; }

/* wasmbed invoke DEVICE APPLICATION sum "abc" */
WASMBED_EXPORT("sum") uint64_t sum(const char *payload, uint32_t len) {
    uint32_t total = 0;
    for (uint32_t i = 0; i < len; i++) {
        total += (uint8_t)payload[i];
    }
    return wasmbed_answer(out, wasmbed_decimal(out, total));
}
