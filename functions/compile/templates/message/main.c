#include "wasmbed.h"

static char in[128];
static char out[10];
static uint32_t sent;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) { return 0; }

/* Where the platform puts what it passes: one call at a time, so one buffer does. */
WASMBED_EXPORT("wasmbed_alloc") void *alloc(uint32_t len) { return len <= sizeof in ? in : 0; }

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    uint32_t n = wasmbed_decimal(out, ++sent);
    return wasmbed_message_send("beat", 4, out, n);
}

/* Topic and data lie behind one another in the buffer. */
WASMBED_EXPORT("wasmbed_message") int32_t message(const char *topic, uint32_t topic_len, const char *data, uint32_t len) {
    (void)topic;
    (void)topic_len;
    return wasmbed_message_send("echo", 4, data, len);
}
