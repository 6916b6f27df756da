/* hello: says so at start, and measures its ticks and its version at every timer tick.
 *
 * Permissions: log, telemetry. Wants one timer in its manifest.
 * VERSION tells builds apart for updates. BAD_TICK, when set, is the tick on which it traps: an update that
 * starts well and turns out bad inside its health window. */
#include "../wasmbed.h"

#ifndef VERSION
#define VERSION 1
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static uint32_t ticks;

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    wasmbed_log_text(WASMBED_INFO, "hello, version " TEXT(VERSION));
    return 0;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    (void)id;
    ticks++;
#ifdef BAD_TICK
    if (ticks == BAD_TICK) {
        __builtin_trap();
    }
#endif
    wasmbed_measure("ticks", ticks);
    wasmbed_measure("version", VERSION);
    return 0;
}

WASMBED_EXPORT("wasmbed_stop") void stop(void) { wasmbed_log_text(WASMBED_INFO, "bye"); }
