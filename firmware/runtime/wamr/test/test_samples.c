/* The sample modules do what they do on the other engine: firmware/runtime/wazero/engine_test.go asserts the same. */
#include "run.h"

static void hello(wb_wamr *w, const char *name, double version, bool bad)
{
    runner *r = runner_new(w);
    load_sample(r, name);
    CHECK(start(r, 1000) == 0 && r->call.result == 0);
    CHECK(timer(r, 1, 1000) == 0 && r->call.result == 0);
    CHECK(fake_value(&r->world, "ticks") == 1);
    CHECK(fake_value(&r->world, "version") == version);
    int err = timer(r, 1, 1000);
    if (bad) {
        CHECK(trapped(r, err, WB_REASON_TRAP));
        CHECK(strcmp(r->trap.where, "wasmbed_timer") == 0);
        CHECK(strcmp(r->trap.text, "unreachable") == 0);
    } else {
        CHECK(err == 0 && fake_value(&r->world, "ticks") == 2);
        CHECK(stop(r) == 0 && strcmp(r->world.last_log, "bye") == 0);
    }
    runner_free(r);
}

static void counter(wb_wamr *w)
{
    runner *r = runner_new(w), *again = runner_new(w);
    load_sample(r, "counter");
    CHECK(start(r, 1000) == 0 && r->call.result == 0);
    CHECK(invoke(r, "get", NULL, 0, 16) == 0 && answer_is(r, "0"));
    CHECK(invoke(r, "add", NULL, 0, 16) == 0 && answer_is(r, "1"));
    CHECK(invoke(r, "add", "41", 2, 16) == 0 && answer_is(r, "42"));
    CHECK(strcmp(fake_kv(&r->world, "count"), "42") == 0);
    load_sample(again, "counter"); /* as after a restart, and two at once */
    again->inst.world = &r->world;
    CHECK(start(again, 1000) == 0);
    CHECK(invoke(again, "get", NULL, 0, 16) == 0 && answer_is(again, "42"));
    char many[33] = {0};
    CHECK(invoke(again, "add", many, sizeof many, 16) == WB_ENOSPC);
    static const char *const no[] = {"missing", "wasmbed_start", "wasmbed_alloc", "memory", "", "__heap_base"};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        CHECK(invoke(again, no[i], NULL, 0, 16) == WB_ENOENT);
    CHECK(message(again, "t", NULL, 0) == WB_ENOENT);
    CHECK(invoke(again, "get", NULL, 0, 16) == 0 && answer_is(again, "42")); /* it lives on */
    runner_free(r);
    runner_free(again);
}

static void conformance(wb_wamr *w)
{
    runner *r = runner_new(w);
    fake_config(&r->world, "a", "1");
    fake_config(&r->world, "long", "abcdefghijklmnopqrst");
    load_sample(r, "conformance");
    int err = start(r, 1000);
    if (err != 0 || r->call.result != 0)
        fake_say("start: %d, result %d, %s\n", err, (int)r->call.result, r->world.last_log);
    CHECK(err == 0 && r->call.result == 0);
    CHECK(fake_value(&r->world, "half") == 0.5);
    CHECK(r->world.sends == 1 && strcmp(r->world.sent[0], "topic=payload") == 0);
    CHECK(r->world.timer[7] == 20 && r->world.timer[8] == 0);
    for (int i = 0; i < 3; i++)
        CHECK(timer(r, 7, 1000) == 0 && r->call.result == 0);
    CHECK(fake_value(&r->world, "tick") == 3 && r->world.timer[7] == 0);
    CHECK(message(r, "to", "data", 4) == 0 && r->call.result == 0);
    CHECK(strcmp(r->world.sent[1], "echo/to=data") == 0);
    static const char many[200];
    CHECK(message(r, "to", many, sizeof many) == WB_ENOSPC);
    CHECK(invoke(r, "echo", "12345678", 8, 8) == 0 && answer_is(r, "12345678"));
    CHECK(invoke(r, "echo", NULL, 0, 8) == 0 && r->call.answer_len == 0 && r->call.result == 0);
    CHECK(invoke(r, "echo", "123456789", 9, 8) == WB_ENOSPC);
    CHECK(invoke(r, "refuse", "ab", 2, 8) == 0 && r->call.result == 42 && r->call.answer_len == 0);
    CHECK(trapped(r, invoke(r, "wild", NULL, 0, 8), WB_REASON_OUT_OF_BOUNDS));
    runner_free(r);
    r = runner_new(w);
    load_sample(r, "conformance");
    CHECK(trapped(r, invoke(r, "trap", NULL, 0, 8), WB_REASON_TRAP) && strcmp(r->trap.where, "trap") == 0);
    runner_free(r);
    r = runner_new(w);
    load_sample(r, "conformance");
    CHECK(stop(r) == 0);
    runner_free(r);
    r = runner_new(w);
    fake_config(&r->world, "a", "1");
    r->world.entropy = WB_EIO;
    load_sample(r, "conformance");
    CHECK(trapped(r, start(r, 1000), WB_REASON_TRAP));
    runner_free(r);
}

static void traps(wb_wamr *w)
{
    static const struct {
        const char *kind;
        wb_reason reason;
    } cases[] = {
        {"", WB_REASON_TRAP},          {"trap", WB_REASON_TRAP},
        {"bounds", WB_REASON_OUT_OF_BOUNDS}, {"divide", WB_REASON_DIVIDE_BY_ZERO},
        {"stack", WB_REASON_STACK_OVERFLOW}, {"loop", WB_REASON_TIMEOUT},
        {"exit", WB_REASON_NONE},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        bool at_start = i % 2 == 0;
        runner *r = runner_new(w);
        if (cases[i / 2].kind[0] != '\0')
            fake_config(&r->world, "kind", cases[i / 2].kind);
        fake_config(&r->world, "when", at_start ? "start" : "2");
        load_sample(r, "trapper");
        if (!at_start) {
            CHECK(start(r, 1000) == 0 && r->call.result == 0);
            CHECK(timer(r, 1, 1000) == 0 && r->call.result == 0);
        }
        int err = at_start ? start(r, 50) : timer(r, 1, 50);
        if (cases[i / 2].reason == WB_REASON_NONE) {
            CHECK(err == 0 && r->call.result == 7);
        } else {
            CHECK(trapped(r, err, cases[i / 2].reason));
            CHECK(strcmp(r->trap.where, at_start ? "wasmbed_start" : "wasmbed_timer") == 0);
            CHECK(timer(r, 1, 1000) == WB_ETRAP); /* it does not run on */
        }
        runner_free(r);
    }
}

void test_samples(wb_wamr *w)
{
    hello(w, "hello", 1, false);
    hello(w, "hello-v2", 2, false);
    hello(w, "hello-bad", 3, true);
    hello(w, "hello-as", 0, false);
    counter(w);
    conformance(w);
    traps(w);
}
