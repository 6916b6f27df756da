#include "wasmbed.h"

static const char key[] = "count";
static char text[10];
static uint32_t count;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    int32_t n = wasmbed_kv_get(key, sizeof key - 1, text, sizeof text);
    if (n < 0 && n != WASMBED_NOT_FOUND) {
        return n;
    }
    count = n < 0 ? 0 : wasmbed_number(text, (uint32_t)n);
    wasmbed_log_text(WASMBED_INFO, n < 0 ? "counting from zero" : "counting on");
    return 0;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    uint32_t n = wasmbed_decimal(text, ++count);
    int32_t err = wasmbed_kv_set(key, sizeof key - 1, text, n);
    return err < 0 ? err : wasmbed_measure("count", count);
}
