/* What goes wrong while a module runs, and what is refused before. */
#include "run.h"

#define BODY(...) .body = (const uint8_t[]){__VA_ARGS__}, .body_len = sizeof(const uint8_t[]){__VA_ARGS__}
#define START(...) .start = (const uint8_t[]){__VA_ARGS__}, .start_len = sizeof(const uint8_t[]){__VA_ARGS__}
#define LOOP 0x03, 0x40, 0x0c, 0, 0x0b /* loop br 0 end */

void test_faults(wb_wamr *w)
{
    const struct {
        const char *name;
        wasm_spec spec;
        wb_reason reason;
    } cases[] = {
        {"unreachable", {BODY(0x00)}, WB_REASON_TRAP},
        {"overflow", {BODY(0x41, 0x80, 0x80, 0x80, 0x80, 0x78, 0x41, 0x7f, 0x6d)}, WB_REASON_DIVIDE_BY_ZERO},
        {"remainder", {BODY(0x41, 1, 0x41, 0, 0x6f)}, WB_REASON_DIVIDE_BY_ZERO},
        {"conversion", {BODY(0x43, 0, 0, 0xc0, 0x7f, 0xa8)}, WB_REASON_TRAP},
        {"null table", {BODY(0x41, 0, 0x11, 0, 0)}, WB_REASON_TRAP},
        {"table bounds", {BODY(0x41, 9, 0x11, 0, 0)}, WB_REASON_TRAP},
        {"load", {BODY(0x41, 0x7f, 0x28, 2, 0)}, WB_REASON_OUT_OF_BOUNDS},
        {"last byte", {BODY(0x41, 0xfd, 0xff, 3, 0x28, 0, 0)}, WB_REASON_OUT_OF_BOUNDS}, /* 4 bytes at 65533 */
        {"grow", {BODY(0x41, 9, 0x40, 0, 0x28, 2, 0)}, WB_REASON_OUT_OF_BOUNDS},
        {"fill", {BODY(0x41, 0, 0x41, 1, 0x41, 0x80, 0x80, 8, 0xfc, 11, 0, 0x41, 0)}, WB_REASON_OUT_OF_BOUNDS},
        {"loop", {BODY(LOOP, 0x41, 0)}, WB_REASON_TIMEOUT},
        {"recursion", {BODY(0x10, 0)}, WB_REASON_STACK_OVERFLOW},
        {"a pointer outside", {.import_module = "wasmbed", .import = "gpio_write", BODY(0x41, 1, 0x41, 1, 0x10, 0)},
         WB_REASON_NONE},
        {"a buffer outside", {.import_module = "wasmbed", .import = "sensor_read", BODY(0x41, 0, 0x41, 0x7c, 0x10, 0)},
         WB_REASON_OUT_OF_BOUNDS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        runner *r = runner_new(w);
        wasm_spec s = cases[i].spec;
        s.pages = 1;
        int err = load_spec(r, &s, &usual);
        if (err < 0)
            fake_say("%s: %s\n", cases[i].name, r->trap.text);
        CHECK(err == 0);
        err = start(r, 50);
        if (cases[i].reason == WB_REASON_NONE)
            CHECK(err == 0);
        else if (!trapped(r, err, cases[i].reason)) {
            fake_say("%s\n", cases[i].name);
            CHECK(false);
        }
        runner_free(r);
    }
}

/* Header, then one section as it is. */
static int load_section(runner *r, const uint8_t *section, size_t n)
{
    uint8_t bytes[64] = {0, 'a', 's', 'm', 1};
    memcpy(bytes + 8, section, n);
    return load_bytes(r, bytes, (uint32_t)(8 + n), &usual);
}

static void refused_sections(wb_wamr *w)
{
    static const struct {
        uint8_t bytes[16];
        size_t n;
    } cases[] = {
        {{1, 8, 1, 0x60, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f}, 10},         /* a type of 4 G parameters */
        {{3, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}, 8},                      /* 4 G functions */
        {{4, 8, 1, 0x70, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, 10},            /* a table of 4 G entries */
        {{10, 9, 1, 7, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f}, 11},        /* 4 G locals */
        {{0, 0xff, 0xff, 0xff, 0xff, 0x0f}, 6},                            /* a section of 4 GiB */
        {{2, 8, 1, 1, 'm', 1, 'm', 2, 0, 1}, 10},                          /* imports a memory */
        {{1, 6, 1, 0x60, 0, 2, 0x7f, 0x7f}, 8},                            /* two results */
        {{99, 1, 0}, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        runner *r = runner_new(w);
        CHECK(trapped(r, load_section(r, cases[i].bytes, cases[i].n), WB_REASON_NOT_WASM));
        runner_free(r);
    }
}

void test_refusals(wb_wamr *w)
{
    static const wb_limits counted = {.memory_pages = 1, .stack = 4096, .call_timeout = 1000, .instructions = 1ull << 31};
    static const wb_limits quick = {.memory_pages = 1, .stack = 4096, .call_timeout = 50};
    const struct {
        const char *name;
        wasm_spec spec;
        const wb_limits *limits;
        wb_reason reason;
    } cases[] = {
        {"no memory", {.no_memory = true, BODY(0x41, 0)}, &usual, WB_REASON_NOT_WASM},
        {"memory", {.pages = 2, BODY(0x41, 0)}, &usual, WB_REASON_INSUFFICIENT_MEMORY},
        {"unknown import", {.pages = 1, .import_module = "wasmbed", .import = "nothing", BODY(0x41, 0)}, &usual, WB_REASON_MISSING_IMPORT},
        {"an underscore in front", {.pages = 1, .import_module = "wasmbed", .import = "_gpio_write", BODY(0x41, 0)}, &usual, WB_REASON_MISSING_IMPORT},
        {"wasi", {.pages = 1, .import_module = "wasi_snapshot_preview1", .import = "environ_get", BODY(0x41, 0)}, &usual, WB_REASON_MISSING_IMPORT},
        {"other type", {.pages = 1, .import_module = "wasmbed", .import = "telemetry", BODY(0x41, 0)}, &usual, WB_REASON_MISSING_IMPORT},
        {"too many instructions", {.pages = 1, BODY(0x41, 0)}, &counted, WB_REASON_UNSUPPORTED},
        {"start section traps", {.pages = 1, BODY(0x41, 0), START(0x00)}, &usual, WB_REASON_TRAP},
        {"start section hangs", {.pages = 1, BODY(0x41, 0), START(LOOP)}, &quick, WB_REASON_TIMEOUT},
        {"type error", {.pages = 1, BODY(0x42, 0)}, &usual, WB_REASON_NOT_WASM},
        {"vector", {.pages = 1, BODY(0xfd, 0x0f, 0x1a, 0x41, 0)}, &usual, WB_REASON_NOT_WASM},
        {"reference types", {.pages = 1, BODY(0xd0, 0x70, 0x1a, 0x41, 0)}, &usual, WB_REASON_NOT_WASM},
        {"tail call", {.pages = 1, BODY(0x12, 0)}, &usual, WB_REASON_NOT_WASM},
        {"atomics", {.pages = 1, BODY(0x41, 0, 0xfe, 0x10, 2, 0)}, &usual, WB_REASON_NOT_WASM},
        {"locals", {.pages = 1, .functions = 1, .locals = 1025, BODY(0x41, 0)}, &usual, WB_REASON_NOT_WASM},
        {"data outside", {.pages = 1, .heap_base = 64, .data = 128, BODY(0x41, 0)}, &usual, WB_REASON_OUT_OF_BOUNDS},
    };
    uint32_t before = used(w), size;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        runner *r = runner_new(w);
        if (!trapped(r, load_spec(r, &cases[i].spec, cases[i].limits), cases[i].reason)) {
            fake_say("%s\n", cases[i].name);
            CHECK(false);
        }
        CHECK(used(w) == before); /* nothing is left, even before unload */
        runner_free(r);
    }
    refused_sections(w);
    runner *r = runner_new(w);
    const uint8_t *hello = fake_module("hello", &size);
    CHECK(trapped(r, load_bytes(r, hello, 0, &usual), WB_REASON_NOT_WASM));
    for (uint32_t n = 1; n < size; n++) { /* cut anywhere */
        int err = load_bytes(r, hello, n, &usual);
        bool whole = n == size - 44; /* only the data section is gone: still a module */
        CHECK(err == (whole ? 0 : WB_ETRAP));
        r->rt.unload(r->rt.ctx, &r->inst);
        CHECK(used(w) == before);
    }
    for (int n = 1; n < 1000; n++) { /* storage fails at the n-th read */
        fake_source s;
        fake_source_init(&s, hello, size, false);
        s.fails = n;
        int err = r->rt.load(r->rt.ctx, &r->inst, &s.m, &usual, &r->trap);
        r->rt.unload(r->rt.ctx, &r->inst);
        CHECK(used(w) == before);
        if (err == 0)
            break;
        CHECK(err == WB_EIO);
    }
    /* Functions that WAMR would run by itself are not run; one that cannot be ended would be the end of the device. */
    wasm_spec s = {.pages = 1, BODY(0x41, 0), .also = "__post_instantiate"};
    static const uint8_t hangs[] = {LOOP};
    static const char *const names[] = {"__post_instantiate", "__wasm_call_ctors", "_initialize", "_start"};
    s.start_len = sizeof hangs;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint8_t bytes[512];
        s.also = names[i];
        s.start = hangs;
        size_t n = wasm_make(&s, bytes, sizeof bytes);
        /* without the start section that wasm_make writes for it */
        size_t at = 0;
        while (memcmp(bytes + at, "\x08\x81\x80\x80\x80\x00\x01", 7) != 0)
            CHECK(++at < n - 7);
        memmove(bytes + at, bytes + at + 7, n - 7 - at);
        CHECK(load_bytes(r, bytes, (uint32_t)n - 7, &usual) == 0);
        CHECK(start(r, 1000) == 0);
        r->rt.unload(r->rt.ctx, &r->inst);
    }
    runner_free(r);
}
