/*
 * The real core in the simulated world of firmware/tests, with WAMR in the place of its scripted engine: sample modules
 * are enrolled for, fetched, started, fall, and come back. The linker gives sim_boot the runtime made here (--wrap).
 */
#include "harness.h"
#include "sha256.h"
#include "wamr.h"
#include "world.h"

int checks_failed;
const char *context_of_check = "";

static uint8_t pool[96 * 1024] __attribute__((aligned(8)));
static wb_wamr engine;

wb_runtime __wrap_sim_runtime(sim *s);

/* At each power-up: what was in the pool is gone. */
wb_runtime __wrap_sim_runtime(sim *s)
{
    (void)s;
    engine.loaded = 0;
    (void)wb_wamr_deinit(&engine);
    CHECK_EQ(wb_wamr_init(&engine, pool, sizeof pool, NULL), 0);
    return wb_wamr_runtime(&engine);
}

#define ALL "log,clock,telemetry,message,kv,timer,random"

static gw_revision *sample(world *w, const char *name, const char *module)
{
    sim_script none = {0};
    wb_sha256 h;
    char path[256];
    gw_revision *r = gw_add(&w->g, name, "log", ALL, &none, 500);
    snprintf(path, sizeof path, "%s/%s.wasm", MODULES, module);
    FILE *f = fopen(path, "rb");
    CHECK(f != NULL);
    if (f == NULL)
        exit(1);
    r->size = fread(r->bytes, 1, sizeof r->bytes, f);
    fclose(f);
    wb_sha256_start(&h);
    wb_sha256_update(&h, r->bytes, r->size);
    wb_sha256_finish(&h, r->digest);
    return r;
}

static void invoke(world *w, const char *id, const char *function, const char *payload)
{
    wb_msg m = {.type = WB_INVOKE};
    m.u.invoke = (wb_invoke){{(const uint8_t *)id, 8}, {"app", 3}, {function, strlen(function)},
                             {(const uint8_t *)payload, strlen(payload)}, 1000};
    gw_send(&w->g, &m);
    gw_settle(&w->g);
}

static bool answered(const world *w, const char *want)
{
    return w->g.invoke_status == WB_COMMAND_DONE && w->g.invoke_len == strlen(want) &&
           memcmp(w->g.invoke_payload, want, strlen(want)) == 0;
}

static void updates_and_falls_back(void)
{
    world *w = world_new();
    gw_revision *good = sample(w, "hello-1", "hello"), *better = sample(w, "hello-2", "hello-v2");
    gw_revision *bad = sample(w, "hello-3", "hello-bad");
    world_enroll(w);
    world_confirm(w, "app", good, 1);
    long before = w->g.telemetry;
    CHECK(gw_run(&w->g, 2000, NULL));
    CHECK(w->g.telemetry > before + 10);
    world_confirm(w, "app", better, 2);
    gw_set(&w->g, "app", bad, 3);
    CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "hello-3"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_TRAP);
    CHECK_STR(gw_reported(&w->g, "app")->running, "hello-2");
    before = w->g.telemetry;
    CHECK(gw_run(&w->g, 1000, NULL));
    CHECK(w->g.telemetry > before);
    world_free(w);
}

static void remembers(bool mapped)
{
    world *w = world_new();
    gw_revision *r = sample(w, "counter-1", "counter");
    w->s.map_slots = mapped;
    world_enroll(w);
    world_confirm(w, "app", r, 1);
    invoke(w, "00000001", "add", "");
    CHECK(answered(w, "1"));
    invoke(w, "00000002", "add", "41");
    CHECK(answered(w, "42"));
    world_reboot(w);
    CHECK(run_until(w, "app", WB_STATE_RUNNING, "counter-1"));
    invoke(w, "00000003", "get", "");
    CHECK(answered(w, "42"));
    invoke(w, "00000004", "missing", "");
    CHECK_EQ(w->g.invoke_status, WB_COMMAND_REFUSED);
    invoke(w, "00000005", "add", "                                   ");
    CHECK_EQ(w->g.invoke_reason, WB_REASON_INSUFFICIENT_MEMORY);
    CHECK_EQ(w->g.traps, 0);
    world_free(w);
}

static void remembers_read(void) { remembers(false); }
static void remembers_mapped(void) { remembers(true); }

static void reasons(void)
{
    static const struct {
        const char *kind;
        uint64_t instructions;
        wb_reason reason;
    } cases[] = {
        {"trap", 0, WB_REASON_TRAP},   {"bounds", 0, WB_REASON_OUT_OF_BOUNDS},   {"divide", 0, WB_REASON_DIVIDE_BY_ZERO},
        {"loop", 0, WB_REASON_TIMEOUT}, {"stack", 0, WB_REASON_STACK_OVERFLOW},
        {"loop", 50000, WB_REASON_INSTRUCTION_LIMIT}, {"exit", 0, WB_REASON_EXIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world *w = world_new();
        gw_revision *good = sample(w, "good", "hello"), *bad = sample(w, "bad", "trapper");
        bad->config_key = "kind";
        bad->config_value = cases[i].kind;
        bad->instructions = cases[i].instructions;
        bad->call_timeout = 20;
        world_enroll(w);
        world_confirm(w, "app", good, 1);
        gw_set(&w->g, "app", bad, 2);
        context_of_check = cases[i].kind;
        CHECK(run_until(w, "app", WB_STATE_ROLLED_BACK, "bad"));
        CHECK_EQ(gw_reported(&w->g, "app")->reason, cases[i].reason);
        CHECK_STR(gw_reported(&w->g, "app")->running, "good");
        world_free(w);
    }
}

static void two_apps(void)
{
    world *w = world_new();
    gw_revision *hello = sample(w, "hello-1", "hello"), *counter = sample(w, "counter-1", "counter");
    world_enroll(w);
    world_confirm(w, "other", hello, 1);
    world_confirm(w, "app", counter, 1);
    CHECK_EQ(engine.loaded, 2);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "%08d", i);
        invoke(w, id, "add", "1");
        CHECK_EQ(w->g.invoke_status, WB_COMMAND_DONE);
    }
    CHECK(gw_run(&w->g, 1000, NULL));
    wb_wamr_usage before, after;
    wb_wamr_memory(&engine, &before);
    for (uint64_t i = 2; i < 50; i++) { /* many updates: nothing is left behind */
        gw_revision *r = i % 2 == 0 ? sample(w, "again-2", "hello-v2") : hello;
        world_confirm(w, "other", r, i);
        if (i % 2 == 0)
            w->g.revisions--;
    }
    world_confirm(w, "other", hello, 50);
    wb_wamr_memory(&engine, &after);
    CHECK_EQ(after.used, before.used);
    world_free(w);
}

static void too_large(void)
{
    world *w = world_new();
    gw_revision *r = sample(w, "as-1", "hello-as");
    w->s.cfg.module_memory = 64 * 1024; /* it has a page of 64 KiB, and WAMR cannot make it smaller */
    world_enroll(w);
    gw_set(&w->g, "app", r, 1);
    CHECK(run_until(w, "app", WB_STATE_FAILED, "as-1"));
    CHECK_EQ(gw_reported(&w->g, "app")->reason, WB_REASON_INSUFFICIENT_MEMORY);
    world_free(w);
    w = world_new();
    r = sample(w, "as-1", "hello-as");
    world_enroll(w);
    world_confirm(w, "app", r, 1);
    world_free(w);
}

int main(void)
{
    static const test tests[] = {
        {"updates, and falls back", updates_and_falls_back}, {"remembers, read", remembers_read},
        {"remembers, mapped", remembers_mapped},             {"reasons", reasons},
        {"two applications", two_apps},                      {"too large", too_large},
    };
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        int before = checks_failed;
        context_of_check = tests[i].name;
        tests[i].run();
        printf("%s %s\n", checks_failed == before ? "ok  " : "FAIL", tests[i].name);
    }
    return checks_failed == 0 ? 0 : 1;
}
