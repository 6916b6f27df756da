/* memory_need against what the pool says. On a board it must be neither less than the truth nor far over it; structures
 * are larger on 64-bit machines, so there it is only shown. */
#include "run.h"

#define BODY .body = (const uint8_t[]){0x41, 0}, .body_len = 2

static void compare(wb_wamr *w, const char *name, const uint8_t *bytes, uint32_t size, const wb_limits *limits)
{
    runner *r = runner_new(w);
    fake_source s;
    fake_source_init(&s, bytes, size, true);
    int64_t need = r->rt.memory_need(r->rt.ctx, &s.m, limits);
    s.m.mapped = NULL;
    CHECK(need == r->rt.memory_need(r->rt.ctx, &s.m, limits)); /* wherever its bytes are */
    uint32_t before = used(w);
    int err = load_bytes(r, bytes, size, limits);
    if (err != 0)
        fake_say("%s: %s\n", name, r->trap.text);
    CHECK(err == 0);
    uint32_t takes = used(w) - before;
    fake_say("need: %-16s %6u bytes  takes %6u  estimated %6u\n", name, (unsigned)size, (unsigned)takes, (unsigned)need);
    if (sizeof(void *) == 4) {
        CHECK(need >= takes);
        CHECK(need <= takes + takes / 5 + 256); /* functions without locals and parameters take less */
    }
    runner_free(r);
}

void test_need(wb_wamr *w)
{
    static const char *const samples[] = {"hello", "hello-bad", "counter", "trapper", "conformance", "hello-as"};
    const struct {
        const char *name;
        wasm_spec spec;
        uint32_t stack, pages;
    } made[] = {
        {"one page", {.pages = 1, BODY}, 4096, 1},
        {"two pages", {.pages = 2, BODY}, 4096, 2},
        {"base 1024", {.pages = 1, .heap_base = 1024, BODY}, 4096, 1},
        {"base 1000", {.pages = 1, .heap_base = 1008, BODY}, 512, 1},
        {"stack 16384", {.pages = 1, .heap_base = 1024, BODY}, 16384, 1},
        {"700 functions", {.pages = 1, .heap_base = 1024, .functions = 700, BODY}, 4096, 1},
        {"200, 50 locals", {.pages = 1, .heap_base = 1024, .functions = 200, .locals = 50, BODY}, 4096, 1},
        {"a table of 500", {.pages = 1, .heap_base = 1024, .table = 500, BODY}, 4096, 1},
        {"300 elements", {.pages = 1, .heap_base = 1024, .table = 300, .elements = 300, BODY}, 4096, 1},
        {"8 KiB of data", {.pages = 1, .heap_base = 8192, .data = 8192, BODY}, 4096, 1},
        {"custom section", {.pages = 1, .heap_base = 1024, .custom = 4000, BODY}, 4096, 1},
    };
    static uint8_t bytes[32768];
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        uint32_t size;
        const uint8_t *sample = fake_module(samples[i], &size);
        compare(w, samples[i], sample, size, &usual);
    }
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        wb_limits limits = usual;
        limits.stack = made[i].stack;
        limits.memory_pages = made[i].pages;
        size_t n = wasm_make(&made[i].spec, bytes, sizeof bytes);
        CHECK(n > 0);
        compare(w, made[i].name, bytes, (uint32_t)n, &limits);
    }
}
