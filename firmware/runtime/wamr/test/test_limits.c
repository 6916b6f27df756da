/* What a manifest limits. */
#include "run.h"

#define BODY(...) .body = (const uint8_t[]){__VA_ARGS__}, .body_len = sizeof(const uint8_t[]){__VA_ARGS__}

/* The manifest's pages are the limit of memory.grow, exactly. */
static void memory_grow(wb_wamr *w)
{
    static const int32_t want[4][2] = {{0, 0}, {-1, -1}, {1, -1}, {1, 2}};
    wasm_spec grow = {.pages = 1, BODY(0x41, 1, 0x40, 0)};
    for (uint32_t pages = 1; pages <= 3; pages++) {
        runner *r = runner_new(w);
        wb_limits limits = usual;
        limits.memory_pages = pages;
        CHECK(load_spec(r, &grow, &limits) == 0);
        for (int n = 0; n < 2; n++)
            CHECK(start(r, 1000) == 0 && r->call.result == want[pages][n]);
        runner_free(r);
    }
}

/* memory.size is what the module says, also where WAMR gives it less. */
static void memory_size(wb_wamr *w)
{
    wasm_spec size = {.pages = 1, BODY(0x3f, 0)}, shrunk = {.pages = 1, .heap_base = 4096, BODY(0x3f, 0)};
    runner *r = runner_new(w);
    CHECK(load_spec(r, &size, &usual) == 0 && start(r, 1000) == 0 && r->call.result == 1);
    r->rt.unload(r->rt.ctx, &r->inst);
    CHECK(load_spec(r, &shrunk, &usual) == 0 && start(r, 1000) == 0 && r->call.result == 1);
    runner_free(r);
}

/* Instructions are counted exactly: with the smallest number that is enough it works, with one less it does not; and each
 * call has its own. */
static void instructions(wb_wamr *w)
{
    wasm_spec s = {.pages = 1, BODY(0x41, 1, 0x41, 2, 0x6a)};
    wb_limits limits = usual;
    uint64_t enough = 0;
    for (uint64_t n = 1; n < 20 && enough == 0; n++) {
        runner *r = runner_new(w);
        limits.instructions = n;
        CHECK(load_spec(r, &s, &limits) == 0);
        int err = start(r, 1000);
        if (err == 0) {
            enough = n;
            CHECK(r->call.result == 3);
            for (int i = 0; i < 5; i++)
                CHECK(start(r, 1000) == 0);
        } else {
            CHECK(trapped(r, err, WB_REASON_INSTRUCTION_LIMIT));
        }
        runner_free(r);
    }
    fake_say("3 instructions and end take a limit of %u\n", (unsigned)enough);
    CHECK(enough >= 3 && enough <= 5);
    /* A loop of 6 instructions, 1,000 times. */
    runner *r = runner_new(w);
    fake_config(&r->world, "when", "start");
    fake_config(&r->world, "kind", "loop");
    uint32_t size;
    const uint8_t *bytes = fake_module("trapper", &size);
    limits.instructions = 100000;
    CHECK(load_bytes(r, bytes, size, &limits) == 0);
    CHECK(trapped(r, start(r, 10000), WB_REASON_INSTRUCTION_LIMIT));
    runner_free(r);
}

/* The operand stack has the manifest's size: with twice the stack, twice the depth. */
static void stack(wb_wamr *w)
{
    /* memory[0]++; gpio_write(1, memory[0]); calls itself */
    wasm_spec s = {.pages = 1, .import_module = "wasmbed", .import = "gpio_write",
                   BODY(0x41, 0, 0x41, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0, /* */
                        0x41, 1, 0x41, 0, 0x28, 2, 0, 0x10, 0, 0x1a, 0x10, 1)};
    uint32_t depth[3];
    for (int i = 0; i < 3; i++) {
        runner *r = runner_new(w);
        wb_limits limits = usual;
        limits.stack = 2048u << i;
        CHECK(load_spec(r, &s, &limits) == 0);
        CHECK(trapped(r, start(r, 1000), WB_REASON_STACK_OVERFLOW));
        depth[i] = r->world.pin;
        runner_free(r);
    }
    fake_say("stacks of 2, 4 and 8 KiB hold %u, %u and %u calls\n", (unsigned)depth[0], (unsigned)depth[1], (unsigned)depth[2]);
    CHECK(depth[0] > 10 && depth[1] >= 2 * depth[0] - 2 && depth[2] >= 2 * depth[1] - 2);
    CHECK(depth[1] <= 2 * depth[0] + 8 && depth[2] <= 2 * depth[1] + 8);
}

static void timeouts(wb_wamr *w)
{
    /* Many calls whose timer never fires, then one that does, then others again. */
    runner *r = runner_new(w);
    load_sample(r, "counter");
    CHECK(start(r, 1000) == 0);
    for (int i = 0; i < 10000; i++)
        CHECK(invoke(r, "get", NULL, 0, 16) == 0);
    runner *bad = runner_new(w);
    fake_config(&bad->world, "kind", "loop");
    fake_config(&bad->world, "when", "start");
    load_sample(bad, "trapper");
    CHECK(trapped(bad, start(bad, 20), WB_REASON_TIMEOUT));
    CHECK(invoke(r, "get", NULL, 0, 16) == 0 && answer_is(r, "0")); /* the other one is not touched */
    runner_free(bad);
    CHECK(invoke(r, "get", NULL, 0, 16) == 0);
    runner_free(r);
}

void test_limits(wb_wamr *w)
{
    memory_grow(w);
    memory_size(w);
    instructions(w);
    stack(w);
    timeouts(w);
}
