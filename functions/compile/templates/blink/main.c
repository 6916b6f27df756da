#include "wasmbed.h"

static uint32_t pin;
static uint32_t level;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    pin = wasmbed_config_number("pin", 0);
    int32_t err = wasmbed_gpio_write(pin, 0);
    if (err < 0) {
        wasmbed_log_text(WASMBED_ERROR, "this board has no such pin");
    }
    return err;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    level = !level;
    return wasmbed_gpio_write(pin, level);
}
