/* trapper: goes wrong on purpose, to see what the device does about it.
 *
 * Permissions: log. Config:
 *   when   "start", or the number of the timer tick (default 1)
 *   kind   trap (default), bounds, divide, stack, loop, exit
 * Wants one timer in its manifest unless when is "start". */
#include "../wasmbed.h"

static char when[12];
static uint32_t when_len;
static char kind[12];
static uint32_t kind_len;
static uint32_t ticks;
static volatile uint32_t sink;

static uint32_t config(const char *key, char *buf, uint32_t room) {
    int32_t n = wasmbed_config_get(key, wasmbed_length(key), buf, room);
    return n < 0 || (uint32_t)n > room ? 0 : (uint32_t)n;
}

/* Not a tail call: the result is used afterwards, so every level keeps a frame. */
static __attribute__((noinline)) uint32_t deep(uint32_t n) {
    sink = n;
    return sink == UINT32_MAX ? 0 : deep(n + 1) + sink;
}

static int32_t go_wrong(void) {
    wasmbed_log_text(WASMBED_WARNING, "about to go wrong");
    if (wasmbed_equal(kind, kind_len, "exit")) {
        return 7;
    }
    if (wasmbed_equal(kind, kind_len, "bounds")) {
        sink = *(volatile uint32_t *)0xFFFFFFF0u;
        return 0;
    }
    if (wasmbed_equal(kind, kind_len, "divide")) {
        sink = 0;
        sink = 100 / sink; /* clang cannot know a volatile, and must divide */
        return 0;
    }
    if (wasmbed_equal(kind, kind_len, "stack")) {
        return (int32_t)deep(0);
    }
    if (wasmbed_equal(kind, kind_len, "loop")) {
        for (;;) {
            sink++;
        }
    }
    __builtin_trap();
}

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    when_len = config("when", when, sizeof when);
    kind_len = config("kind", kind, sizeof kind);
    return wasmbed_equal(when, when_len, "start") ? go_wrong() : 0;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    uint32_t at = when_len == 0 ? 1 : wasmbed_number(when, when_len);
    return ++ticks == at ? go_wrong() : 0;
}
