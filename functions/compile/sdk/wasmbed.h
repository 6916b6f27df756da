/* wasmbed.h: the module ABI, version 1, for modules written in C. The contract is docs/spec/abi.md.
 *
 *     #include "wasmbed.h"
 *
 *     WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
 *         wasmbed_log_text(WASMBED_INFO, "hello");
 *         return 0;
 *     }
 *
 * Only what a module uses is imported, and only what it imports needs a permission in the manifest.
 * Compile as the Makefile beside this file does: freestanding, no libc, a stack of 4 KiB. */
#ifndef WASMBED_H
#define WASMBED_H

#include <stddef.h>
#include <stdint.h>

#define WASMBED_ABI 1

#define WASMBED_EXPORT(name) __attribute__((export_name(name)))
#define WASMBED_IMPORT(name) __attribute__((import_module("wasmbed"), import_name(name)))

/* Log levels. */
enum { WASMBED_DEBUG = 1, WASMBED_INFO = 2, WASMBED_WARNING = 3, WASMBED_ERROR = 4 };

/* Results of host functions below zero. */
enum {
    WASMBED_INVALID = -1,    /* an argument is out of its range, a name is empty or too long */
    WASMBED_NO_SPACE = -2,   /* the store or the timer table is full, a message never fits */
    WASMBED_NOT_FOUND = -3,  /* no such key, pin or sensor */
    WASMBED_IO = -4,         /* storage or peripheral failed */
    WASMBED_DENIED = -7,     /* the manifest does not permit it */
    WASMBED_UNSUPPORTED = -9 /* not on this board */
};

/* Permission "log". */
WASMBED_IMPORT("log") void wasmbed_log(int32_t level, const void *text, uint32_t len);

/* Permission "clock": Unix milliseconds, 0 while the device does not know the time; milliseconds since boot. */
WASMBED_IMPORT("clock_now") int64_t wasmbed_clock_now(void);
WASMBED_IMPORT("clock_uptime") int64_t wasmbed_clock_uptime(void);

/* Permission "telemetry": queues one value. */
WASMBED_IMPORT("telemetry") int32_t wasmbed_telemetry(const void *name, uint32_t name_len, double value);

/* Permission "message": queues one message to the platform. */
WASMBED_IMPORT("message_send")
int32_t wasmbed_message_send(const void *topic, uint32_t topic_len, const void *data, uint32_t len);

/* Permission "kv": a small store that outlives restarts, updates and power cuts. Get returns the length of the
 * value and copies at most buf_len bytes of it; a value of length 0 deletes. */
WASMBED_IMPORT("kv_get") int32_t wasmbed_kv_get(const void *key, uint32_t key_len, void *buf, uint32_t buf_len);
WASMBED_IMPORT("kv_set") int32_t wasmbed_kv_set(const void *key, uint32_t key_len, const void *value, uint32_t len);

/* Permission "gpio". Which pins there are, and which of them are outputs, is the board's. */
WASMBED_IMPORT("gpio_read") int32_t wasmbed_gpio_read(uint32_t pin);
WASMBED_IMPORT("gpio_write") int32_t wasmbed_gpio_write(uint32_t pin, uint32_t level);

/* Permission "sensor": writes the value of one sensor. */
WASMBED_IMPORT("sensor_read") int32_t wasmbed_sensor_read(uint32_t sensor, double *value);

/* Permission "timer": wasmbed_timer(id) is called every period_ms; 0 stops the timer. */
WASMBED_IMPORT("timer_set") int32_t wasmbed_timer_set(uint32_t id, uint32_t period_ms);

/* Permission "random": fills buf with random bytes. */
WASMBED_IMPORT("random") void wasmbed_random(void *buf, uint32_t len);

/* No permission: a value of the manifest's config, as kv_get. */
WASMBED_IMPORT("config_get") int32_t wasmbed_config_get(const void *key, uint32_t key_len, void *buf, uint32_t buf_len);

/* Small helpers, since there is no libc. */

static inline uint32_t wasmbed_length(const char *s) {
    uint32_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    return n;
}

static inline void wasmbed_log_text(int32_t level, const char *text) { wasmbed_log(level, text, wasmbed_length(text)); }

static inline int32_t wasmbed_measure(const char *name, double value) {
    return wasmbed_telemetry(name, wasmbed_length(name), value);
}

/* Compares n bytes with a C string. */
static inline int wasmbed_equal(const char *bytes, uint32_t n, const char *text) {
    if (n != wasmbed_length(text)) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (bytes[i] != text[i]) {
            return 0;
        }
    }
    return 1;
}

/* Reads decimal digits; what is not a digit ends the number. */
static inline uint32_t wasmbed_number(const char *bytes, uint32_t n) {
    uint32_t v = 0;
    for (uint32_t i = 0; i < n && bytes[i] >= '0' && bytes[i] <= '9'; i++) {
        v = v * 10 + (uint32_t)(bytes[i] - '0');
    }
    return v;
}

/* Writes v in decimal to buf, which has room for 10 bytes, and returns how many it wrote. */
static inline uint32_t wasmbed_decimal(char *buf, uint32_t v) {
    char reversed[10];
    uint32_t n = 0;
    do {
        reversed[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    for (uint32_t i = 0; i < n; i++) {
        buf[i] = reversed[n - 1 - i];
    }
    return n;
}

/* The value of a config key as a number, or fallback when there is none. */
static inline uint32_t wasmbed_config_number(const char *key, uint32_t fallback) {
    char buf[12];
    int32_t n = wasmbed_config_get(key, wasmbed_length(key), buf, sizeof buf);
    return n < 0 || n > (int32_t)sizeof buf ? fallback : wasmbed_number(buf, (uint32_t)n);
}

/* What an invoke answers: bytes, or a module's own error number (1 to 2^32-1). */
static inline uint64_t wasmbed_answer(const void *bytes, uint32_t len) {
    return (uint64_t)(uint32_t)(uintptr_t)bytes << 32 | len;
}
static inline uint64_t wasmbed_refuse(uint32_t number) { return number; }

#endif
