/* conformance: calls every host function of ABI 1 and checks what it can see of them. The same module runs on
 * every runtime; a port is right when start returns 0.
 *
 * Permissions: all of them. Config: a = "1", long = 20 letters. Every check that fails is logged with its line,
 * and start returns the line of the first. */
#include "../wasmbed.h"

static char buf[64];
static char in[128];
static int32_t failed_line;
static uint32_t ticks;

static void check(int ok, int32_t line) {
    if (ok) {
        return;
    }
    char text[] = "failed at line           ";
    uint32_t n = 15;
    n += wasmbed_decimal(text + n, (uint32_t)line);
    wasmbed_log(WASMBED_ERROR, text, n);
    if (failed_line == 0) {
        failed_line = line;
    }
}
#define CHECK(c) check((c) != 0, __LINE__)

#define GET(f, k, room) f(k, sizeof k - 1, buf, room)

static void config(void) {
    CHECK(GET(wasmbed_config_get, "a", sizeof buf) == 1);
    CHECK(buf[0] == '1');
    CHECK(GET(wasmbed_config_get, "missing", sizeof buf) == WASMBED_NOT_FOUND);
    buf[4] = '!';
    CHECK(GET(wasmbed_config_get, "long", 4) == 20);
    CHECK(buf[4] == '!');
    CHECK(wasmbed_config_get("", 0, buf, sizeof buf) < 0);
    CHECK(GET(wasmbed_config_get, "long", 0) == 20);
}

static void kv(void) {
    CHECK(GET(wasmbed_kv_get, "missing", sizeof buf) == WASMBED_NOT_FOUND);
    CHECK(wasmbed_kv_set("k", 1, "value", 5) == 0);
    CHECK(GET(wasmbed_kv_get, "k", sizeof buf) == 5);
    CHECK(wasmbed_equal(buf, 5, "value"));
    CHECK(wasmbed_kv_set("k", 1, "v2", 2) == 0);
    CHECK(GET(wasmbed_kv_get, "k", sizeof buf) == 2);
    CHECK(GET(wasmbed_kv_get, "k", 1) == 2);
    CHECK(wasmbed_kv_set("k", 1, buf, 0) == 0);
    CHECK(GET(wasmbed_kv_get, "k", sizeof buf) == WASMBED_NOT_FOUND);
    CHECK(wasmbed_kv_set("", 0, "x", 1) < 0);
}

static void clock_and_random(void) {
    int64_t up = wasmbed_clock_uptime();
    CHECK(up >= 0);
    CHECK(wasmbed_clock_uptime() >= up);
    CHECK(wasmbed_clock_now() >= 0);
    for (uint32_t i = 0; i < sizeof buf; i++) {
        buf[i] = 0;
    }
    wasmbed_random(buf, 32);
    uint32_t zero = 0;
    for (uint32_t i = 0; i < 32; i++) {
        zero += buf[i] == 0;
    }
    CHECK(zero < 16);
    CHECK(buf[32] == 0);
}

/* A board without pins or sensors says so; one that has them must work. Pin 1 is an output where there are pins. */
static void board(void) {
    int32_t n = wasmbed_gpio_write(1, 1);
    if (n != WASMBED_UNSUPPORTED) {
        CHECK(n == 0);
        CHECK(wasmbed_gpio_read(1) == 1);
        CHECK(wasmbed_gpio_write(1, 0) == 0);
        CHECK(wasmbed_gpio_read(1) == 0);
        CHECK(wasmbed_gpio_read(0xFFFFu) == WASMBED_NOT_FOUND);
    }
    double value = -1e9;
    n = wasmbed_sensor_read(0, &value);
    CHECK(n == WASMBED_UNSUPPORTED || (n == 0 && value > -1e6));
    CHECK(n == WASMBED_UNSUPPORTED || wasmbed_sensor_read(0xFFFFu, &value) == WASMBED_NOT_FOUND);
}

static void up(void) {
    wasmbed_log_text(WASMBED_DEBUG, "conformance");
    wasmbed_log(WASMBED_INFO, "", 0);
    CHECK(wasmbed_measure("half", 0.5) == 0);
    CHECK(wasmbed_telemetry("", 0, 1) < 0);
    CHECK(wasmbed_message_send("topic", 5, "payload", 7) == 0);
    CHECK(wasmbed_message_send("", 0, "x", 1) < 0);
}

WASMBED_EXPORT("wasmbed_start") int32_t start(void) {
    config();
    kv();
    clock_and_random();
    board();
    up();
    CHECK(wasmbed_timer_set(7, 20) == 0);
    CHECK(wasmbed_timer_set(8, 20) == 0);
    CHECK(wasmbed_timer_set(8, 0) == 0);
    return failed_line;
}

WASMBED_EXPORT("wasmbed_timer") int32_t timer(int32_t id) {
    if (id != 7) {
        return id == 0 ? -1 : id;
    }
    wasmbed_measure("tick", ++ticks);
    return ticks == 3 ? wasmbed_timer_set(7, 0) : 0;
}

WASMBED_EXPORT("wasmbed_alloc") void *alloc(uint32_t len) { return len <= sizeof in ? in : 0; }

/* Sends back what came, under the topic "echo/" + topic. */
WASMBED_EXPORT("wasmbed_message") int32_t message(const char *topic, uint32_t topic_len, const char *data, uint32_t len) {
    uint32_t n = 0;
    for (; n < 5; n++) {
        buf[n] = "echo/"[n];
    }
    for (uint32_t i = 0; i < topic_len && n < sizeof buf; i++) {
        buf[n++] = topic[i];
    }
    return wasmbed_message_send(buf, n, data, len);
}

WASMBED_EXPORT("echo") uint64_t echo(const char *payload, uint32_t len) { return wasmbed_answer(payload, len); }

WASMBED_EXPORT("refuse") uint64_t refuse(const char *payload, uint32_t len) {
    (void)payload;
    return wasmbed_refuse(40 + len);
}

WASMBED_EXPORT("trap") uint64_t trap(const char *payload, uint32_t len) {
    (void)payload;
    (void)len;
    __builtin_trap();
}

/* An answer outside the memory: the platform must not follow it. */
WASMBED_EXPORT("wild") uint64_t wild(const char *payload, uint32_t len) {
    (void)payload;
    (void)len;
    return wasmbed_answer((void *)0xFFFFFF00u, 4096);
}

WASMBED_EXPORT("wasmbed_stop") void stop(void) { wasmbed_log_text(WASMBED_INFO, "stopped"); }
