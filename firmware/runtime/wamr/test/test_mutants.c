/* Samples with bytes changed: most are refused, some run and fall, none does more than that, and the pool is as it was.
 * The same ones each time. The pool's ends are watched by AddressSanitizer; that a module stays inside of its memory is
 * seen by its neighbours. */
#include "run.h"

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

void test_mutants(wb_wamr *w, unsigned times)
{
    static const char *const samples[] = {"hello", "counter", "trapper", "conformance", "hello-as"};
    static uint8_t bytes[4096];
    wb_limits limits = {.memory_pages = 2, .stack = 4096, .call_timeout = 1000, .instructions = 5000};
    uint32_t state = 1;
    unsigned loaded = 0, started = 0;
    runner *neighbour = runner_new(w);
    load_sample(neighbour, "counter");
    CHECK(start(neighbour, 1000) == 0);
    uint32_t before = used(w);
    for (unsigned i = 0; i < times; i++) {
        uint32_t size;
        const uint8_t *sample = fake_module(samples[i % (sizeof samples / sizeof samples[0])], &size);
        CHECK(size <= sizeof bytes);
        memcpy(bytes, sample, size);
        for (uint32_t n = 1 + random_next(&state) % 3; n > 0; n--)
            bytes[8 + random_next(&state) % (size - 8)] = (uint8_t)random_next(&state);
        runner *r = runner_new(w);
        if (load_bytes(r, bytes, size, &limits) == 0) {
            loaded++;
            if (start(r, 1000) == 0) {
                started++;
                (void)timer(r, 1, 1000);
                (void)message(r, "t", "payload", 7);
                (void)invoke(r, "add", "1", 1, 16);
                (void)invoke(r, "echo", "1", 1, 16);
                (void)stop(r);
            }
        }
        runner_free(r);
        CHECK(used(w) == before);
        if (i % 64 == 0)
            CHECK(invoke(neighbour, "get", NULL, 0, 16) == 0 && answer_is(neighbour, "0"));
    }
    fake_say("of %u mutants %u were loaded and %u started\n", times, loaded, started);
    runner_free(neighbour);
}
