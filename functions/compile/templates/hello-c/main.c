#include "wasmbed.h"

static uint32_t ticks;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    wasmbed_log_text(WASMBED_INFO, "hello");
    return 0;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    ticks++;
    return wasmbed_measure("ticks", ticks);
}
