/* The pool: full, and given back. */
#include "run.h"

static const char *const samples[] = {"hello", "hello-as", "counter", "trapper", "conformance"};
#define SAMPLES (sizeof samples / sizeof samples[0])

/* A thousand lives, good and bad, and the pool is as it was. */
static void comes_back(wb_wamr *w)
{
    uint32_t before = used(w);
    for (int i = 0; i < 1000; i++) {
        runner *r = runner_new(w);
        load_sample(r, samples[(size_t)i % SAMPLES]);
        if (i % 3 == 0)
            CHECK(start(r, 1000) != WB_EINVAL);
        if (i % 7 == 0)
            r->rt.unload(r->rt.ctx, &r->inst);
        runner_free(r);
        if (used(w) != before)
            fake_say("after life %d: %u bytes in use, not %u\n", i, (unsigned)used(w), (unsigned)before);
        CHECK(used(w) == before);
    }
}

/* As many instances as fit, then one is refused for memory and the others live; any order of going. */
static void full(wb_wamr *w)
{
    runner *all[64];
    uint32_t before = used(w), size;
    const uint8_t *bytes = fake_module("counter", &size);
    size_t n = 0;
    for (;; n++) {
        CHECK(n < 64);
        all[n] = runner_new(w);
        int err = load_bytes(all[n], bytes, size, &usual);
        if (err != 0) {
            CHECK(trapped(all[n], err, WB_REASON_INSUFFICIENT_MEMORY));
            runner_free(all[n]);
            break;
        }
        CHECK(start(all[n], 1000) == 0);
    }
    CHECK(n >= 2);
    for (size_t i = 0; i < n; i++)
        CHECK(invoke(all[i], "add", NULL, 0, 16) == 0 && answer_is(all[i], "1"));
    for (size_t i = 0; i < n; i += 2)
        runner_free(all[i]);
    for (size_t i = 1; i < n; i += 2)
        runner_free(all[i]);
    CHECK(used(w) == before);
}

/* Each allocation of a load may fail: nothing leaks, and the reason is the memory. And a pool of WB_WAMR_OWN and the
 * estimate is enough: what is only needed while a module is loaded is not more. */
static void no_room(wb_wamr *w, const char *name)
{
    static uint8_t small[24 * 1024] __attribute__((aligned(8)));
    uint32_t size, own = 0;
    const uint8_t *bytes = fake_module(name, &size);
    unsigned refused = 0;
    size_t enough = 0;
    fake_source s;
    fake_source_init(&s, bytes, size, false);
    for (size_t n = 0; n <= sizeof small; n += 64) {
        if (wb_wamr_init(w, small, n, NULL) < 0)
            continue;
        runner *r = runner_new(w);
        own = used(w);
        int err = load_bytes(r, bytes, size, &usual);
        if (err != 0) {
            CHECK(enough == 0); /* more room is never worse */
            CHECK(trapped(r, err, WB_REASON_INSUFFICIENT_MEMORY));
            CHECK(used(w) == own);
            refused++;
        } else if (enough == 0) {
            enough = n;
        }
        runner_free(r);
        CHECK(wb_wamr_deinit(w) == 0);
    }
    int64_t need = wb_wamr_runtime(w).memory_need(w, &s.m, &usual);
    fake_say("pool: %-12s is loaded from %u bytes on, the engine's own are %u, its estimate %u\n", name, (unsigned)enough,
             (unsigned)own, (unsigned)need);
    CHECK(refused > 10 && enough > 0);
    if (sizeof(void *) == 4) {
        CHECK(own <= WB_WAMR_OWN);
        CHECK((int64_t)enough <= WB_WAMR_OWN + need);
    }
}

void test_memory(wb_wamr *w)
{
    comes_back(w);
    full(w);
    CHECK(wb_wamr_deinit(w) == 0);
    for (size_t i = 0; i < SAMPLES; i++)
        if (strcmp(samples[i], "hello-as") != 0) /* larger than the pool for this */
            no_room(w, samples[i]);
}
