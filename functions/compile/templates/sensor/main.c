#include "wasmbed.h"

static uint32_t sensor;
static double smooth;
static int seen;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    sensor = wasmbed_config_number("sensor", 0);
    return 0;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    double value;
    (void)id;
    if (wasmbed_sensor_read(sensor, &value) < 0) {
        if (!seen) {
            wasmbed_log_text(WASMBED_WARNING, "the sensor cannot be read");
        }
        seen = 1;
        return 0; /* a sensor that is away is no fault of this module */
    }
    smooth = seen ? smooth + (value - smooth) / 8 : value;
    seen = 1;
    wasmbed_measure("value", value);
    return wasmbed_measure("smooth", smooth);
}
