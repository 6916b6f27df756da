/* counter: a number that outlives restarts, updates and power cuts.
 *
 * Permissions: kv, log, telemetry.
 * Invoke "add" with a decimal number (nothing: 1) or "get"; both answer the count in decimal. */
#include "../wasmbed.h"

enum { KV_FAILED = 1 };

static const char key[] = "count";
static char in[32];
static char out[10];
static uint32_t count;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    int32_t n = wasmbed_kv_get(key, sizeof key - 1, out, sizeof out);
    if (n < 0 && n != WASMBED_NOT_FOUND) {
        return n;
    }
    count = n < 0 || n > (int32_t)sizeof out ? 0 : wasmbed_number(out, (uint32_t)n);
    wasmbed_log_text(WASMBED_INFO, n < 0 ? "counting from zero" : "counting on");
    return 0;
}

/* Where the platform puts what it passes: one call at a time, so one buffer does. */
WASMBED_EXPORT("wasmbed_alloc") void *alloc(uint32_t len) { return len <= sizeof in ? in : 0; }

WASMBED_EXPORT("add") uint64_t add(const char *payload, uint32_t len) {
    count += len == 0 ? 1 : wasmbed_number(payload, len);
    uint32_t n = wasmbed_decimal(out, count);
    if (wasmbed_kv_set(key, sizeof key - 1, out, n) < 0) {
        return wasmbed_refuse(KV_FAILED);
    }
    wasmbed_measure("count", count);
    return wasmbed_answer(out, n);
}

WASMBED_EXPORT("get") uint64_t get(const char *payload, uint32_t len) {
    (void)payload;
    (void)len;
    return wasmbed_answer(out, wasmbed_decimal(out, count));
}
